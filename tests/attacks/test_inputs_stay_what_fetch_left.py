"""Somebody changes in the store what `fetch` left, before the steps after it read it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from built_once import built_once
from modelyard.adapters.tables.data_files import sha256_of
from modelyard.adapters.workflows.local_runner import Walk
from modelyard.adapters.workflows.template import read_plan
from modelyard.errors import Refused
from modelyard.operations.training.fetch import fetch_inputs
from modelyard.operations.training.job import INPUTS, Job
from modelyard.operations.training.train import train_model
from operations.wine_repository import job_at, make_repository

ROOT = Path(__file__).parents[2]
RENDERED = ROOT / "environments/platform/manifests/workflows/train-and-evaluate.yaml"


def fetched(folder: Path) -> tuple[str, str]:
    """A repository in which `fetch` ran: its commit, and the digest that it passed on."""
    folder.mkdir()
    made = make_repository(folder)
    return made, fetch_inputs(job_at(folder, made))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    def run(folder: Path) -> tuple[Path, str, str]:
        return folder, *fetched(folder)

    folder, made, digest = built_once("fetched-wine", run)
    shutil.copytree(folder, tmp_path / "yard")
    return replace(job_at(tmp_path / "yard", made), inputs=digest)


def left(job: Job) -> list[str]:
    return sorted(json.loads(job.read_file(INPUTS)))


def change(job: Job, name: str) -> tuple[str, str]:
    """Change a file as whoever can write in the store does; the digests before and after."""
    before = job.store.read_run_file(job.workflow, name)
    after = before[:-9] + b"tampered " if name != INPUTS else before + b" "
    job.store.put_run_file(job.workflow, name, after)
    return sha256_of(before), sha256_of(after)


def told(job: Job, name: str, digests: tuple[str, str]) -> str:
    return (
        f"{job.store.uri_of('runs', job.workflow, name)}: expected what the step fetch left, "
        f"SHA-256 {digests[0]}; found {digests[1]}: it was changed in between"
    )


def test_the_list_has_every_file_of_data_code_and_held_out_rows(job):
    held_out = [f"heldout-{name}.parquet" for name in job.spec.held_out]
    assert left(job) == sorted(["data.json", "train.parquet", "trainer.tar", *held_out])


@pytest.mark.parametrize("name", ["train.parquet", "trainer.tar", INPUTS])
def test_a_file_that_was_changed_is_not_trained_on(job, name):
    digests = change(job, name)
    with pytest.raises(Refused) as caught:
        train_model(job)
    assert caught.value.message == told(job, name, digests)
    assert (caught.value.hint or "").endswith(
        "it is tried again by itself; after the third attempt: modelyard retrain wine v1"
    )
    # Nobody's version is refused for it: the next attempt fetches again.
    assert job.store.read_run_document(job.workflow, "outcome.json") is None


def test_no_file_of_the_list_is_read_once_it_was_changed(job):
    for name in left(job):
        digests = change(job, name)
        with pytest.raises(Refused) as caught:
            job.read_document(name) if name.endswith(".json") else job.read_file(name)
        assert caught.value.message == told(job, name, digests)


def test_a_list_that_names_a_changed_file_is_refused_itself(job):
    _, found = change(job, "train.parquet")
    named = json.loads(job.read_file(INPUTS))
    content = json.dumps({**named, "train.parquet": found}, indent=1, sort_keys=True).encode()
    job.store.put_run_file(job.workflow, INPUTS, content)
    with pytest.raises(Refused, match=rf"{INPUTS}: expected what the step fetch left"):
        train_model(replace(job))  # which has not read the list yet


@pytest.mark.long
def test_the_rendered_workflow_passes_the_digest_past_the_store(tmp_path, monkeypatch):
    root, folder = tmp_path / "yard", tmp_path / "walk"
    root.mkdir()
    folder.mkdir()
    made = make_repository(root)
    job = replace(job_at(root, made), workflow="w-1")
    spec: dict[str, Any] = yaml.safe_load(RENDERED.read_text())["spec"]
    given = {"model": "wine", "version": "v1", "attempt": "1", "commit": made}
    changed: list[tuple[str, str]] = []

    def report() -> None:
        if walk.tracks["fetch"].phase == "Succeeded" and not changed:
            changed.append(change(job, "train.parquet"))

    walk = Walk(read_plan(spec, given), name="w-1", folder=folder, root=root, report=report)
    walk.run()
    assert walk.tracks["fetch"].outputs == {
        "inputs": sha256_of(job.store.read_run_file("w-1", INPUTS))
    }
    phases = {name: track.phase for name, track in walk.tracks.items()}
    assert (phases["train"], phases["evaluate"]) == ("Failed", "Omitted")
    assert walk.message == f"train: exit code 3: {told(job, 'train.parquet', changed[0])}"
