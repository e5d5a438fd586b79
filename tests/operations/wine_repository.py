"""A repository with the wine model, and the job of training its one version."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.documents import dump_spec, read_spec
from modelyard.adapters.store.artifacts import Store
from modelyard.domain.specs.repository import Repository
from modelyard.domain.specs.version import Code, ModelVersion
from modelyard.domain.specs.version import Runtime as Pin
from modelyard.operations.training.job import Job
from runtimes import OWN_LOCK

WINE = Path(__file__).parents[2] / "models" / "wine"
PLATFORM, MINE = "requirements-runtime.lock", "models/wine/trainer/requirements.lock"
HERE = Repository(artifacts=".store")


def make_repository(
    root: Path, lock: bytes | None = None, *, pin: str | None = None, settings: Repository = HERE
) -> str:
    """A repository with the wine model, whose version pins its lock; returns the commit."""
    shutil.copytree(WINE, root / "models/wine", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "modelyard.yaml").write_bytes(dump_spec("Repository", settings))
    (root / PLATFORM).write_bytes(OWN_LOCK)
    trainer = root / "models/wine/trainer/train.py"
    trainer.write_text(trainer.read_text() + "\nimport sys\nprint('ran in', sys.prefix)\n")
    if lock is not None:
        (root / MINE).write_bytes(lock)
    git = Git(root)
    git.run("init", "-q", "-b", "main")
    commit(git)
    file = root / "models/wine/versions/v1.yaml"
    spec = read_spec(ModelVersion, file.read_bytes(), name=str(file))
    digest = hashlib.sha256(lock or OWN_LOCK).hexdigest()
    tree = git.rev_parse("HEAD:models/wine/trainer")
    spec = replace(spec, code=Code(tree=tree), runtime=Pin(lock=pin or digest))
    file.write_bytes(dump_spec("ModelVersion", spec))
    return commit(git)


def commit(git: Git) -> str:
    git.run("add", "-A")
    git.run("commit", "-q", "-m", "Change it")
    return git.rev_parse("HEAD")


def job_at(root: Path, commit: str, settings: Repository = HERE) -> Job:
    services: Any = SimpleNamespace(root=root, repository=settings)
    return Job(services, Store(settings.artifacts, root), "wine", "v1", 1, commit, "w")
