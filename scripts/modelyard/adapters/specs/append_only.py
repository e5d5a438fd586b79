"""What was written once and must stay: records, what they are of, and what they were judged on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelyard.domain.problem import Problem
from modelyard.domain.specs.paths import MODELS, held_out_file, parse_spec_path, version_file

if TYPE_CHECKING:
    from modelyard.adapters.git.trees import Tree
    from modelyard.adapters.specs.reader import Specs

_CHECK = "append-only"


def rewritten(specs: Specs, base: Tree) -> Iterator[Problem]:
    """Records of the base, their versions and their held-out sets that are not as they were.

    A held-out set may be retired and given more looks; its rows stay the same.
    """
    from modelyard.adapters.specs.reader import read

    records = {path: key for path in base.paths(MODELS) if (key := _record_key(path))}
    old = sorted(records)
    before = base.read_many(old)
    for path in old:
        yield from _unless_same(path, before[path], specs.files.get(path))
    if not old:
        return
    was = read(base, models={model for model, _ in records.values()})
    for model, version in was.catalog.records:
        path = version_file(model, version)
        if path in was.files:
            yield from _unless_same(path, was.files[path], specs.files.get(path))
    yield from specs.located(_changed_sets(specs, was))


def _record_key(path: str) -> tuple[str, ...] | None:
    """Model and version of a record's path."""
    kind, key = parse_spec_path(path) or ("", ())
    return key if kind == "Record" else None


def _unless_same(path: str, before: bytes, now: bytes | None) -> Iterator[Problem]:
    if now is None:
        message = "is gone: records and the versions they are of stay; restore it"
        yield Problem(file=path, message=message, check=_CHECK, line=1)
    elif now != before:
        message = "has changed: records and the versions they are of never do; restore it"
        yield Problem(file=path, message=message, check=_CHECK, line=1)


def _changed_sets(specs: Specs, was: Specs) -> Iterator[Problem]:
    looked_at = {
        (model, result.name)
        for (model, _), record in was.catalog.records.items()
        for result in record.held_out
    }
    for key in sorted(looked_at):
        before, now = was.catalog.held_out.get(key), specs.catalog.held_out.get(key)
        if before is None or now is None:
            continue
        for field in ("files", "window", "cluster"):  # a recent set grows old
            if getattr(before, field) != getattr(now, field):
                message = f"{field} has changed, but versions were judged on this set: add another"
                file = held_out_file(*key)
                yield Problem(file=file, path=(field,), message=message, check=_CHECK)
