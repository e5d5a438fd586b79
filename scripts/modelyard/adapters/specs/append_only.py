"""Checks that records, their versions and the held-out sets they name are never rewritten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelyard.domain.problem import Problem
from modelyard.domain.specs.paths import MODELS, held_out_file, parse_spec_path, version_file

if TYPE_CHECKING:
    from modelyard.adapters.git.trees import Tree
    from modelyard.adapters.specs.reader import Specs

_CHECK = "append-only"


def rewritten_records(specs: Specs, base: Tree) -> Iterator[Problem]:
    """Records of the base, their versions and their held-out sets that have changed since.

    A version that was changed all the same may be put back as it was trained. A held-out set may
    be retired and given more looks; its rows must stay the same.
    """
    from modelyard.adapters.specs.reader import read_specs

    records = {path: key for path in base.paths(MODELS) if (key := _record_key(path))}
    old = sorted(records)
    before = base.read_many(old)
    for path in old:
        yield from _unless_same(path, before[path], specs.files.get(path), records[path])
    if not old:
        return
    old_specs = read_specs(base, models={model for model, _ in records.values()})
    for (model, version), record in old_specs.catalog.records.items():
        path = version_file(model, version)
        if path in old_specs.files and specs.catalog.digests.get((model, version)) != record.spec:
            now = specs.files.get(path)
            yield from _unless_same(path, old_specs.files[path], now, (model, version))
    yield from specs.with_lines(_changed_sets(specs, old_specs))


def _record_key(path: str) -> tuple[str, ...] | None:
    """Model and version of a record's path."""
    kind, key = parse_spec_path(path) or ("", ())
    return key if kind == "Record" else None


def _unless_same(
    path: str, before: bytes, now: bytes | None, key: tuple[str, ...]
) -> Iterator[Problem]:
    if now is None:
        name = " ".join(key)
        message = (
            "is gone: a record and its version stay for ever; restore it. "
            f"To retire {name}: modelyard hold {name} --reason ..."
        )
        yield Problem(file=path, message=message, check=_CHECK, line=1)
    elif now != before:
        message = "has changed: a record and its version never change; restore it"
        yield Problem(file=path, message=message, check=_CHECK, line=1)


def _changed_sets(specs: Specs, old_specs: Specs) -> Iterator[Problem]:
    judged_on = {
        (model, result.name)
        for (model, _), record in old_specs.catalog.records.items()
        for result in record.held_out
    }
    for key in sorted(judged_on):
        before, now = old_specs.catalog.held_out.get(key), specs.catalog.held_out.get(key)
        if before is None or now is None:
            continue
        for field in (
            "files",
            "window",
            "cluster",
        ):  # the role may change: a recent set becomes old
            if getattr(before, field) != getattr(now, field):
                message = f"{field} has changed, but versions were judged on this set: add another"
                file = held_out_file(*key)
                yield Problem(file=file, path=(field,), message=message, check=_CHECK)
