"""What the local orchestrator runs: steps one after the other, their texts still holding tags."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from modelyard.errors import Refused

ITEM = "item"
"""The tag of the word that a step of a list runs for."""

MOST_ITEMS = 64
"""More pods than this for one step are taken for a mistake."""

_ITEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_TAG = re.compile(r"\{\{([^{}]*)\}\}")
_COULD_NOT_ANSWER = 1  # exit code, see errors.py
_KILLED = (137, 143)  # by SIGKILL and SIGTERM; see `fields.OR_KILLED`


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How often a step that could not answer is tried again.

    Args:
        limit: Further tries.
        wait_seconds: Before the second try.
        factor: How much longer before each further one.
        longest_wait_seconds: What the wait never exceeds.
        after_kill: Whether one that something else ended is tried again too.
    """

    limit: int = 0
    wait_seconds: float = 0.0
    factor: int = 1
    longest_wait_seconds: float = 0.0
    after_kill: bool = False

    def is_wanted(self, *, tries: int, exit_code: int | None) -> bool:
        """Whether it is tried again after this many tries and the last one's exit code, if any."""
        may_help = exit_code in (_COULD_NOT_ANSWER, *(_KILLED if self.after_kill else ()))
        return may_help and tries <= self.limit

    def wait(self, *, tries: int) -> float:
        """Seconds before the next try."""
        wait = self.wait_seconds * float(self.factor) ** (tries - 1)
        return min(wait, self.longest_wait_seconds)


@dataclass(frozen=True, kw_only=True)
class Output:
    """A parameter that a step leaves behind as a file.

    Args:
        path: Relative to the step's work folder.
        default: Its value when there is no file; None makes a missing file an error.
    """

    path: str
    default: str | None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One task with its template.

    Args:
        name: The task's name.
        command: Program and arguments.
        environment: Variables that it gets besides the runner's own.
        outputs: Its output parameters.
        runs_after: The phases of the step before in which this one runs; empty for the first step.
        when: Pairs of words; it is skipped unless one pair is equal. Empty for no condition.
        retry: When it is tried again.
        deadline_seconds: How long one try may take, or None.
        items: A tag whose value is a JSON list of words; the step runs for each of them, side by
            side, with the word as its `ITEM`. Empty to run once.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, Output] = field(default_factory=dict)
    runs_after: frozenset[str] = frozenset()
    when: tuple[tuple[str, str], ...] = ()
    retry: Retry = field(default_factory=Retry)
    deadline_seconds: float | None = None
    items: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A workflow, ready to be walked.

    Args:
        steps: Each runs after the one before it.
        arguments: Its parameters' values.
        deadline_seconds: How long the whole may take, or None.
    """

    steps: tuple[Step, ...]
    arguments: Mapping[str, str]
    deadline_seconds: float | None = None


def fill_tags(text: str, scope: Mapping[str, str]) -> str:
    """The text with every tag replaced; `Refused` when a value is not there."""

    def value(tag: re.Match[str]) -> str:
        if tag[1] not in scope:
            raise Refused(f"there is no value for {tag[0]}")
        return scope[tag[1]]

    return _TAG.sub(value, text)


def fill_known_tags(text: str, scope: Mapping[str, str]) -> str:
    """The text with the tags replaced that have a value."""
    return _TAG.sub(lambda tag: scope.get(tag[1], tag[0]), text)


def condition_holds(when: tuple[tuple[str, str], ...], scope: Mapping[str, str]) -> bool:
    """Whether one pair of words is equal, or there is none.

    Raises:
        Refused: A tag has no value, or its value is not one word.
    """
    pairs = [(fill_tags(left, scope), fill_tags(right, scope)) for left, right in when]
    for word in (word for pair in pairs for word in pair):
        # A value with an operator in it would change the condition.
        if not word.isidentifier():
            raise Refused(f"when compares {word!r}: Argo takes it for a calculation, not a word")
    return not pairs or any(left == right for left, right in pairs)


def read_items(text: str, scope: Mapping[str, str]) -> list[str]:
    """The words of a list that an earlier step left.

    Raises:
        Refused: It is no JSON list of words, or has more of them than a workflow may run.
    """
    value = fill_tags(text, scope)
    try:
        items = json.loads(value)
    except ValueError:
        items = None
    # They become names of files here, and parts of the names of nodes in Argo.
    if not isinstance(items, list) or not all(
        isinstance(each, str) and _ITEM.fullmatch(each) for each in items
    ):
        raise Refused(f"{text} is {value[:100]!r}: expected a JSON list of words")
    if len(items) > MOST_ITEMS:
        raise Refused(f"{text} has {len(items)} words: at most {MOST_ITEMS} run side by side")
    return items


def tags_of(*texts: str) -> set[str]:
    """The names of all tags in the texts."""
    return {tag for text in texts for tag in _TAG.findall(text)}
