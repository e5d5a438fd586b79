"""What a pod whose image is older than the specs is given to read."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.schemas import schema_errors, schema_folder
from modelyard.commands import step as step_command
from modelyard.commands.step import _job as build_job
from modelyard.errors import CannotAnswer, Refused, StepCrash
from modelyard.operations.training.job import CRASH, Job
from modelyard.operations.training.older_images.specs import READABLE, find_readable, leave_readable
from operations.wine_repository import commit, job_at, make_repository

MODEL_FILE = "models/wine/model.yaml"
ENVIRONMENT = "environments/production/environment.yaml"


@pytest.fixture
def yard(tmp_path: Path) -> Path:
    root = tmp_path / "yard"
    root.mkdir()
    make_repository(root)
    change(root, MODEL_FILE, drift={"profile_shards": 3}, server={"stuck_after_seconds": 30})
    (root / ENVIRONMENT).parent.mkdir(parents=True)
    where = {"name": "production", "description": "It answers.", "namespace": "production"}
    head = {"apiVersion": "modelyard/v1", "kind": "Environment"}
    (root / ENVIRONMENT).write_text(yaml.safe_dump({**head, **where, "soak_seconds": 5}))
    return root


def change(root: Path, path: str, **keys: Any) -> None:
    document = yaml.safe_load((root / path).read_text())
    (root / path).write_text(yaml.safe_dump({**document, **keys}, sort_keys=False))


def job_of(root: Path) -> Job:
    return job_at(root, commit(Git(root)))


def older_schemas(tmp_path: Path, **unknown: str) -> Path:
    """The schemas of an image that does not know these keys, by the name of the schema."""
    folder = tmp_path / "schemas"
    shutil.copytree(schema_folder(), folder, dirs_exist_ok=True)
    for name, places in unknown.items():
        file = folder / f"{name.replace('_', '-')}.schema.json"
        rules = json.loads(file.read_bytes())
        for place in places.split():
            *folders, key = place.split(".")
            inside = rules
            for each in folders:
                inside = inside["properties"][each]
            del inside["properties"][key]
        file.write_text(json.dumps(rules))
    return folder


def read(root: Path, path: str) -> Any:
    return yaml.safe_load(Git(root).read_many([name := f"{READABLE}:{path}"])[name] or b"")


def test_an_older_image_reads_a_model_that_has_gained_keys(yard, tmp_path):
    job = job_of(yard)
    folder = older_schemas(
        tmp_path, model="drift.profile_shards server", environment="soak_seconds"
    )

    leave_readable(job, "train", folder)

    model, where = read(yard, MODEL_FILE), read(yard, ENVIRONMENT)
    for name, document in (("model", model), ("environment", where)):
        rules = json.loads((folder / f"{name}.schema.json").read_bytes())
        assert list(schema_errors(rules, document)) == []
    assert (model["drift"], "server" in model, "soak_seconds" in where) == ({}, False, False)
    changed = Git(yard).diff_names(job.commit, READABLE)
    assert changed == (ENVIRONMENT, MODEL_FILE)
    assert Git(yard).rev_parse(f"{READABLE}^") == job.commit


def test_what_training_says_of_itself_stays_the_same(yard, tmp_path):
    job = job_of(yard)
    leave_readable(job, "train", older_schemas(tmp_path, model="drift.profile_shards"))

    older = replace(job, specs=find_readable(yard, job.commit))

    assert older.catalog.digests == job.catalog.digests
    assert older.model.drift.profile_shards == 1
    assert replace(older.model, drift=job.model.drift) == job.model
    assert older.commit == job.commit


@pytest.mark.parametrize("has_schemas", [True, False])
def test_an_image_that_is_not_older_reads_the_commit_itself(yard, tmp_path, has_schemas):
    job = job_of(yard)
    settings = (yard / "modelyard.yaml").read_bytes()

    leave_readable(job, "train", older_schemas(tmp_path) if has_schemas else tmp_path / "none")

    assert find_readable(yard, job.commit) == job.commit
    assert (yard / "modelyard.yaml").read_bytes() == settings


def test_a_step_reads_what_was_left_and_speaks_of_the_commit_of_its_workflow(yard, tmp_path):
    job = job_of(yard)
    options = {"model": "wine", "version": "v1", "attempt": 1, "workflow": "w"}
    given = {**options, "commit": READABLE, "submitted": job.commit}

    on_a_machine = build_job(job.services, dict(given))
    leave_readable(job, "train", older_schemas(tmp_path, model="drift.profile_shards"))
    in_a_pod = build_job(job.services, dict(given))
    of_an_older_workflow = build_job(
        job.services, {**options, "commit": job.commit, "submitted": ""}
    )

    jobs = (on_a_machine, in_a_pod, of_an_older_workflow)
    assert [each.commit for each in jobs] == [job.commit] * 3
    assert [each.model.drift.profile_shards for each in jobs] == [3, 1, 3]


def test_outside_of_a_pod_nothing_was_left(yard):
    assert find_readable(yard, commit(Git(yard))) == ""


def test_what_was_left_for_an_earlier_commit_is_not_read(yard, tmp_path):
    """As in a checkout where somebody ran `step specs`: a gate has another margin by now."""
    leave_readable(job_of(yard), "train", older_schemas(tmp_path, model="drift.profile_shards"))
    change(yard, MODEL_FILE, drift={"profile_shards": 4})
    job = job_of(yard)
    given = {"model": "wine", "version": "v1", "attempt": 1, "workflow": "w"}

    read_now = build_job(job.services, {**given, "commit": READABLE, "submitted": job.commit})

    assert find_readable(yard, job.commit) == ""
    assert read_now.model.drift.profile_shards == 4


def test_an_image_that_does_not_know_what_it_must_do_gives_up_at_once(yard, tmp_path):
    change(yard, MODEL_FILE, artifact={"max_p95_ms": 50})
    job = job_of(yard)

    with pytest.raises(Refused, match=r"model\.yaml: artifact\.max_p95_ms: is not known") as caught:
        leave_readable(job, "verify", older_schemas(tmp_path, model="artifact.max_p95_ms"))

    assert "a version that pins a newer image" in (caught.value.hint or "")
    crash = job.read_document(CRASH)
    assert crash["step"] == "verify"
    assert crash["reason"].startswith("the image of step verify is older than this")
    assert find_readable(yard, job.commit) == ""


def test_a_champion_is_scored_by_an_image_that_does_not_know_the_data_and_the_gate(yard, tmp_path):
    change(yard, MODEL_FILE, data={**job_document(yard)["data"], "missing": ["", "NA"]})
    job = job_of(yard)
    folder = older_schemas(tmp_path, model="data.missing gate.guards gate.alpha")

    leave_readable(job, "champion", folder)

    assert "missing" not in read(yard, MODEL_FILE)["data"]
    with pytest.raises(Refused, match=r"data\.missing"):
        leave_readable(job, "evaluate", folder)


def job_document(root: Path) -> Any:
    return yaml.safe_load((root / MODEL_FILE).read_text())


def test_what_this_platform_refuses_is_never_made_readable(yard, tmp_path):
    change(yard, MODEL_FILE, drift={"profile_shards": 3, "of_nobody": 1})
    job = job_of(yard)

    leave_readable(job, "train", older_schemas(tmp_path, model="drift.profile_shards"))

    assert find_readable(yard, job.commit) == job.commit
    assert replace(job, specs=find_readable(yard, job.commit)).catalog.models == {}


def test_a_pinned_spec_is_read_as_it_is_or_not_at_all(yard, tmp_path):
    folder = older_schemas(tmp_path, model_version="seed")
    file = yard / "models/wine/versions/v1.yaml"
    (yard / "models/wine/versions/v0.yaml").write_text(
        file.read_text().replace("version: v1", "version: v0") + "seed: 7\n"
    )
    leave_readable(job := job_of(yard), "train", folder)
    assert find_readable(yard, job.commit) == job.commit  # v0 is nobody's in this training

    file.write_text(file.read_text() + "seed: 7\n")
    with pytest.raises(Refused, match=r"v1\.yaml: seed: is not known here"):
        leave_readable(job_of(yard), "train", folder)


def test_the_settings_that_a_step_starts_by_are_made_readable_too(yard, tmp_path):
    change(yard, "modelyard.yaml", bot="robot")
    job = job_of(yard)

    leave_readable(job, "train", older_schemas(tmp_path, repository="bot"))

    assert "bot" not in yaml.safe_load((yard / "modelyard.yaml").read_text())
    assert "bot" not in read(yard, "modelyard.yaml")

    with pytest.raises(Refused, match=r"modelyard\.yaml: artifacts: is not known here"):
        leave_readable(job_of(yard), "train", older_schemas(tmp_path, repository="artifacts"))


def test_schemas_that_name_another_one_stop_the_training_at_once(yard, tmp_path, monkeypatch):
    job, folder = job_of(yard), older_schemas(tmp_path)
    (folder / "model.schema.json").write_text('{"$ref": "http://127.0.0.1:1/schema"}')
    monkeypatch.setattr(step_command, "_job", lambda *_: job)
    words = ["specs", "--model=wine", "--version=v1", "--commit=x", "--run=x", "--step=train"]

    done = CliRunner().invoke(step_command.step, [*words, f"--schemas={folder}"], obj=job.services)

    assert isinstance(done.exception, StepCrash)
    assert "none is fetched" in job.read_document(CRASH)["reason"]
    assert find_readable(yard, job.commit) == ""


def test_schemas_whose_copy_was_cut_short_are_copied_again_by_the_next_try(yard, tmp_path):
    job, folder = job_of(yard), older_schemas(tmp_path)
    (folder / "model.schema.json").write_text('{"type": "obj')

    with pytest.raises(CannotAnswer, match=r"model\.schema\.json: what the image left is no JSON"):
        leave_readable(job, "train", folder)

    assert job.store.read_run_document(job.workflow, CRASH) is None
    assert find_readable(yard, job.commit) == ""
