"""Reads which rules the merge of a pull request would change, and what it still needs for that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from modelyard.adapters.git.first_parents import read_changed
from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs.documents import KINDS, read_spec
from modelyard.adapters.specs.reader import read_specs
from modelyard.domain.promotion.approvals import missing_approvals
from modelyard.domain.promotion.pulls import PullRequest
from modelyard.domain.review.rule_changes import (
    FileKind,
    RuleChange,
    RuleFile,
    find_rule_changes,
    may_hold_rules,
)
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.environment import Approvals, Environment
from modelyard.domain.specs.paths import ENVIRONMENTS, SETTINGS, parse_spec_path
from modelyard.errors import YardError

_KIND_OF_MODE = {"120000": FileKind.LINK, "160000": FileKind.MODULE}


def read_rule_changes(git: Git, *, main: str, after: str) -> tuple[RuleChange, ...]:
    """The rules that differ between the main branch and another commit or tree."""
    pairs = read_changed(git, main, after)
    changed = {path: pair for path, pair in pairs.items() if may_hold_rules(path)}
    if not changed:
        return ()
    before = {path: read_rule_file(git, path, pair[0]) for path, pair in changed.items()}
    merged = {path: read_rule_file(git, path, pair[1]) for path, pair in changed.items()}
    catalog = read_specs(GitTree(git, main)).catalog
    used = {model for _, model in catalog.releases} | {model for model, _ in catalog.records}
    environments = read_environments(git, main, catalog)
    return find_rule_changes(before, merged, environments, used_models=used)


def read_environments(git: Git, main: str, catalog: Catalog) -> Mapping[str, Environment]:
    """The environments of the main branch, by name.

    One that cannot be read asks for as many approvals as the strictest of the others, and one at
    least: nobody knows what it asks for, and somebody must be able to repair it.
    """
    found = dict(catalog.environments)
    most = max([1, *(each.approvals.needed for each in found.values())])
    for path in GitTree(git, main).paths(ENVIRONMENTS):
        kind, key = parse_spec_path(path) or ("", ())
        name = key[0] if kind == "Environment" else ""
        if name and name not in found:
            asked = Approvals(needed=most)
            found[name] = Environment(name=name, description="", namespace=name, approvals=asked)
    return found


def missing_rule_approvals(
    git: Git, pull: PullRequest, changes: Iterable[RuleChange], *, main: str
) -> tuple[str, ...]:
    """The approvals that changes of rules still need, by the rules of the main branch.

    Those of the environments nearest to users come first.
    """
    affected = {name for change in changes for name in change.environments}
    if not affected:
        return ()
    catalog = read_specs(GitTree(git, main), models=()).catalog
    environments = read_environments(git, main, catalog)
    asking: dict[str, list[str]] = {}
    path = [each.name for each in catalog.path_to_production()]
    place = {name: number for number, name in enumerate(path)}
    nearest = sorted(affected & set(environments), key=lambda name: (-place.get(name, -1), name))
    for name in nearest:
        if what := missing_approvals(environments[name], pull):
            asking.setdefault(what, []).append(name)
    return tuple(f"{what} ({', '.join(names)})" for what, names in asking.items())


def read_rule_file(git: Git, path: str, content: str | None) -> RuleFile | None:
    """A file that may hold rules, from its `mode object`; None where there is nothing."""
    if content is None:
        return None
    mode, _, blob = content.partition(" ")
    kind = _KIND_OF_MODE.get(mode, FileKind.FILE)
    is_spec = path == SETTINGS or parse_spec_path(path) is not None
    document = git.read_many([blob])[blob] if is_spec and kind is FileKind.FILE else None
    if document is None:
        return RuleFile(kind=kind)
    name = "Repository" if path == SETTINGS else (parse_spec_path(path) or ("",))[0]
    try:
        spec: Any = read_spec(KINDS[name], document, name=path)
    except YardError:
        return RuleFile()
    return RuleFile(fields=asdict(spec))
