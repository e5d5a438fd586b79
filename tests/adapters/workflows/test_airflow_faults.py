"""What `modelyard doctor` says of an Airflow, seen at the small one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakes.airflow.fake import FakeAirflow, serving
from modelyard.adapters.workflows.airflow_api import AirflowApi
from modelyard.adapters.workflows.airflow_faults import list_faults
from modelyard.errors import CannotAnswer

DAGS = ("detect-drift", "train-and-evaluate")


@pytest.fixture
def fake() -> FakeAirflow:
    return FakeAirflow(**dict.fromkeys(DAGS, ()))


@pytest.fixture
def api(fake: FakeAirflow) -> Iterator[AirflowApi]:
    with serving(fake) as uri:
        yield AirflowApi(uri, user="ada", password="secret")


def test_an_airflow_that_has_every_dag_is_well(api):
    assert list(list_faults(api, DAGS)) == []


@pytest.mark.parametrize("version", ["3.2.9", "2.11.0", "none"])
def test_an_airflow_that_is_too_old_is_told_the_least_version(api, fake, version):
    fake.version = version
    assert list(list_faults(api, DAGS)) == [
        (f"Airflow is {version}, but 3.3 is needed", "install Airflow 3.3 or newer")
    ]


def test_a_part_that_is_not_at_work_is_named(api, fake):
    fake.health["scheduler"] = "unhealthy"
    assert list(list_faults(api, DAGS)) == [
        ("Airflow's scheduler is unhealthy", "airflow scheduler")
    ]


def test_a_paused_dag_is_named_and_how_to_let_it_run(api, fake):
    fake.paused.add("detect-drift")
    assert list(list_faults(api, DAGS)) == [
        (
            "the DAG detect-drift is paused, so that its runs wait",
            "airflow dags unpause detect-drift",
        )
    ]


def test_a_missing_dag_is_named_with_the_error_of_its_file_if_there_is_one(api, fake):
    del fake.dags["detect-drift"]
    assert list(list_faults(api, DAGS)) == [
        (
            "Airflow has no DAG detect-drift",
            "let Airflow read workflows/airflow/modelyard_dags.py of this repository",
        )
    ]
    fake.import_errors["modelyard_dags.py"] = "Traceback\n  File\nNotTranslatedError: spec.hooks\n"
    assert list(list_faults(api, DAGS)) == [
        (
            "Airflow has no DAG detect-drift: modelyard_dags.py: NotTranslatedError: spec.hooks",
            "airflow dags list-import-errors",
        )
    ]


def test_an_airflow_out_of_reach_or_without_an_account_is_no_answer(fake):
    with pytest.raises(CannotAnswer, match="out of reach"):
        list(list_faults(AirflowApi("http://127.0.0.1:9"), DAGS))
    with serving(fake) as uri, pytest.raises(CannotAnswer, match="refuses GET /dags"):
        list(list_faults(AirflowApi(uri), DAGS))
