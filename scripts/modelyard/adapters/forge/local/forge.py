"""The forge without a service: pull requests as documents in the refs of a bare repository."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from modelyard.adapters.forge.local import merge as local_merge
from modelyard.adapters.forge.local import propose as local_propose
from modelyard.adapters.forge.local.view import BRANCHES
from modelyard.adapters.forge.local.writer import ForgeWriter, check_head, check_open, full_sha
from modelyard.adapters.git.names import readable
from modelyard.adapters.git.remote_refs import RemoteRefs, retry_on_conflict
from modelyard.adapters.git.repository import Git
from modelyard.domain.promotion.change import Change
from modelyard.domain.promotion.pulls import Comment, PullRequest, PullState, Review, Status
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer, Refused
from modelyard.ports import Clock


class LocalForge:
    """`ports.PullRequests` on a bare repository.

    A branch is a branch. Everything else is a JSON document in a commit: a pull request at
    `refs/modelyard/pulls/<number>`, the statuses of a commit at `refs/modelyard/statuses/<sha>`.
    Each call that changes something ends in one push of all it changes, from exactly what it read,
    and whoever comes second reads again. So a call that was killed either happened or did not, and
    may be repeated. Names are as people give them: the bare repository's permissions are what
    keeps others out.

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
        """See `ports.PullRequests`."""

        def attempt() -> tuple[PullRequest, ...]:
            found = self._writer.look().pulls()
            return tuple(pull for pull in found if every or pull.state is PullState.OPEN)

        return retry_on_conflict(attempt)

    def unreadable(self) -> tuple[CannotAnswer, ...]:
        """See `ports.PullRequests`."""
        return retry_on_conflict(lambda: self._writer.look().unreadable())

    def get(self, number: int) -> PullRequest:
        """See `ports.PullRequests`."""
        return retry_on_conflict(lambda: self._writer.look().pull(number))

    def files(self, number: int) -> tuple[str, ...]:
        """See `ports.PullRequests`."""
        return retry_on_conflict(lambda: self._files(number))

    def propose(self, change: Change, *, author: str, requester: str | None = None) -> PullRequest:
        """See `ports.PullRequests`.

        Raises:
            Refused: The main branch already is as the change wants it.
        """
        return retry_on_conflict(
            lambda: local_propose.propose(self._writer, change, author=author, requester=requester)
        )

    def open_branch(self, branch: str, *, title: str, body: str, author: str) -> PullRequest:
        """Open a pull request for a branch somebody pushed, or reword the open one.

        Raises:
            Refused: There is no such branch, or nothing in it that the main branch does not have.
        """
        return retry_on_conflict(
            lambda: local_propose.open_branch(
                self._writer, branch, title=title, body=body, author=author
            )
        )

    def close(self, number: int, *, by: str, reason: str) -> None:
        """See `ports.PullRequests`."""

        def closed(pull: PullRequest) -> PullRequest:
            if pull.state is PullState.MERGED:
                raise Refused(f"pull request {number} is merged already")
            if pull.closed_at is not None:
                return pull
            said = Comment(author=readable(by), body=reason, at=self._writer.clock.now())
            return replace(
                pull,
                state=PullState.CLOSED,
                comments=(*pull.comments, said),
                closed_at=said.at,
                closed_by=said.author,
            )

        self._edit(number, closed, "Close")

    def merge(self, number: int, *, sha: str, by: str) -> str:
        """See `ports.PullRequests`."""
        return retry_on_conflict(
            lambda: local_merge.merge(self._writer, number, sha=sha, by=readable(by))
        )

    def review(self, number: int, *, sha: str, by: str, approved: bool) -> None:
        """See `ports.PullRequests`; the same word of the same person again changes nothing."""

        def reviewed(pull: PullRequest) -> PullRequest:
            check_open(pull)
            check_head(pull, sha)
            new = Review(
                author=readable(by), approved=approved, sha=sha, at=self._writer.clock.now()
            )
            said = [r.approved for r in pull.reviews if (r.author, r.sha) == (new.author, sha)]
            if said[-1:] == [approved]:
                return pull
            return replace(pull, reviews=(*pull.reviews, new))

        self._edit(number, reviewed, "Review")

    def comment(self, number: int, *, by: str, body: str, marker: str | None = None) -> None:
        """See `ports.PullRequests`."""

        def commented(pull: PullRequest) -> PullRequest:
            new = Comment(
                author=readable(by), body=body, at=self._writer.clock.now(), marker=marker
            )
            for index, said in enumerate(pull.comments):
                if marker is not None and said.marker == marker:
                    edited = said if said.body == body else new
                    rest = pull.comments[index + 1 :]
                    return replace(pull, comments=(*pull.comments[:index], edited, *rest))
            return replace(pull, comments=(*pull.comments, new))

        self._edit(number, commented, "Comment on")

    def set_status(self, sha: str, status: Status) -> None:
        """See `ports.PullRequests`."""
        full_sha(sha)

        def attempt() -> None:
            look = self._writer.look()
            before = look.statuses_of(sha)
            if before.get(status.context) != status:
                after = {**before, status.context: status}
                self._writer.push(self._writer.statuses_update(look, sha, after, status.context))

        retry_on_conflict(attempt)

    def _edit(self, number: int, edit: Callable[[PullRequest], PullRequest], what: str) -> None:
        """Change a pull request's document; a branch that loses its open one goes away."""

        def attempt() -> None:
            look = self._writer.look()
            stored = look.stored(number)
            before = look.real(stored)
            after = edit(before)
            if after == before:
                return
            updates = self._writer.pull_update(look, replace(stored, pull=after), what)
            if before.state is PullState.OPEN and after.state is not PullState.OPEN:
                updates[BRANCHES + before.branch] = (look.tip(before.branch), None)
            self._writer.push(updates)

        retry_on_conflict(attempt)

    def _files(self, number: int) -> tuple[str, ...]:
        look = self._writer.look()
        pull = look.real(look.stored(number))
        git = self._writer.git
        main = look.main()
        self._writer.remote.ensure([pull.head])
        before = git.rev_parse(f"{pull.merged_as}^1") if pull.merged_as else main
        return git.diff_names(git.merge_base(before, pull.head), pull.head)
