from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelyard.adapters.git.repository import Git
from modelyard.commands import model as command
from modelyard.errors import Refused
from modelyard.operations.models import trial
from modelyard.operations.training.fetch import fetch_inputs

ROOT = Path(__file__).parents[3]
INPUTS = ("--data", "models/shop/data/train.csv", "--held-out", "every-fifth")
ROWS = 300


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with a model that is not committed: a table in which `size` says the label."""
    root = tmp_path_factory.mktemp("trial") / "checkout"
    root.mkdir()
    (root / "modelyard.yaml").write_text("apiVersion: modelyard/v1\nkind: Repository\n")
    (root / ".gitignore").write_text(".modelyard/\n")
    shutil.copy(ROOT / "requirements.lock", root)
    for lock in ROOT.glob("requirements-*.lock"):
        shutil.copy(lock, root)
    (root / ".gitattributes").write_text("models/*/data/** -text\n")
    git(root, "init", "--quiet", "-b", "main")
    git(root, "config", "user.name", "Ada")
    git(root, "config", "user.email", "ada@example.org")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "A yard")
    rows = [f"{'yes' if n % 7 < 3 else 'no'},{n % 7 + n / 1000},{'NA' if n % 2 else 'EU'}"
            for n in range(ROWS)]  # fmt: skip
    table = root.parent / "shop.csv"
    table.write_text("\n".join(["bought,size,continent", *rows]) + "\n")
    done = run(root, "model", "new", "shop", "--data", str(table), "--target", "bought")
    assert done.returncode == 0, done.stderr
    return root


def git(root: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=root, check=True)


def run(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modelyard", *words],
        cwd=root,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def everything(root: Path) -> dict[str, bytes]:
    """Every file of the checkout and of its repository, by path."""
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


@pytest.mark.long
def test_a_trial_says_what_the_gate_would_say_and_leaves_everything_as_it_was(checkout):
    before = everything(checkout)
    done = run(checkout, "try", "shop", *INPUTS)
    assert done.returncode == 0, done.stderr
    assert everything(checkout) == before
    said = done.stdout.splitlines()
    assert said[:2] == ["240 rows train", "every-fifth: 60 rows held out, 60 clusters"]
    assert said[-2].startswith("against the baseline: no champion yet, the gate would say pass: ")
    steps = [line.split(":")[0] for line in done.stderr.splitlines() if ": done in " in line]
    assert steps == ["fetch", "train", "evaluate", "verify"]


@pytest.mark.long
def test_a_trainer_that_fails_shows_its_own_traceback(checkout):
    trainer = checkout / "models/shop/trainer/train.py"
    text = trainer.read_text()
    trainer.write_text(text.replace('"max_iter": 100', '"max_iter": 1 // 0'))
    before = everything(checkout)
    try:
        done = run(checkout, "try", "shop", *INPUTS)
    finally:
        trainer.write_text(text)
    assert done.returncode == 3
    assert "  Traceback (most recent call last):" in done.stderr.splitlines()
    assert "  ZeroDivisionError: integer division or modulo by zero" in done.stderr.splitlines()
    assert everything(checkout) == {**before, "models/shop/trainer/train.py": text.encode()}


@pytest.mark.long
def test_what_a_slow_trainer_prints_is_said_while_it_runs(checkout, monkeypatch):
    from modelyard.operations.models import step_progress

    monkeypatch.setattr(step_progress, "EVERY_SECONDS", 0.2)
    trainer = checkout / "models/shop/trainer/train.py"
    text = trainer.read_text()
    slow = "import time; print('round 7 of 9', flush=True); time.sleep(2)\n"
    trainer.write_text(text.replace("import argparse\n", f"import argparse\n{slow}", 1))
    said: list[str] = []
    given = {"data": (INPUTS[1],), "held_out": (INPUTS[3],), "parent": None, "since": None,
             "until": None, "params": None, "param": (), "seed": None}  # fmt: skip
    try:
        trial.try_model(
            checkout,
            "shop",
            lambda yard, catalog: command._version_to_try(yard, catalog, "shop", given),
            data_only=False,
            tell=said.append,
        )
    finally:
        trainer.write_text(text)
    assert any(line.startswith("train: ") and line.endswith(": round 7 of 9") for line in said)


def test_of_a_trainer_that_printed_much_the_last_lines_are_shown():
    class Kept:
        log = b"".join(b"%d\n" % n for n in range(100_000)) + b"x" * 10_000_000 + b"\nthe end"

        def read_file(self, _name: str) -> bytes:
            return self.log

    said: list[str] = []
    trial._tell_log(Kept(), "train", said.append)

    assert said[0] == "  99,952 lines of the trainer's output are left out"
    assert (said[1], said[-1], len(said)) == ("  99952", "  the end", 1 + trial.MOST_LINES)
    assert len("".join(said)) < 2_000
    Kept.log, said[:] = b"one\ntwo", []
    trial._tell_log(Kept(), "train", said.append)
    assert said == ["  one", "  two"]


@pytest.mark.long
def test_ctrl_c_ends_the_trainer_and_leaves_nothing(checkout, tmp_path):
    trainer = checkout / "models/shop/trainer/train.py"
    before = trainer.read_bytes()
    trainer.write_text(f"# {tmp_path}\nimport time\ntime.sleep(60)\n")
    words = [sys.executable, "-m", "modelyard", "try", "shop", *INPUTS]
    try:
        with subprocess.Popen(
            words,
            cwd=checkout,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stderr=subprocess.PIPE,
            text=True,
            # What a shell starts in the background ignores Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("train ..."):
                    break
            time.sleep(3)
            process.send_signal(signal.SIGINT)
            said = process.stderr.read()
    finally:
        trainer.write_bytes(before)

    assert process.returncode == 130
    assert said.strip() == (
        "stopped: modelyard try. Its trainer is stopped too, and nothing was kept. To go on: "
        f"modelyard try shop {' '.join(INPUTS)}"
    )
    assert list(tmp_path.iterdir()) == []
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert str(tmp_path) not in running.stdout


@pytest.mark.long
def test_only_the_data_is_tried_without_a_training(checkout):
    before = everything(checkout)
    done = run(checkout, "try", "shop", *INPUTS, "--data-only")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "240 rows train",
        "every-fifth: 60 rows held out, 60 clusters",
    ]
    assert everything(checkout) == before


@pytest.mark.long
@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (
            "  least_clusters: 61\n",
            "60 clusters, but gate.least_clusters of model.yaml asks for 61",
        ),
        (
            "  slices: [{where: size > 90, margin: 0.1}]\n",
            "slice size > 90: no held-out row is in it",
        ),
    ],
)
def test_what_the_gate_can_decide_for_no_version_is_said_before_a_training(checkout, gate, said):
    model = checkout / "models/shop/model.yaml"
    text = model.read_text()
    model.write_text(text.replace("  margin: 0.01\n", f"  margin: 0.01\n{gate}"))
    try:
        done = run(checkout, "try", "shop", *INPUTS, "--data-only")
    finally:
        model.write_text(text)
    assert done.returncode == Refused.exit_code, done.stderr
    assert f"the gate cannot decide: held-out set every-fifth: {said}" in done.stdout


@pytest.mark.long
def test_held_out_rows_of_one_label_are_refused_before_a_training(checkout):
    held = checkout / "models/shop/data/heldout.csv"
    whole = held.read_text()
    head, *rows = whole.splitlines()
    held.write_text("\n".join([head, *(row for row in rows if "no" in row)]) + "\n")
    spec = checkout / "models/shop/heldout/every-fifth.yaml"
    pinned = spec.read_text()
    before = hashlib.sha256(whole.encode()).hexdigest()
    spec.write_text(pinned.replace(before, hashlib.sha256(held.read_bytes()).hexdigest()))
    try:
        done = run(checkout, "try", "shop", *INPUTS, "--data-only")
    finally:
        held.write_text(whole)
        spec.write_text(pinned)
    assert done.returncode == Refused.exit_code
    assert "held-out set every-fifth: all " in done.stderr
    assert "rows have the label 0, so no version can be better there than a constant" in done.stderr


@pytest.mark.long
def test_rows_that_break_the_contract_are_said_before_anything_is_committed(checkout):
    data = checkout / "models/shop/data/train.csv"
    whole = data.read_text()
    data.write_text(whole.replace(",EU", ",MARS", 40))
    try:
        done = run(checkout, "try", "shop", *INPUTS, "--data-only")
    finally:
        data.write_text(whole)
    assert done.returncode == 3
    assert "column continent (level): expected one of 'EU', 'NA', found 'MARS' (40 rows)" in (
        done.stderr
    )


@pytest.mark.long
def test_held_out_rows_among_the_training_rows_are_said(checkout):
    data, held = (checkout / f"models/shop/data/{name}.csv" for name in ("train", "heldout"))
    whole = data.read_text()
    data.write_text(whole + held.read_text().partition("\n")[2])
    try:
        done = run(checkout, "try", "shop", *INPUTS, "--data-only")
    finally:
        data.write_text(whole)
    assert done.returncode == 3
    assert "60 of its 60 rows were trained on; the first is row 1" in done.stderr


@pytest.mark.long
def test_a_model_without_a_version_is_asked_for_its_data(checkout):
    done = run(checkout, "try", "shop")
    assert done.returncode == 2
    assert "shop has no version yet: give --data URI and --held-out NAME" in done.stderr
    assert f"such as: modelyard try shop {' '.join(INPUTS)}" in done.stderr


@pytest.mark.long
def test_a_model_that_there_is_not_is_named(checkout):
    done = run(checkout, "try", "shp", *INPUTS)
    assert done.returncode == 1
    assert "did you mean shop?" in done.stderr


def test_the_steps_are_those_of_every_training():
    from modelyard.commands import step

    assert trial._STEPS["fetch"] is fetch_inputs
    # On one machine `evaluate` scores a champion of another runtime itself, and `train` brings the
    # inputs, starts the supervisor of the trainer, and builds the profile in one piece. No image is
    # older there, so no specs are left for it.
    elsewhere = {"record", "champion", "supervise", "bring", "trainer", "profile", "specs"}
    assert set(trial._STEPS) == set(step.step.commands) - elsewhere


def test_a_trial_that_is_killed_leaves_the_checkout_as_it_was(checkout, monkeypatch):
    def die(job: object) -> None:
        raise KeyboardInterrupt

    before, head = everything(checkout), Git(checkout).rev_parse("HEAD")
    monkeypatch.setattr(trial, "_DATA_STEPS", {"fetch": die})
    given = {"data": (INPUTS[1],), "held_out": (INPUTS[3],), "parent": None, "since": None,
             "until": None, "params": None, "param": (), "seed": None}  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        trial.try_model(
            checkout,
            "shop",
            lambda yard, catalog: command._version_to_try(yard, catalog, "shop", given),
            data_only=True,
            tell=str,
        )
    assert everything(checkout) == before
    assert Git(checkout).rev_parse("HEAD") == head


@pytest.mark.long
def test_what_is_not_valid_is_refused_before_anything_runs(checkout):
    model = checkout / "models/shop/model.yaml"
    text = model.read_text()
    model.write_text(text.replace("metric: auc", "metric: rmse"))
    try:
        done = run(checkout, "try", "shop", *INPUTS, "--data-only")
    finally:
        model.write_text(text)
    assert done.returncode == Refused.exit_code
    assert "rmse is no metric of a binary task" in done.stderr


def test_a_trial_that_would_not_be_valid_is_called_a_trial(checkout):
    """Its file is nowhere, so nobody is sent to look for it."""
    done = run(checkout, "try", "shop", *INPUTS, "--param", 'features=["colour"]')
    assert done.returncode == 3
    assert "error: this trial of shop would not be valid: feature colour is no" in done.stderr
