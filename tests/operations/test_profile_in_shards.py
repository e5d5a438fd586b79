"""The drift profile of a training, built in shards: by calls here, and by the rendered workflow."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from built_once import built_once
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.documents import dump_spec, read_spec
from modelyard.adapters.store.artifacts import Store
from modelyard.adapters.tables.stored_rows import StoredRows
from modelyard.adapters.workflows.local_runner import Walk
from modelyard.adapters.workflows.template import read_plan
from modelyard.domain.drift.profile import Profile
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import DataContract, DriftPolicy, Target, Task
from modelyard.domain.specs.version import ModelVersion
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.reconcile.runs import outcome_of
from modelyard.operations.training.fetch import fetch_inputs
from modelyard.operations.training.job import Job
from modelyard.operations.training.profile.build import (
    SHARDS,
    merge_profile,
    put_profile,
    put_shard,
    split_of,
)
from modelyard.operations.training.train import train_model
from operations.training_job import job_of, make_checkout, model_of
from operations.wine_repository import commit, job_at, make_repository
from serving.running import preloaded_socket

ROOT = Path(__file__).parents[2]
RENDERED = ROOT / "environments/platform/manifests/workflows/train-and-evaluate.yaml"
INPUTS = ("at", "x", "n", "c", "b")
COLUMNS = (
    Column(name="at", type="timestamp"),
    Column(name="x", type="number", nullable=True),
    Column(name="n", type="integer"),
    Column(name="c", type="category", nullable=True),
    Column(name="b", type="boolean"),
    Column(name="y", type="number", nullable=True),
)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job of rows of 100 days, a few of them unlabelled and a few there twice, after `fetch`."""
    root, tree = make_checkout(tmp_path)
    random, rows = np.random.default_rng(3), 4_000
    frame = pd.DataFrame(
        {
            "at": pd.Timestamp("2026-01-01")
            + pd.to_timedelta(random.integers(0, 144_000, rows), "min"),
            "x": np.where(random.random(rows) < 0.1, np.nan, random.normal(size=rows)),
            "n": random.integers(0, 50, rows),
            "c": random.choice(["ann", "bob", None], rows),
            "b": random.random(rows) < 0.5,
            "y": np.where(random.random(rows) < 0.1, np.nan, random.normal(size=rows)),
        }
    )
    (root / "data").mkdir()
    pd.concat([frame, frame[:40]]).to_parquet(root / "data/rows.parquet", index=False)
    data = DataContract(columns=COLUMNS, timestamp="at")
    model = replace(model_of(data, Target(column="y"), Task.REGRESSION), drift=DriftPolicy())
    made = job_of(root, tree, model, ["data/rows.parquet"], held_out=[])
    made = changed(made, store=Store("store", root))
    return changed(made, inputs=fetch_inputs(made))


def changed(job: Job, **fields: Any) -> Job:
    made = replace(job, **fields)
    vars(made)["catalog"] = job.catalog
    return made


def asking_for(job: Job, shards: int) -> Job:
    """The job, of a model whose profile is built in so many shards."""
    drift = replace(job.model.drift, profile_shards=shards)
    models = {job.model_name: replace(job.model, drift=drift)}
    made = replace(job)
    vars(made)["catalog"] = replace(job.catalog, models=models)
    return made


def in_one_piece(job: Job) -> dict[str, Any]:
    job.fetch_file("train.parquet", job.services.root / "rows.parquet")
    rows = StoredRows(job.services.root / "rows.parquet", name="train.parquet")
    return put_profile(job, rows, INPUTS)


def left_by_train(job: Job) -> dict[str, Any]:
    """What `train` leaves of a model that asks for shards."""
    artifact = {"inputs": list(INPUTS), SHARDS: len(split_of(job, INPUTS))}
    job.put_document("artifact.json", artifact)
    return artifact


@pytest.mark.parametrize("asked", [2, 3, 6, 8, 64])
def test_shards_make_the_profile_and_the_warnings_of_one_piece(job, asked):
    whole, job = in_one_piece(job), asking_for(job, asked)
    kept = json.loads(job.store.read_evidence(whole["profile"]))
    assert kept["repeated"] > 0
    assert kept["habits"]
    assert kept["block_days"] == job.model.drift.window_days
    assert job.read_document("data.json")["unlabelled"] > 0
    names, artifact = split_of(job, INPUTS), left_by_train(job)
    assert len(names) == min(asked, 6)  # four columns, what is there twice, and habits
    for name in reversed(names):
        put_shard(job, name)
    assert merge_profile(job, artifact) == whole


def test_a_model_that_asks_for_none_has_no_shards(job):
    assert split_of(job, INPUTS) == ()


def test_a_second_try_of_a_shard_changes_nothing(job):
    job = asking_for(job, 3)
    artifact = left_by_train(job)
    for name in split_of(job, INPUTS):
        put_shard(job, name)
    before, files = merge_profile(job, artifact), stored(job)
    put_shard(job, "2-of-3")
    assert merge_profile(job, artifact) == before
    assert stored(job) == files


def stored(job: Job) -> dict[str, bytes]:
    folder = job.services.root / "store"
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_missing_or_damaged_part_is_named_and_no_profile_is_made_of_the_others(job):
    job = asking_for(job, 3)
    artifact = left_by_train(job)
    for name in ("1-of-3", "3-of-3"):
        put_shard(job, name)
    with pytest.raises(CannotAnswer, match=r"profile-2-of-3\.json is missing; its step has not"):
        merge_profile(job, artifact)
    put_shard(job, "2-of-3")
    digest = job.read_document("profile-2-of-3.json")["part"].removeprefix("sha256:")
    part = job.services.root / "store" / "evidence" / digest
    content = part.read_bytes()
    part.write_bytes(content.replace(b'"rows"', b'"r0ws"'))
    with pytest.raises(Refused, match=f"{digest} does not match its digest"):
        merge_profile(job, artifact)
    part.unlink()
    with pytest.raises(CannotAnswer, match="the store does not have it"):
        merge_profile(job, artifact)
    put_shard(job, "2-of-3")
    assert merge_profile(job, artifact) == in_one_piece(job)


@pytest.mark.parametrize("asked", [3, 6])
def test_a_part_of_another_shard_is_refused_also_where_it_has_no_column(job, asked):
    job = asking_for(job, asked)
    artifact, names = left_by_train(job), split_of(job, INPUTS)
    for name in names:
        put_shard(job, name)
    last, before = (f"profile-{name}.json" for name in (names[-1], names[-2]))
    job.put_document(last, job.read_document(before))
    with pytest.raises(Refused, match=rf"{last}: expected .* shard {names[-1]}, found {names[-2]}"):
        merge_profile(job, artifact)


@pytest.mark.parametrize("key", ["commit", "rows"])
def test_a_part_of_another_commit_or_of_other_rows_is_refused_though_they_are_as_many(job, key):
    job = asking_for(job, 3)
    artifact = left_by_train(job)
    for name in split_of(job, INPUTS):
        put_shard(job, name)
    digest = job.read_document("profile-2-of-3.json")["part"]
    other = json.loads(job.store.read_evidence(digest)) | {key: "other"}
    digest = job.store.put_evidence(json.dumps(other).encode())
    job.put_document("profile-2-of-3.json", {"part": digest})
    with pytest.raises(Refused, match=rf"profile-2-of-3\.json: expected .* {key} .* found other"):
        merge_profile(job, artifact)


def test_rows_that_were_changed_since_fetch_make_no_shard(job):
    job = asking_for(job, 3)
    left_by_train(job)
    job.store.put_run_file(job.workflow, "train.parquet", b"other rows")
    with pytest.raises(Refused, match=r"train\.parquet: expected what the step fetch left"):
        put_shard(job, "1-of-3")


def test_a_shard_of_another_number_of_them_is_refused(job):
    job = asking_for(job, 3)
    left_by_train(job)
    with pytest.raises(Refused, match="'1-of-4' is no shard of this profile"):
        put_shard(job, "1-of-4")


# The rendered workflow, as processes, on the wines.


def wide_wines(root: Path, *, shards: int) -> str:
    """A repository whose version of the wines reads all columns; returns the commit."""
    root.mkdir()
    make_repository(root)
    with (root / "models/wine/model.yaml").open("a") as settings:
        settings.write(f"drift: {{profile_shards: {shards}}}\n")
    version = root / "models/wine/versions/v1.yaml"
    spec = read_spec(ModelVersion, version.read_bytes(), name="v1")
    version.write_bytes(dump_spec("ModelVersion", replace(spec, parameters={})))
    return commit(Git(root))


def trained_in_one_piece(folder: Path) -> str:
    """The digest of the profile that `train` builds by itself."""
    job = job_at(folder, wide_wines(folder, shards=1))
    fetch_inputs(job)
    assert train_model(job, may_split=True) == ()
    return str(job.read_document("artifact.json")["profile"])


@pytest.fixture
def whole() -> str:
    return built_once("profile-of-wines-in-one-piece", trained_in_one_piece)


@pytest.mark.long
def test_the_workflow_builds_eight_shards_tries_a_killed_one_again_and_records_the_same_digest(
    tmp_path: Path, whole: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))
    root, folder = tmp_path / "yard", tmp_path / "walk"
    folder.mkdir()
    made = wide_wines(root, shards=8)
    spec: dict[str, Any] = yaml.safe_load(RENDERED.read_text())["spec"]
    for each in spec["templates"]:
        if "retryStrategy" in each:
            each["retryStrategy"]["backoff"]["duration"] = "0s"
    given = {"model": "wine", "version": "v1", "attempt": "1", "commit": made}
    killed: list[int] = []

    def report() -> None:
        track = walk.tracks.get("profile(4:5-of-8)")
        if track and track.running and not killed:
            killed.append(track.running.started.pid)
            os.kill(killed[0], signal.SIGKILL)

    walk = Walk(read_plan(spec, given), name="w-1", folder=folder, root=root, report=report)
    walk.run()

    assert (walk.phase, walk.message) == ("Succeeded", "")
    shards = {name: t.tries for name, t in walk.tracks.items() if name.startswith("profile")}
    assert shards == {f"profile({n}:{n + 1}-of-8)": 1 + (n == 4) for n in range(8)}
    job = replace(job_at(root, made), workflow="w-1")
    assert "profile" not in job.read_document("artifact.json")
    record = outcome_of(job.store, "w-1")
    assert record is not None
    assert record.profile == whole
    kept = Profile.from_document(json.loads(job.store.read_evidence(whole)))
    assert len(kept.columns) == 13


@pytest.mark.long
def test_a_training_that_was_not_asked_for_shards_builds_the_profile_in_one_piece(
    tmp_path: Path, whole: str
):
    """As by a workflow that was rendered before there were shards, or by Airflow."""
    job = job_at(tmp_path / "yard", wide_wines(tmp_path / "yard", shards=8))
    fetch_inputs(job)
    assert train_model(job) == ()
    assert job.read_document("artifact.json")["profile"] == whole
