"""Sets a hosted forge up for a checkout: one list of settings, for `init` and for `doctor`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelyard.adapters.replaced_file import replace_file
from modelyard.domain.promotion.change import STATE_BRANCH
from modelyard.domain.promotion.pulls import REQUIRED
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.paths import SETTINGS
from modelyard.domain.specs.repository import ForgeKind, Repository
from modelyard.errors import CannotAnswer

if TYPE_CHECKING:
    from modelyard.adapters.forge.hosted.settings import Setting, WantedForge

GITHUB_HOST = "github.com"

_SCP_LIKE = re.compile(r"(?:[^@/]+@)?(?P<host>[^:/]+):(?P<path>(?!//).+)")


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a repository is on a forge, as modelyard.yaml says it.

    Args:
        repository: Owner and name.
        uri: The address of the API; None for GitHub's own.
    """

    repository: str
    uri: str | None


def read_address(url: str, forge: ForgeKind) -> Address:
    """Return where a repository is, by the URL that Git fetches it from.

    Raises:
        CannotAnswer: It names no server, or no owner and name.
    """
    if (short := _SCP_LIKE.fullmatch(url)) and "://" not in url:
        scheme, place, path = "https", short["host"], short["path"]
    else:
        parts = urlsplit(url)
        is_web = parts.scheme in {"http", "https"}
        scheme, path = parts.scheme if is_web else "https", parts.path
        # The port of SSH is not that of the API.
        port = f":{parts.port}" if is_web and parts.port else ""
        place = f"{parts.hostname or ''}{port}"
    names = ["", "", *path.strip("/").removesuffix(".git").split("/")]
    above, owner, name = names[:-2], names[-2], names[-1]
    if not (place and owner and name):
        raise CannotAnswer(
            f"the remote {url.rpartition('@')[2]} is on no forge",
            hint="git remote set-url origin https://github.com/OWNER/NAME.git",
        )
    prefix = "".join(f"/{part}" for part in above if part)
    if forge is ForgeKind.GITHUB:
        uri = None if place == GITHUB_HOST else f"{scheme}://{place}{prefix}/api/v3"
    else:
        uri = f"{scheme}://{place}{prefix}/api/v1"
    return Address(repository=f"{owner}/{name}", uri=uri)


def https_of_ssh(url: str, repository: Repository) -> str | None:
    """Return the address to use in place of one that is for SSH; None where the URL is for none.

    By SSH git signs in with a person's key; only by HTTP it asks for the tool's own token.
    """
    is_short = _SCP_LIKE.fullmatch(url) is not None and "://" not in url
    if not is_short and not urlsplit(url).scheme.endswith("ssh"):
        return None
    parts = urlsplit(repository.forge_uri or f"https://{GITHUB_HOST}")
    return f"{parts.scheme}://{parts.netloc}/{repository.forge_repository}.git"


def settings_for(
    repository: Repository, forge: ForgeKind, address: Address, *, bot: str
) -> Repository:
    """Return the settings of a repository on a forge.

    Raises:
        CannotAnswer: The tool has no account there.
    """
    if forge is ForgeKind.GITEA and bot.endswith("[bot]"):
        raise CannotAnswer(
            f"{SETTINGS}: bot: {bot} is no account of Gitea",
            hint="name the machine account that modelyard acts as: --bot LOGIN",
        )
    return replace(
        repository,
        forge=forge,
        forge_uri=address.uri,
        forge_repository=address.repository,
        bot=bot,
    )


OF_THE_FORGE = ("forge", "forge_uri", "forge_repository", "bot")
"""The settings that say where the forge is."""


def edit_settings(
    text: str, before: Repository, after: Repository, *, keys: tuple[str, ...] = OF_THE_FORGE
) -> str:
    """Return modelyard.yaml with what differs; comments and everything else stay."""
    lines = [f"{line}\n" for line in text.splitlines()]
    for key in keys:
        value = getattr(after, key)
        if getattr(before, key) == value:
            continue
        new = [] if value is None else [f"{key}: {_scalar(str(value))}\n"]
        held = [at for at, line in enumerate(lines) if line.startswith(f"{key}:")]
        at = held[0] if held else len(lines)
        lines[at : at + len(held)] = new
    return "".join(lines)


def write_settings(file: Path, text: str) -> None:
    """Write modelyard.yaml; a run that is killed leaves the old one."""
    replace_file(file, text.encode())


def difference(before: str, after: str) -> Iterator[str]:
    """Yield the lines of a diff of modelyard.yaml."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), SETTINGS, SETTINGS, lineterm="", n=1
    )
    yield from lines


def read_settings(
    repository: Repository, environments: Iterable[Environment], *, as_person: bool
) -> tuple[Setting, ...]:
    """Return what is wanted of the forge, each with what it lacks now.

    Args:
        repository: The settings of modelyard.yaml, or what they are to be.
        environments: The environments of the main branch.
        as_person: Use the token of a person, if there is one, before the App's credentials.

    Raises:
        CannotAnswer: There is nothing to sign in with, or the forge does not answer.
    """
    from modelyard.operations.hosted_forges import settings_reader

    wanted = _wanted(repository, tuple(environments))
    return tuple(settings_reader(repository, wanted, as_person=as_person).read())


_NOT_ALLOWED = frozenset({401, 403, 404})


def apply_setting(repository: Repository, setting: Setting) -> Setting:
    """Make a setting hold; returns it as one to make by hand if the forge does not let this token.

    Raises:
        CannotAnswer: The forge does not answer, or is broken.
    """
    from modelyard.adapters.forge.hosted.api import Answered
    from modelyard.operations.hosted_forges import setup_api

    api = setup_api(repository, as_person=True)
    try:
        for request in setting.requests:
            api.send(request.method, request.path, request.body)
    except Answered as error:
        if error.status not in _NOT_ALLOWED:
            raise
        who = "use the token of an administrator, or change it on the forge's page of settings"
        lacks = (*setting.lacks, f"not set: {error.message}")
        return replace(setting, lacks=lacks, requests=(), by_hand=who)
    return setting


def environments_of(root: Path) -> tuple[Environment, ...]:
    """Return the environments of a checkout, valid ones alone, by name."""
    from modelyard.adapters.git.trees import WorkingTree
    from modelyard.adapters.specs.reader import read_specs

    found: Mapping[str, Environment] = read_specs(WorkingTree(root)).catalog.environments
    return tuple(found[name] for name in sorted(found))


def _wanted(repository: Repository, environments: tuple[Environment, ...]) -> WantedForge:
    from modelyard.adapters.forge.hosted.settings import WantedForge

    return WantedForge(
        main=repository.main,
        state=STATE_BRANCH,
        bot=repository.bot,
        statuses=REQUIRED,
        labels=("release", "retrain", "rollback", *(each.name for each in environments)),
        environments=environments,
    )


def _scalar(text: str) -> str:
    # `[` begins a list of YAML only where it comes first.
    return text if re.match(r"[A-Za-z]", text) else f'"{text}"'
