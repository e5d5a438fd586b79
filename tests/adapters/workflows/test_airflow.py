from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.airflow.fake import FakeAirflow, FakeRun, serving
from modelyard.adapters.workflows import airflow, patience
from modelyard.adapters.workflows.airflow import AirflowWorkflows
from modelyard.adapters.workflows.airflow_api import AirflowApi
from modelyard.domain.specs.paths import WORKFLOW_TEMPLATES
from modelyard.errors import CannotAnswer, Refused
from modelyard.ports import Phase, WorkflowStatus

TRAIN = "train-and-evaluate"
PARAMETERS = {"model": "wine", "version": "v1"}


@pytest.fixture
def fake() -> FakeAirflow:
    return FakeAirflow(**{TRAIN: ("model", "version"), "detect-drift": ("model",)})


@pytest.fixture
def uri(fake: FakeAirflow) -> Iterator[str]:
    with serving(fake) as uri:
        yield uri


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / WORKFLOW_TEMPLATES).mkdir(parents=True)
    for name in ("detect-drift", "detect-drift-wine", TRAIN):
        (tmp_path / WORKFLOW_TEMPLATES / f"{name}.yaml").write_text("")
    return tmp_path


@pytest.fixture
def workflows(uri: str, root: Path) -> AirflowWorkflows:
    return AirflowWorkflows(AirflowApi(uri, user="ada", password="secret"), root)


def submit(workflows: AirflowWorkflows, fake: FakeAirflow, name: str = "wine-v1-1") -> FakeRun:
    workflows.submit(name, template=TRAIN, parameters=PARAMETERS)
    return fake.runs[TRAIN, name]


def test_submitting_twice_starts_one_run(workflows, fake):
    run = submit(workflows, fake)
    assert submit(workflows, fake) is run
    assert fake.runs == {(TRAIN, "wine-v1-1"): FakeRun(PARAMETERS)}
    assert workflows.status("wine-v1-1") == WorkflowStatus(name="wine-v1-1", phase=Phase.PENDING)


def test_there_is_no_status_of_a_run_that_no_dag_has(workflows):
    assert workflows.status("wine-v2-1") is None


def test_a_missing_parameter_is_refused_by_name(workflows):
    with pytest.raises(Refused, match="Invalid input for param version"):
        workflows.submit("w", template=TRAIN, parameters={"model": "wine"})


def test_a_dag_that_airflow_does_not_have_is_no_answer_and_says_what_airflow_must_read(workflows):
    with pytest.raises(CannotAnswer, match="'other' not found") as caught:
        workflows.submit("w", template="other", parameters={})
    assert "workflows/airflow/modelyard_dags.py" in str(caught.value.hint)


def test_steps_are_told_by_their_phases_and_those_that_never_ran_are_left_out(workflows, fake):
    run = submit(workflows, fake)
    run.state = "running"
    run.tasks = {
        "fetch": "success",
        "train": "up_for_retry",
        "evaluate": "queued",
        "verify": None,
        "record": "upstream_failed",
        "outcome": "running",
    }
    assert workflows.status("wine-v1-1") == WorkflowStatus(
        name="wine-v1-1",
        phase=Phase.RUNNING,
        steps={"fetch": Phase.SUCCEEDED, "train": Phase.RUNNING, "evaluate": Phase.PENDING},
    )


def end(run: FakeRun, *, step: str | None) -> None:
    run.state = "failed"
    run.tasks = {"fetch": "success", "train": "failed", "record": "upstream_failed"}
    run.tasks["outcome"] = "failed"
    if step is not None:
        run.xcoms["outcome", "step"] = step


def test_a_step_that_left_an_exit_code_failed_and_its_last_words_are_the_reason(workflows, fake):
    run = submit(workflows, fake)
    end(run, step="train")
    run.tries["train"] = 3
    run.xcoms["train", "exit_code"] = 3
    run.logs["train", 3] = [
        "error: not what the step said",
        "[main] loading",
        "[main] error: no such column",
        "[main] hint: look",
        "Task failed with exception",
    ]
    status = workflows.status("wine-v1-1")
    assert status == WorkflowStatus(
        name="wine-v1-1",
        phase=Phase.FAILED,
        message="train: exit code 3: no such column",
        steps={"fetch": Phase.SUCCEEDED, "train": Phase.FAILED},
    )


@pytest.mark.parametrize(
    ("reason", "told"),
    [("killed by signal 9", "killed by signal 9"), (None, "lost: its task left no exit code")],
)
def test_a_step_without_an_exit_code_was_lost_by_infrastructure(workflows, fake, reason, told):
    run = submit(workflows, fake)
    end(run, step="train")
    if reason:
        run.xcoms["train", "reason"] = reason
    assert workflows.status("wine-v1-1") == WorkflowStatus(
        name="wine-v1-1",
        phase=Phase.ERROR,
        message=f"train: {told}",
        steps={"fetch": Phase.SUCCEEDED, "train": Phase.ERROR},
    )


def test_a_run_that_ended_without_a_failed_step_was_ended_from_outside(workflows, fake):
    run = submit(workflows, fake)
    run.state, run.tasks = "failed", {"fetch": "skipped", "outcome": "skipped"}
    status = workflows.status("wine-v1-1")
    assert status.phase is Phase.ERROR
    assert status.message == "no step failed: it was out of time, or somebody ended it"


def test_a_log_that_is_gone_leaves_the_exit_code_as_the_reason(workflows, fake):
    run = submit(workflows, fake)
    end(run, step="train")
    run.xcoms["train", "exit_code"] = 3
    assert workflows.status("wine-v1-1").message == "train: exit code 3"


def test_a_token_that_is_too_old_is_renewed_once(workflows, fake):
    submit(workflows, fake)
    fake.tokens.clear()
    assert workflows.status("wine-v1-1").phase is Phase.PENDING
    assert fake.signed_in == 2


def test_who_may_not_sign_in_is_told_what_to_set(uri, root):
    workflows = AirflowWorkflows(AirflowApi(uri, user="ada", password="guess"), root)
    with pytest.raises(CannotAnswer, match=r"does not sign in ada: Invalid credentials") as caught:
        workflows.status("w")
    assert caught.value.hint == "set MODELYARD_AIRFLOW_USER and MODELYARD_AIRFLOW_PASSWORD"


def test_a_token_of_somebody_else_is_used_as_it_is(uri, root, fake):
    fake.tokens.add("given")
    workflows = AirflowWorkflows(AirflowApi(uri, token="given"), root)
    assert workflows.status("w") is None
    fake.tokens.clear()
    with pytest.raises(CannotAnswer, match=r"refuses GET .*: Forbidden"):
        workflows.status("w")


def test_credentials_come_from_the_environment_and_are_in_no_message(uri, root, monkeypatch):
    monkeypatch.setenv("MODELYARD_AIRFLOW_USER", "ada")
    monkeypatch.setenv("MODELYARD_AIRFLOW_PASSWORD", "secret")
    assert AirflowWorkflows(AirflowApi.from_environment(uri), root).status("w") is None
    monkeypatch.setenv("MODELYARD_AIRFLOW_PASSWORD", "sesame")
    with pytest.raises(CannotAnswer) as caught:
        AirflowWorkflows(AirflowApi.from_environment(uri), root).status("w")
    assert "sesame" not in str(caught.value)


def test_an_airflow_out_of_reach_is_no_answer(root):
    workflows = AirflowWorkflows(AirflowApi("http://127.0.0.1:9"), root)
    with pytest.raises(
        CannotAnswer, match=r"Airflow at http://127\.0\.0\.1:9 is out of reach"
    ) as caught:
        workflows.status("w")
    assert caught.value.hint == "curl http://127.0.0.1:9/api/v2/monitor/health"


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events: dict[float, object] = {}

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(patience, "time", made)
    monkeypatch.setattr(airflow, "time", made)
    return made


def test_waiting_survives_a_minute_without_airflow_and_starts_no_second_run(workflows, fake, clock):
    run = submit(workflows, fake)
    run.state, run.tasks = "running", {"fetch": "running"}
    fake.faults = [502] * 60
    told: list[WorkflowStatus] = []

    def progress(status: WorkflowStatus) -> None:
        told.append(status)
        run.state, run.tasks = "success", {"fetch": "success", "outcome": "success"}

    status = workflows.wait("wine-v1-1", progress=progress)
    assert clock.now > 60
    assert status.phase is Phase.SUCCEEDED
    assert [each.steps for each in told] == [{"fetch": Phase.RUNNING}, {"fetch": Phase.SUCCEEDED}]
    assert sum(each.startswith("POST /api/v2") for each in fake.asked) == 1


def test_waiting_ends_after_two_minutes_without_airflow(workflows, fake, clock):
    submit(workflows, fake)
    fake.faults = [502] * 1000
    with pytest.raises(CannotAnswer, match="answered 502"):
        workflows.wait("wine-v1-1", progress=lambda _: None)
    assert 120 < clock.now < 130


def test_waiting_for_what_is_not_there_ends_at_once(workflows, clock):
    with pytest.raises(CannotAnswer, match="there is no workflow gone") as caught:
        workflows.wait("gone", progress=lambda _: None)
    assert caught.value.hint == "modelyard reconcile"
    assert clock.now == 0
