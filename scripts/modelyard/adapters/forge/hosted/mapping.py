"""Answers of a forge as the nouns of the domain, and what the tool hides in its texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime

from modelyard.adapters.forge.hosted.dialect import Json, person_of
from modelyard.domain.people import Person
from modelyard.domain.promotion.pulls import Comment, PullState, PullSummary

NOBODY = Person(login="ghost", id="0")
"""A user who was deleted."""

_MARKER = re.compile(r"\A<!-- modelyard: ([a-z0-9/-]{1,60}) -->\n")
_REQUEST = re.compile(r"\n\n<!-- modelyard-request: (\{[^<>]*\}) -->\s*\Z")
_REQUESTED_BY = re.compile(r"\A(?P<login>\S+) \(id (?P<id>[0-9]+)\)\Z")


def time_of(text: str | None) -> datetime | None:
    """Return a time of the API in UTC."""
    return None if not text else datetime.fromisoformat(text).astimezone(UTC)


def last_time(texts: Iterable[str]) -> datetime | None:
    """Return the latest of some times of the API; None if there is none."""
    return max(map(_required_time, texts), default=None)


def summary_of(row: Json) -> PullSummary:
    """Return a pull request as a listing has it."""
    merged = row.get("merged_at")
    state = PullState.MERGED if merged else PullState(row["state"])
    return PullSummary(
        number=row["number"],
        branch=branch_of(row),
        title=row["title"],
        body=page_of(row.get("body") or ""),
        author=person_of(row.get("user")) or NOBODY,
        # Gitea moves the base of a merged one to where its branch is now.
        base=row.get("merge_base") or row["base"]["sha"],
        head=row["head"]["sha"],
        state=state,
        opened_at=_required_time(row["created_at"]),
        labels=tuple(label["name"] for label in row.get("labels") or ()),
        merged_as=(row.get("merge_commit_sha") or None) if merged else None,
        closed_at=time_of(row.get("closed_at")),
        closed_by=person_of(row.get("merged_by")) if merged else None,
    )


def branch_of(row: Json) -> str:
    """Return the head branch, also of one that is deleted."""
    ref = str(row["head"]["ref"])
    # Where the branch is gone, Gitea has its name in the label alone.
    return str(row["head"]["label"]) if ref.startswith("refs/pull/") else ref


def comment_of(row: Json, me: Person) -> Comment:
    """Return a comment; only one of the tool's own has a marker."""
    author = person_of(row.get("user")) or NOBODY
    body = (row.get("body") or "").replace("\r\n", "\n")
    found = _MARKER.match(body) if author == me else None
    return Comment(
        author=author,
        body=body[found.end() :] if found else body,
        at=_required_time(row["created_at"]),
        marker=found[1] if found else None,
    )


def marked(body: str, marker: str | None) -> str:
    """Return the text of a comment with its marker, which nobody sees on the page."""
    return body if marker is None else f"<!-- modelyard: {marker} -->\n{body}"


def page_with_request(body: str, *, requester: Person | None) -> str:
    """Return the text of a pull request of the tool, with who asked for it.

    It ends with a comment that pages do not show, so that blanks at the end of the text survive.
    """
    asked = {} if requester is None else {"id": requester.id, "login": requester.login}
    # `<` and `>` would end the comment; no login has them.
    text = json.dumps(asked).replace("<", "").replace(">", "")
    return f"{body}\n\n<!-- modelyard-request: {text} -->\n"


def page_of(body: str) -> str:
    """Return the text of a pull request as the tool or a person wrote it."""
    plain = body.replace("\r\n", "\n")
    found = _REQUEST.search(plain)
    return plain[: found.start()] if found else plain


def requester_in_page(body: str) -> Person | None:
    """Return who asked for it, as the text says, which people can edit."""
    found = _REQUEST.search(body.replace("\r\n", "\n"))
    if not found:
        return None
    try:
        held = json.loads(found[1])
        return Person(login=str(held["login"]), id=str(held["id"]))
    except (ValueError, LookupError, TypeError):
        return None


def named_with_id(person: Person) -> str:
    """Return a person as a trailer names them: a login can be given to somebody else later."""
    return f"{person.login} (id {person.id})"


def person_in_trailer(text: str) -> Person:
    """Return the person that a trailer names."""
    found = _REQUESTED_BY.match(text.strip())
    return Person(login=found["login"], id=found["id"]) if found else Person.named(text)


def _required_time(text: str) -> datetime:
    found = time_of(text)
    if found is None:
        raise ValueError("a time is missing")
    return found
