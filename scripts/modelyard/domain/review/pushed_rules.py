"""Rules of the main branch that a push changed, and that no merged pull request stands behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from modelyard.domain.specs.paths import SETTINGS, parse_spec_path

Content: TypeAlias = str | None
"""What Git has at a path: its mode and object; None for nothing."""

Pair: TypeAlias = tuple[Content, Content]
"""Before and after."""


class Way(StrEnum):
    """How a commit came to the main branch."""

    MERGE = "the forge merged a pull request that had all approvals"
    BY_HAND = "a person pushed a pull request that lacked nothing but its merge"
    PUSH = "a push"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One commit of the main branch's own history.

    Args:
        commit: The commit.
        author: The name in it, which proves nothing.
        way: How it came.
        files: What it changed of the files that may hold rules.
        reviewed: What its pull request changed of them, if it was merged by hand.
        accepts: The commit up to which its pull request accepts what was pushed.
        pull: The pull request that it is the merge of, if it had not the approvals for that.
    """

    commit: str
    author: str
    way: Way
    files: Mapping[str, Pair]
    reviewed: Mapping[str, Pair]
    accepts: str | None = None
    pull: int | None = None


@dataclass(frozen=True, kw_only=True)
class PushedFile:
    """A file that a push changed.

    Args:
        before: What was there when it was last reviewed.
        commit: The newest push that changed it.
        author: Its author.
        pull: See `Step.pull`.
    """

    before: Content
    commit: str
    author: str
    pull: int | None = None


@dataclass(frozen=True, kw_only=True)
class PushedRule:
    """A rule in force that a push changed.

    Args:
        file: The file.
        what: From what to what, in words.
        commit: The newest push that changed the file.
        author: Its author.
        environments: Those that the rule can affect.
        pull: See `Step.pull`.
    """

    file: str
    what: str
    commit: str
    author: str
    environments: frozenset[str]
    pull: int | None = None

    def __str__(self) -> str:
        """What happened, as a sentence without its end."""
        lacked = (
            "without a merged pull request"
            if self.pull is None
            else f"by #{self.pull}, which lacked approvals when it was merged"
        )
        return (
            f"commit {self.commit[:10]} by {self.author} changed {self.file} {lacked}: {self.what}"
        )

    @property
    def command(self) -> str:
        """What a person does next."""
        short = self.commit[:10]
        return (
            f"git revert {short}, or propose `reviewed_rules: {self.commit}` in {SETTINGS} to "
            "accept it"
        )

    def concerns(self, model: str) -> bool:
        """Whether it can affect this model."""
        return self.model in {None, model}

    @property
    def model(self) -> str | None:
        """The only model that it can affect; None for all of them."""
        kind, key = parse_spec_path(self.file) or ("", ())
        return key[0] if kind in {"Model", "HeldOut"} else None


def find_pushed_files(
    steps: Iterable[Step],
    changes_rules: Callable[[str, Content, Content, str], bool],
    order: Mapping[str, int],
    known: Mapping[str, PushedFile] | None = None,
) -> Mapping[str, PushedFile]:
    """The files that no longer are what was reviewed, by path.

    - A push that changes no rule, or that brings back what was reviewed, leaves nothing to review.
    - A merged pull request on top of a push does not review the push: its page shows the difference
      from what the push left.
    - A merged pull request accepts pushes by name, see `Step.accepts`.

    Args:
        steps: The main branch's own history since its first merged pull request, oldest first.
        changes_rules: Whether a rule differs between two contents of a file, at a commit.
        order: The place of each commit in that history.
        known: The files as of the commit before the first step; None for none.
    """
    found = dict(known or {})
    for step in steps:
        for path, (before, after) in step.files.items():
            pushed = found.get(path)
            reviewed = pushed.before if pushed else before
            is_back = after == reviewed or step.reviewed.get(path) == (reviewed, after)
            if is_back:
                found.pop(path, None)
            elif step.way is Way.PUSH or (step.way is Way.BY_HAND and pushed is None):
                if changes_rules(path, reviewed, after, step.commit):
                    found[path] = PushedFile(
                        before=reviewed, commit=step.commit, author=step.author, pull=step.pull
                    )
                else:
                    found.pop(path, None)
        limit = order.get(step.accepts or "")
        if limit is not None and limit <= order[step.commit]:
            found = {path: each for path, each in found.items() if order[each.commit] > limit}
    return found


def shortened(rules: Iterable[PushedRule]) -> tuple[PushedRule, ...]:
    """One for each file, with its first change and the number of the others."""
    by_file: dict[str, list[PushedRule]] = {}
    for rule in rules:
        by_file.setdefault(rule.file, []).append(rule)
    return tuple(
        replace(
            first,
            what=f"{first.what} and {len(more)} more" if more else first.what,
            environments=first.environments.union(*(each.environments for each in more)),
        )
        for first, *more in by_file.values()
    )
