"""Opens a pull request of the local forge for a change or a branch, or refreshes the open one."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches

from modelyard.adapters.forge.local.room import Updates, find_blockers
from modelyard.adapters.forge.local.snapshot import BRANCHES, ForgeSnapshot, StoredPull
from modelyard.adapters.forge.local.writer import ForgeWriter
from modelyard.adapters.git.names import message_of, safe_line
from modelyard.adapters.git.process import Rejected
from modelyard.adapters.specs.json_documents import HINT, Unreadable
from modelyard.domain.people import Person
from modelyard.domain.promotion.change import Change, Purpose, hint_for_author, parse_branch
from modelyard.domain.promotion.pulls import PullRequest, PullState
from modelyard.errors import Refused

logger = logging.getLogger(__name__)

# Names that a rollback tries, of those that `parse_branch` knows.
_MOST_NAMES, _LAST_NUMBER = 3, 1000


def propose_change(
    writer: ForgeWriter, change: Change, *, author: str, requester: str | None
) -> PullRequest:
    """One attempt of `PullRequests.propose`: reads, writes objects, ends in at most one change.

    A rollback takes another branch where the remote moves its own for nobody.
    """
    snapshot = writer.read_snapshot()
    try:
        return _propose(writer, snapshot, change, author=author, requester=requester)
    except Rejected as error:
        for branch in _other_names(snapshot, change):
            logger.warning("%s: %s is tried instead", error.message, branch)
            other = replace(change, branch=branch)
            with suppress(Rejected):
                return _propose(writer, snapshot, other, author=author, requester=requester)
        raise


def _other_names(snapshot: ForgeSnapshot, change: Change) -> Iterator[str]:
    """Other branches for a rollback, nearest first; none for other changes, which can wait."""
    branch = parse_branch(change.branch)
    if branch is None or branch.purpose is not Purpose.ROLLBACK:
        return
    names = (str(replace(branch, number=number)) for number in range(2, _LAST_NUMBER))
    # Left over from an earlier rollback, it may be as protected as the first.
    free = (
        name
        for name in names
        if (snapshot.open_of(name) or snapshot.branch_head(name) is None)
        and not find_blockers(snapshot.refs, f"{BRANCHES}{name}")
    )
    yield from itertools.islice(free, _MOST_NAMES)


def _propose(
    writer: ForgeWriter,
    snapshot: ForgeSnapshot,
    change: Change,
    *,
    author: str,
    requester: str | None,
) -> PullRequest:
    branch = writer.branch_ref(change.branch)
    main = snapshot.main_head()
    tree = writer.git.write_tree(main, change.documents)
    if tree == writer.git.tree_hash(main):
        raise Refused(
            f"nothing to change: {writer.main} holds all that {change.branch} would write"
        )
    stored, tip = snapshot.open_of(change.branch), snapshot.branch_head(change.branch)
    # A pull request that somebody else put on the tool's branch is not taken over: its author, and
    # the people who approved it, did not mean this change.
    others = stored if stored and stored.pull.author != Person.named(safe_line(author)) else None
    stored = None if others else stored
    if (
        stored
        and tip
        and not _is_blocked(snapshot, tip, change)
        and _holds_change(writer, main, tip, change)
    ):
        return _reword(
            writer,
            snapshot,
            stored,
            title=change.title,
            body=change.body,
            trailers=change.trailers,
            labels=change.labels,
            requester=requester,
        )
    # A new pull request could be a duplicate of one that cannot be read.
    if not (stored and tip):
        _refuse_hidden(snapshot, change)
    head = writer.git.commit_tree(
        tree,
        parents=[main],
        message=message_of(change.title, change.trailers),
        author=author,
        at=writer.clock.now(),
    )
    # It was written here a moment ago; git need not be asked.
    writer.remote.here.add(head)
    updates: Updates = {branch: (tip, head)}
    if stored and tip:
        after = _rebuild(stored, change, base=main, head=head, requester=requester)
        return _publish(writer, snapshot, after, "Rebuild", updates)
    pull = _new_pull(
        writer,
        snapshot,
        change.branch,
        title=change.title,
        body=change.body,
        author=author,
        head=head,
    )
    asked = None if requester is None else Person.named(requester)
    pull = replace(pull, requester=asked, labels=change.labels)
    after = StoredPull(pull=pull, trailers=dict(change.trailers))
    closed = _close_deleted(writer, snapshot, stored or others)
    return _publish(writer, snapshot, after, "Open", {**updates, **closed})


def _is_blocked(snapshot: ForgeSnapshot, head: str, change: Change) -> bool:
    """Whether a rollback can never be merged at this head, since its statuses are unreadable."""
    if change.purpose is not Purpose.ROLLBACK:
        return False
    try:
        snapshot.stored_statuses(head)
    except Unreadable:
        return True
    return False


def _refuse_hidden(snapshot: ForgeSnapshot, change: Change) -> None:
    """Raise `Refused` where an unreadable pull request may be about this change already.

    A rollback goes ahead: at worst its branch has two pull requests, of which one is merged.
    """
    if change.purpose is not Purpose.ROLLBACK and (
        ref := snapshot.unreadable_pull_of(change.branch)
    ):
        raise Refused(f"{ref} cannot be read and may be about {change.branch} already", hint=HINT)


def propose_branch(
    writer: ForgeWriter, branch: str, *, title: str, body: str, author: str
) -> PullRequest:
    """One attempt of `LocalForge.open_branch`."""
    writer.branch_ref(branch)
    # In any name: a person may give the tool's, and the tool proposes changes instead.
    if parse_branch(branch) is not None:
        raise Refused(
            f"only the tool opens pull requests from {branch}", hint=hint_for_author(branch)
        )
    snapshot = writer.read_snapshot()
    head = snapshot.branch_head(branch)
    if head is None:
        where = writer.remote.remote
        close = get_close_matches(branch, snapshot.branches(), n=1)
        hint = f"git push {where} {branch}" + (f"; or did you mean {close[0]}?" if close else "")
        raise Refused(f"{where} has no branch {branch}", hint=hint)
    main = snapshot.main_head()
    writer.remote.ensure_commits([head])
    if writer.git.is_ancestor(head, main):
        raise Refused(f"nothing to change: {writer.main} holds all that {branch} has")
    if stored := snapshot.open_of(branch):
        kept = stored.pull.labels
        return _reword(
            writer,
            snapshot,
            stored,
            title=title,
            body=body,
            trailers=stored.trailers,
            labels=kept,
            requester=None,
        )
    pull = _new_pull(writer, snapshot, branch, title=title, body=body, author=author, head=head)
    made = replace(pull, contributors=snapshot.contributors_of(pull, head))
    return _publish(writer, snapshot, StoredPull(pull=made), "Open", {})


def _holds_change(writer: ForgeWriter, main: str, head: str, change: Change) -> bool:
    writer.remote.ensure_commits([head])
    return writer.git.holds_change(main, head, change.documents)


def _reword(
    writer: ForgeWriter,
    snapshot: ForgeSnapshot,
    stored: StoredPull,
    *,
    title: str,
    body: str,
    trailers: Mapping[str, str],
    labels: tuple[str, ...],
    requester: str | None,
) -> PullRequest:
    """The open pull request with these words; head and reviews stay.

    A person who asks for the same change again may not approve it either.
    """
    before = replace(stored, pull=snapshot.actual_pull(stored))
    also = None if requester is None else Person.named(requester)
    asked = before.pull.requester or also
    contributors = before.pull.contributors
    # The second who asks for it wants it as much as the first.
    if also and also not in (asked, *contributors):
        contributors = tuple(sorted((*contributors, also), key=str))
    pull = replace(
        before.pull,
        title=safe_line(title),
        body=body,
        labels=labels,
        requester=asked,
        contributors=contributors,
    )
    after = StoredPull(pull=pull, trailers=dict(trailers))
    if after != before:
        return _publish(writer, snapshot, after, "Reword", {})
    return snapshot.with_statuses([pull])[0]


def _rebuild(
    stored: StoredPull, change: Change, *, base: str, head: str, requester: str | None
) -> StoredPull:
    """The open pull request on a new head; reviews stay listed with the commits they are about."""
    before = stored.pull
    # What others committed is not in the new head. An earlier requester asked for a part of it.
    again = before.requester if requester is None else Person.named(requester)
    earlier = before.requester if before.requester != again else None
    pull = replace(
        before,
        title=safe_line(change.title),
        body=change.body,
        base=base,
        head=head,
        labels=change.labels,
        requester=again,
        contributors=(earlier,) if earlier else (),
    )
    return StoredPull(pull=pull, trailers=dict(change.trailers))


def _new_pull(
    writer: ForgeWriter,
    snapshot: ForgeSnapshot,
    branch: str,
    *,
    title: str,
    body: str,
    author: str,
    head: str,
) -> PullRequest:
    """A pull request under the next number; creating its ref decides which process gets it."""
    return PullRequest(
        number=snapshot.free_number(),
        branch=branch,
        title=safe_line(title),
        body=body,
        author=Person.named(safe_line(author)),
        base=snapshot.main_head(),
        head=head,
        state=PullState.OPEN,
        opened_at=writer.clock.now(),
    )


def _close_deleted(
    writer: ForgeWriter, snapshot: ForgeSnapshot, stored: StoredPull | None
) -> Updates:
    """Close the pull request whose branch was deleted, or was never its author's to use."""
    if stored is None:
        return {}
    closed = replace(stored.pull, state=PullState.CLOSED, closed_at=writer.clock.now())
    return writer.pull_update(snapshot, replace(stored, pull=closed), "Close")


def _publish(
    writer: ForgeWriter, snapshot: ForgeSnapshot, after: StoredPull, what: str, updates: Updates
) -> PullRequest:
    """Push the document with the other updates; returns the pull request as it is from now on."""
    writer.push({**updates, **writer.pull_update(snapshot, after, what)}, snapshot)
    return snapshot.with_statuses([after.pull])[0]
