"""Workflows on a real Airflow: small ones against the local runner, faults, and the tour."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from e2e.airflow.airflow import ROOT, Airflow, commands
from e2e.airflow.small_workflows import SLOW, WORKFLOWS
from modelyard.adapters.workflows.airflow import AirflowWorkflows
from modelyard.adapters.workflows.airflow_api import AirflowApi
from modelyard.adapters.workflows.local import LocalWorkflows
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer, Refused
from modelyard.ports import Phase, WorkflowStatus

LONGEST = 1800.0
TRAIN = "train-and-evaluate"
TRAFFIC = "modelyard replay wine --data models/wine/data/heldout.csv --rows 3000"
TOUR = (
    "modelyard record wine v1",
    "modelyard watch --once",
    "modelyard pr show 3",
    "modelyard pr approve 3 --as grace",
    "modelyard watch --once",
    TRAFFIC,
    "modelyard watch --once",
    "modelyard pr approve 4 --as grace",
    "modelyard watch --once",
    TRAFFIC,
    "modelyard watch --once",
    "modelyard status wine",
    "modelyard history wine",
    "modelyard servers list",
    "modelyard servers stop",
)
"""What a reader of the README does, once v1 is trained, with one round of the watcher at a time."""


def quietly(_: WorkflowStatus) -> None: ...


def until(what: str, holds: Callable[[], Any], *, seconds: float = LONGEST) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.5)
    return found


def submit(workflows: AirflowWorkflows, name: str, template: str, **parameters: str) -> None:
    """Submit as often as a busy machine needs: it is idempotent."""
    for _ in range(5):
        with suppress(CannotAnswer):
            return workflows.submit(name, template=template, parameters=parameters)
    return workflows.submit(name, template=template, parameters=parameters)


def tries(api: AirflowApi, dag: str, run: str, step: str) -> int:
    return int(api.get(f"/dags/{dag}/dagRuns/{run}/taskInstances/{step}")["try_number"])


def runs_of(api: AirflowApi, dag: str) -> list[str]:
    return sorted(run["dag_run_id"] for run in api.get(f"/dags/{dag}/dagRuns")["dag_runs"])


def test_the_document_that_the_fake_is_held_to_is_that_of_this_airflow():
    script = ROOT / "tests/fakes/airflow/reslice.py"
    subprocess.run([sys.executable, script, "--check"], check=True)


def test_it_listens_on_loopback_alone_and_every_workflow_is_a_dag(
    airflow: Airflow, api: AirflowApi
):
    assert airflow.listening() == {"127.0.0.1"}
    wanted = {TRAIN, "detect-drift", "detect-drift-flight-delay", *WORKFLOWS, *SLOW}
    assert api.get("/importErrors")["import_errors"] == []
    dags = {dag["dag_id"]: dag for dag in api.get("/dags", limit=100)["dags"]}
    assert dags.keys() == wanted
    assert not any(dag["is_paused"] for dag in dags.values())
    assert dags["detect-drift-flight-delay"]["timetable_summary"] == "17 3 * * *"
    assert dags[TRAIN]["timetable_summary"] is None


def test_a_missed_night_is_not_made_up_for_hours_later(
    workflows: AirflowWorkflows, api: AirflowApi
):
    dag = "detect-drift-flight-delay"
    (run,) = api.get(f"/dags/{dag}/dagRuns")["dag_runs"]
    late = datetime.now(UTC) - datetime.fromisoformat(run["run_after"])
    if late < timedelta(hours=1, minutes=10):
        pytest.skip("it is the hour after the nightly run")
    status = workflows.wait(run["dag_run_id"], progress=quietly)
    assert (status.phase, status.steps) == (Phase.SUCCEEDED, {})


def test_what_is_missing_or_unknown_is_said(workflows: AirflowWorkflows):
    assert workflows.status("never-started") is None
    with pytest.raises(Refused, match="seconds"):
        workflows.submit("s", template="sleeps", parameters={})
    with pytest.raises(CannotAnswer, match="no-such-dag"):
        workflows.submit("s", template="no-such-dag", parameters={})


def test_small_workflows_end_as_those_of_the_local_runner(
    airflow: Airflow, workflows: AirflowWorkflows, api: AirflowApi, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", airflow.environment["PATH"])
    local = LocalWorkflows(airflow.checkout, Repository())
    for name in WORKFLOWS:
        for _ in "twice":
            submit(workflows, f"{name}-1", name)
        local.submit(f"{name}-2", template=name, parameters={})
    for name in WORKFLOWS:
        expected = local.wait(f"{name}-2", progress=quietly)
        found = workflows.wait(f"{name}-1", progress=quietly)
        assert (name, found.phase, found.steps) == (name, expected.phase, expected.steps)
        assert runs_of(api, name) == [f"{name}-1"]
        if expected.phase is Phase.FAILED or name in {"is-killed", "is-late", "leaves-nothing"}:
            assert found.message
            assert expected.message.startswith(found.message)
    assert workflows.status("answers-no-1") == WorkflowStatus(
        name="answers-no-1",
        phase=Phase.FAILED,
        message="a: exit code 3: no such column",
        steps={"a": Phase.FAILED},
    )
    assert tries(api, "answers-no", "answers-no-1", "a") == 1
    assert tries(api, "answers-at-last", "answers-at-last-1", "a") == 3
    assert workflows.status("answers-at-last-1").phase is Phase.SUCCEEDED  # type: ignore[union-attr]
    assert workflows.status("drift-unknown-1").phase is Phase.FAILED  # type: ignore[union-attr]
    assert workflows.status("drift-confirmed-1").steps["retrain"] is Phase.SUCCEEDED  # type: ignore[union-attr]


def begin(workflows: AirflowWorkflows, airflow: Airflow, name: str, seconds: int) -> psutil.Process:
    """A workflow whose first step sleeps; returns the step's process."""
    submit(workflows, name, "sleeps", seconds=f"{seconds}")
    found = until(f"{name} runs", lambda: airflow.step("sleep", f"{seconds}"))
    assert isinstance(found, psutil.Process)
    return found


def test_a_minute_without_an_answer_of_the_api_starts_no_second_run(
    airflow: Airflow, workflows: AirflowWorkflows, api: AirflowApi
):
    begin(workflows, airflow, "waits-1", 71)
    ended: list[WorkflowStatus] = []
    waiting = threading.Thread(
        target=lambda: ended.append(workflows.wait("waits-1", progress=quietly))
    )
    waiting.start()
    with airflow.frozen("api-server"):  # a restart takes as long as the machine is busy
        time.sleep(60)
    waiting.join(LONGEST)
    assert [status.phase for status in ended] == [Phase.SUCCEEDED]
    assert runs_of(api, "sleeps") == ["waits-1"]


def test_a_killed_scheduler_loses_the_step_and_no_run_waits_for_ever(
    airflow: Airflow, workflows: AirflowWorkflows
):
    begin(workflows, airflow, "orphan-1", 613)
    airflow.kill("scheduler")
    airflow.start("scheduler")
    status = workflows.wait("orphan-1", progress=quietly)
    assert status == WorkflowStatus(
        name="orphan-1",
        phase=Phase.ERROR,
        message="a: lost: the task ended before its step did",
        steps={"a": Phase.ERROR},
    )


def test_an_airflow_that_is_restarted_in_the_middle_of_a_run_loses_the_step_that_ran(
    airflow: Airflow, workflows: AirflowWorkflows
):
    begin(workflows, airflow, "restarted-1", 617)
    airflow.stop()
    airflow.start()
    status = workflows.wait("restarted-1", progress=quietly)
    assert (status.phase, status.steps) == (Phase.ERROR, {"a": Phase.ERROR})
    submit(workflows, "restarted-2", "sleeps", seconds="0")
    assert workflows.wait("restarted-2", progress=quietly).phase is Phase.SUCCEEDED


class Person:
    """Somebody who types commands in the yard."""

    def __init__(self, yard: Path, shell: dict[str, str]) -> None:
        self.yard, self.shell, self.said = yard, shell, ""

    def start(self, command: str) -> subprocess.Popen[bytes]:
        with (self.yard.parent / "said").open("ab") as said:
            return subprocess.Popen(shlex.split(command), cwd=self.yard, env=self.shell,
                                    stdout=said, stderr=said, start_new_session=True)  # fmt: skip

    def type(self, command: str) -> None:
        code = self.start(command).wait(LONGEST)
        assert code == 0, (command, self.told())

    def told(self) -> str:
        return (self.yard.parent / "said").read_text()[-4000:]


def test_the_tour_reaches_production_whatever_is_killed_while_it_trains(
    airflow: Airflow, shell: dict[str, str], api: AirflowApi
):
    ada = Person(airflow.checkout, shell)
    doctor, train = (line for line in commands("Try it") if line.startswith("modelyard "))
    ada.type(doctor)

    reconcile = ada.start(train)
    step = until("the first attempt trains", lambda: airflow.step("step", "train", "--attempt=1"))
    step.kill()
    until("the second attempt begins", lambda: airflow.step("step", "--attempt=2"))
    reconcile.kill()
    reconcile.wait()
    reconcile = ada.start(train)
    until("the second attempt trains", lambda: airflow.step("step", "train", "--attempt=2"))
    airflow.kill("scheduler")
    airflow.start("scheduler")
    assert reconcile.wait(LONGEST) == 0, ada.told()
    started = api.get(f"/dags/{TRAIN}/dagRuns")["dag_runs"]
    assert sorted(run["conf"]["attempt"] for run in started) == ["1", "2", "3"]

    for command in TOUR:
        ada.type(command)
    told = subprocess.run(
        ["modelyard", "status", "wine", "--output=json"],
        cwd=ada.yard, env=shell, capture_output=True, check=True,
    )  # fmt: skip
    verified = {e["environment"] for e in json.loads(told.stdout)["releases"] if e["verified"]}
    assert verified == {"dev", "staging", "canary", "production"}
