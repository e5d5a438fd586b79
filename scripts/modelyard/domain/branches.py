"""The fixed branches of the tool's pull requests, written and read."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard.domain.change import Purpose

PREFIX = "modelyard"


@dataclass(frozen=True, kw_only=True)
class Branch:
    """What a branch name says: whose change this is.

    Args:
        purpose: What the pull request is for.
        model: The model.
        subject: The version (spec, record) or environment (promote, rollback); empty (retrain).
    """

    purpose: Purpose
    model: str
    subject: str = ""

    def __str__(self) -> str:
        """The branch's name: `modelyard/<purpose>/<subject>/<model>`."""
        return "/".join(p for p in (PREFIX, self.purpose, self.subject, self.model) if p)


def parse(name: str) -> Branch | None:
    """The branch a name stands for, or None when the tool did not make it."""
    prefix, _, rest = name.partition("/")
    words = rest.split("/")
    if prefix != PREFIX or words[0] not in list(Purpose) or not 2 <= len(words) <= 3:  # noqa: PLR2004 - purpose, subject, model
        return None
    subject = words[1] if len(words) == 3 else ""  # noqa: PLR2004 - as above
    return Branch(purpose=Purpose(words[0]), model=words[-1], subject=subject)
