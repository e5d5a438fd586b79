"""The names of the branches that the tool opens pull requests from."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard.domain.promotion.change import Purpose

PREFIX = "modelyard"

# Retraining has one pull request a model: it always proposes the next version.
_WITH_SUBJECT = frozenset(Purpose) - {Purpose.RETRAIN}


@dataclass(frozen=True, kw_only=True)
class Branch:
    """The meaning of a branch's name.

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


def parse_branch(name: str) -> Branch | None:
    """The branch of this name; None if it is not one of the tool's."""
    match name.split("/"):
        case [_, "retrain", model]:
            found = Branch(purpose=Purpose.RETRAIN, model=model)
        case [_, purpose, subject, model] if purpose in _WITH_SUBJECT:
            found = Branch(purpose=Purpose(purpose), model=model, subject=subject)
        case _:
            return None
    return found if str(found) == name else None  # another prefix is a person's branch


def is_branch_of(name: str, model: str) -> bool:
    """Whether the name is of one of the tool's branches for this model."""
    branch = parse_branch(name)
    return branch is not None and branch.model == model
