"""The forge without a service: pull requests as documents in the refs of a bare repository."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from modelyard.adapters.forge.local import merge as local_merge
from modelyard.adapters.forge.local import propose as local_propose
from modelyard.adapters.forge.local.view import BRANCHES
from modelyard.adapters.forge.local.writer import ForgeDesk, check_head, check_open, full_sha
from modelyard.adapters.git.names import readable
from modelyard.adapters.git.remote_refs import RemoteRefs, again
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
        self._desk = ForgeDesk(
            git=git,
            remote=RemoteRefs(git, repository.remote),
            main=repository.main,
            bot=repository.bot,
            clock=clock,
        )

    def list(self, *, every: bool = False) -> tuple[PullRequest, ...]:
        """See `ports.PullRequests`."""

        def attempt() -> tuple[PullRequest, ...]:
            found = self._desk.look().pulls()
            return tuple(pull for pull in found if every or pull.state is PullState.OPEN)

        return again(attempt)

    def unreadable(self) -> tuple[CannotAnswer, ...]:
        """See `ports.PullRequests`."""
        return again(lambda: self._desk.look().unreadable())

    def get(self, number: int) -> PullRequest:
        """See `ports.PullRequests`."""
        return again(lambda: self._desk.look().pull(number))

    def files(self, number: int) -> tuple[str, ...]:
        """See `ports.PullRequests`."""
        return again(lambda: self._files(number))

    def propose(self, change: Change, *, author: str, requester: str | None = None) -> PullRequest:
        """See `ports.PullRequests`.

        Raises:
            Refused: The main branch already is as the change wants it.
        """
        return again(
            lambda: local_propose.propose(self._desk, change, author=author, requester=requester)
        )

    def open_branch(self, branch: str, *, title: str, body: str, author: str) -> PullRequest:
        """Open a pull request for a branch somebody pushed, or reword the open one.

        Raises:
            Refused: There is no such branch, or nothing in it that the main branch does not have.
        """
        return again(
            lambda: local_propose.open_branch(
                self._desk, branch, title=title, body=body, author=author
            )
        )

    def close(self, number: int, *, by: str, reason: str) -> None:
        """See `ports.PullRequests`."""

        def closed(pull: PullRequest) -> PullRequest:
            if pull.state is PullState.MERGED:
                raise Refused(f"pull request {number} is merged already")
            if pull.closed_at is not None:
                return pull
            said = Comment(author=readable(by), body=reason, at=self._desk.clock.now())
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
        return again(lambda: local_merge.merge(self._desk, number, sha=sha, by=readable(by)))

    def review(self, number: int, *, sha: str, by: str, approved: bool) -> None:
        """See `ports.PullRequests`; the same word of the same person again changes nothing."""

        def reviewed(pull: PullRequest) -> PullRequest:
            check_open(pull)
            check_head(pull, sha)
            new = Review(author=readable(by), approved=approved, sha=sha, at=self._desk.clock.now())
            said = [r.approved for r in pull.reviews if (r.author, r.sha) == (new.author, sha)]
            if said[-1:] == [approved]:
                return pull
            return replace(pull, reviews=(*pull.reviews, new))

        self._edit(number, reviewed, "Review")

    def comment(self, number: int, *, by: str, body: str, marker: str | None = None) -> None:
        """See `ports.PullRequests`."""

        def commented(pull: PullRequest) -> PullRequest:
            new = Comment(author=readable(by), body=body, at=self._desk.clock.now(), marker=marker)
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
            look = self._desk.look()
            before = look.statuses_of(sha)
            if before.get(status.context) != status:
                after = {**before, status.context: status}
                self._desk.push(self._desk.statuses_update(look, sha, after, status.context))

        again(attempt)

    def _edit(self, number: int, edit: Callable[[PullRequest], PullRequest], what: str) -> None:
        """Change a pull request's document; a branch that loses its open one goes away."""

        def attempt() -> None:
            look = self._desk.look()
            stored = look.stored(number)
            before = look.real(stored)
            after = edit(before)
            if after == before:
                return
            updates = self._desk.pull_update(look, replace(stored, pull=after), what)
            if before.state is PullState.OPEN and after.state is not PullState.OPEN:
                updates[BRANCHES + before.branch] = (look.tip(before.branch), None)
            self._desk.push(updates)

        again(attempt)

    def _files(self, number: int) -> tuple[str, ...]:
        look = self._desk.look()
        pull = look.real(look.stored(number))
        git = self._desk.git
        main = look.main()
        self._desk.remote.ensure([pull.head])
        before = git.rev_parse(f"{pull.merged_as}^1") if pull.merged_as else main
        return git.diff_names(git.merge_base(before, pull.head), pull.head)
