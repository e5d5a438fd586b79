"""What was found of pushed rules as of one commit, so that only what came later is looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from modelyard.domain.review.pushed_rules import PushedFile


@dataclass(frozen=True, kw_only=True)
class KeptRules:
    """The pushed files as of a commit of the main branch.

    Args:
        commit: The commit.
        merges: The digest of the merges up to it, see `digest_merges`.
        files: The files by path.
    """

    commit: str
    merges: str
    files: Mapping[str, PushedFile]

    @property
    def may_be_kept(self) -> bool:
        """Whether it holds for ever: approvals that a merge lacked may be found another time."""
        return all(each.pull is None for each in self.files.values())

    def holds_for(self, order: Mapping[str, int], merges: Mapping[str, Mapping[str, str]]) -> bool:
        """Whether the same merges are behind the commit in this history of the main branch."""
        commits = (self.commit, *(each.commit for each in self.files.values()))
        return all(each in order for each in commits) and self.merges == digest_merges(
            merges, order, order[self.commit]
        )

    def to_document(self) -> dict[str, Any]:
        """As a document of JSON."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Any) -> KeptRules | None:
        """What a document holds; None if it is none."""
        try:
            files = {path: PushedFile(**each) for path, each in document["files"].items()}
            kept = cls(commit=document["commit"], merges=document["merges"], files=files)
        except (LookupError, TypeError, AttributeError):
            return None
        words = [kept.commit, kept.merges]
        for each in files.values():
            words += [each.commit, each.author, "" if each.before is None else each.before]
        are_words = all(isinstance(word, str) for word in words)
        return kept if are_words and kept.may_be_kept else None


def digest_merges(
    merges: Mapping[str, Mapping[str, str]], order: Mapping[str, int], last: int
) -> str:
    """What identifies the merges up to a place of the main branch's history.

    Args:
        merges: By the way that they came, and by commit, what identifies their pull request; the
            digest is of them in this order.
        order: The place of each commit.
        last: The place of the last commit that counts.
    """
    lines = [
        f"{way} {commit} {pull}"
        for way, found in merges.items()
        for commit, pull in found.items()
        if order.get(commit, last + 1) <= last
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
