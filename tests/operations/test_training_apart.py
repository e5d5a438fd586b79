"""Training in a pod: what its three containers pass on, and what the trainer's one may hold."""

from __future__ import annotations

import io
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.operations.training_job import job_of, model_of

from modelyard.adapters.isolation import credentials
from modelyard.adapters.isolation.credentials import find_credentials
from modelyard.adapters.runtimes.environments import Runtime
from modelyard.domain.isolation import Isolation, Unisolated
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import DataContract, Target, Task
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.runtimes import closed_in
from modelyard.operations.training import apart as containers
from modelyard.operations.training.apart import bring_order, read_trained, train_alone
from modelyard.operations.training.job import Job
from modelyard.operations.training.train import _write_inputs
from modelyard.operations.training.trainer import check_trained

TRAIN = """
import os, sys
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--out") + 1])
rows = Path(sys.argv[sys.argv.index("--data") + 1]) / "train.parquet"
(out / "model").mkdir()
(out / "model" / "MLmodel").write_text(rows.read_text())
print("trained")
"""


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job whose step `fetch` has run."""
    columns = (Column(name="x", type="number", description=""),)
    model = model_of(DataContract(columns=columns), Target(column="y"), Task.REGRESSION)
    job = job_of(tmp_path / "checkout", "0" * 40, model, [])
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("train.py")
        member.size = len(TRAIN)
        tar.addfile(member, io.BytesIO(TRAIN.encode()))
    job.put_file("train.parquet", b"rows")
    job.put_file("trainer.tar", archive.getvalue())
    return job


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The volumes of a pod, whose image has this interpreter."""
    for name in ("inputs", "trained"):
        (tmp_path / "apart" / name).mkdir(parents=True)
    runtime = Runtime(lock="0" * 64, lock_file=Path("lock"), python=Path(sys.executable))
    monkeypatch.setenv("MODELYARD_RUNTIME", sys.prefix)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setattr(containers, "runtime_of_image", lambda _folder, _pin: runtime)
    return tmp_path / "apart"


def bring(job: Job, apart: Path) -> None:
    bring_order(job, apart, lambda folder: _write_inputs(job, folder))


@pytest.mark.long
def test_the_containers_pass_on_inputs_and_model(job: Job, apart: Path) -> None:
    bring(job, apart)
    train_alone(apart)
    trained, left = read_trained(apart)
    check_trained(job, trained, left)

    assert (left / "out" / "model" / "MLmodel").read_text() == "rows"
    assert job.read_file("trainer.log").rstrip() == b"trained"
    found = job.read_document("trainer.json")["isolation"]
    assert found in {Isolation.LANDLOCK, Isolation.NAMESPACES, Isolation.POD}


def test_what_fails_in_a_container_before_ends_the_step_and_nothing_is_trained(
    job: Job, apart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise CannotAnswer("the store does not answer", hint="wait")

    bring_order(job, apart, fail)
    train_alone(apart)

    assert list((apart / "trained").iterdir()) == []
    with pytest.raises(CannotAnswer, match="the store does not answer") as caught:
        read_trained(apart)
    assert caught.value.hint == "wait"


def test_an_image_with_another_runtime_is_a_refusal_of_the_step(
    job: Job, apart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_folder: Path, pin: str) -> Runtime:
        raise Refused(f"the image has not {pin[:4]}")

    monkeypatch.setattr(containers, "runtime_of_image", refuse)
    bring(job, apart)
    train_alone(apart)
    with pytest.raises(Refused, match="the image has not 0000"):
        read_trained(apart)


@pytest.mark.sample(2)
@pytest.mark.parametrize("left", [None, "{", "{}", '{"ended": {"isolation": "perfect"}}', "link"])
def test_what_the_trainer_leaves_for_an_answer_is_not_believed(
    job: Job, apart: Path, left: str | None
) -> None:
    bring(job, apart)
    file = apart / "trained" / "ended.json"
    if left == "link":
        file.symlink_to(apart / "inputs" / "order.json")
    elif left is not None:
        file.write_text(left)
    with pytest.raises(CannotAnswer, match="left no answer"):
        read_trained(apart)


@pytest.mark.parametrize(
    ("unisolated", "holds", "expected"),
    [
        ("without-credentials", {}, "pod"),
        ("without-credentials", {"STORE_SECRET_KEY": "x"}, "its container holds STORE_SECRET_KEY"),
        ("refused", {}, "neither Landlock nor namespaces"),
        ("accepted", {"STORE_SECRET_KEY": "x"}, "pod"),
    ],
)
def test_a_pod_that_cannot_close_a_trainer_in_does_as_modelyard_yaml_says(
    job: Job,
    apart: Path,
    monkeypatch: pytest.MonkeyPatch,
    unisolated: str,
    holds: dict[str, str],
    expected: str,
) -> None:
    nothing = SimpleNamespace(isolation=Isolation.NONE)
    monkeypatch.setattr(closed_in, "find_means", lambda *_: nothing)
    monkeypatch.setattr(closed_in.os, "environ", {"PATH": "/usr/bin", **holds, **pod()})
    monkeypatch.setattr(
        closed_in, "find_credentials", lambda held: find_credentials(held, apart / "none")
    )
    repository = replace(job.services.repository, unisolated_trainers=Unisolated(unisolated))
    job.services.repository = repository  # type: ignore[misc]
    bring(job, apart)
    train_alone(apart)
    if expected == "pod":
        assert read_trained(apart)[0].ended.isolation is Isolation.POD
    else:
        with pytest.raises(CannotAnswer, match=expected):
            read_trained(apart)


def pod() -> dict[str, str]:
    return {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "MODELYARD_RUNTIME": sys.prefix}


def test_credentials_are_found_in_variables_and_mounted_files(tmp_path: Path) -> None:
    token = tmp_path / "kubernetes.io" / "serviceaccount" / "token"
    token.parent.mkdir(parents=True)
    token.write_text("secret")
    held = {"AWS_SECRET_ACCESS_KEY": "x", "FORGE_TOKEN": "y", "EMPTY_TOKEN": "", "HOME": "/work"}
    assert list(find_credentials(held, tmp_path)) == [
        "AWS_SECRET_ACCESS_KEY",
        "FORGE_TOKEN",
        str(token),
    ]
    assert Path("/var/run/secrets") == credentials.MOUNTED
