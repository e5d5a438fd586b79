"""Which specs a step of a training reads."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.adapters.git.repository import Git
from modelyard.errors import CannotAnswer
from modelyard.operations.training.job import Job
from operations.wine_repository import commit, job_at, make_repository


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A training of wine, beside a model that nobody asked for."""
    make_repository(tmp_path)
    shutil.copytree(tmp_path / "models/wine", tmp_path / "models/beer")
    file = tmp_path / "models/beer/model.yaml"
    file.write_text(file.read_text().replace("wine", "beer"))
    return job_at(tmp_path, commit(Git(tmp_path)))


def test_a_step_reads_the_specs_of_its_own_model_alone(job: Job):
    assert job.catalog.models.keys() == {"wine"}
    assert {model for model, _ in job.catalog.versions} == {"wine"}
    assert job.spec.version == job.version


def test_the_models_beside_which_a_key_may_lie_are_all_of_the_repository(job: Job):
    assert [model.name for model in job.all_models()] == ["beer", "wine"]


def test_a_step_of_a_model_that_is_not_there_names_those_that_are(job: Job):
    with pytest.raises(CannotAnswer, match="it has beer, wine"):
        _ = replace(job, model_name="cider").model
