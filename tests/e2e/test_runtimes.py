"""A model on libraries of its own: every step and server of it runs in the image of its lock."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from e2e.cluster.images import make_runtime_image
from e2e.cluster.layout import default_layout
from e2e.delivery import add, approved, trained, verified
from e2e.fork import REPOSITORY, Fork
from e2e.measured import Measured
from e2e.replayed import replayed

MODEL = "tardy"
LOCK = f"models/{MODEL}/trainer/requirements.lock"
DATA = "tardy/parcels.csv"
SPAN = ("--since", "2026-01-01", "--until", "2026-05-01")
CANARY = (
    "canary: {least_looks: 1, least_seconds: 0, least_predictions: 1000, "
    "margin_error_rate: 0.05, error_limit: 0.05}\n"
)
"""The judge of a model waits for 30 intervals with traffic by itself."""


@pytest.fixture(scope="module")
def colleague(fork: Fork) -> Iterator[Fork]:
    """A checkout of its own, as other tests work in the first."""
    if fork.cluster["provider"] != "local":
        pytest.skip("only the local cluster has a tool here that builds a second image")
    return fork.colleague("parcels-checkout")


@pytest.fixture(scope="module")
def image(colleague: Fork, measured: Measured) -> str:
    """The image of the model's lock, NAME@DIGEST, once the model is on the main branch."""
    script = REPOSITORY / "scripts/demo/parcels.py"
    parcels = str(parcels_of(colleague))
    subprocess.run([sys.executable, str(script), parcels], check=True, capture_output=True)
    colleague.feed(DATA, parcels_of(colleague))
    uri = f"s3://{colleague.cluster['s3_bucket']}/data/{DATA}"
    new = ("model", "new", MODEL, "--data", uri, "--target", "late", "--framework", "lightgbm")
    settings = colleague.folder / "models" / MODEL / "model.yaml"
    edit = partial(append, settings, CANARY)
    add(colleague, MODEL, "model", new, edit, ("runtime", "lock", MODEL))
    with measured.time("the image of a lock of its own"):
        return make_runtime_image(default_layout(), colleague.folder, LOCK)


def test_its_version_is_trained_and_scored_in_the_image_of_its_lock(
    colleague: Fork, image: str, measured: Measured
):
    fork = colleague
    fork.modelyard("runtime", "image", LOCK, image)
    new = ("version", "new", MODEL, "v1", "--reason", "LightGBM", "--data", DATA, *SPAN)
    add(fork, MODEL, "v1", (*new, "--held-out", "since-2026-05-01"))
    with measured.time("train-and-evaluate on LightGBM, until its record is merged"):
        trained(fork, MODEL, "v1", seconds=900)
    record = fork.answer("record", MODEL, "v1")
    assert record["verdict"]["outcome"] == "pass"
    assert record["lock"] == hashlib.sha256((fork.folder / LOCK).read_bytes()).hexdigest()


def test_it_answers_in_production_from_the_image_of_its_lock(colleague: Fork, image: str):
    fork = colleague
    for environment in ("canary", "production"):
        approved(fork, MODEL, environment)
        with replayed(fork, MODEL, parcels_of(fork), environment):
            verified(fork, MODEL, environment, "v1")
    pods = fork.pods("models-production", model=MODEL)
    used = {each["image"] for pod in pods for each in pod["spec"]["containers"]}
    assert used == {image}


def parcels_of(fork: Fork) -> Path:
    """The parcels, beside the checkout."""
    return fork.folder.with_name("parcels.csv")


def append(path: Path, text: str) -> None:
    """Add to the end of a file."""
    path.write_text(path.read_text() + text)
