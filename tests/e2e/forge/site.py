"""An organisation on a Gitea of the tests' own: its people, their tokens, its repositories."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from e2e.forge.api import Api
from e2e.forge.server import Gitea

ORGANISATION = "acme"
OWNER = "olga"
BOT = "yard-bot"
# The right of each person in every new repository; only an administrator may ask for others'.
RIGHTS = {BOT: "admin", "ann": "write", "bob": "write", "rex": "read"}
STATUSES = ("modelyard/checks", "modelyard/promote")


@dataclass(frozen=True, kw_only=True)
class Person:
    """An account: what the forge calls it, and its number there."""

    id: int
    login: str
    token: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ForgeRepository:
    """A repository of the site, as tests use it."""

    site: Site
    name: str

    @property
    def path(self) -> str:
        """Below /api/v1."""
        return f"repos/{ORGANISATION}/{self.name}"

    @property
    def url(self) -> str:
        """For `git clone`, without a name or a token."""
        return f"{self.site.gitea.url}/{ORGANISATION}/{self.name}.git"

    @property
    def bare(self) -> Path:
        """The folder in which Gitea keeps it: for reading what is really there."""
        return self.site.gitea.repositories / ORGANISATION / f"{self.name}.git"

    def clone_url(self, login: str) -> str:
        """For `git clone` as this person."""
        return self.url.replace("://", f"://{login}:{self.site.people[login].token}@", 1)

    def api(self, login: str) -> Api:
        return self.site.api(login)

    def protect_main(self, *, statuses: Iterable[str] = STATUSES, approvals: int = 0) -> None:
        """Let nothing reach main but by a pull request with these statuses and approvals."""
        statuses = list(statuses)
        self._protect(
            rule_name="main",
            enable_push=False,
            enable_status_check=bool(statuses),
            status_check_contexts=statuses,
            required_approvals=approvals,
            dismiss_stale_approvals=True,
            block_on_rejected_reviews=True,
            block_admin_merge_override=True,
        )

    def protect_state(self, branch: str = "modelyard/state") -> None:
        """Let only the bot push the state branch."""
        self._protect(
            rule_name=branch,
            enable_push=True,
            enable_push_whitelist=True,
            push_whitelist_usernames=[BOT],
        )

    def keep_secret(self, name: str, value: str) -> None:
        """Give the repository's workflows a secret."""
        self.site.owner.put(f"{self.path}/actions/secrets/{name}", data=value)

    def add_webhook(self, url: str, *, secret: str, events: Iterable[str]) -> int:
        """Have events sent there, signed with the secret; returns the webhook's number."""
        settings = {"url": url, "content_type": "json", "secret": secret}
        answer = self.site.owner.post(
            f"{self.path}/hooks", type="gitea", active=True, events=list(events), config=settings
        )
        return answer["id"]

    def open_pull(
        self, login: str, branch: str, *, title: str = "", body: str = "", base: str = "main"
    ) -> Any:
        """A pull request, as the API shows it."""
        title = title or branch
        return self.api(login).post(
            f"{self.path}/pulls", head=branch, base=base, title=title, body=body
        )

    def _protect(self, **rules: Any) -> None:
        self.site.owner.post(f"{self.path}/branch_protections", **rules)


@dataclass(frozen=True, kw_only=True)
class Site:
    """A running Gitea with one organisation.

    - `OWNER` administers it, and is nobody in the stories that tests tell.
    - `BOT` is the account of modelyard. `ann` and `bob` may write, `rex` may only read.
    """

    gitea: Gitea
    people: Mapping[str, Person]
    _numbers: count[int] = field(default_factory=lambda: count(1))

    @property
    def url(self) -> str:
        return self.gitea.url

    @cached_property
    def owner(self) -> Api:
        return self.api(OWNER)

    def api(self, login: str) -> Api:
        return Api(client=self.gitea.client, token=self.people[login].token)

    def token(self, login: str) -> str:
        return self.people[login].token

    def new_repository(self, seed: Path, *, name: str = "yard") -> ForgeRepository:
        """A repository with all branches and tags of `seed`, under a name nobody had before.

        Its files are copied and adopted: a push of the same takes seconds.

        Args:
            seed: A bare repository, or a checkout.
            name: What the new name starts with.
        """
        repository = ForgeRepository(site=self, name=f"{name}-{next(self._numbers)}")
        self.adopt(seed, ORGANISATION, repository.name)
        # Not by a team: for its members the forge would answer that they have no permission.
        for login, right in RIGHTS.items():
            self.owner.put(f"{repository.path}/collaborators/{login}", permission=right)
        return repository

    def adopt(self, seed: Path, organisation: str, name: str) -> None:
        """Make a repository of a copy of this one's files."""
        bare = self.gitea.repositories / organisation / f"{name}.git"
        source = seed / ".git" if (seed / ".git").is_dir() else seed
        bare.mkdir(parents=True)
        for part in ("objects", "refs"):
            shutil.copytree(source / part, bare / part)
        if (source / "packed-refs").exists():
            shutil.copyfile(source / "packed-refs", bare / "packed-refs")
        (bare / "HEAD").write_text("ref: refs/heads/main\n")
        (bare / "config").write_text("[core]\n\tbare = true\n")
        self.owner.post(f"admin/unadopted/{organisation}/{name}")


def open_site(gitea: Gitea) -> Site:
    """Install and start a Gitea, with an organisation and its people."""
    tokens = install(gitea, RIGHTS)
    gitea.start()
    api = Api(client=gitea.client, token=tokens[OWNER])
    found_organisation(api)
    people = {
        login: Person(id=api.get(f"users/{login}")["id"], login=login, token=token)
        for login, token in tokens.items()
    }
    return Site(gitea=gitea, people=people)


def install(gitea: Gitea, logins: Iterable[str]) -> dict[str, str]:
    """Install a Gitea, with accounts of the owner and of these people; returns their tokens."""
    gitea.install()
    return {login: _create_account(gitea, login) for login in (OWNER, *logins)}


def found_organisation(owner: Api) -> None:
    """Make the organisation that all repositories belong to; anybody may read them."""
    owner.post("orgs", username=ORGANISATION, visibility="public")


def _create_account(gitea: Gitea, login: str) -> str:
    """Create an account by Gitea's command, and return its token."""
    said = gitea.command(
        *("admin", "user", "create", "--username", login, "--email", f"{login}@example.org"),
        *("--random-password", "--must-change-password=false", "--access-token"),
        *("--access-token-name", "tests", "--access-token-scopes", "all"),
        *(("--admin",) if login == OWNER else ()),
    )
    found = re.search(r"successfully created\.\.\. ([0-9a-f]{40})", said)
    assert found, said
    return found[1]
