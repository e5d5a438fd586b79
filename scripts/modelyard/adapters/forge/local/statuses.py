"""The statuses of a commit as the local forge stores them, each with what it judged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from modelyard.adapters.specs.json_documents import parse_json
from modelyard.domain.promotion.pulls import Status


@dataclass(frozen=True, kw_only=True)
class StatusSubject:
    """What a status is about.

    What a check says depends on the branch, whose name decides what it may change, and on the base
    that it is compared with. So the commit alone does not name it.

    Args:
        head: The commit.
        branch: The branch that proposes it.
        base: The name of the branch it is proposed for.
    """

    head: str
    branch: str
    base: str


@dataclass(frozen=True, kw_only=True)
class StoredStatus:
    """One status and what it is about."""

    subject: StatusSubject
    status: Status


StoredStatuses: TypeAlias = tuple[StoredStatus, ...]


def parse_statuses(document: bytes | None, ref: str) -> StoredStatuses:
    """The statuses in a document; none for one of version 0.1, which does not name what it judged.

    Raises:
        Unreadable: It is of neither version.
    """
    if _is_of_first_version(document):
        parse_json(document, dict[str, Status], ref)
        return ()
    found: StoredStatuses = parse_json(document, StoredStatuses, ref)
    return found


def statuses_about(stored: StoredStatuses, subject: StatusSubject) -> Mapping[str, Status]:
    """What was said of this subject, by context; a status of any other has not reported."""
    return {each.status.context: each.status for each in stored if each.subject == subject}


def with_status(stored: StoredStatuses, subject: StatusSubject, status: Status) -> StoredStatuses:
    """The statuses with this one in place of the earlier one of its context and subject."""
    new, key = StoredStatus(subject=subject, status=status), (subject, status.context)
    others = (each for each in stored if (each.subject, each.status.context) != key)
    ordered = sorted((*others, new), key=_order)
    return tuple(ordered)


def _order(each: StoredStatus) -> tuple[str, str, str]:
    return each.subject.branch, each.subject.base, each.status.context


def _is_of_first_version(document: bytes | None) -> bool:
    try:
        return isinstance(json.loads(document or b""), dict)
    except (ValueError, RecursionError):
        return False
