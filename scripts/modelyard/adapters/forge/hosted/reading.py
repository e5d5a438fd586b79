"""Reads pull requests of a forge with as few requests as what changed needs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from http import HTTPStatus
from typing import Any

from modelyard.adapters.forge.guard import makers_of_release
from modelyard.adapters.forge.hosted.api import Answered, ForgeApi
from modelyard.adapters.forge.hosted.dialect import Dialect, Json, person_of
from modelyard.adapters.forge.hosted.enders import KeptEnders, is_settled
from modelyard.adapters.forge.hosted.heads import Heads
from modelyard.adapters.forge.hosted.mapping import (
    branch_of,
    comment_of,
    requester_in_page,
    summary_of,
)
from modelyard.adapters.forge.hosted.teams import Teams
from modelyard.adapters.forge.makers import Deeds
from modelyard.adapters.specs.json_documents import Unreadable, warn_left_out
from modelyard.domain.people import Person
from modelyard.domain.promotion.change import parse_branch
from modelyard.domain.promotion.pulls import (
    BrokenGlass,
    Comment,
    PullRequest,
    PullState,
    PullSummary,
    Review,
    Status,
    StatusState,
)
from modelyard.errors import CannotAnswer, OtherBase, YardError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Said:
    """What was said of a pull request and who made its commits, as of `updated` and `head`."""

    updated: str
    head: str
    reviews: tuple[Review, ...]
    comments: tuple[Comment, ...]
    contributors: tuple[Person, ...]
    requesters: tuple[Person, ...]
    unmapped: tuple[str, ...]
    retargeted_at: datetime | None


@dataclass(kw_only=True)
class PullReader:
    """Reads the pull requests to the main branch.

    Args:
        api: The forge's API.
        repository: Owner and name, such as `acme/yard`.
        main: The main branch's name.
        dialect: The forge's own words.
        heads: Git.
        deeds: What people did with a commit of the main branch.
        commanded: The reviews that people gave by a command in a comment, by pull request.
        glass: The admin's word to merge a pull request without approvals, by pull request.
        teams: The teams that may approve.
        enders: Who merged or closed pull requests.
        broken: An error for each open pull request that the last listing left out.
    """

    api: ForgeApi
    repository: str
    main: str
    dialect: Dialect
    heads: Heads
    deeds: Deeds
    commanded: Callable[[int], Iterable[Review]]
    glass: Callable[[int], BrokenGlass | None]
    teams: Teams
    enders: KeptEnders
    broken: list[CannotAnswer] = field(default_factory=list)
    _said: dict[int, _Said] = field(default_factory=dict)
    _closed: dict[int, tuple[str, PullSummary]] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """The path of the repository in the API."""
        return f"/repos/{self.repository}"

    def open(self) -> tuple[PullRequest, ...]:
        """Return the open pull requests in full, by number."""
        every = self.api.pages(f"{self.place}/pulls", state="open", base=self.main)
        # One forge knows no filter by base.
        rows = [row for row in every if self._is_ours(row)]
        self._fetch(rows)
        self.broken = []
        self.teams.forget()
        found = [pull for row in rows if (pull := self._in_full_or_none(row)) is not None]
        return tuple(sorted(found, key=lambda pull: pull.number))

    def pulse(self) -> str:
        """Return which open pull request changed last, and when."""
        rows = self.api.get(
            f"{self.place}/pulls",
            state="open",
            sort=self.dialect.sort_by_update,
            direction="desc",
            **{self.api.page_word: 1},
        )
        return " ".join(f"{row['number']} {row['updated_at']}" for row in rows)

    def _in_full_or_none(self, row: Json) -> PullRequest | None:
        """One pull request; None for one that the forge does not answer for, kept in `broken`."""
        try:
            return self._in_full(row)
        except Answered as error:
            if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise  # it is down, for all of them
            why = error.message
        except Unreadable as error:  # of the facts about it
            why = error.message
        except (LookupError, TypeError, ValueError) as error:
            why = f"the answer lacks what it should have: {type(error).__name__}: {error}"
        left_out = CannotAnswer(
            f"pull request {row['number']} is left out: {why}",
            hint=self.dialect.page(row["number"]),
        )
        self.broken.append(left_out)
        warn_left_out(left_out)
        return None

    def closed(self) -> tuple[PullSummary, ...]:
        """Return the merged and closed ones by number; asks only for what changed since."""
        for row in self._closed_rows():
            known = self._closed.get(row["number"])
            if known is not None and known[0] == row["updated_at"]:
                break  # the newest come first: the rest is known
            if self._is_ours(row):
                self._closed[row["number"]] = (row["updated_at"], self._summary(row))
        self.enders.write()
        return tuple(self._closed[number][1] for number in sorted(self._closed))

    def list_closed(self) -> tuple[PullSummary, ...]:
        """Return the merged and closed ones by number, without who ended them, and how.

        Who did may cost a request for each of years.
        """
        found = (self._with_branch(row) for row in self._closed_rows() if self._is_ours(row))
        return tuple(sorted(found, key=lambda pull: pull.number))

    def _closed_rows(self) -> Iterator[Json]:
        """What the forge lists of the closed ones, the newest first."""
        return self.api.pages(
            f"{self.place}/pulls",
            state="closed",
            base=self.main,
            sort=self.dialect.sort_by_update,
            direction="desc",
        )

    def get(self, number: int) -> PullRequest:
        """Return one pull request as it is now.

        Raises:
            CannotAnswer: There is none to the main branch with this number.
        """
        return self.in_full(self.row(number))

    def row(self, number: int) -> Json:
        """Return what the forge's own page of a pull request begins with; see `get`."""
        try:
            row: Json = self.api.get(f"{self.place}/pulls/{number}")
        except Answered as error:
            if error.status == HTTPStatus.NOT_FOUND:
                why = f"there is no pull request {number} in {self.repository}"
                raise CannotAnswer(why, hint="modelyard pr list --all") from error
            raise
        if not self._is_ours(row):
            raise OtherBase(f"pull request {number} is for {row['base']['ref']}, not {self.main}")
        return row

    def in_full(self, row: Json) -> PullRequest:
        """Return a pull request with all that was said of it until now."""
        self._said.pop(row["number"], None)
        self.teams.forget()
        self._fetch([row])
        return self._in_full(row)

    def as_opened(self, row: Json) -> PullRequest:
        """Return a pull request as if nobody had said anything: nobody's approval counts."""
        summary = self._with_branch(row)
        asked = self._requesters(row, summary)
        return PullRequest(
            **_fields_of(summary),
            requester=asked[0] if asked else None,
            unmapped=(summary.head,),
            is_stacked=bool(row.get("stack")),
        )

    def open_of(self, branch: str) -> PullRequest | None:
        """Return the open pull request of a branch of the repository itself."""
        owner = self.repository.partition("/")[0]
        rows = self.api.pages(f"{self.place}/pulls", state="open", head=f"{owner}:{branch}")
        of_branch = (row for row in rows if self.branch(row) == branch and self._is_ours(row))
        row = next(of_branch, None)
        return None if row is None else self._in_full(row)

    def _fetch(self, rows: Iterable[Json]) -> None:
        """Fetch the heads; one that is gone by now is in nobody's way, as its checks fail."""
        try:
            self.heads.remote.ensure_commits([row["head"]["sha"] for row in rows])
        except YardError as error:
            logger.warning("%s", error.message)

    def _is_ours(self, row: Json) -> bool:
        return bool(row["base"]["ref"] == self.main)

    def _summary(self, row: Json) -> PullSummary:
        """What a closed one is; who closed one of the tool's costs a request, once."""
        summary = self._with_branch(row)
        if parse_branch(summary.branch) is None:
            return replace(summary, on_page=summary.state is PullState.MERGED)
        number, updated = summary.number, row["updated_at"]
        if summary.state is not PullState.MERGED:
            by = self.enders.find(number, updated, lambda: self.dialect.closer(number))
            return replace(summary, closed_by=by)
        by = person_of(row.get("merged_by"))
        if by is None:
            by = self.enders.find(number, updated, lambda: self._merger(number))
        # Only this account's merges were checked: on the page, others may set the statuses.
        return replace(summary, closed_by=by, by_hand=by != self.dialect.me())

    def _merger(self, number: int) -> Person | None:
        return person_of(self.api.get(f"{self.place}/pulls/{number}").get("merged_by"))

    def _with_branch(self, row: Json) -> PullSummary:
        return replace(summary_of(row), branch=self.branch(row))

    def branch(self, row: Json) -> str:
        """Return the head branch; of a fork, whose branches have any name, after its owner."""
        name = branch_of(row)
        if not self._is_of_fork(row):
            return name
        return f"{(row.get('user') or {}).get('login', 'fork')}:{name}"

    def _in_full(self, row: Json) -> PullRequest:
        summary = self._with_branch(row)
        said = self._read_said(row, summary)
        asked = said.requesters[0] if said.requesters else None
        others = {*said.contributors, *said.requesters} - {summary.author, asked}
        reviews = self._reviews(summary.number, said)
        of_head = (each for each in reviews if each.sha == summary.head and each.approved)
        approvers = [each.author for each in of_head]
        pull = PullRequest(
            **_fields_of(summary),
            requester=asked,
            contributors=tuple(sorted(others, key=str)),
            unmapped=said.unmapped,
            is_stacked=bool(row.get("stack")),
            retargeted_at=said.retargeted_at,
            reviews=reviews,
            teams=self.teams.members(self.heads.main_head(), approvers) if approvers else {},
            comments=said.comments,
            statuses=self.statuses(row["number"], row["head"]["sha"]),
            glass=self._word(summary),
        )
        if pull.state is not PullState.OPEN or parse_branch(pull.branch) is None:
            return pull
        main = self.heads.main_head()
        makers = makers_of_release(self.heads.git, pull, main, deeds=self.deeds)
        return replace(pull, version_makers=makers)

    def _word(self, summary: PullSummary) -> BrokenGlass | None:
        """The admin's word; of an open pull request only one that still counts."""
        word = self.glass(summary.number)
        is_over = word is not None and self.heads.clock.now() >= word.until
        return None if is_over and summary.state is PullState.OPEN else word

    def _reviews(self, number: int, said: _Said) -> tuple[Review, ...]:
        found = [*said.reviews, *self.commanded(number)]
        return tuple(sorted(found, key=lambda review: review.at))

    def _is_of_fork(self, row: Json) -> bool:
        source = (row["head"].get("repo") or {}).get("full_name")
        if source is None:  # the fork is gone, or on some forges the branch
            return person_of(row.get("user")) != self.dialect.me()
        return bool(source.lower() != self.repository.lower())

    def _read_said(self, row: Json, summary: PullSummary) -> _Said:
        known, updated = self._said.get(summary.number), row["updated_at"]
        if known is not None and (known.updated, known.head) == (updated, summary.head):
            return known
        me, place = self.dialect.me(), f"{self.place}/pulls/{summary.number}"
        reviews = map(self.dialect.review_of, self.api.pages(f"{place}/reviews"))
        comments = self.api.pages(f"{self.place}/issues/{summary.number}/comments")
        contributors, unmapped = self._contributors(row, summary)
        said = _Said(
            updated=updated,
            head=summary.head,
            reviews=tuple(each for each in reviews if each is not None),
            comments=tuple(comment_of(each, me) for each in comments),
            contributors=contributors,
            requesters=self._requesters(row, summary),
            unmapped=unmapped,
            retargeted_at=self.dialect.retargeted_at(summary.number),
        )
        if is_settled(updated) and not unmapped:
            self._said[summary.number] = said
        return said

    def _requesters(self, row: Json, summary: PullSummary) -> tuple[Person, ...]:
        if parse_branch(summary.branch) is None or summary.author != self.dialect.me():
            return ()
        # The commit is the tool's; the text can be edited, so it only adds a person.
        found = list(self.heads.requesters(summary.head))
        in_page = requester_in_page(row.get("body") or "")
        return tuple(dict.fromkeys([*found, *([in_page] if in_page else [])]))

    def _contributors(
        self, row: Json, summary: PullSummary
    ) -> tuple[tuple[Person, ...], tuple[str, ...]]:
        """Who committed or pushed to it, and the head if nobody knows who pushed that.

        A mail address in a commit proves nothing, as anybody may write it: only a push does. That
        of a fork is on no record here, and any push is for a moment.
        """
        found: set[Person] = set()
        commits = []
        for commit in self.api.pages(f"{self.place}/pulls/{summary.number}/commits"):
            commits.append(str(commit["sha"]))
            people = (person_of(commit.get(role)) for role in ("author", "committer"))
            found |= {person for person in people if person is not None}
        pushers = None if self._is_of_fork(row) else self._pushers(summary, commits)
        if pushers is None:
            return _sorted(found), (summary.head,)
        return _sorted(found | pushers), ()

    def _pushers(self, summary: PullSummary, commits: list[str]) -> frozenset[Person] | None:
        # The tool writes each head anew, on the main branch: what others pushed before is not in
        # it, and all commits that are in it were pushed by somebody since.
        is_ours = parse_branch(summary.branch) is not None and summary.author == self.dialect.me()
        wanted = commits if is_ours else []
        try:
            return self.dialect.pushers(summary.branch, summary.head, commits=wanted)
        except Answered:  # a token that may not see it
            return None

    def statuses(self, number: int, head: str) -> Mapping[str, Status]:
        """Return what the tool itself said of this head in this pull request.

        Everybody who may write can set a status, and one of a commit is seen in every pull
        request that has it as head. So only those count that this account set for this one.
        """
        me = self.dialect.me()
        rows = self.api.pages(f"{self.place}/commits/{head}/statuses")
        ours = [
            each
            for each in rows
            if person_of(each.get("creator")) == me
            and each.get("target_url") == self.dialect.page(number)
        ]
        found: dict[str, Status] = {}
        for each in sorted(ours, key=lambda each: each["id"]):
            found[each["context"]] = Status(
                context=each["context"],
                state=StatusState(self.dialect.status_word(each)),
                description=each.get("description") or "",
            )
        return found


def _fields_of(summary: PullSummary) -> dict[str, Any]:
    return {name: getattr(summary, name) for name in PullSummary.__dataclass_fields__}


def _sorted(people: set[Person] | frozenset[Person]) -> tuple[Person, ...]:
    return tuple(sorted(people, key=str))
