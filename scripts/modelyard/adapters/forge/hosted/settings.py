"""What a forge should be set to, what it is set to, and the requests in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from modelyard.adapters.forge.hosted.api import Answered, ForgeApi
from modelyard.domain.specs.environment import Environment

LABEL_COLOUR = "ededed"

RELEASE_TAGS = "v*"
"""The tags that a release is made of."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request that changes a setting."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None


class Subject(StrEnum):
    """What a setting is about."""

    PAGES = "pages"
    BRANCHES = "branches"
    WORKFLOWS = "workflows"
    ACCOUNT = "account"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One thing that is wanted of a forge.

    Args:
        subject: What it is about.
        what: What should hold, in a sentence.
        lacks: What does not; nothing if it holds.
        requests: What makes it hold, in order.
        by_hand: What a person does where no request may.
    """

    subject: Subject
    what: str
    lacks: tuple[str, ...] = ()
    requests: tuple[Request, ...] = ()
    by_hand: str = ""


@dataclass(frozen=True, kw_only=True)
class WantedForge:
    """What the settings of a forge are made of.

    Args:
        main: The main branch.
        state: The branch that only the tool writes.
        bot: The tool's login.
        statuses: The required statuses.
        labels: The labels that the tool uses for every model.
        environments: The environments of the main branch.
    """

    main: str
    state: str
    bot: str
    statuses: tuple[str, ...]
    labels: tuple[str, ...]
    environments: tuple[Environment, ...] = field(default=())

    @property
    def what_of_main(self) -> str:
        """What should hold of the main branch."""
        return f"{self.main} changes by checked pull requests"

    @property
    def what_of_state(self) -> str:
        """What should hold of the branch of the facts."""
        return f"only {self.bot} writes {self.state}"

    @property
    def what_of_tags(self) -> str:
        """What should hold of the tags of releases."""
        return f"only {self.bot} makes tags {RELEASE_TAGS}, and they stay"


Reader = Callable[[], Iterable[Setting]]


def read_each(readers: Iterable[tuple[Subject, str, Reader]]) -> Iterator[Setting]:
    """Yield the settings of each reader; one that the token may not see lacks just that."""
    for subject, what, read in readers:
        try:
            yield from read()
        except Answered as error:
            if error.status not in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
                raise
            why = f"this token may not see it: {error.message}"
            who = (
                "use the token of an administrator, with `members: read` if a team approves, or "
                "give the App `administration: read` and `members: read`"
            )
            yield Setting(subject=subject, what=what, lacks=(why,), by_hand=who)


def lacking_labels(api: ForgeApi, place: str, wanted: Iterable[str], *, color: str) -> Setting:
    """Return whether a repository has the labels."""
    known = {row["name"] for row in api.pages(f"{place}/labels")}
    new = sorted(set(wanted) - known)
    return Setting(
        subject=Subject.PAGES,
        what="the labels of pull requests exist",
        lacks=tuple(f"no label {name}" for name in new),
        requests=tuple(
            Request(method="POST", path=f"{place}/labels", body={"name": name, "color": color})
            for name in new
        ),
    )


def differences(wanted: Any, found: Any, at: str = "") -> Iterator[str]:
    """Yield where what is found lacks what is wanted; what it has besides does not matter.

    Lists are compared as wholes, in any order.
    """
    if isinstance(wanted, Mapping):
        held = found if isinstance(found, Mapping) else {}
        for key, value in wanted.items():
            yield from differences(value, held.get(key), f"{at}.{key}" if at else key)
    elif isinstance(wanted, list):
        # An API may leave out a list that is empty.
        if not _holds_all(wanted, [] if found is None else found):
            yield f"{at} is {_shown(found)}, not {_shown(wanted)}"
    elif wanted != found:
        yield f"{at} is {_shown(found)}, not {_shown(wanted)}"


def _holds_all(wanted: list[Any], found: Any) -> bool:
    if not isinstance(found, list) or len(found) != len(wanted):
        return False
    return all(any(not list(differences(one, other)) for other in found) for one in wanted)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_shown(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return {True: "on", False: "off", None: "not set"}.get(value, str(value))
