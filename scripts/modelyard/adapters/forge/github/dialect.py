"""GitHub's own words: reviews, statuses, pushes and merges."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from http import HTTPStatus
from urllib.parse import quote

from modelyard.adapters.forge.comment_api import CommentApi
from modelyard.adapters.forge.github.check_runs import show_problems
from modelyard.adapters.forge.github.credentials import WHAT_TO_SET
from modelyard.adapters.forge.github.deployments import Deployments
from modelyard.adapters.forge.hosted.api import Answered, ForgeApi
from modelyard.adapters.forge.hosted.dialect import (
    BroughtBy,
    Json,
    account_at,
    find_account,
    person_of,
)
from modelyard.adapters.forge.hosted.mapping import NOBODY, last_time, time_of
from modelyard.adapters.git.remote_refs import Stale
from modelyard.domain.chatops.authority import Role
from modelyard.domain.deployments import Deployment
from modelyard.domain.people import Person
from modelyard.domain.problem import Problem
from modelyard.domain.promotion.pulls import MergeAnswer, MergeAsked, Merged, Review
from modelyard.errors import CannotAnswer, Refused

SECONDS_TO_MERGE = 6.0
"""How long a merge that was asked for is waited for; the next pass asks again."""

_SECONDS_BETWEEN = 0.5
_VERDICTS = {"APPROVED": True, "CHANGES_REQUESTED": False, "DISMISSED": False}
_DELETION = "branch_deletion"
# The second one: the base branch was deleted, and GitHub chose another.
_RETARGETED = frozenset({"base_ref_changed", "automatic_base_change_succeeded"})


@dataclass(kw_only=True)
class GitHubDialect:
    """`Dialect` of GitHub and GitHub Enterprise Server.

    Args:
        api: The API.
        repository: Owner and name.
        web: Address of its pages, such as `https://github.com`.
        app: Slug of the GitHub App that the token belongs to, if it does.
        find_slug: Asks GitHub for the slug of the App that the credentials are of.
        bot: Who the token acts as where GitHub does not say: it tells no App who it is.
    """

    api: ForgeApi
    repository: str
    web: str
    app: str | None = None
    find_slug: Callable[[], str] | None = None
    bot: str | None = None
    sort_by_update: str = "updated"
    ask_for_run: str = ""
    _people: dict[str, frozenset[Person]] = field(default_factory=dict)
    _merges: dict[str, BroughtBy] = field(default_factory=dict)

    def me(self) -> Person:
        """See `Dialect`."""
        return self._me

    @cached_property
    def _me(self) -> Person:
        if self.app is not None:
            return account_at(self.api, f"/users/{quote(f'{self.app}[bot]')}")
        try:
            return account_at(self.api, "/user")
        except Answered as error:
            if error.status != HTTPStatus.FORBIDDEN:
                raise
            if self.bot is None:
                raise CannotAnswer(
                    "GitHub does not say who this token acts as: it is a workflow's or an App's",
                    hint=WHAT_TO_SET,
                ) from error
        return account_at(self.api, f"/users/{quote(self.bot)}")

    def signed_in_as(self) -> str:
        """See `Dialect`."""
        if self.find_slug is not None:
            return f"{self.find_slug()}[bot]"
        return self.me().login

    def page(self, number: int | None) -> str:
        """See `Dialect`."""
        return f"{self.web}/{self.repository}/" + ("pulls" if number is None else f"pull/{number}")

    def person(self, login: str) -> Person | None:
        """See `Dialect`."""
        return find_account(self.api, login)

    def is_in_team(self, team: str, person: Person) -> bool:
        """See `Dialect`."""
        organisation, _, slug = team.partition("/")
        path = f"/orgs/{organisation}/teams/{slug}/memberships/{quote(person.login)}"
        try:
            return bool(self.api.get(path)["state"] == "active")
        except Answered as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
        self.api.get(
            f"/orgs/{organisation}/teams/{slug}"
        )  # a team that is not there has no members
        return False

    def may_write_by_team(self, person: Person) -> bool:  # noqa: ARG002 - of the protocol
        """See `Dialect`; GitHub's roles are those of teams too."""
        return False

    def review_of(self, row: Json) -> Review | None:
        """See `Dialect`."""
        approved = _VERDICTS.get(row["state"])
        if approved is None or not row.get("commit_id"):
            return None
        author = person_of(row.get("user")) or NOBODY
        return Review(
            author=author,
            # Who can read a repository can review it.
            approved=approved and self._may_write(author),
            sha=row["commit_id"],
            at=time_of(row.get("submitted_at")) or datetime.now(tz=UTC),
        )

    def _may_write(self, person: Person) -> bool:
        known = CommentApi(rest=self.api, repository=self.repository, is_member=self.is_in_team)
        role = known.ask_authority(person, teams=()).role
        return role is not None and role.includes(Role.WRITE)

    def status_word(self, row: Json) -> str:
        """See `Dialect`."""
        return str(row["state"])

    def pushers(
        self,
        branch: str,
        head: str,
        *,
        commits: Collection[str] = (),  # noqa: ARG002 - its list is of one branch alone
    ) -> frozenset[Person] | None:
        """See `Dialect`."""
        found: set[Person] = set()
        is_seen = False
        for row in self.api.pages(f"{self._place}/activity", ref=f"refs/heads/{branch}"):
            if row["activity_type"] == _DELETION:
                continue
            is_seen = is_seen or row["after"] == head
            actor = person_of(row.get("actor"))
            # Anybody's workflow pushes as a bot, so its push says nothing of who is behind it.
            is_bot = (row.get("actor") or {}).get("type") == "Bot"
            if actor is None or (is_bot and actor != self.me()):
                return None
            found.add(actor)
        return frozenset(found) if is_seen else None

    def retargeted_at(self, number: int) -> datetime | None:
        """See `Dialect`; GitHub leaves these events out of the timeline."""
        rows = self.api.pages(f"{self._place}/issues/{number}/events")
        return last_time(row["created_at"] for row in rows if row["event"] in _RETARGETED)

    def people_of_commit(self, sha: str) -> frozenset[Person]:
        """See `Dialect`."""
        if sha not in self._people:
            row = self.api.get(f"{self._place}/commits/{sha}")
            author, committer = person_of(row.get("author")), person_of(row.get("committer"))
            people = (person for person in (author, committer) if person is not None)
            self._people[sha] = frozenset(people)
        return self._people[sha]

    def merge_of(self, sha: str) -> BroughtBy:
        """See `Dialect`."""
        if sha not in self._merges:
            every = self.api.pages(f"{self._place}/commits/{sha}/pulls")
            rows = [row for row in every if row.get("merged_at")]
            people = {person_of(row.get("user")) for row in rows}
            for row in rows:  # a listing does not say who merged it
                full = self.api.get(f"{self._place}/pulls/{row['number']}")
                people.add(person_of(full.get("merged_by")))
            self._merges[sha] = BroughtBy(
                people=frozenset(person for person in people if person is not None),
                heads=tuple(row["head"]["sha"] for row in rows),
            )
        return self._merges[sha]

    def closer(self, number: int) -> Person | None:
        """See `Dialect`."""
        return person_of(self.api.get(f"{self._place}/issues/{number}").get("closed_by"))

    def set_labels(self, number: int, labels: Iterable[str]) -> None:
        """See `Dialect`; GitHub creates the labels that are new."""
        body = {"labels": sorted(labels)}
        self.api.send("PUT", f"{self._place}/issues/{number}/labels", body)

    def labels_at_once(self, labels: Iterable[str]) -> Json:  # noqa: ARG002 - GitHub takes none
        """See `Dialect`."""
        return {}

    def show_problems(self, head: str, problems: Sequence[Problem]) -> None:
        """See `Dialect`."""
        if self.app is not None:  # GitHub lets only Apps do so
            show_problems(self.api, self._place, head, problems, app=self.app)

    def show_deployment(self, wanted: Deployment) -> None:
        """See `Dialect`."""
        place = f"{self._place}/deployments"
        Deployments(api=self.api, place=place, me=self.me(), page=self.page).show(wanted)

    def merge(
        self,
        number: int,
        *,
        sha: str,
        title: str,
        message: str,
        at_once: bool,
        deletes_branch: bool = False,  # noqa: ARG002 - GitHub does so by its own setting alone
    ) -> MergeAnswer:
        """See `Dialect`."""
        body = {
            "sha": sha,
            "merge_method": "merge",
            "commit_title": title,
            "commit_message": message,
        }
        if at_once:
            return self._merge_now(number, body)
        try:
            first = self._ask(number, body)
        except Answered as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise self._refusal(error, number) from error
            return self._merge_now(number, body)  # GitHub Enterprise Server has no such request
        answer = self._wait(number, first, sha)
        # A merge in the background does not use the bypass that the tool has of its own ruleset.
        return self._merge_now(number, body) if answer is None else answer

    @property
    def _place(self) -> str:
        return f"/repos/{self.repository}"

    def _ask(self, number: int, body: Json) -> Json:
        """Ask for a merge; returns the state of ours, or of the one that is under way."""
        path = f"{self._place}/pulls/{number}/merge-async"
        try:
            found: Json = self.api.send("PUT", path, {**body, "merge_action": "default"})
        except Answered as error:
            if error.status not in {400, 409} or "details" not in error.body:
                raise
            found = dict(error.body)
        return found

    def _wait(self, number: int, first: Json, sha: str) -> MergeAnswer | None:
        """Wait a little for a merge that was asked for; None if it failed."""
        uuid = first["details"].get("uuid")
        # Another request is under way. Only one for this very head is ours.
        if first["details"].get("expected_head_sha", sha) != sha:
            what = f"#{number}: a merge of another head is under way: {first['details']['message']}"
            return MergeAsked(what=what)
        state, deadline = first, time.monotonic() + SECONDS_TO_MERGE
        while state["status"] == "pending":
            if time.monotonic() > deadline:
                return MergeAsked(what=f"GitHub has not merged #{number} at {sha[:10]} yet")
            time.sleep(_SECONDS_BETWEEN)
            state = self.api.get(f"{self._place}/pulls/{number}/merge-async/{uuid}")
        details = state["details"]
        if state["status"] == "merged":
            return Merged(commit=str(details["sha"]))
        if state["status"] == "enqueued":
            return MergeAsked(what=f"#{number} waits in the merge queue")
        return None

    def _merge_now(self, number: int, body: Json) -> MergeAnswer:
        try:
            answer = self.api.send("PUT", f"{self._place}/pulls/{number}/merge", body)
        except Answered as error:
            raise self._refusal(error, number) from error
        return Merged(commit=str(answer["sha"]))

    def _refusal(self, error: Answered, number: int) -> CannotAnswer | Refused | Stale:
        if error.status == HTTPStatus.CONFLICT:
            return Stale(f"#{number}: {error.message}", hint=self.page(number))
        if error.status in {403, 405, 422}:
            return Refused(f"#{number} is not merged: {error.message}", hint=self.page(number))
        return error
