"""What somebody chose that changes nothing: keys of a model; days and parameters of a version."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from modelyard.adapters.git.trees import WorkingTree
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.model import CanaryPolicy, DriftPolicy, Model
from modelyard.domain.specs.paths import trainer_folder
from modelyard.domain.specs.version import ModelVersion

_WORD = re.compile(r"\w+")
_LONGEST = 1_000_000
"""Bytes of a file that are searched; code is shorter."""


def find_idle_keys(model: Model) -> Iterator[tuple[str, str]]:
    """Yield each key of model.yaml that does nothing beside the others, with the reason.

    A key with its default value is taken for one that is not there.
    """
    canary, usual = model.canary, CanaryPolicy()
    if canary.margin_shadow != usual.margin_shadow and not canary.shadow:
        yield "canary.margin_shadow", "canary.shadow is 0, so no request is copied"
    if canary.slow_limit != usual.slow_limit and not canary.slow_ms:
        yield "canary.slow_limit", "canary.slow_ms says no number of milliseconds"
    if canary.margin_slow != usual.margin_slow and canary.slow_ms == 0:
        yield "canary.margin_slow", "canary.slow_ms is 0, so no latency is judged"
    if model.artifact.trusted_types and "skops" not in model.artifact.formats:
        yield "artifact.trusted_types", "only the format skops has them, and it is not accepted"
    if model.data.timezone != "UTC" and all(c.type != "timestamp" for c in model.data.columns):
        yield "data.timezone", "no column is a timestamp"
    if model.data.timestamp is None and model.data.feed is not None:
        yield "data.feed", "drift compares days, and data.timestamp names no column with them"
    if model.data.timestamp is None and model.drift != DriftPolicy():
        yield "drift", "drift compares days, and data.timestamp names no column with them"
    inputs = {column.name for column in model.inputs}
    for column in model.data.columns:
        if column.default is not None and column.name not in inputs:
            yield (
                f"the default of {column.name}",
                "a request does not have it, so none is filled in",
            )


def find_idle_choices(root: Path, catalog: Catalog, spec: ModelVersion) -> Iterator[str]:
    """Yield a sentence for each choice of a new version that changes nothing, or may not.

    Args:
        root: The checkout's root.
        catalog: Its specs.
        spec: The new version.
    """
    yield from _held_out_days(spec)
    yield from _unread_parameters(root, spec)
    for other in catalog.versions_of(spec.model):
        if other.version != spec.version and _trained(other) == _trained(spec):
            same = f"{spec.version} has the rows, code, runtime, parameters and seed of"
            yield f"{same} {other.version}, so it is the same model"
            return


def _held_out_days(spec: ModelVersion) -> Iterator[str]:
    window = spec.data.window
    for hole in spec.data.excludes if window else ():
        if window and hole.overlaps(window):
            since, until = max(hole.since, window.since), min(hole.until, window.until)
            yield f"the days from {since} up to {until} are held out, so their rows do not train"


def _unread_parameters(root: Path, spec: ModelVersion) -> Iterator[str]:
    """The parameters that the trainer's files do not name; one may hand on all that it is given."""
    if not spec.parameters:
        return
    folder = trainer_folder(spec.model)
    words = _words_of(root, folder)
    for name in spec.parameters:
        if set(_WORD.findall(name)) <= words:
            continue
        close = get_close_matches(name, sorted(words), n=1, cutoff=0.8)
        there = f"; {close[0]} is there" if close else ""
        yield (
            f"no file of {folder} has the name of the parameter {name}{there}: a trainer may train "
            "without it, and say nothing"
        )


def _words_of(root: Path, folder: str) -> set[str]:
    """The words of a trainer's files, without those that Git ignores, such as an environment."""
    tree = WorkingTree(root, [folder])
    found: set[str] = set()
    for path in tree.paths():
        # A lock has the names of libraries, which are no parameters.
        if not path.endswith(".lock") and (root / path).lstat().st_size <= _LONGEST:
            found |= set(_WORD.findall(tree.read(path).decode(errors="replace")))
    return found


def _trained(spec: ModelVersion) -> ModelVersion:
    """The version without what does not change its model."""
    window = spec.data.window
    spans = tuple(each for each in spec.data.excludes if window and each.overlaps(window))
    return replace(
        spec,
        version="",
        reason="",
        parent=None,
        held_out=(),
        breaks=(),
        data=replace(spec.data, excludes=spans),
    )
