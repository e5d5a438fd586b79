"""A change of the repository as data, and the Git trailers that programs read from its commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

# Keys of the trailers; the forge that merges adds the last three.
MODEL = "Modelyard-Model"
VERSION = "Modelyard-Version"
ENVIRONMENT = "Modelyard-Environment"
EVIDENCE = "Modelyard-Evidence"
ROLLBACK_OF = "Modelyard-Rollback-Of"
REASON = "Modelyard-Reason"
PULL = "Modelyard-Pull"
HEAD = "Modelyard-Head"
APPROVED_BY = "Modelyard-Approved-By"

LONGEST_REASON = 300


class Purpose(StrEnum):
    """What a pull request is for; the first word of its branch after `modelyard/`."""

    SPEC = "spec"
    RECORD = "record"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    RETRAIN = "retrain"


@dataclass(frozen=True, kw_only=True)
class Change:
    """Documents to write on a branch and to propose in a pull request.

    Args:
        purpose: What it is for.
        branch: Its branch, which has one open pull request at most.
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


def version_trailers(model: str, version: str, environment: str | None = None) -> dict[str, str]:
    """Trailers of a commit that adds a version, or releases it to an environment."""
    trailers = {MODEL: model, VERSION: version}
    return trailers | ({ENVIRONMENT: environment} if environment else {})


def rollback_trailers(
    model: str, environment: str, *, removed: str, restored: str | None, reason: str
) -> dict[str, str]:
    """Trailers of a commit that removes a version from an environment.

    Args:
        model: The model.
        environment: The environment.
        removed: The version that is removed.
        restored: The version that replaces it; None if there is none.
        reason: Why.
    """
    version = {VERSION: restored} if restored else {}
    why = reason.replace("\n", " ")[:LONGEST_REASON]  # a trailer is one line
    return {MODEL: model, **version, ENVIRONMENT: environment, ROLLBACK_OF: removed, REASON: why}


def pull_number(trailers: Mapping[str, str]) -> int | None:
    """The number of the pull request a commit was merged from."""
    number = trailers.get(PULL, "")
    return int(number) if number.isdecimal() else None
