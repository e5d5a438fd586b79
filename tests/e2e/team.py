"""The people of the journey, as they act on the forge with tokens of their own."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus

import httpx

from e2e.forge.api import Api, ApiError

OWNER, BOT, ADA, GRACE = "owner", "bot", "ada", "grace"
RIGHTS = {BOT: "admin", ADA: "write", GRACE: "write"}
"""The owner is nobody in the story, but for setting the repository up."""

MAIN = "main"


@dataclass(frozen=True)
class Team:
    """Who works in the fork's repository.

    Args:
        cluster: What `cluster.json` says: where the forge is, and everybody's token.
    """

    cluster: Mapping[str, str]

    @property
    def url(self) -> str:
        """For `git clone`, without a name or a token: anybody may read."""
        return f"{self.cluster['forge_url']}/{self.cluster['forge_repository']}.git"

    @cached_property
    def bot(self) -> str:
        """The account that modelyard acts as."""
        return self._login(BOT)

    def token(self, who: str) -> str:
        """A person's."""
        return self.cluster[f"{who}_token"]

    def git_environment(self, who: str) -> dict[str, str]:
        """What lets git sign in to the forge as a person; no file and no argument has the token."""
        basic = base64.b64encode(f"{who}:{self.token(who)}".encode()).decode()
        return {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.{self.cluster['forge_url']}/.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
        }

    def start_afresh(self) -> None:
        """Make the repository, an empty one in place of that of an earlier fork."""
        owner = self._api(OWNER)
        organisation, _, name = self.cluster["forge_repository"].partition("/")
        try:
            owner.delete(self._place)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
        owner.post(f"orgs/{organisation}/repos", name=name, private=False, default_branch=MAIN)
        for who, right in RIGHTS.items():
            owner.put(f"{self._place}/collaborators/{self._login(who)}", permission=right)

    def let_ada_push(self) -> None:
        """Let one person push to the main branch, past every pull request."""
        self._api(OWNER).patch(
            f"{self._place}/branch_protections/{MAIN}",
            enable_push=True,
            enable_push_whitelist=True,
            push_whitelist_usernames=[self._login(ADA)],
        )

    def open_pull(self, branch: str, *, title: str, by: str) -> int:
        """Open a pull request; returns its number."""
        pull = self._api(by).post(f"{self._place}/pulls", head=branch, base=MAIN, title=title)
        number: int = pull["number"]
        return number

    def approve(self, number: int, head: str, *, by: str) -> None:
        """Review a commit, and approve it."""
        path = f"{self._place}/pulls/{number}/reviews"
        review = self._api(by).post(path, event="APPROVED", commit_id=head, body="Seen.")
        assert review["official"], review

    def merge(self, number: int, head: str, *, by: str) -> bool:
        """Merge a commit; False if Gitea still looks at the pull request, so ask again."""
        path = f"{self._place}/pulls/{number}/merge"
        try:
            self._api(by).post(path, Do="merge", head_commit_id=head)
        except ApiError as error:
            if "try again later" in str(error):
                return False
            raise
        return True

    def _login(self, who: str) -> str:
        login: str = self._api(who).get("user")["login"]
        return login

    def _api(self, who: str) -> Api:
        return Api(client=self._client, token=self.token(who))

    @cached_property
    def _client(self) -> httpx.Client:
        # No connection is kept, so that none is left open at the end.
        return httpx.Client(
            base_url=self.cluster["forge_url"],
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,
            timeout=60,
        )

    @property
    def _place(self) -> str:
        return f"repos/{self.cluster['forge_repository']}"
