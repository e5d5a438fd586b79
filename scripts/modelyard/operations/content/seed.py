"""The files that a new yard starts with, as this version of modelyard has them."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from pathlib import Path

SEEDED = (
    ".gitattributes",
    ".github/actions/setup/action.yml",
    ".github/dependabot.yml",
    ".github/pull_request_template.md",
    ".github/workflows/chatops.yml",
    ".github/workflows/content.yml",
    ".github/workflows/drift.yml",
    ".github/workflows/reconcile.yml",
    "environments/README.md",
    "environments/argocd.yaml",
    "environments/*/environment.yaml",
    "environments/platform/README.md",
    "environments/platform/controllers.yaml",
    "environments/platform/manifests",
    "environments/platform/aws/*.tf",
    "environments/platform/aws/README.md",
    "environments/platform/aws/policies",
    "environments/platform/aws/tests",
    "modelyard.yaml",
    "requirements-runtime.lock",
    "workflows",
)
"""What of the toolkit's own repository a yard has too: files, folders and patterns."""

OF_MODELS = "environments/platform/manifests/workflows/detect-drift-*.yaml"
"""The schedules of models, which a yard without models has not; the platform renders them."""


SEED = "modelyard/yard/"
"""Where a wheel has these files."""


def is_seeded(name: str) -> bool:
    """Whether a yard without models has a file of this path from the toolkit."""
    return not fnmatch.fnmatch(name, OF_MODELS) and any(
        fnmatch.fnmatch(name, pattern) or name.startswith(f"{pattern}/") for pattern in SEEDED
    )


def seed_folder() -> Path:
    """Where the files are: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[2]
    installed = package / "yard"
    return installed if installed.is_dir() else package.parents[1]


def read_seed(name: str) -> bytes:
    """One file, by its path in the toolkit's repository."""
    return (seed_folder() / name).read_bytes()


def seeded_files() -> dict[str, bytes]:
    """The files by their paths, without what belongs to models."""
    root = seed_folder()
    return {name: (root / name).read_bytes() for name in sorted(_names(root)) if is_seeded(name)}


def _names(root: Path) -> Iterator[str]:
    for pattern in SEEDED:
        for found in root.glob(pattern):
            files = found.rglob("*") if found.is_dir() else [found]
            for file in files:
                if file.is_file() and "__pycache__" not in file.parts:
                    yield file.relative_to(root).as_posix()
