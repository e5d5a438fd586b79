"""A forge without a service: pull requests are documents in the refs of a bare repository."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from modelyard.adapters.forge.local.merge import merge_reviewed_head
from modelyard.adapters.forge.local.propose import propose_branch, propose_change
from modelyard.adapters.forge.local.room import Updates
from modelyard.adapters.forge.local.snapshot import BRANCHES
from modelyard.adapters.forge.local.statuses import with_status
from modelyard.adapters.forge.local.writer import (
    ForgeWriter,
    check_head,
    check_open,
    full_sha,
)
from modelyard.adapters.git.names import safe_line
from modelyard.adapters.git.remote_refs import RemoteRefs, retry_on_conflict
from modelyard.adapters.git.repository import Git
from modelyard.domain.people import Person
from modelyard.domain.promotion.change import Change
from modelyard.domain.promotion.pulls import (
    Comment,
    PullRequest,
    PullState,
    PullSummary,
    Review,
    Status,
)
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer, Refused
from modelyard.ports import Clock


class LocalForge:
    """`ports.Desk` on a bare repository.

    A branch is a branch. Everything else is a JSON document in a commit: a pull request at
    `refs/modelyard/pulls/<number>`, the statuses of a commit at `refs/modelyard/statuses/<sha>`,
    each with the branch and the base that it judged.
    Each call ends in one push of all its changes, on top of exactly what it read; the loser of a
    race reads again. So a call that was killed either happened or did not, and may be repeated.
    Names are taken as people give them: the bare repository's permissions keep others out.

    Args:
        git: The checkout.
        repository: Names the remote, the main branch and the bot.
        clock: Dates everything.
    """

    def __init__(self, git: Git, repository: Repository, clock: Clock) -> None:
        self._writer = ForgeWriter(
            git=git,
            remote=RemoteRefs(git, repository.remote),
            main=repository.main,
            bot=repository.bot,
            clock=clock,
        )

    def list(self, *, every: bool = False) -> tuple[PullRequest, ...]:
        """See `ports.Desk`."""

        def attempt() -> tuple[PullRequest, ...]:
            snapshot = self._writer.read_snapshot()
            return snapshot.read_pulls() if every else snapshot.open_pulls()

        return retry_on_conflict(attempt)

    def closed(self) -> tuple[PullSummary, ...]:
        """The merged and closed pull requests by number, without what was said of them."""
        return retry_on_conflict(lambda: self._writer.read_snapshot().closed_pulls())

    def unreadable(self) -> tuple[CannotAnswer, ...]:
        """An error for each pull request, or status of an open one, that cannot be read."""
        return retry_on_conflict(lambda: self._writer.read_snapshot().unreadable())

    def get(self, number: int) -> PullRequest:
        """See `ports.Desk`."""
        return retry_on_conflict(lambda: self._writer.read_snapshot().read_pull(number))

    def address(self, number: int) -> str | None:  # noqa: ARG002 - of the port
        """See `ports.Desk`; a bare repository has no pages."""
        return None

    def files(self, number: int) -> tuple[str, ...]:
        """See `ports.Desk`."""
        return retry_on_conflict(lambda: self._files(number))

    def propose(self, change: Change, *, author: str, requester: str | None = None) -> PullRequest:
        """Open a pull request with the change; see `ports.PullRequests`.

        Raises:
            Refused: The main branch already holds all that the change would write.
        """
        return retry_on_conflict(
            lambda: propose_change(self._writer, change, author=author, requester=requester)
        )

    def open_branch(self, branch: str, *, title: str, body: str, author: str) -> PullRequest:
        """See `ports.Desk`."""
        return retry_on_conflict(
            lambda: propose_branch(self._writer, branch, title=title, body=body, author=author)
        )

    def close(self, number: int, *, by: str, reason: str) -> None:
        """See `ports.Desk`."""

        def closed(pull: PullRequest) -> PullRequest:
            if pull.state is PullState.MERGED:
                raise Refused(f"pull request {number} is merged already")
            # Closed before: the first reason stays.
            if pull.closed_at is not None:
                return pull
            comment = Comment(author=_person(by), body=reason, at=self._writer.clock.now())
            return replace(
                pull,
                state=PullState.CLOSED,
                comments=(*pull.comments, comment),
                closed_at=comment.at,
                closed_by=comment.author,
            )

        self._edit(number, closed, "Close")

    def merge(self, number: int, *, sha: str, by: str) -> str:
        """See `ports.Desk`."""
        return retry_on_conflict(
            lambda: merge_reviewed_head(self._writer, number, sha=sha, by=safe_line(by))
        )

    def review(self, number: int, *, sha: str, by: str, approved: bool) -> None:
        """See `ports.Desk`; the same review again changes nothing."""

        def reviewed(pull: PullRequest) -> PullRequest:
            check_open(pull)
            check_head(pull, sha)
            new = Review(
                author=_person(by), approved=approved, sha=sha, at=self._writer.clock.now()
            )
            before = [r.approved for r in pull.reviews if (r.author, r.sha) == (new.author, sha)]
            if before[-1:] == [approved]:
                return pull
            return replace(pull, reviews=(*pull.reviews, new))

        self._edit(number, reviewed, "Review")

    def comment(self, number: int, *, by: str, body: str, marker: str | None = None) -> None:
        """See `ports.Desk`."""

        def commented(pull: PullRequest) -> PullRequest:
            new = Comment(author=_person(by), body=body, at=self._writer.clock.now(), marker=marker)
            for index, old in enumerate(pull.comments):
                if marker is not None and old.marker == marker:
                    edited = old if old.body == body else new
                    rest = pull.comments[index + 1 :]
                    return replace(pull, comments=(*pull.comments[:index], edited, *rest))
            return replace(pull, comments=(*pull.comments, new))

        self._edit(number, commented, "Comment on")

    def set_status(self, pull: PullRequest, status: Status) -> None:
        """Set a check's status; see `ports.PullRequests`."""
        full_sha(pull.head)

        def attempt() -> None:
            snapshot = self._writer.read_snapshot()
            before = snapshot.stored_statuses(pull.head)
            after = with_status(before, snapshot.subject_of(pull), status)
            if after != before:
                what = status.context
                updates = self._writer.statuses_update(snapshot, pull.head, after, what)
                self._writer.push(updates, snapshot)

        retry_on_conflict(attempt)

    def _edit(self, number: int, edit: Callable[[PullRequest], PullRequest], what: str) -> None:
        """Change a pull request's document; the branch is deleted when it is no longer open."""

        def attempt() -> None:
            snapshot = self._writer.read_snapshot()
            stored = snapshot.stored_pull(number)
            before = snapshot.actual_pull(stored)
            after = edit(before)
            if after == before:
                return
            updates = self._writer.pull_update(snapshot, replace(stored, pull=after), what)
            deletion: Updates = {}
            if before.state is PullState.OPEN and after.state is not PullState.OPEN:
                deletion = {BRANCHES + before.branch: (snapshot.branch_head(before.branch), None)}
            self._writer.push_with_deletion(updates, deletion, snapshot)

        retry_on_conflict(attempt)

    def _files(self, number: int) -> tuple[str, ...]:
        snapshot = self._writer.read_snapshot()
        pull = snapshot.actual_pull(snapshot.stored_pull(number))
        git = self._writer.git
        main = snapshot.main_head()
        self._writer.remote.ensure_commits([pull.head])
        # After the merge the files are those it brought, whatever came to main later.
        before = git.rev_parse(f"{pull.merged_as}^1") if pull.merged_as else main
        return git.diff_names(git.merge_base(before, pull.head), pull.head)


def _person(name: str) -> Person:
    return Person.named(safe_line(name))
