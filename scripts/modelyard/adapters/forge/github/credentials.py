"""What the tool signs in to a forge with; never shown, and never an argument of a command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

from modelyard.adapters.forge.hosted.api import Answered, ForgeApi
from modelyard.domain.specs.repository import ForgeKind, Repository
from modelyard.errors import CannotAnswer

APP_ID = "MODELYARD_APP_ID"
APP_KEY = "MODELYARD_APP_KEY"
APP_KEY_FILE = "MODELYARD_APP_KEY_FILE"
APP_INSTALLATION = "MODELYARD_APP_INSTALLATION"
TOKEN = "MODELYARD_FORGE_TOKEN"
WORKFLOW_TOKEN = "GITHUB_TOKEN"
WORKFLOW_API = "GITHUB_API_URL"
GITHUB = "https://api.github.com"

WHAT_TO_SET = (
    f'set {APP_ID} and {APP_KEY} of a GitHub App, or {TOKEN} (README, "On GitHub or Gitea")'
)

_LONG_AGO = datetime.fromtimestamp(0, tz=UTC)

_SPARE = timedelta(minutes=5)
"""A token that ends sooner is renewed: a push may take a while."""

_made: dict[tuple[str, str, str], tuple[str, datetime]] = {}
"""The tokens of this process with their ends, by API, App and repository."""


class NoCredentials(CannotAnswer):
    """There is nothing to sign in to the forge with."""


def read_token(url: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the token of the environment for the API at `url`, if there is one.

    The token of a workflow is for the forge that runs it, and is sent to no other.
    """
    if given := environ.get(TOKEN, "").strip():
        return given
    return environ.get(WORKFLOW_TOKEN, "").strip() or None if _runs_at(url, environ) else None


def _runs_at(url: str, environ: Mapping[str, str]) -> bool:
    where = environ.get(WORKFLOW_API, "").strip() or GITHUB
    return where.rstrip("/") == url.rstrip("/")


@dataclass(kw_only=True)
class App:
    """A GitHub App as it acts in one repository.

    Args:
        url: The API.
        repository: Owner and name.
        id: The App's number.
        key: Its private key as PEM.
        installation: The number of its installation; None to ask for it.
    """

    url: str
    repository: str
    id: str
    key: str = field(repr=False)
    installation: int | None = None

    def strategy(self) -> Any:
        """Return what renews the token of its requests."""
        from githubkit import AppInstallationAuthStrategy

        return AppInstallationAuthStrategy(self.id, self.key, self.find_installation())

    def token(self) -> str:
        """Return a token for git, for this repository alone; the same one until it ends."""
        place = (self.url, self.id, self.repository)
        token, ends = _made.get(place, ("", _LONG_AGO))
        if datetime.now(tz=UTC) > ends - _SPARE:
            path = f"/app/installations/{self.find_installation()}/access_tokens"
            body = {"repositories": [self.repository.partition("/")[2]]}
            made = self.as_itself().send("POST", path, body)
            token, ends = made["token"], datetime.fromisoformat(made["expires_at"])
            _made[place] = (token, ends)
        return token

    def find_installation(self) -> int:
        """Return the number of its installation in the repository."""
        if self.installation is None:
            try:
                row = self.as_itself().get(f"/repos/{self.repository}/installation")
            except Answered as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                raise CannotAnswer(
                    f"the GitHub App {self.id} is not installed in {self.repository}",
                    hint='install it there (on its page: "Install App")',
                ) from error
            self.installation = int(row["id"])
        return self.installation

    def find_slug(self) -> str:
        """Return its name as in its address."""
        return str(self.as_itself().get("/app")["slug"])

    def as_itself(self) -> ForgeApi:
        """Return the API signed in to as the App, which may ask about its installations alone."""
        from githubkit import AppAuthStrategy

        return ForgeApi(url=self.url, auth=AppAuthStrategy(self.id, self.key))


def has_app_key(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the key of an App is set."""
    return any(environ.get(name, "").strip() for name in (APP_KEY, APP_KEY_FILE))


def require_credentials(repository: Repository) -> None:
    """Raise `NoCredentials` if a hosted forge is set and nothing to sign in to it with.

    Nothing is asked: git may push with a person's own key where the tool has no credentials.
    """
    if repository.forge is ForgeKind.LOCAL:
        return
    url = repository.forge_uri or GITHUB
    has_app = repository.forge is ForgeKind.GITHUB and has_app_key()
    if not has_app and read_token(url) is None:
        raise no_token(url)


def no_token(url: str) -> NoCredentials:
    """Return the error that there is no token for a forge, with what to set."""
    more = ""
    if os.environ.get(WORKFLOW_TOKEN):
        more = f"; {WORKFLOW_TOKEN} is for another forge than {url}"
    return NoCredentials(f"there is no token to sign in to the forge with{more}", hint=WHAT_TO_SET)


def read_app(url: str, repository: str, environ: Mapping[str, str] = os.environ) -> App | None:
    """Return the GitHub App of the environment, if one is set.

    Raises:
        CannotAnswer: Only a part of it is set, or the key cannot be read.
    """
    names = (APP_ID, APP_KEY, APP_KEY_FILE, APP_INSTALLATION)
    number, key, file, installation = (environ.get(name, "").strip() for name in names)
    if not (number or key or file or installation):
        return None
    if not number or not (key or file):
        lacks = APP_ID if not number else f"{APP_KEY} or {APP_KEY_FILE}"
        raise CannotAnswer(f"a GitHub App needs {lacks} too", hint=f"export {lacks.split()[0]}=...")
    if installation and not installation.isdecimal():
        raise CannotAnswer(f"{APP_INSTALLATION} is {installation!r}, not the number of one")
    return App(
        url=url,
        repository=repository,
        id=number,
        key=_checked(key or _read_key(file), APP_KEY if key else f"{APP_KEY_FILE} {file}"),
        installation=int(installation) if installation else None,
    )


def _read_key(file: str) -> str:
    try:
        return Path(file).read_text()
    except OSError as error:
        raise CannotAnswer(
            f"cannot read {APP_KEY_FILE} {file}: {error.strerror}",
            hint="check the path and its permissions",
        ) from error


def _checked(key: str, what: str) -> str:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        load_pem_private_key(key.encode(), password=None)
    except (TypeError, ValueError) as error:
        raise CannotAnswer(
            f"{what} is no private key in PEM format",
            hint=f"set {APP_KEY_FILE} to the .pem file that GitHub gave you, or {APP_KEY} to its "
            "whole text, line breaks included",
        ) from error
    return key
