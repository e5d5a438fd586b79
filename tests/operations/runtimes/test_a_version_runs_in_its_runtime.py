from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from built_once import built_once
from modelyard.adapters.git.repository import Git
from modelyard.adapters.runtimes.environments import Environments, Runtime, runtimes_folder
from modelyard.adapters.store.signatures import check_signature
from modelyard.adapters.store.signing_keys import SIGNING_KEY, write_key
from modelyard.adapters.tables.data_files import sha256_of
from modelyard.adapters.tables.frames import scores_from_parquet
from modelyard.domain.signatures import Asked, key_hint
from modelyard.domain.specs.record import Champion
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.runtimes.scoring import Artifact, score_tables
from modelyard.operations.training import evaluate
from modelyard.operations.training.evaluate import score_held_out_sets
from modelyard.operations.training.fetch import fetch_inputs
from modelyard.operations.training.job import Job
from modelyard.operations.training.record import _record
from modelyard.operations.training.train import train_model
from modelyard.operations.training.verify import verify_server
from operations.wine_repository import PLATFORM, commit, job_at, make_repository
from runtimes import OWN, borrowing_lock, offline_uv, own_runtime
from serving.artifacts import MODEL, shared_artifact
from serving.running import preloaded_socket

STEPS = {"train": train_model, "evaluate": score_held_out_sets, "verify": verify_server}
OTHER = hashlib.sha256(b"numpy==1.0\n").hexdigest()


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))
        yield


def trained(folder: Path) -> str:
    """A repository in which every step but `record` ran in this interpreter."""
    folder.mkdir()
    made = make_repository(folder)
    job = job_at(folder, made)
    for step in (fetch_inputs, *STEPS.values()):
        step(job)
    return made


@pytest.fixture
def ready(tmp_path: Path) -> Job:
    made = built_once("trained-wine", trained)
    folder = Path(os.environ["BUILT_ONCE"]) / "trained-wine"
    shutil.copytree(folder, tmp_path / "yard")
    return job_at(tmp_path / "yard", made)


@pytest.mark.long
def test_each_step_runs_in_the_runtime_that_the_version_pins(tmp_path, monkeypatch):
    for name, value in offline_uv(tmp_path / "wheels").items():
        monkeypatch.setenv(name, value)
    lock = borrowing_lock(tmp_path / "wheels")
    pin = hashlib.sha256(lock).hexdigest()
    root = tmp_path / "yard"
    root.mkdir()
    job = job_at(root, make_repository(root, lock))

    for step in (fetch_inputs, *STEPS.values()):
        step(job)

    place = runtimes_folder() / pin
    assert f"ran in {place}\n" in job.read_file("trainer.log").decode()
    measured = job.read_document("artifact.json")["runtime"]
    assert (measured["lock"], measured["python"]) == (pin, sys.version.partition(" ")[0])
    evidence = json.loads(job.store.read_evidence(measured["distributions"]))
    assert evidence["distributions"]["borrowed"] == "1.0"
    assert job.read_document("evaluation.json")["verdict"]["outcome"] == "pass"
    assert job.read_document("server.json")["golden"] == 20


@pytest.mark.long
def test_a_runtime_whose_pins_are_all_installed_here_is_this_interpreter(ready):
    assert ready.find_runtime() == own_runtime()
    assert f"ran in {sys.prefix}\n" in ready.read_file("trainer.log").decode()
    assert ready.read_document("artifact.json")["runtime"]["lock"] == OWN
    assert not (runtimes_folder() / OWN).exists()


@pytest.mark.parametrize("step", STEPS)
def test_a_step_in_an_image_of_another_lock_is_refused_with_both(
    step, ready, tmp_path, monkeypatch
):
    (tmp_path / "requirements.lock").write_bytes(b"numpy==1.0\n")
    monkeypatch.setenv("MODELYARD_RUNTIME", str(tmp_path))

    with pytest.raises(Refused) as error:
        STEPS[step](ready)
    assert (OTHER[:12] in str(error.value), OWN[:12] in str(error.value)) == (True, True)


def asking(job: Job, key: str) -> Job:
    """The job, under a policy that asks for a signature by this key."""
    model = job.catalog.models["wine"]
    policy = replace(model, artifact=replace(model.artifact, signed_by=(key,)))
    vars(job)["catalog"] = replace(job.catalog, models={"wine": policy})
    return job


@pytest.mark.long
def test_training_signs_what_it_sealed_and_later_steps_open_nothing_else(
    ready, tmp_path, monkeypatch
):
    key = write_key(tmp_path / "key.pem")
    job = asking(ready, key)
    for step in (score_held_out_sets, verify_server):
        with pytest.raises(Refused, match="it is not signed"):
            step(job)
    with pytest.raises(CannotAnswer, match="asks for a signature"):
        train_model(job)

    monkeypatch.setenv(SIGNING_KEY, str(tmp_path / "key.pem"))
    train_model(job)

    digest = job.read_document("artifact.json")["digest"]
    asked = Asked(model="wine", version="v1", keys=(key,))
    assert "model/model.skops" in check_signature(job.store, digest, asked)


def signed(job: Job, place: Path, monkeypatch: pytest.MonkeyPatch, *, is_asked: bool) -> str:
    """Train with a key that the policy lists or not; the key as records name it."""
    key = write_key(place / "key.pem")
    monkeypatch.setenv(SIGNING_KEY, str(place / "key.pem"))
    train_model(asking(job, key) if is_asked else job)
    return key_hint(key)


def tell(job: Job, **changes: Any) -> None:
    """Change what `train` said of the artifact, as whoever can write in the store does."""
    job.put_document("artifact.json", job.read_document("artifact.json") | changes)


@pytest.mark.long
@pytest.mark.parametrize("is_asked", [True, False], ids=["asked", "unasked"])
def test_a_record_names_the_key_that_the_signature_names(ready, tmp_path, monkeypatch, is_asked):
    hint = signed(ready, tmp_path, monkeypatch, is_asked=is_asked)
    assert _record(ready).artifact.signed_by == hint

    other = key_hint(write_key(tmp_path / "other.pem"))
    tell(ready, signed_by=other)
    with pytest.raises(Refused) as caught:
        _record(ready)
    assert f"artifact.json: expected signed_by {hint}, as " in caught.value.message
    assert f"found {other}: it was changed after training" in caught.value.message


@pytest.mark.long
def test_a_signer_who_is_left_out_is_refused_where_one_is_asked_for(ready, tmp_path, monkeypatch):
    signed(ready, tmp_path, monkeypatch, is_asked=True)
    tell(ready, signed_by=None)
    with pytest.raises(Refused, match="found null: it was changed after training"):
        _record(ready)


def test_a_signer_of_an_artifact_that_nobody_signed_is_refused(ready):
    tell(ready, signed_by="a" * 64)
    with pytest.raises(Refused, match=f"expected signed_by null, as .*; found {'a' * 64}"):
        _record(ready)


@pytest.mark.long
def test_a_training_that_did_not_say_who_signed_is_recorded_by_its_signature(
    ready, tmp_path, monkeypatch
):
    hint = signed(ready, tmp_path, monkeypatch, is_asked=True)
    older = ready.read_document("artifact.json")
    del older["signed_by"]
    ready.put_document("artifact.json", older)
    assert _record(ready).artifact.signed_by == hint


@pytest.mark.long
def test_an_artifact_of_another_digest_than_was_signed_is_not_recorded(
    ready, tmp_path, monkeypatch
):
    signed(ready, tmp_path, monkeypatch, is_asked=True)
    tell(ready, digest="sha256:" + "0" * 64)
    with pytest.raises(Refused, match="it is not signed"):
        _record(ready)


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS)
def test_a_step_where_something_else_is_installed_than_the_lock_pins_is_refused(
    step, ready, monkeypatch
):
    # As after `pip install` into an environment that another process had just checked.
    changed = Environments(runtimes_folder()).keep_lock(b"numpy==1.0\n")
    runtime = Runtime(lock=OTHER, lock_file=changed, python=Path(sys.executable))
    monkeypatch.setattr(Job, "find_runtime", lambda *_: runtime)

    with pytest.raises(Refused, match=r"numpy is .*, pinned 1.0"):
        STEPS[step](ready)


def test_a_server_that_runs_in_another_runtime_than_its_release_pins_refuses_to_serve(tmp_path):
    folder, digest = shared_artifact()
    lock = own_runtime().lock_file
    command = [
        *(sys.executable, "-m", "modelyard", "serve", "--model=m", "--version=v1", "--release=r"),
        *(f"--artifact={digest}", f"--folder={folder}", "--port=18999"),
    ]
    done = subprocess.run(
        [*command, f"--lock={OTHER}", f"--lock-file={lock}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 3
    assert f"its lock is {OWN[:12]}..., the version pins {OTHER[:12]}..." in done.stderr


def test_scores_come_only_from_the_pinned_runtime(tmp_path):
    folder, digest = shared_artifact()
    runtime = replace(own_runtime(), lock=OTHER)

    with pytest.raises(Refused) as error:
        score_tables(runtime, [Artifact(folder=folder, digest=digest)], [[]], MODEL)
    assert (OTHER[:12] in str(error.value), OWN[:12] in str(error.value)) == (True, True)


def test_the_lock_of_an_older_version_is_found_in_the_history(ready):
    root = ready.services.root
    (root / PLATFORM).write_bytes(b"numpy==1.0\n")
    later = commit(Git(root))
    own_runtime().lock_file.unlink()

    assert job_at(root, later).find_runtime() == own_runtime()


def test_a_lock_that_nobody_has_is_named_with_what_to_do(tmp_path):
    root = tmp_path / "yard"
    root.mkdir()
    job = job_at(root, make_repository(root, pin="d" * 64))

    with pytest.raises(CannotAnswer, match="d" * 64) as error:
        job.find_runtime()
    assert "modelyard version new" in (error.value.hint or "")


@pytest.mark.long
def test_a_champion_that_was_scored_apart_is_not_opened_again(ready, monkeypatch):
    mine = ready.read_document("artifact.json")["digest"]
    champion = Champion(version="v1", artifact=mine)
    monkeypatch.setattr(evaluate, "find_champion", lambda _: champion)

    evaluate.score_champion(ready)

    assert ready.read_document("champion.json")["runtime"]["lock"] == OWN
    asked = []

    def score(runtime: Runtime, artifacts: Any, *more: Any, **options: Any) -> Any:
        asked.append(len(artifacts))
        return score_tables(runtime, artifacts, *more, **options)

    monkeypatch.setattr(evaluate, "score_tables", score)
    score_held_out_sets(ready)
    (result,) = ready.read_document("evaluation.json")["held_out"]
    assert (asked, result["champion_scores"]) == ([1], result["scores"])


@pytest.mark.long
def test_a_champion_that_scored_other_rows_is_not_compared(ready, monkeypatch):
    mine = ready.read_document("artifact.json")["digest"]
    champion = Champion(version="v1", artifact=mine)
    monkeypatch.setattr(evaluate, "find_champion", lambda _: champion)
    (name,) = ready.spec.held_out
    rows = ready.read_file(f"heldout-{name}.parquet")

    # They are swapped for the time of one step.
    ready.put_file(f"heldout-{name}.parquet", with_fewer_rows(rows))
    evaluate.score_champion(ready)
    ready.put_file(f"heldout-{name}.parquet", rows)

    with pytest.raises(Refused) as caught:
        score_held_out_sets(ready)
    assert f"champion.json: expected that the champion scored held-out set {name} of SHA-256 " in (
        caught.value.message
    )
    evaluate.score_champion(ready)
    assert ready.read_document("champion.json")["rows"] == {name: sha256_of(rows)}
    # A champion of an older image does not say what it scored.
    told = ready.read_document("champion.json")
    ready.put_document("champion.json", {n: told[n] for n in told if n not in {"rows", "scores"}})
    score_held_out_sets(ready)
    reason = ready.read_document("evaluation.json")["verdict"]["reason"]
    assert "the rows that the champion scored were not compared" in reason
    for changed in ({"rows": {}}, {"rows": {**told["rows"], "more": ""}}, {"scores": {}}):
        ready.put_document("champion.json", {**told, **changed})
        with pytest.raises(Refused, match=r"champion\.json: expected that"):
            score_held_out_sets(ready)
    ready.put_document("champion.json", told)
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    ready.put_file(f"champion-{name}.npy", buffer.getvalue())
    with pytest.raises(Refused, match="its scores of held-out set"):
        score_held_out_sets(ready)


def with_fewer_rows(content: bytes) -> bytes:
    out = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(content))[:-1], out)
    return out.getvalue()


def test_each_slice_of_the_held_out_rows_is_compared_and_kept_in_the_evidence(ready, monkeypatch):
    file = ready.services.root / "models/wine/model.yaml"
    slices = "  slices: [{by: alcohol, margin: 1}, {where: 'alcohol > 13', margin: 1}]\n"
    file.write_text(file.read_text().replace("gate:\n", f"gate:\n{slices}"))
    job = job_at(ready.services.root, commit(Git(ready.services.root)))
    itself = Champion(version="v1", artifact=job.read_document("artifact.json")["digest"])
    monkeypatch.setattr(evaluate, "find_champion", lambda _: itself)

    score_held_out_sets(job)

    (found,) = job.read_document("evaluation.json")["held_out"]
    quarters = [each["name"] for each in found["slices"]]
    assert quarters[-1] == "alcohol > 13"
    assert len(quarters) == 5
    assert all("alcohol" in name for name in quarters)
    kept = scores_from_parquet(job.store.read_evidence(found["scores"]), digest="rows")
    assert set(kept.slices["by alcohol"]) == set(quarters[:-1])
    assert set(kept.slices["alcohol > 13"]) == {"", "alcohol > 13"}
