"""A defect that data meets in a step stops the training at once, and puts nothing on hold."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from modelyard.adapters.workflows.plan import Retry
from modelyard.commands import step
from modelyard.domain.promotion.actions import GiveUpTraining, RetryTraining, StartTraining
from modelyard.domain.promotion.training_workflows import plan_trainings
from modelyard.domain.promotion.world import Run
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import DataContract, Target, Task
from modelyard.errors import CannotAnswer, Refused, StepCrash
from modelyard.operations.training.job import CRASH, run_step
from modelyard.serving.scoring import failure_of
from operations.training_job import job_of, make_checkout, model_of
from unit.domain.promotion.examples import spec
from unit.domain.promotion.simulated import Simulated

MODEL = model_of(
    DataContract(columns=(Column(name="y", type="number", available_at="later"),)),
    Target(column="y"),
    Task.REGRESSION,
)


@pytest.fixture
def job(tmp_path):
    root, tree = make_checkout(tmp_path)
    (root / "data").mkdir()
    (root / "data/a.csv").write_bytes(b"y\n1\n")
    return job_of(root, tree, MODEL, ["data/a.csv"])


DEFECTS = [
    AttributeError("'datetime.datetime' object has no attribute 'dt'"),
    ValueError("time data '2026' does not match"),
    KeyError("level"),
    OverflowError("date value out of range"),
    TypeError("boolean value of NA is ambiguous"),
    UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid"),
    RecursionError("maximum recursion depth exceeded"),
]


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: type(defect).__name__)
def test_a_defect_is_stored_and_no_exit_code_that_is_tried_again(job, defect):
    def crash(_: object) -> None:
        raise defect

    with pytest.raises(StepCrash) as crashed:
        run_step("fetch", crash, job)
    assert crashed.value.exit_code == 5
    assert "modelyard retrain m v2" in (crashed.value.hint or "")
    retry = Retry(limit=2)
    assert not retry.is_wanted(tries=1, exit_code=crashed.value.exit_code)
    reason = f"step fetch crashed: {type(defect).__name__}: "
    assert reason in job.store.files[f"w/{CRASH}"].decode()


@pytest.mark.parametrize(
    "fault",
    [ConnectionError("reset"), TimeoutError(), OSError(28, "No space left on device"),
     MemoryError(), CannotAnswer("out of reach"), Refused("no")],
    ids=lambda fault: type(fault).__name__,
)  # fmt: skip
def test_what_the_world_does_is_no_defect(job, fault):
    def fail(_: object) -> None:
        raise fault

    with pytest.raises(type(fault)):
        run_step("fetch", fail, job)
    assert f"w/{CRASH}" not in job.store.files


STEPS = {
    "fetch": "fetch.fetch_inputs",
    "train": "train.train_model",
    "profile": "profile.build.put_shard",
    "champion": "evaluate.score_champion",
    "evaluate": "evaluate.score_held_out_sets",
    "verify": "verify.verify_server",
    "record": "record.record_training",
}


@pytest.mark.parametrize("name", STEPS)
def test_the_command_of_every_step_stores_its_defect(job, name, monkeypatch):
    def crash(*_: object, **__: object) -> None:
        raise AttributeError("no")

    monkeypatch.setattr(step, "_job", lambda *_: job)
    monkeypatch.setattr(f"modelyard.operations.training.{STEPS[name]}", crash)
    options = {"model": "m", "version": "v2", "commit": "0" * 40, "run": "w"}
    options |= {"shard": "1-of-2"} if name == "profile" else {}
    words = [f"--{key}={value}" for key, value in options.items()]

    done = CliRunner().invoke(step.step, [name, *words], obj=job.services)

    assert isinstance(done.exception, StepCrash)
    assert f"step {name} crashed: AttributeError: no" in job.store.files[f"w/{CRASH}"].decode()


def crashed(attempt: int, sim: Simulated) -> None:
    reason = "step fetch crashed: AttributeError: no"
    sim.runs["v1", attempt] = Run(is_over=True, message="fetch: exit code 5", crash=reason)


def test_a_crash_gives_the_training_up_at_once_and_holds_nothing():
    sim = Simulated()
    sim.versions["v1"] = spec("v1")
    assert list(plan_trainings(sim.world())) == [StartTraining(version="v1", attempt=1)]
    sim.reconcile()
    crashed(1, sim)
    reason = "step fetch crashed: AttributeError: no"
    assert list(plan_trainings(sim.world())) == [GiveUpTraining(version="v1", reason=reason)]
    sim.reconcile()
    assert sim.model_facts.training["v1"].failed == reason
    assert sim.model_facts.holds == {}
    assert list(plan_trainings(sim.world())) == []


def test_a_lost_workflow_is_still_tried_again():
    sim = Simulated()
    sim.versions["v1"] = spec("v1")
    sim.reconcile()
    sim.finish("v1", None)
    assert list(plan_trainings(sim.world())) == [RetryTraining(version="v1", attempt=2)]


def test_what_a_model_raises_is_its_own_refusal_and_what_the_machine_does_is_not():
    raised = failure_of(ValueError("Input X contains NaN\nmore")).to_error("it cannot")
    assert isinstance(raised, Refused)
    assert str(raised) == "it cannot: ValueError: Input X contains NaN"
    for fault in (OSError(28, "No space left"), MemoryError(), CannotAnswer("away")):
        assert isinstance(failure_of(fault).to_error("it cannot"), CannotAnswer)
