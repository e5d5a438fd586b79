"""How a change or a branch becomes a pull request of the local forge, or refreshes its open one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from modelyard.adapters.forge.local.view import ForgeSnapshot, StoredPull
from modelyard.adapters.forge.local.writer import ForgeWriter, Updates
from modelyard.adapters.git.names import message_of, readable
from modelyard.adapters.specs.json_documents import HINT, Unreadable
from modelyard.domain.promotion.change import Change, Purpose
from modelyard.domain.promotion.pulls import PullRequest, PullState
from modelyard.errors import Refused


def propose(
    writer: ForgeWriter, change: Change, *, author: str, requester: str | None
) -> PullRequest:
    """One attempt of `PullRequests.propose`: looks, writes objects, ends in at most one push."""
    branch = writer.branch_ref(change.branch)
    look = writer.look()
    main = look.main()
    tree = writer.git.write_tree(main, change.documents)
    if tree == writer.git.tree_hash(main):
        raise Refused(
            f"nothing to change: {writer.main} holds all that {change.branch} would write"
        )
    stored, tip = look.open_of(change.branch), look.tip(change.branch)
    if stored and tip and not _is_shut(look, tip, change) and _holds(writer, main, tip, change):
        return _reworded(
            writer,
            look,
            stored,
            title=change.title,
            body=change.body,
            trailers=change.trailers,
            labels=change.labels,
            requester=requester,
        )
    if not (stored and tip):
        _check_not_hidden(look, change)
    head = writer.git.commit_tree(
        tree,
        parents=[main],
        message=message_of(change.title, change.trailers),
        author=author,
        at=writer.clock.now(),
    )
    writer.remote.here.add(head)
    updates: Updates = {branch: (tip, head)}
    if stored and tip:
        after = _rebuilt(stored, change, base=main, head=head, requester=requester)
        return _published(writer, look, after, "Rebuild", updates)
    pull = _new(
        writer, look, change.branch, title=change.title, body=change.body, author=author, head=head
    )
    pull = replace(pull, requester=requester, labels=change.labels)
    after = StoredPull(pull=pull, trailers=dict(change.trailers))
    return _published(writer, look, after, "Open", {**updates, **_gone(writer, look, stored)})


def _is_shut(look: ForgeSnapshot, head: str, change: Change) -> bool:
    """Whether nobody can say any more that a rollback may be merged at this head."""
    if change.purpose is not Purpose.ROLLBACK:
        return False
    try:
        look.statuses_of(head)
    except Unreadable:
        return True
    return False


def _check_not_hidden(look: ForgeSnapshot, change: Change) -> None:
    """Raise `Refused` where an unreadable pull request may be open for this change, or declined.

    A rollback waits for nobody: at worst its branch has two pull requests, of which one is merged.
    """
    if change.purpose is not Purpose.ROLLBACK and (ref := look.hidden(change.branch)):
        raise Refused(f"{ref} cannot be read and may be about {change.branch} already", hint=HINT)


def open_branch(
    writer: ForgeWriter, branch: str, *, title: str, body: str, author: str
) -> PullRequest:
    """One attempt of `LocalForge.open_branch`."""
    writer.branch_ref(branch)
    look = writer.look()
    head = look.tip(branch)
    if head is None:
        where = writer.remote.remote
        raise Refused(f"{where} has no branch {branch}", hint=f"git push {where} {branch}")
    main = look.main()
    writer.remote.ensure([head])
    if writer.git.is_ancestor(head, main):
        raise Refused(f"nothing to change: {writer.main} holds all that {branch} has")
    if stored := look.open_of(branch):
        kept = stored.pull.labels
        return _reworded(
            writer,
            look,
            stored,
            title=title,
            body=body,
            trailers=stored.trailers,
            labels=kept,
            requester=None,
        )
    pull = _new(writer, look, branch, title=title, body=body, author=author, head=head)
    made = replace(pull, contributors=look.contributors(pull, head))
    return _published(writer, look, StoredPull(pull=made), "Open", {})


def _holds(writer: ForgeWriter, main: str, head: str, change: Change) -> bool:
    writer.remote.ensure([head])
    return writer.git.holds_change(main, head, change.documents)


def _reworded(
    writer: ForgeWriter,
    look: ForgeSnapshot,
    stored: StoredPull,
    *,
    title: str,
    body: str,
    trailers: Mapping[str, str],
    labels: tuple[str, ...],
    requester: str | None,
) -> PullRequest:
    """The open pull request with these words; head and reviews stay.

    Whoever asks for what is proposed already is written down, and may not approve it either.
    """
    before = replace(stored, pull=look.real(stored))
    asked = before.pull.requester or requester
    pull = replace(before.pull, title=readable(title), body=body, labels=labels, requester=asked)
    after = StoredPull(pull=pull, trailers=dict(trailers))
    if after != before:
        return _published(writer, look, after, "Reword", {})
    return replace(pull, statuses=look.statuses([pull.head])[pull.head])


def _rebuilt(
    stored: StoredPull, change: Change, *, base: str, head: str, requester: str | None
) -> StoredPull:
    """The open pull request on a new head; reviews stay listed, with the commits they were of."""
    before = stored.pull
    # What others had committed is not in the new head; who asked before asked for a part of it.
    asked = {before.requester, requester} - {None, requester or before.requester}
    pull = replace(
        before,
        title=readable(change.title),
        body=change.body,
        base=base,
        head=head,
        labels=change.labels,
        requester=requester or before.requester,
        contributors=tuple(sorted(name for name in asked if name)),
    )
    return StoredPull(pull=pull, trailers=dict(change.trailers))


def _new(
    writer: ForgeWriter,
    look: ForgeSnapshot,
    branch: str,
    *,
    title: str,
    body: str,
    author: str,
    head: str,
) -> PullRequest:
    """A pull request under the next number; creating its ref decides who gets the number."""
    return PullRequest(
        number=max(look.numbers(), default=0) + 1,
        branch=branch,
        title=readable(title),
        body=body,
        author=readable(author),
        base=look.main(),
        head=head,
        state=PullState.OPEN,
        opened_at=writer.clock.now(),
    )


def _gone(writer: ForgeWriter, look: ForgeSnapshot, stored: StoredPull | None) -> Updates:
    """Close on paper what somebody closed by deleting its branch, before the branch is back."""
    if stored is None:
        return {}
    closed = replace(stored.pull, state=PullState.CLOSED, closed_at=writer.clock.now())
    return writer.pull_update(look, replace(stored, pull=closed), "Close")


def _published(
    writer: ForgeWriter, look: ForgeSnapshot, after: StoredPull, what: str, updates: Updates
) -> PullRequest:
    """Push the document with the other updates; returns what the forge says from now on."""
    writer.push({**updates, **writer.pull_update(look, after, what)})
    head = after.pull.head
    return replace(after.pull, statuses=look.statuses([head])[head])
