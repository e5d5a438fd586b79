"""What a forge's API knows of a comment and of what its author may do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import quote

from modelyard.adapters.forge.events import parse_comment
from modelyard.domain.chatops.authority import Authority, Role, parse_role
from modelyard.domain.chatops.request import Comment
from modelyard.domain.people import Person
from modelyard.errors import CannotAnswer


class Rest(Protocol):
    """Requests to a forge's API; an error raises `CannotAnswer` with the HTTP `status`.

    One that a limit on calls is the reason of has `is_limit`.
    """

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON of a resource."""
        ...

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Make a request that changes something, and return the JSON of its answer, if any."""
        ...


@dataclass(frozen=True, kw_only=True)
class CommentApi:
    """The comments of a repository on a forge, and what their authors may do.

    Args:
        rest: The API.
        repository: Owner and name, such as `acme/yard`.
        is_member: Whether a person is an active member of a team (`org/team`).
        may_write_by_team: Whether a team lets a person write, whatever their role.
    """

    rest: Rest
    repository: str
    is_member: Callable[[str, Person], bool]
    may_write_by_team: Callable[[Person], bool] = lambda _: False

    def fetch_comment(self, comment: str) -> Comment | None:
        """Return a comment by its id; None if there is none now."""
        path = f"/repos/{self.repository}/issues/comments/{quote(comment, safe='')}"
        row = self._get_or_none(path)
        try:
            return parse_comment(row) if row is not None else None
        except (KeyError, TypeError, ValueError) as error:
            raise CannotAnswer(f"GET {path}: the forge answered no comment ({error})") from error

    def ask_authority(self, person: Person, *, teams: Collection[str]) -> Authority:
        """Return a person's role, and those of these teams (`org/team`) that they are in.

        Raises:
            CannotAnswer: The forge does not answer for the role.
        """
        login = quote(person.login, safe="")
        row = self._get_or_none(f"/repos/{self.repository}/collaborators/{login}/permission")
        if row is None:
            return Authority(role=Role.NONE)
        # A login can be given to somebody else, also between the event and now.
        if str((row.get("user") or {}).get("id")) != person.id:
            return Authority(role=None, teams=None)
        # `permission` makes `maintain` to `write` and `triage` to `read`.
        role = parse_role(str(row.get("role_name") or row.get("permission") or ""))
        is_low = role is not None and not role.includes(Role.WRITE)
        if is_low and self.may_write_by_team(person):
            role = Role.WRITE
        found, unknown = set(), set()
        limit = ""
        for team in teams:
            try:
                if self.is_member(team, person):
                    found.add(team)
            except CannotAnswer as error:
                unknown.add(team)
                if getattr(error, "is_limit", False):
                    limit = error.message
        return Authority(
            role=role,
            teams=frozenset(found),
            unknown_teams=frozenset(unknown),
            fault=limit,
            is_at_limit=bool(limit),
        )

    def react(self, comment: str, reaction: str) -> None:
        """Add the tool's reaction to a comment; the same again changes nothing."""
        path = f"/repos/{self.repository}/issues/comments/{quote(comment, safe='')}/reactions"
        self.rest.send("POST", path, {"content": str(reaction)})

    def _get_or_none(self, path: str) -> Any:
        try:
            return self.rest.get(path)
        except CannotAnswer as error:
            if getattr(error, "status", None) == HTTPStatus.NOT_FOUND:
                return None
            raise
