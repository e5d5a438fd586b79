"""A change of the repository, as data: decided in one place, applied in another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Purpose(StrEnum):
    """What a pull request is for; the first word of its branch after `modelyard/`."""

    SPEC = "spec"
    RECORD = "record"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    RETRAIN = "retrain"


@dataclass(frozen=True, kw_only=True)
class Change:
    """Documents to be written on a branch and proposed in a pull request.

    Args:
        purpose: What it is for.
        branch: The fixed branch; one pull request at a time.
        title: The pull request's and the commit's first line.
        body: Markdown for the pull request's page.
        documents: New bytes by repository path; None deletes, a path ending in `/` the folder.
        trailers: Git trailers of the commit (`Modelyard-Version: v2`).
        labels: The pull request's labels, for people; nothing is decided by them.
    """

    purpose: Purpose
    branch: str
    title: str
    body: str
    documents: Mapping[str, bytes | None]
    trailers: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
