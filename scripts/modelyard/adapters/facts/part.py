"""Lists what one model depends on: a fleet's branch has tens of thousands of documents."""

from __future__ import annotations

import os

from modelyard.adapters.facts.documents import KINDS, model_path, parse_path
from modelyard.adapters.git.documents import Listing
from modelyard.adapters.git.repository import Git
from modelyard.domain.specs.names import is_name

_OF_ALL = ("freezes/", "sites/", "glass/")
_OF_EACH = {"facts": ".json", "audit": ".jsonl"}
"""The folders with a folder for each environment or month, and how a model's file there ends."""

_PLAIN = frozenset({"100644", "100755"})


def list_part(git: Git, commit: str, model: str) -> Listing | None:
    """A model's facts and log at a commit of the branch, with all that is about every model.

    None if something is in an unusual place: only the whole listing shows what is in its way.
    """
    _, files, others = _level(git, commit)
    if not is_name(model) or not (KINDS.keys() | {"audit"}).isdisjoint((*files, *others)):
        return None
    folders, shared, others = _level(git, commit, *_OF_ALL, *(f"{each}/" for each in _OF_EACH))
    is_usual = all(path.startswith(_OF_ALL) for path in shared)
    if others or not is_usual or any(path.startswith(_OF_ALL) for path in folders):
        return None
    own = [f"{path}/{model}{_OF_EACH[path.partition('/')[0]]}" for path in folders]
    unread, found, others = _level(git, commit, model_path(model), *own)
    files = {**shared, **found}
    has_facts = any(map(parse_path, files))
    return Listing(commit=commit, files=files) if has_facts and not (unread or others) else None


def _level(git: Git, commit: str, *places: str) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """The folders, the files with their objects, and what else is at these places.

    A place that ends in `/` stands for what is in it, without what is in folders there.
    """
    words = ("--literal-pathspecs", "ls-tree", "-z", "--full-tree", commit)
    out = git.run(*words, *(("--", *places) if places else ())).stdout
    folders: list[str] = []
    files: dict[str, str] = {}
    others: dict[str, str] = {}
    for row in os.fsdecode(out).split("\0")[:-1]:
        head, _, path = row.partition("\t")
        mode, kind, name = head.split(" ")
        if kind == "tree":
            folders.append(path)
        else:
            (files if mode in _PLAIN else others)[path] = name
    return folders, files, others
