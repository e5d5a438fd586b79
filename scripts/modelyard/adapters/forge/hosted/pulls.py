"""Pull requests of a forge with an API, as the tool uses them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from modelyard.adapters.forge.hosted.api import Answered, ForgeApi, urgent
from modelyard.adapters.forge.hosted.dialect import Dialect
from modelyard.adapters.forge.hosted.heads import Heads
from modelyard.adapters.forge.hosted.mapping import (
    comment_of,
    marked,
    page_with_request,
)
from modelyard.adapters.forge.hosted.merging import merge_message, refuse_unready
from modelyard.adapters.forge.hosted.reading import PullReader
from modelyard.adapters.forge.hosted.runs import WorkflowRuns
from modelyard.adapters.forge.makers import find_version_makers
from modelyard.adapters.git.names import safe_line
from modelyard.adapters.git.remote_refs import Stale, forget_snapshot, retry_on_conflict
from modelyard.domain.deployments import Deployment
from modelyard.domain.harmless_text import escape_markdown
from modelyard.domain.people import Person
from modelyard.domain.problem import Problem
from modelyard.domain.promotion.change import (
    Change,
    Purpose,
    parse_branch,
)
from modelyard.domain.promotion.pulls import (
    PROMOTE,
    REQUIRED,
    STACKED,
    STATUS_COMMENT,
    Comment,
    MergeAnswer,
    Merged,
    PullRequest,
    PullState,
    PullSummary,
    Status,
    StatusState,
)
from modelyard.domain.specs.paths import SETTINGS
from modelyard.errors import CannotAnswer, Conflict, Refused

LONGEST_DESCRIPTION = 140
"""Forges cut a longer description of a status off."""


@dataclass(kw_only=True)
class HostedPulls:
    """`ports.PullRequests` on a forge with an API.

    Args:
        api: The forge's API.
        dialect: The forge's own words.
        heads: Git.
        reader: Reads pull requests.
        bot: The tool's own name.
    """

    api: ForgeApi
    dialect: Dialect
    heads: Heads
    reader: PullReader
    bot: str
    _listed: dict[str, Any] | None = field(default=None)
    _signed_in_as: str | None = field(default=None)
    _over: dict[str, str] = field(default_factory=dict)
    _statuses_set: dict[tuple[int, str], dict[str, Status]] = field(default_factory=dict)

    def other_login(self) -> str | None:
        """Return the account of the credentials if it is not the tool's; asks the forge once."""
        if self._signed_in_as is None:
            self._signed_in_as = self.dialect.signed_in_as()
        login = self._signed_in_as
        return None if login.casefold() == self.bot.casefold() else login

    def find_wrong_account(self) -> CannotAnswer | None:
        """Return an error if the credentials are not of the tool's own account.

        The tool would take its own pull requests for somebody else's, and close and open them for
        ever.
        """
        login = self.other_login()
        if login is None:
            return None
        return CannotAnswer(
            f"the credentials are those of {login}, not of {self.bot}",
            hint=f"use credentials of {self.bot}, or say `bot: {login}` in {SETTINGS}",
        )

    def _refuse_other_account(self) -> None:
        if (fault := self.find_wrong_account()) is not None:
            raise fault

    def runs(self) -> WorkflowRuns:
        """Return the runs of the repository's workflows."""
        return WorkflowRuns(
            api=self.api,
            repository=self.reader.repository,
            ask_for_run=self.dialect.ask_for_run,
        )

    @contextmanager
    def one_listing(self) -> Iterator[None]:
        """See `ports.PullRequests`."""
        if self._listed is not None:
            yield
            return
        self._listed = {}
        try:
            yield
        finally:
            self._listed = None
            self._delete_branches()

    def open(self) -> tuple[PullRequest, ...]:
        """See `ports.PullRequests`."""
        if self._listed is None:
            return self.reader.open()
        if "open" not in self._listed:
            self._listed["open"] = self.reader.open()
        found: tuple[PullRequest, ...] = self._listed["open"]
        return found

    def closed(self) -> tuple[PullSummary, ...]:
        """See `ports.PullRequests`."""
        if self._listed is None:
            return self.reader.closed()
        if "closed" not in self._listed:
            self._listed["closed"] = self.reader.closed()
        found: tuple[PullSummary, ...] = self._listed["closed"]
        return found

    def pulse(self) -> str:
        """See `ports.PullRequests`."""
        return self.reader.pulse()

    def unreadable(self) -> tuple[CannotAnswer, ...]:
        """See `ports.PullRequests`."""
        return tuple(self.reader.broken)

    def get(self, number: int) -> PullRequest:
        """See `ports.PullRequests`."""
        return self.reader.get(number)

    def was_allowed(self, pull: PullSummary) -> bool:
        """See `ports.PullRequests`."""
        said = self.reader.statuses(pull.number, pull.head).get(PROMOTE)
        return said is not None and said.state is StatusState.SUCCESS

    def version_makers(self, main: str, *, model: str, version: str) -> Mapping[Person, str]:
        """See `ports.PullRequests`."""
        return find_version_makers(self.heads.git, main, model, version, deeds=self.reader.deeds)

    def propose(self, change: Change, *, requester: Person | None = None) -> PullRequest:
        """See `ports.PullRequests`.

        Raises:
            Refused: The main branch already holds all that the change would write.
        """
        self._refuse_other_account()
        who = None if requester is None else self._account(requester)
        with urgent() if change.purpose is Purpose.ROLLBACK else nullcontext():
            return retry_on_conflict(lambda: self._propose(change, who))

    def close(self, number: int, *, reason: str) -> None:
        """See `ports.PullRequests`."""
        pull = self.get(number)
        if pull.state is PullState.MERGED:
            raise Refused(f"pull request {number} is merged already")
        if pull.state is PullState.CLOSED:
            return
        self._refuse_other_account()
        # First the reason: killed in between, the next call closes it.
        self.comment(number, body=escape_markdown(reason), marker=STATUS_COMMENT)
        self.api.send("PATCH", self._pull(number), {"state": "closed"})
        self._forget()
        if parse_branch(pull.branch) is not None:
            self.heads.delete(pull.branch, pull.head)

    def merge(self, number: int, *, sha: str, bypass: str | None = None) -> MergeAnswer:
        """See `ports.PullRequests`.

        Statuses are not believed, as others may set them: the guard and the approvals are computed
        again here, on the merge result.
        """
        with urgent() if bypass is not None else nullcontext():
            return self._merge(number, sha, at_once=bypass is not None)

    def comment(self, number: int, *, body: str, marker: str | None = None) -> None:
        """See `ports.PullRequests`."""
        text = marked(body, marker)
        mine = self._marked(number, marker) if marker is not None else []
        if not mine:
            self.api.send("POST", f"{self._issue(number)}/comments", {"body": text})
            # No forge creates a comment only once: of two that raced, the older one stays.
            mine = self._marked(number, marker) if marker is not None else []
        # Also after that: the one that stays may be another writer's, who knew less.
        if mine and mine[0]["body"].replace("\r\n", "\n") != text:
            where = f"{self.reader.place}/issues/comments/{mine[0]['id']}"
            self.api.send("PATCH", where, {"body": text})
        for twin in mine[1:]:
            self._delete_comment(int(twin["id"]))
        self._note_comment(number, body, marker)

    def set_status(self, pull: PullRequest, status: Status) -> None:
        """See `ports.PullRequests`."""
        if pull.statuses.get(status.context) == status:
            return
        body = {
            "state": str(status.state),
            "context": status.context,
            "description": status.description[:LONGEST_DESCRIPTION],
            # The commit alone does not name what was judged: other branches may have it as head.
            "target_url": self._page(pull.number),
        }
        self.api.send("POST", f"{self.reader.place}/statuses/{pull.head}", body)
        known = {**self._statuses_set_on(pull), status.context: status}
        self._statuses_set = {(pull.number, pull.head): known}
        self._forget()

    def show_problems(self, pull: PullRequest, problems: Sequence[Problem]) -> None:
        """See `ports.PullRequests`."""
        self.dialect.show_problems(pull.head, problems)

    def show_deployment(self, wanted: Deployment) -> None:
        """See `ports.PullRequests`."""
        self.dialect.show_deployment(wanted)

    def _propose(self, change: Change, requester: Person | None) -> PullRequest:
        tree = self.heads.tree_of(change)
        before = self._open_of(change.branch)
        if before is not None and before.author != self.dialect.me():
            # Its author, and whoever approved it, did not mean this change.
            self.close(
                before.number, reason=f"only {self.bot} opens pull requests from {change.branch}"
            )
            before = None
        if before is not None and self.heads.holds(before.head, change, requester):
            return self._reword(before, change)
        branch, head = self.heads.push(change, tree, requester)
        self._forget()
        if branch != change.branch:
            before = self._open_of(branch)
        if before is not None:
            return self._reword(replace(before, head=head), change, requester)
        return self._open(change, branch, requester)

    def _open(self, change: Change, branch: str, requester: Person | None) -> PullRequest:
        body = {
            "title": safe_line(change.title),
            "head": branch,
            "base": self.reader.main,
            "body": page_with_request(change.body, requester=requester),
            **self.dialect.labels_at_once(change.labels),
        }
        try:
            row = self.api.send("POST", f"{self.reader.place}/pulls", body)
        except CannotAnswer as error:
            # It may have been opened all the same, or by another process.
            self._forget()
            there = self.reader.open_of(branch)
            if there is None:
                raise
            if there.author != self.dialect.me():
                raise Conflict(f"{there.author} opened #{there.number} from {branch}") from error
            return there
        opened = self.reader.as_opened(row)
        if set(opened.labels) != set(change.labels):
            self.dialect.set_labels(row["number"], change.labels)
        return replace(opened, labels=tuple(change.labels))

    def _reword(
        self, before: PullRequest, change: Change, requester: Person | None = None
    ) -> PullRequest:
        asked = requester or before.requester
        title = safe_line(change.title)
        if (before.title, before.body) != (title, change.body) or asked != before.requester:
            page = page_with_request(change.body, requester=asked)
            self.api.send("PATCH", self._pull(before.number), {"title": title, "body": page})
        if set(before.labels) != set(change.labels):
            self.dialect.set_labels(before.number, change.labels)
        self._forget()
        return self.get(before.number)

    def _merge(self, number: int, sha: str, *, at_once: bool) -> MergeAnswer:
        pull = self._read_for_merge(number, at_once=at_once)
        if pull.state is PullState.MERGED and pull.merged_as:
            return Merged(commit=pull.merged_as)
        if pull.state is not PullState.OPEN:
            raise Refused(f"pull request {number} is {pull.state}")
        if pull.head != sha:
            raise Stale(
                f"pull request {number} moved to {pull.head}, {sha} is not its head any more",
                hint=f"modelyard pr show {number}",
            )
        self._check_stack(pull)
        refuse_unready(self.heads, pull, page=self._page(number))
        answer = self.dialect.merge(
            number,
            sha=sha,
            title=f"Merge pull request #{number} from {pull.branch}",
            message=merge_message(self.heads, pull, me=self.dialect.me()),
            at_once=at_once,
            deletes_branch=parse_branch(pull.branch) is not None,
        )
        forget_snapshot()  # it moved the main branch
        self._forget()
        if isinstance(answer, Merged) and parse_branch(pull.branch) is not None:
            self._over[pull.branch] = sha
            if self._listed is None:
                self._delete_branches()
        return answer

    def _delete_branches(self) -> None:
        """Delete the branches of what was merged; in a pass at its end, as nothing waits for it."""
        while self._over:
            self.heads.delete(*self._over.popitem())

    def _read_for_merge(self, number: int, *, at_once: bool) -> PullRequest:
        """Read a pull request; of a rollback not what people said, as it needs nobody's word."""
        row = self.reader.row(number)
        branch = parse_branch(self.reader.branch(row))
        if at_once and branch is not None and branch.purpose is Purpose.ROLLBACK:
            pull = self.reader.as_opened(row)
            said = self._statuses_set_on(pull)
            if not said.keys() >= set(REQUIRED):  # else the forge has taken them a moment ago
                said = self.reader.statuses(number, pull.head)
            return replace(pull, statuses=said)
        forget_snapshot()  # what it is merged into decides what it needs
        return self.reader.in_full(row)

    def _statuses_set_on(self, pull: PullRequest) -> Mapping[str, Status]:
        """The statuses of this head that were set last, if they are this pull request's."""
        return self._statuses_set.get((pull.number, pull.head), {})

    def _open_of(self, branch: str) -> PullRequest | None:
        """Return the open pull request of a branch, as this pass listed it if it did.

        That of a rollback is asked for, if its branch is there: it is merged at once, so nobody
        looks at it again.
        """
        named = parse_branch(branch)
        is_rollback = named is not None and named.purpose is Purpose.ROLLBACK
        if is_rollback and self.heads.tip(branch) is None:
            return None  # if there is one all the same, the forge opens no other
        if is_rollback or self._listed is None or "open" not in self._listed:
            return self.reader.open_of(branch)
        return next((pull for pull in self._listed["open"] if pull.branch == branch), None)

    def _check_stack(self, pull: PullRequest) -> None:
        if not pull.is_stacked:
            return
        branch = parse_branch(pull.branch)
        if branch is not None and branch.purpose is Purpose.ROLLBACK:
            # Whoever stacks something on it must not keep it from getting out.
            self.close(pull.number, reason=f"{STACKED}. Another one is opened instead.")
            raise Stale(f"pull request {pull.number} is closed: {STACKED}")
        raise Refused(
            f"pull request {pull.number} may not be merged: {STACKED}", hint=self._page(pull.number)
        )

    def _account(self, person: Person) -> Person:
        """Return the account of a person who is known by name only."""
        if person.id.isdecimal():
            return person
        found = self.dialect.person(person.login)
        if found is None:
            raise Refused(
                f"the forge knows nobody called {safe_line(person.login)}",
                hint="give your login there: --as LOGIN",
            )
        return found

    def _marked(self, number: int, marker: str) -> list[dict[str, Any]]:
        me = self.dialect.me()
        rows = list(self.api.pages(f"{self._issue(number)}/comments"))
        mine = {int(row["id"]): row for row in rows if comment_of(row, me).marker == marker}
        return [mine[number] for number in sorted(mine)]

    def _delete_comment(self, comment: int) -> None:
        try:
            self.api.send("DELETE", f"{self.reader.place}/issues/comments/{comment}")
        except Answered as error:
            if error.status not in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
                raise  # else another writer was as fast, and it is gone

    def _note_comment(self, number: int, body: str, marker: str | None) -> None:
        """Put a comment into the listing of a pass: nothing else depends on it."""
        if self._listed is None or "open" not in self._listed:
            return
        said = Comment(author=self.dialect.me(), body=body, at=datetime.now(tz=UTC), marker=marker)
        self._listed["open"] = tuple(
            pull
            if pull.number != number
            else replace(pull, comments=(*_others(pull.comments, marker), said))
            for pull in self._listed["open"]
        )

    def _forget(self) -> None:
        if self._listed is not None:
            self._listed.clear()

    def _pull(self, number: int) -> str:
        return f"{self.reader.place}/pulls/{number}"

    def _issue(self, number: int) -> str:
        return f"{self.reader.place}/issues/{number}"

    def _page(self, number: int) -> str:
        return self.dialect.page(number)


def _others(comments: Iterable[Comment], marker: str | None) -> Iterator[Comment]:
    """The comments that another with this marker does not replace."""
    return (each for each in comments if marker is None or each.marker != marker)
