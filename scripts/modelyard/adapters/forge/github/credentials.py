"""What the tool signs in to GitHub with; never shown, and never an argument of a command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard.errors import CannotAnswer

APP_ID = "MODELYARD_APP_ID"
APP_KEY_FILE = "MODELYARD_APP_KEY_FILE"
APP_INSTALLATION = "MODELYARD_APP_INSTALLATION"
TOKENS = ("MODELYARD_FORGE_TOKEN", "GITHUB_TOKEN")


def read_token(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the token of the environment, if there is one."""
    return next((value for name in TOKENS if (value := environ.get(name, "").strip())), None)


def read_app(environ: Mapping[str, str] = os.environ) -> Any | None:
    """Return a strategy that renews the installation token of a GitHub App, if one is set.

    Raises:
        CannotAnswer: Only a part of it is set, or the key cannot be read.
    """
    if (parts := _read_parts(environ)) is None:
        return None
    from githubkit import AppInstallationAuthStrategy

    app, key, installation = parts
    return AppInstallationAuthStrategy(app, key, int(installation))


def read_app_identity(environ: Mapping[str, str] = os.environ) -> tuple[Any, str] | None:
    """Return a strategy that signs in as the App itself, and the number of its installation.

    Raises:
        CannotAnswer: Only a part of it is set, or the key cannot be read.
    """
    if (parts := _read_parts(environ)) is None:
        return None
    from githubkit import AppAuthStrategy

    app, key, installation = parts
    return AppAuthStrategy(app, key), installation


def _read_parts(environ: Mapping[str, str]) -> tuple[str, str, str] | None:
    """The number of the App, its key and the number of its installation."""
    names = (APP_ID, APP_KEY_FILE, APP_INSTALLATION)
    values = [environ.get(name, "").strip() for name in names]
    if not any(values):
        return None
    if missing := [name for name, value in zip(names, values, strict=True) if not value]:
        raise CannotAnswer(f"a GitHub App needs {', '.join(missing)} too", hint="set it")
    app, key_file, installation = values
    if not installation.isdecimal():
        raise CannotAnswer(f"{APP_INSTALLATION} is {installation!r}, not the number of one")
    try:
        key = Path(key_file).read_text()
    except OSError as error:
        raise CannotAnswer(f"cannot read {APP_KEY_FILE} {key_file}: {error.strerror}") from error
    return app, key, installation
