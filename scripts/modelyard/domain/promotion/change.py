"""A change of the repository as data: its branch, its documents and its commit's trailers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

# Keys of the trailers; the forge that merges adds the last five.
MODEL = "Modelyard-Model"
VERSION = "Modelyard-Version"
ENVIRONMENT = "Modelyard-Environment"
EVIDENCE = "Modelyard-Evidence"
ROLLBACK_OF = "Modelyard-Rollback-Of"
REASON = "Modelyard-Reason"
PULL = "Modelyard-Pull"
HEAD = "Modelyard-Head"
APPROVED_BY = "Modelyard-Approved-By"
REQUESTED_BY = "Modelyard-Requested-By"
BROKEN_GLASS = "Modelyard-Break-Glass"

_OF_THE_MERGE = frozenset({PULL, HEAD, APPROVED_BY, BROKEN_GLASS})

LONGEST_REASON = 300

PREFIX = "modelyard"
"""First word of the tool's branches."""

_NUMBERED = re.compile(rf"{PREFIX}-([2-9]|[1-9][0-9]{{1,3}})")

STATE = "state"
"""Second word of the branch with the facts."""

STATE_BRANCH = f"{PREFIX}/{STATE}"
"""The branch of the facts; it is never proposed, and has no history in common with main."""


class Purpose(StrEnum):
    """What a pull request is for; the first word of its branch after `modelyard/`."""

    SPEC = "spec"
    RECORD = "record"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    RETRAIN = "retrain"


# Retraining has one pull request a model: it always proposes the next version.
_WITH_SUBJECT = frozenset(Purpose) - {Purpose.RETRAIN}


@dataclass(frozen=True, kw_only=True)
class Branch:
    """The meaning of a branch's name.

    Args:
        purpose: What the pull request is for.
        model: The model.
        subject: The version (spec, record) or environment (promote, rollback); empty (retrain).
        number: More than one where a rollback's own name is occupied and nothing moves it.
    """

    purpose: Purpose
    model: str
    subject: str = ""
    number: int = 1

    def __str__(self) -> str:
        """The branch's name: `modelyard/<purpose>/<subject>/<model>`."""
        first = PREFIX if self.number == 1 else f"{PREFIX}-{self.number}"
        return "/".join(p for p in (first, self.purpose, self.subject, self.model) if p)


def parse_branch(name: str) -> Branch | None:
    """The branch of this name; None if it is not one of the tool's."""
    match name.split("/"):
        case [_, "retrain", model]:
            found = Branch(purpose=Purpose.RETRAIN, model=model)
        case [first, "rollback", subject, model] if match := _NUMBERED.fullmatch(first):
            number = int(match[1])
            found = Branch(purpose=Purpose.ROLLBACK, model=model, subject=subject, number=number)
        case [_, purpose, subject, model] if purpose in _WITH_SUBJECT:
            found = Branch(purpose=Purpose(purpose), model=model, subject=subject)
        case _:
            return None
    return found if str(found) == name else None  # another prefix is a person's branch


def occupies_tool_name(name: str) -> bool:
    """Whether a branch of this name keeps one of the tool's from being created.

    A branch is a file, and a part of the path to others is a folder: `modelyard/rollback` keeps
    every rollback's branch away, and `modelyard/retrain/wine/x` that of one model. Where the file
    system of the forge folds case, so does `Modelyard/Rollback`.
    """
    folded = unicodedata.normalize("NFKC", name).casefold()
    parts = folded.split("/")
    if parts[0] != PREFIX:
        return False
    if parts[1:2] == [STATE]:
        return len(parts) > len([PREFIX, STATE]) or folded != name
    # The whole name of a tool's branch has three parts for a retraining, and else four.
    purpose = parts[1] if len(parts) > 1 else None
    if purpose is not None and purpose not in set(Purpose) - {Purpose.SPEC}:
        return False  # the tool opens no branch there
    length = 3 if purpose == Purpose.RETRAIN else 4
    return len(parts) != length or folded != name


def is_branch_of(name: str, model: str) -> bool:
    """Whether the name is of one of the tool's branches for this model."""
    # Asked of every pull request there is; the name of each branch of the tool ends like this.
    if not name.endswith(f"/{model}"):
        return False
    branch = parse_branch(name)
    return branch is not None and branch.model == model


def refusal_of_author(branch: str, author: str, *, bot: str) -> str | None:
    """Why nobody but the tool opens a pull request from this branch; None if it may be opened."""
    found = parse_branch(branch)
    if found is None or author == bot:
        return None
    return f"only the tool opens pull requests from {branch}, not {author}"


def hint_for_author(branch: str) -> str:
    """What a person does instead of opening a pull request from one of the tool's branches."""
    found = parse_branch(branch)
    match found:
        case Branch(purpose=Purpose.PROMOTE, subject=subject, model=model):
            return f"modelyard promote {subject} {model} VERSION"
        case Branch(purpose=Purpose.ROLLBACK, subject=subject, model=model):
            return f"modelyard rollback {subject} {model} --reason ..."
        case Branch(purpose=Purpose.RECORD, subject=subject, model=model):
            return f"modelyard record {model} {subject}"
        case _:
            return "push the commits to a branch of your own"


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
    model: str, environment: str, *, removed: str | None, restored: str | None, reason: str
) -> dict[str, str]:
    """Trailers of a commit that removes a version from an environment.

    Args:
        model: The model.
        environment: The environment.
        removed: The version that is removed; None if a deleted release is restored.
        restored: The version that replaces it; None if there is none.
        reason: Why.
    """
    version = {VERSION: restored} if restored else {}
    why = reason.replace("\n", " ")[:LONGEST_REASON]  # a trailer is one line
    gone = {ROLLBACK_OF: removed} if removed else {}
    return {MODEL: model, **version, ENVIRONMENT: environment, **gone, REASON: why}


def trailers_of_head(trailers: Mapping[str, str]) -> dict[str, str]:
    """The trailers of a head or of a message that a person typed, without those of a merge.

    Who approved is known when the forge merges: before, anybody who may push can write it.
    """
    return {key: value for key, value in trailers.items() if key not in _OF_THE_MERGE}


def claims_of_merge(trailers: Mapping[str, str]) -> str:
    """What a commit says that only a forge can know; it proves nothing if no forge says so.

    Example:
        `approved by olga, pull request 7`; empty if it says nothing of the kind.
    """
    words = {APPROVED_BY: "approved by", BROKEN_GLASS: "glass broken by", PULL: "pull request"}
    said = (
        f"{word} {' '.join(trailers[key].split())}"
        for key, word in words.items()
        if key in trailers
    )
    return ", ".join(said)[:LONGEST_REASON]


def is_about(branch: Branch, trailers: Mapping[str, str]) -> bool:
    """Whether trailers are about what the pull request of a branch is about."""
    wanted = {MODEL: branch.model}
    if branch.purpose in {Purpose.PROMOTE, Purpose.ROLLBACK}:
        wanted[ENVIRONMENT] = branch.subject
    elif branch.purpose in {Purpose.RECORD, Purpose.SPEC}:
        wanted[VERSION] = branch.subject
    return all(trailers.get(key, value) == value for key, value in wanted.items())
