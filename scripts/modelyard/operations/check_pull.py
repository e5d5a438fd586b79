"""Checks in any CI that a pull request changes only what its branch may change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.adapters.forge.guard import Proposed, find_guard_problems
from modelyard.adapters.git.names import safe_line
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.documents import read_spec
from modelyard.domain.promotion.change import parse_branch
from modelyard.domain.specs.paths import SETTINGS
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer, Refused

_PULL_EVENTS = frozenset({"pull_request", "pull_request_target"})


@dataclass(frozen=True, kw_only=True)
class PullArguments:
    """A pull request as the command line or a CI's event names it; None where neither does.

    Args:
        branch: The head branch.
        base: The name of the branch it is proposed for.
        head: The head commit.
        author: Who opened it.
    """

    branch: str | None = None
    base: str | None = None
    head: str | None = None
    author: str | None = None

    def or_else(self, other: PullArguments) -> PullArguments:
        """Return these arguments, with the other's where one is missing."""
        return PullArguments(
            branch=self.branch or other.branch,
            base=self.base or other.base,
            head=self.head or other.head,
            author=self.author or other.author,
        )


def read_github_event(environ: Mapping[str, str]) -> PullArguments | None:
    """Return the pull request of a run of GitHub Actions; None for a run about none.

    Everything in the event is text that anybody may have written. It is read as data.

    Raises:
        CannotAnswer: The run is about a pull request, but its event cannot be read.
    """
    if environ.get("GITHUB_EVENT_NAME") not in _PULL_EVENTS:
        return None
    file = Path(environ.get("GITHUB_EVENT_PATH", ""))
    try:
        event = json.loads(file.read_bytes())
        pull = event["pull_request"]
        found = PullArguments(
            branch=_text(pull["head"]["ref"]),
            base=_text(pull["base"]["ref"]),
            head=_text(pull["head"]["sha"]),
            author=_text(pull["user"]["login"]),
        )
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise CannotAnswer(
            f"the event in {file} names no pull request: {type(error).__name__}",
            hint="give --branch, --base, --head and --author",
        ) from error
    for name, value in (("GITHUB_HEAD_REF", found.branch), ("GITHUB_BASE_REF", found.base)):
        if environ.get(name, value) != value:
            said = safe_line(environ[name])
            raise CannotAnswer(f"{name} is {said}, but the event says {safe_line(value or '')}")
    return found


def check_branch(root: Path, remote: str, pull: PullArguments) -> list[str]:
    """Return why the pull request may not be merged, one sentence each; empty if it may.

    The settings are those of the base: a pull request does not choose the rules it is checked by.

    Raises:
        CannotAnswer: A commit is not in this checkout, or nobody knows who opened it.
        Refused: It is not for the main branch, or conflicts with it.
    """
    git = Git(root)
    if pull.branch is None or pull.base is None:
        raise CannotAnswer("which pull request is not known", hint="give --branch and --base")
    main = _commit(git, f"refs/remotes/{remote}/{pull.base}", hint=f"git fetch {remote}")
    head = _commit(git, pull.head or "HEAD", hint="fetch it, with enough history")
    settings = read_spec(Repository, git.read_file(main, SETTINGS), name=SETTINGS)
    if pull.base != settings.main:
        # A word said of one base would otherwise open another, once the base is edited.
        raise Refused(
            f"pull requests are for {settings.main}, and this one is for {safe_line(pull.base)}"
        )
    if pull.author is None and parse_branch(pull.branch) is not None:
        raise CannotAnswer(f"who opened {pull.branch} is not known", hint="give --author")
    merged = git.merge_tree(main, head)
    if merged.conflicts:
        raise Refused(f"it conflicts with {settings.main} in {', '.join(merged.conflicts)}")
    proposed = Proposed(
        branch=pull.branch, author=pull.author or "", head=head, main=main, bot=settings.bot
    )
    return find_guard_problems(git, proposed)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(value)
    return value


def _commit(git: Git, revision: str, *, hint: str) -> str:
    try:
        return git.rev_parse(f"{revision}^{{commit}}")
    except CannotAnswer as error:
        what = safe_line(revision)
        raise CannotAnswer(f"{what} is not in this checkout", hint=hint) from error
