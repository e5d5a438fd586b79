"""What differs between forges with an API: the `Dialect` of each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Protocol, TypeAlias
from urllib.parse import quote

from modelyard.adapters.forge.hosted.api import Answered, ForgeApi
from modelyard.domain.deployments import Deployment
from modelyard.domain.people import Person
from modelyard.domain.problem import Problem
from modelyard.domain.promotion.pulls import MergeAnswer, Review
from modelyard.errors import CannotAnswer

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class BroughtBy:
    """The pull requests that brought a commit, whatever the way they were merged.

    Args:
        people: Who opened and who merged them.
        heads: Their head commits.
    """

    people: frozenset[Person] = frozenset()
    heads: tuple[str, ...] = ()


class Dialect(Protocol):
    """One forge's words for what every forge can do.

    Attributes:
        sort_by_update: How a listing is asked for with what changed last first.
        ask_for_run: What the address that starts a workflow has so that it answers with the run.
    """

    sort_by_update: str
    ask_for_run: str

    def me(self) -> Person:
        """Return who the token acts as; an App is believed to be the one of the settings."""
        ...

    def signed_in_as(self) -> str:
        """Return the login that the forge gives the credentials, whatever the settings say."""
        ...

    def page(self, number: int | None) -> str:
        """Return the address of a pull request's page; of the list of them without a number."""
        ...

    def person(self, login: str) -> Person | None:
        """Return the account of this login; None if there is none."""
        ...

    def is_in_team(self, team: str, person: Person) -> bool:
        """Whether a person is an active member of a team (`organisation/team`).

        Raises:
            CannotAnswer: There is no such team, or the token may not see it.
        """
        ...

    def may_write_by_team(self, person: Person) -> bool:
        """Whether a team lets a person write who has a lower role where the forge says roles.

        Only a certain yes is one.
        """
        ...

    def review_of(self, row: Json) -> Review | None:
        """Return a review as the forge lists it; None if it neither approves nor objects."""
        ...

    def status_word(self, row: Json) -> str:
        """Return the state of a status as the forge lists it."""
        ...

    def pushers(
        self, branch: str, head: str, *, commits: Collection[str] = ()
    ) -> frozenset[Person] | None:
        """Return who pushed to a branch; None if the push of `head` is not on record.

        Args:
            branch: The branch.
            head: Its commit.
            commits: Those of which it is enough to know who pushed them last; none if everybody
                counts who ever pushed to the branch.
        """
        ...

    def retargeted_at(self, number: int) -> datetime | None:
        """Return when the base branch of a pull request was last changed; None if never."""
        ...

    def people_of_commit(self, sha: str) -> frozenset[Person]:
        """Return who made a commit, as far as the forge knows them."""
        ...

    def merge_of(self, sha: str) -> BroughtBy:
        """Return the pull requests that brought a commit of the main branch."""
        ...

    def closer(self, number: int) -> Person | None:
        """Return who closed a pull request without merging it."""
        ...

    def set_labels(self, number: int, labels: Iterable[str]) -> None:
        """Give a pull request these labels and no others, creating those that are new."""
        ...

    def labels_at_once(self, labels: Iterable[str]) -> Json:
        """Return what the request that opens a pull request says of its labels.

        Nothing where the forge takes none, or one of them would have to be asked for first.
        """
        ...

    def show_problems(self, head: str, problems: Sequence[Problem]) -> None:
        """Show the problems of a commit at their lines, where the forge can."""
        ...

    def show_deployment(self, wanted: Deployment) -> None:
        """Show what an environment has, where the forge has a page for that."""
        ...

    def merge(
        self,
        number: int,
        *,
        sha: str,
        title: str,
        message: str,
        at_once: bool,
        deletes_branch: bool = False,
    ) -> MergeAnswer:
        """Merge a pull request with a merge commit.

        Args:
            number: The pull request.
            sha: The head it must have.
            title: First line of the commit.
            message: The rest.
            at_once: Do not put it into a queue.
            deletes_branch: Delete the branch with it, where the forge can.

        Raises:
            Conflict: The head is another commit.
            Refused: The forge does not allow it.
        """
        ...


def person_of(row: Mapping[str, Any] | None) -> Person | None:
    """Return the user in an answer; None for a deleted one."""
    if not row or not isinstance(row.get("id"), int):
        return None
    return Person(login=str(row.get("login", "")), id=str(row["id"]))


def account_at(api: ForgeApi, path: str) -> Person:
    """Return the account at a path of the API.

    Raises:
        CannotAnswer: There is none.
    """
    found = person_of(api.get(path))
    if found is None:
        raise CannotAnswer(f"GET {path}: names no account", hint="modelyard doctor")
    return found


def find_account(api: ForgeApi, login: str) -> Person | None:
    """Return the account of a login; None if there is none."""
    try:
        return person_of(api.get(f"/users/{quote(login, safe='')}"))
    except Answered as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise
