"""What a push does: heads of pull requests move, approvals go stale, webhooks are sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fakes.github.events import emit_pull, emit_push
from fakes.github.git.http import RefUpdate
from fakes.github.rules import rules_of
from fakes.github.state import Activity, Pull, RepositoryState, Token

if TYPE_CHECKING:
    from fakes.github.fake import FakeGitHub


def observe_push(
    fake: FakeGitHub,
    repository: RepositoryState,
    updates: Iterable[RefUpdate],
    token: Token | None,
) -> None:
    """Bring the pull requests in line with the refs that a push has really changed."""
    for update in updates:
        now = repository.git.ref(update.ref)
        if now == (None if update.deletes else update.new) and update.old != update.new:
            if token is not None:
                branch = update.ref.removeprefix("refs/heads/")
                repository.pushers.setdefault(branch, []).append(token.user)
                repository.activity.append(
                    Activity(
                        id=fake.new_id(),
                        user=token.user,
                        branch=branch,
                        before=update.old,
                        after=update.new,
                        at=fake.clock.now(),
                    )
                )
            emit_push(fake, repository, update, token)
    observe_heads(fake, token)


def observe_heads(fake: FakeGitHub, token: Token | None = None) -> None:
    """Move each open pull request to where its branch is now, however it came there."""
    for repository in fake.repositories.values():
        for pull in repository.pulls.values():
            if pull.state != "open":
                continue
            head = pull.source.git.branch(pull.branch)
            if head is None:
                close_pull(fake, repository, pull, token)
            elif head != pull.head:
                _move_head(fake, repository, pull, head, token)


def _move_head(
    fake: FakeGitHub, repository: RepositoryState, pull: Pull, head: str, token: Token | None
) -> None:
    before, pull.head = pull.head, head
    pull.updated = fake.clock.now()
    if token is not None and token.user not in pull.pushers:
        pull.pushers.append(token.user)
    pull.last_pusher = token.user if token else None
    keep_head(repository, pull)
    if _dismisses(repository, pull.base):
        for review in pull.reviews:
            if review.state == "APPROVED" and review.dismissed_at is None:
                review.dismissed_at = fake.clock.now() + fake.dismissal_delay
                review.dismissal = "A push made this review out of date."
    emit_pull(fake, repository, pull, "synchronize", token, before=before, after=head)


def _dismisses(repository: RepositoryState, base: str) -> bool:
    return any(
        rule["type"] == "pull_request"
        and rule.get("parameters", {}).get("dismiss_stale_reviews_on_push")
        for _, rule in rules_of(repository, f"refs/heads/{base}")
    )


def keep_head(repository: RepositoryState, pull: Pull) -> None:
    """Set `refs/pull/N/head`, bringing the commits of a fork over."""
    name = f"refs/pull/{pull.number}/head"
    if pull.source is not repository:
        repository.git.text(
            "fetch", "-q", str(pull.source.git.folder), f"+refs/heads/{pull.branch}:{name}"
        )
    repository.git.set_ref(name, pull.head)


def close_pull(
    fake: FakeGitHub, repository: RepositoryState, pull: Pull, token: Token | None
) -> None:
    """Close a pull request without merging it."""
    pull.state = "closed"
    pull.closed = pull.updated = fake.clock.now()
    pull.closed_by = token.user if token else None
    pull.base_sha = repository.git.branch(pull.base) or pull.base_sha
    emit_pull(fake, repository, pull, "closed", token)
