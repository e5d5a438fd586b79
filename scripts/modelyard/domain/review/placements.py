"""Whether a merged pull request stands behind what an environment holds of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What an environment's folder holds of a model at one commit, by the digests Git has.

    Args:
        pin: The pin; None without one.
        manifests: The folder of the manifests; None without one.
    """

    pin: str | None = None
    manifests: str | None = None


@dataclass(frozen=True, kw_only=True)
class Unreviewed:
    """A release, or the lack of one, that no merged pull request stands behind.

    Args:
        what: Why it counts as that, as the end of a sentence about the environment.
        commit: The commit that brought it, for the key of its incident.
        goes_back: Whether it is rolled back, or people are only notified.
    """

    what: str
    commit: str
    goes_back: bool


def is_reviewed(now: Placement, reviewed: Sequence[Placement], *, is_verified: bool) -> bool:
    """Whether pull requests stand behind what is there now.

    - What the newest merged pull request left is reviewed.
    - So is what an older one left, if that release is verified there: a revert by hand is a way
      back. A reviewed release that was never verified, or turned bad, is no way back.
    - An empty folder is reviewed if nothing was ever there, or the newest pull request emptied it.

    Args:
        now: What is there.
        reviewed: What merged pull requests left there, oldest first.
        is_verified: Whether the facts call the release verified there.
    """
    if not reviewed:
        return now == Placement()
    if now == reviewed[-1]:
        return True
    return is_verified and now.pin is not None and now in reviewed
