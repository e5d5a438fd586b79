"""Builds the adapters of a hosted forge from the settings."""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelyard.adapters.facts.store import FactStore
from modelyard.adapters.forge.github.credentials import (
    APP_ID,
    GITHUB,
    TOKEN,
    NoCredentials,
    has_app_key,
    no_token,
    read_app,
    read_token,
)
from modelyard.adapters.forge.hosted.api import Answered, ForgeApi
from modelyard.adapters.forge.hosted.deeds import HostedDeeds
from modelyard.adapters.forge.hosted.desk import HostedDesk
from modelyard.adapters.forge.hosted.dialect import Dialect
from modelyard.adapters.forge.hosted.enders import KeptEnders
from modelyard.adapters.forge.hosted.heads import Heads
from modelyard.adapters.forge.hosted.pulls import HostedPulls
from modelyard.adapters.forge.hosted.reading import PullReader
from modelyard.adapters.forge.hosted.teams import Teams
from modelyard.adapters.git.remote_refs import RemoteRefs
from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.sign_in import sign_in
from modelyard.domain.chatops.reasons import ReasonCode
from modelyard.domain.people import Person
from modelyard.domain.promotion.pulls import Review
from modelyard.domain.specs.paths import SETTINGS
from modelyard.domain.specs.repository import ForgeKind, Repository
from modelyard.errors import CannotAnswer
from modelyard.ports import Clock, Services

if TYPE_CHECKING:
    from modelyard.adapters.forge.gitea.settings import GiteaSettings
    from modelyard.adapters.forge.github.settings import GitHubSettings
    from modelyard.adapters.forge.hosted.settings import WantedForge

logger = logging.getLogger(__name__)

WORKFLOWS = "github-actions[bot]"
"""Who all workflows of a repository act as, also those of a branch."""

APPROVE, UNAPPROVE = "/approve", "/unapprove"


def build_forge(git: Git, repository: Repository, clock: Clock) -> tuple[HostedPulls, HostedDesk]:
    """Return the forge of the settings, as the tool and as people use it.

    A step of a workflow and the judge never ask a forge, and need no credentials of it: without
    them only the first question raises `NoCredentials`.

    Raises:
        CannotAnswer: The settings do not say which repository.
    """
    name = repository.forge_repository
    if name is None:
        raise CannotAnswer(
            f"{SETTINGS}: forge: {repository.forge} needs the repository's owner and name",
            hint="set forge_repository: acme/yard",
        )
    api, dialect = _dialect(git, repository, name)
    heads = Heads(
        git=git,
        remote=RemoteRefs(git, repository.remote),
        main=repository.main,
        bot=repository.bot,
        clock=clock,
    )
    facts = FactStore(git, repository, clock)
    reader = PullReader(
        api=api,
        repository=name,
        main=repository.main,
        dialect=dialect,
        heads=heads,
        deeds=HostedDeeds(dialect=dialect, heads=heads),
        teams=Teams(git=git, dialect=dialect),
        enders=KeptEnders(
            file=git.kept_folder / "ended-pulls-1.json", repository=f"{api.url} {name}"
        ),
        commanded=partial(_commanded_reviews, facts),
        glass=facts.read_glass,
    )
    pulls = HostedPulls(api=api, dialect=dialect, heads=heads, reader=reader, bot=repository.bot)
    return pulls, HostedDesk(pulls=pulls)


def _commanded_reviews(facts: FactStore, number: int) -> tuple[Review, ...]:
    """The approvals that people gave, or took back, by a command in a comment."""
    return tuple(
        Review(
            author=Person(login=entry.login, id=entry.person),
            approved=entry.line == APPROVE,
            sha=entry.head,
            # By the forge's clock, as its other times.
            at=entry.written_at or entry.at,
        )
        for entry in facts.read_commands(number).entries
        if entry.reason is ReasonCode.DONE and entry.line in {APPROVE, UNAPPROVE}
    )


def _dialect(git: Git, repository: Repository, name: str) -> tuple[ForgeApi, Dialect]:
    if repository.forge == ForgeKind.GITEA:
        return _gitea(git, repository, name)
    from modelyard.adapters.forge.github.dialect import GitHubDialect

    url = repository.forge_uri or GITHUB
    web, bot = _web(url), repository.bot
    if (app := read_app(url, name)) is not None:
        sign_in(git.root, web, app.token)
        api, slug = ForgeApi(url=url, auth=app.strategy), bot.removesuffix("[bot]")
        return api, GitHubDialect(
            api=api, repository=name, web=web, app=slug, find_slug=app.find_slug
        )
    _sign_in_with_token(git, web, url)
    api = ForgeApi(url=url, auth=partial(_token, url))
    # With the token of a workflow the tool is what every workflow is, if the settings say so.
    is_given = bool(os.environ.get(TOKEN, "").strip())
    is_bot = bot.endswith("[bot]") if is_given else bot == WORKFLOWS
    return api, GitHubDialect(api=api, repository=name, web=web, bot=bot if is_bot else None)


def refuse_other_account(services: Services) -> bool:
    """Raise `CannotAnswer` if the credentials are not of the `bot` of the settings, or missing.

    A forge that does not answer is no reason: it is asked again before anything is proposed.
    Returns whether it answered.
    """
    if not isinstance(services.pulls, HostedPulls):
        return True
    try:
        fault = services.pulls.find_wrong_account()
    except NoCredentials:
        raise
    except CannotAnswer as error:
        logger.warning("whose credentials these are is not known: %s", error.message)
        return False
    if fault is not None:
        raise fault
    return True


def setup_api(repository: Repository, *, as_person: bool) -> ForgeApi:
    """Return the API to read and change the settings of a forge with.

    Args:
        repository: The settings.
        as_person: Prefer a token to the App's credentials: the App may not change settings.
    """
    name = repository.forge_repository or ""
    if repository.forge == ForgeKind.GITEA:
        url = _gitea_url(repository)
        return ForgeApi(url=url, auth=_token(url), page_word="limit")
    url = repository.forge_uri or GITHUB
    app = None if as_person and read_token(url) else read_app(url, name)
    return ForgeApi(url=url, auth=app.strategy if app else _token(url))


def settings_reader(
    repository: Repository, wanted: WantedForge, *, as_person: bool
) -> GitHubSettings | GiteaSettings:
    """Return what reads the settings of the forge and compares them with the wanted ones."""
    api, name = setup_api(repository, as_person=as_person), repository.forge_repository or ""
    if repository.forge == ForgeKind.GITEA:
        from modelyard.adapters.forge.gitea.settings import GiteaSettings

        return GiteaSettings(api=api, repository=name, wanted=wanted)
    from modelyard.adapters.forge.github.settings import GitHubSettings

    # Who sets a forge up may know the App's number alone.
    app = read_app(api.url, name) if has_app_key() else None
    return GitHubSettings(
        api=api,
        repository=name,
        web=_web(api.url),
        wanted=wanted,
        app=_app_number(api, repository.bot),
        app_api=app.as_itself() if app else None,
        installation=str(app.find_installation()) if app else "",
    )


def _app_number(api: ForgeApi, bot: str) -> int | None:
    """The number of the tool's App; None if it is none, or GitHub does not show it."""
    slug = bot.removesuffix("[bot]")
    if slug == bot:
        return None
    if (known := os.environ.get(APP_ID, "").strip()).isdecimal():
        return int(known)
    try:
        return int(api.get(f"/apps/{slug}")["id"])
    except Answered:  # a private one
        return None


def _gitea(git: Git, repository: Repository, name: str) -> tuple[ForgeApi, Dialect]:
    from modelyard.adapters.forge.gitea.dialect import GiteaDialect

    url = _gitea_url(repository)
    web = url.rstrip("/").removesuffix("/api/v1")
    _sign_in_with_token(git, _origin(web), url)
    api = ForgeApi(url=url, auth=partial(_token, url), page_word="limit")
    return api, GiteaDialect(api=api, repository=name, web=web)


def _gitea_url(repository: Repository) -> str:
    if repository.forge_uri is None:
        raise CannotAnswer(
            f"{SETTINGS}: forge: gitea needs the address of Gitea",
            hint="set forge_uri: https://git.example.org/api/v1",
        )
    return repository.forge_uri


def _sign_in_with_token(git: Git, origin: str, url: str) -> None:
    """Let git sign in, if there is a token; a public repository is read without."""
    if (token := read_token(url)) is not None:
        sign_in(git.root, origin, lambda: token)


def _token(url: str) -> str:
    token = read_token(url)
    if token is None:
        raise no_token(url)
    return token


def _web(url: str) -> str:
    """The address of GitHub's pages; an Enterprise Server has its API at `/api/v3` of them."""
    return "https://github.com" if url.rstrip("/") == GITHUB else _origin(url)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
