"""The Git trailers of the tool's commits: what each one did, for programs to read."""

from __future__ import annotations

from collections.abc import Mapping

MODEL = "Modelyard-Model"
VERSION = "Modelyard-Version"
ENVIRONMENT = "Modelyard-Environment"
EVIDENCE = "Modelyard-Evidence"
ROLLBACK_OF = "Modelyard-Rollback-Of"
REASON = "Modelyard-Reason"

# Added by the forge that merges.
PULL = "Modelyard-Pull"
HEAD = "Modelyard-Head"
APPROVED_BY = "Modelyard-Approved-By"

LONGEST_REASON = 300


def version_trailers(model: str, version: str, environment: str | None = None) -> dict[str, str]:
    """Trailers of a commit that adds a version, or releases it to an environment."""
    trailers = {MODEL: model, VERSION: version}
    return trailers | ({ENVIRONMENT: environment} if environment else {})


def rollback_trailers(
    model: str, environment: str, *, removed: str, restored: str | None, reason: str
) -> dict[str, str]:
    """Trailers of a commit that takes a version out of an environment.

    Args:
        model: The model.
        environment: The environment.
        removed: The version that goes.
        restored: The version that comes back; None when nothing does.
        reason: Why.
    """
    version = {VERSION: restored} if restored else {}
    why = reason.replace("\n", " ")[:LONGEST_REASON]
    return {MODEL: model, **version, ENVIRONMENT: environment, ROLLBACK_OF: removed, REASON: why}


def pull_number(trailers: Mapping[str, str]) -> int | None:
    """The number of the pull request a commit was merged from."""
    number = trailers.get(PULL, "")
    return int(number) if number.isdecimal() else None
