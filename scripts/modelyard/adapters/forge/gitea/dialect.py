"""Gitea's own words: reviews, statuses, pushes and merges."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from http import HTTPStatus
from urllib.parse import quote

from modelyard.adapters.forge.gitea.pushes import PushFeed, brought
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
from modelyard.domain.deployments import Deployment
from modelyard.domain.people import Person
from modelyard.domain.problem import Problem
from modelyard.domain.promotion.pulls import MergeAnswer, MergeAsked, Merged, Review
from modelyard.errors import CannotAnswer, Refused

SECONDS_TO_MERGE = 6.0
"""How long a pull request that Gitea still looks at is waited for; the next pass asks again."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5
_VERDICTS = {"APPROVED": True, "REQUEST_CHANGES": False}
_BUSY = "try again later"
_RETARGETED = "change_target_branch"
_MAY_WRITE = frozenset({"write", "admin", "owner"})


@dataclass(kw_only=True)
class GiteaDialect:
    """`Dialect` of Gitea.

    Args:
        api: The API.
        repository: Owner and name.
        web: Address of its pages.
    """

    api: ForgeApi
    repository: str
    web: str
    sort_by_update: str = "recentupdate"
    ask_for_run: str = "?return_run_details=true"
    _people: dict[str, frozenset[Person]] = field(default_factory=dict)
    _merges: dict[str, BroughtBy] = field(default_factory=dict)
    _labels: dict[str, int] = field(default_factory=dict)

    def me(self) -> Person:
        """See `Dialect`."""
        return self._me

    @cached_property
    def _me(self) -> Person:
        return account_at(self.api, "/user")

    def signed_in_as(self) -> str:
        """See `Dialect`."""
        return self.me().login

    def page(self, number: int | None) -> str:
        """See `Dialect`."""
        return f"{self.web}/{self.repository}/pulls" + ("" if number is None else f"/{number}")

    def person(self, login: str) -> Person | None:
        """See `Dialect`."""
        return find_account(self.api, login)

    def is_in_team(self, team: str, person: Person) -> bool:
        """See `Dialect`; Gitea asks for a team by number."""
        organisation, _, slug = team.partition("/")
        rows = self.api.get(f"/orgs/{organisation}/teams/search", q=slug)["data"]
        number = next((row["id"] for row in rows if row["name"].lower() == slug.lower()), None)
        if number is None:
            raise CannotAnswer(f"{organisation} has no team {slug}, or this token may not see it")
        return self._is_member(number, person)

    def may_write_by_team(self, person: Person) -> bool:
        """See `Dialect`; a team with units has no role where Gitea names roles."""
        try:
            teams = self.api.get(f"{self._place}/teams")
        except Answered:  # no organisation
            return False
        return any(self._is_surely_member(team["id"], person) for team in teams if _writes(team))

    def _is_surely_member(self, team: int, person: Person) -> bool:
        try:
            return self._is_member(team, person)
        except Answered:  # the members of a team are shown to the team alone
            return False

    def _is_member(self, team: int, person: Person) -> bool:
        path = f"/teams/{team}/members/{quote(person.login)}"
        try:
            return person_of(self.api.get(path)) == person
        except Answered as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return False
            raise

    def review_of(self, row: Json) -> Review | None:
        """See `Dialect`."""
        approved = _VERDICTS.get(row["state"])
        if approved is None or not row.get("commit_id"):
            return None
        # Only `official` ones are of people who may write.
        author = person_of(row.get("user")) or NOBODY
        counts = row.get("official") and not row.get("dismissed") and not row.get("stale")
        counts = counts and int(author.id) > 0
        return Review(
            author=author,
            approved=bool(approved and counts),
            sha=row["commit_id"],
            at=time_of(row.get("submitted_at")) or datetime.now(tz=UTC),
        )

    def status_word(self, row: Json) -> str:
        """See `Dialect`."""
        word = str(row["status"])
        return "error" if word == "warning" else word

    def pushers(
        self, branch: str, head: str, *, commits: Collection[str] = ()
    ) -> frozenset[Person] | None:
        """See `Dialect`; the feed has everything that happens, newest first."""
        pushes = self._feed.read(branch, is_enough=lambda found: brought(found, head, commits))
        actors = {push.actor for push in pushes}
        if None in actors or all(push.head != head for push in pushes):
            return None
        return frozenset(actor for actor in actors if actor is not None)

    @cached_property
    def _feed(self) -> PushFeed:
        return PushFeed(api=self.api, place=self._place)

    def retargeted_at(self, number: int) -> datetime | None:
        """See `Dialect`."""
        rows = self.api.pages(f"{self._place}/issues/{number}/timeline")
        return last_time(row["created_at"] for row in rows if row["type"] == _RETARGETED)

    def people_of_commit(self, sha: str) -> frozenset[Person]:
        """See `Dialect`."""
        if sha not in self._people:
            row = self.api.get(f"{self._place}/git/commits/{sha}", stat="false", files="false")
            author, committer = person_of(row.get("author")), person_of(row.get("committer"))
            people = (person for person in (author, committer) if person is not None)
            self._people[sha] = frozenset(people)
        return self._people[sha]

    def merge_of(self, sha: str) -> BroughtBy:
        """See `Dialect`."""
        if sha not in self._merges:
            try:
                row = self.api.get(f"{self._place}/commits/{sha}/pull")
            except Answered as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                row = {}
            people = {person_of(row.get(role)) for role in ("user", "merged_by")}
            self._merges[sha] = BroughtBy(
                people=frozenset(person for person in people if person is not None),
                heads=(row["head"]["sha"],) if row else (),
            )
        return self._merges[sha]

    def closer(self, number: int) -> Person | None:
        """See `Dialect`."""
        rows = self.api.pages(f"{self._place}/issues/{number}/timeline")
        closed = [row for row in rows if row["type"] == "close"]
        return person_of(closed[-1].get("user")) if closed else None

    def set_labels(self, number: int, labels: Iterable[str]) -> None:
        """See `Dialect`; Gitea leaves unknown labels out, so they are created first."""
        wanted = frozenset(labels)
        try:
            is_set = self._put_labels(number, wanted)
        except Answered:  # a label that is gone may be an error as well
            is_set = False
        if not is_set:
            self._labels.clear()
            self._put_labels(number, wanted)

    def labels_at_once(self, labels: Iterable[str]) -> Json:
        """See `Dialect`; a label that is gone by now is left out, and its absence seen."""
        wanted = frozenset(labels)
        if not self._labels.keys() >= wanted:
            return {}
        return {"labels": [self._labels[name] for name in sorted(wanted)]}

    def _put_labels(self, number: int, wanted: frozenset[str]) -> bool:
        """Set labels by their numbers as they were read once; returns whether all are set now."""
        known = self._labels
        if not known.keys() >= wanted:
            known |= {row["name"]: row["id"] for row in self.api.pages(f"{self._place}/labels")}
        for name in sorted(wanted - known.keys()):
            row = self.api.send("POST", f"{self._place}/labels", {"name": name, "color": "#ededed"})
            known[name] = row["id"]
        body = {"labels": [known[name] for name in sorted(wanted)]}
        rows = self.api.send("PUT", f"{self._place}/issues/{number}/labels", body)
        return {row["name"] for row in rows or ()} >= wanted

    def show_problems(self, head: str, problems: Sequence[Problem]) -> None:
        """See `Dialect`; Gitea has no check runs, the status says it all."""

    def show_deployment(self, wanted: Deployment) -> None:
        """See `Dialect`; Gitea has no deployments."""

    def merge(
        self,
        number: int,
        *,
        sha: str,
        title: str,
        message: str,
        at_once: bool,  # noqa: ARG002 - Gitea has no queue
        deletes_branch: bool = False,
    ) -> MergeAnswer:
        """See `Dialect`."""
        body = {
            "Do": "merge",
            "head_commit_id": sha,
            "MergeTitleField": title,
            "MergeMessageField": message,
            # Without the hooks of a push, which cost a second.
            "delete_branch_after_merge": deletes_branch,
        }
        deadline, pause = time.monotonic() + SECONDS_TO_MERGE, _FIRST_PAUSE
        while True:
            try:
                self.api.send("POST", f"{self._place}/pulls/{number}/merge", body)
            except Answered as error:
                if _BUSY not in error.message or time.monotonic() > deadline:
                    # Its answer may be lost, and it is merged all the same.
                    return self._merged(number, sha) or self._not_merged(error, number)
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                break
        commit = self.api.get(f"{self._place}/pulls/{number}").get("merge_commit_sha")
        return Merged(commit=commit) if commit else MergeAsked(what=f"#{number} is being merged")

    def _merged(self, number: int, sha: str) -> Merged | None:
        """Return what this head of a pull request was merged as; None if it is not merged."""
        row = self.api.get(f"{self._place}/pulls/{number}")
        is_merged = row.get("merged") and row["head"]["sha"] == sha
        return Merged(commit=row["merge_commit_sha"]) if is_merged else None

    @property
    def _place(self) -> str:
        return f"/repos/{self.repository}"

    def _not_merged(self, error: Answered, number: int) -> MergeAnswer:
        if _BUSY in error.message:
            return MergeAsked(what=f"Gitea still looks at #{number}")
        if error.status == HTTPStatus.CONFLICT:
            raise Stale(f"#{number}: {error.message}", hint=self.page(number)) from error
        if error.status in {403, 405, 422}:
            why = f"#{number} is not merged: {error.message}"
            raise Refused(why, hint=self.page(number)) from error
        raise error


def _writes(team: Json) -> bool:
    """Whether the members of a team may write code: a unit of its own, or all of them."""
    by_unit = (team.get("units_map") or {}).get("repo.code")
    return by_unit in _MAY_WRITE
