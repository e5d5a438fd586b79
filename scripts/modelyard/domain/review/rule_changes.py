"""Which rules a pull request changes, from what to what, and whose approvals that takes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.paths import (
    ENVIRONMENTS,
    SETTINGS,
    is_written_by_tool,
    parse_spec_path,
    place_of,
)

LONGEST_VALUE = 60
"""A longer value is cut: the page has the difference of the files."""

# A change of these changes what every environment lets in. Some hold the toolkit itself, or pin
# it, and decide what Git and the forge make of the others.
_FOLDERS = (".github/", ".ci/", "schemas/", "scripts/", "toolkit/", "workflows/")
_FILES = frozenset(
    {"Containerfile", "Makefile", "pyproject.toml", "toolkit.lock", ".pre-commit-config.yaml"}
)
_ANYWHERE = frozenset({"CODEOWNERS", ".gitattributes", ".gitmodules"})
_LOCKS = re.compile(r"requirements[^/]*\.lock")
_ROOTS = frozenset({"environments", "models", *(folder.rstrip("/") for folder in _FOLDERS)})
_PAGES = (".md",)

_NO_RULES = {
    "Environment": frozenset({"name", "description"}),
    # The contract and the trainer make a version; what they do is judged by the rules.
    "Model": frozenset({"name", "description", "owner", "data", "trainer"}),
    # Drift ages a set by itself. Its rows may not change once a version was judged on them.
    "HeldOut": frozenset({"model", "name", "role"}),
    "Repository": frozenset[str](),
}
_PATH_KEYS = frozenset({"promotes_from", "joins"})
_OWN_KEYS = frozenset({"approvals", "freeze_windows"})


class FileKind(StrEnum):
    """What Git has at a path."""

    FILE = "a file"
    LINK = "a symbolic link"
    MODULE = "a submodule"


@dataclass(frozen=True, kw_only=True)
class RuleFile:
    """A file of the rules on one side of a change.

    Args:
        kind: What Git has there.
        fields: The values of a spec, nested, with every default; None if it is no spec, or cannot
            be read as one.
    """

    kind: FileKind = FileKind.FILE
    fields: Mapping[str, object] | None = None


@dataclass(frozen=True, kw_only=True)
class RuleChange:
    """One change of a rule.

    Args:
        file: The file.
        what: From what to what, in words.
        environments: The environments of the main branch whose approvals it takes.
    """

    file: str
    what: str
    environments: frozenset[str]

    def __str__(self) -> str:
        """The change in words, such as `approvals.needed: 1 -> 0 in environments/...`."""
        return f"{self.what} in {self.file}"


def may_hold_rules(path: str) -> bool:
    """Whether a change of this path can change a rule."""
    kind, _ = parse_spec_path(path) or ("", ())
    if kind in _NO_RULES or path == SETTINGS:
        return True
    name = path.rpartition("/")[2]
    if name in _ANYWHERE or path in _FILES or path in _ROOTS or _LOCKS.fullmatch(path):
        return True
    if path.endswith(_PAGES):
        return False
    if path.startswith(ENVIRONMENTS):
        # No pull request of a release brings what has no valid name, and Argo CD applies it.
        return not is_written_by_tool(path) or place_of(path) is None
    # A link in place of a model's folder hides its model.yaml.
    is_model = path.startswith("models/") and path.count("/") == 1
    return is_model or path.startswith(_FOLDERS)


def find_rule_changes(
    before: Mapping[str, RuleFile | None],
    after: Mapping[str, RuleFile | None],
    environments: Mapping[str, Environment],
    *,
    used_models: Iterable[str],
) -> tuple[RuleChange, ...]:
    """The changes of rules between two states of the changed files, by file.

    - Comments and the order of keys are no rules.
    - A new model brings its own rules, unless something of that name was released or recorded: all
      that it enters asks for approvals of its own.
    - A file that cannot be read, moved or replaced by a link may change anything.

    Args:
        before: The changed files that may hold rules, on the main branch; None where there is none.
        after: The same files after the merge.
        environments: The environments of the main branch.
        used_models: Models of the main branch with a release or a record.
    """
    used = frozenset(used_models)
    found: list[RuleChange] = []
    for file in sorted({*before, *after}):
        one, other = before.get(file), after.get(file)
        kind, key = _kind_of(file)
        if one is None and _brings_its_own(kind, key, other, used):
            continue
        found += (
            RuleChange(file=file, what=what, environments=_affected(kind, key, names, environments))
            for what, names in _changes(kind, one, other)
        )
    return tuple(found)


def _kind_of(file: str) -> tuple[str, tuple[str, ...]]:
    return ("Repository", ()) if file == SETTINGS else parse_spec_path(file) or ("", ())


def _brings_its_own(
    kind: str, key: tuple[str, ...], after: RuleFile | None, used: frozenset[str]
) -> bool:
    is_readable = after is not None and after.fields is not None
    return kind == "HeldOut" or (kind == "Model" and is_readable and key[0] not in used)


def _changes(
    kind: str, before: RuleFile | None, after: RuleFile | None
) -> Iterator[tuple[str, frozenset[str] | None]]:
    """What changes, with the names of the keys; without names it may be any."""
    if after is None:
        yield "is deleted", None
    elif before is None:
        yield ("is new" if after.kind is FileKind.FILE else f"is new, {after.kind}"), None
    elif before.kind is not after.kind:
        yield f"becomes {after.kind}", None
    elif kind not in _NO_RULES:
        yield "changes", None
    elif after.fields is None:
        yield "cannot be read after it", None
    elif before.fields is None:
        yield "could not be read before it", None
    else:
        one, other = _flat(before.fields), _flat(after.fields)
        for name in sorted({*one, *other}):
            top = name.partition(".")[0]
            if top not in _NO_RULES[kind] and one.get(name) != other.get(name):
                what = f"{name}: {one.get(name, 'none')} -> {other.get(name, 'none')}"
                yield what, frozenset({top})


def _affected(
    kind: str,
    key: tuple[str, ...],
    names: frozenset[str] | None,
    environments: Mapping[str, Environment],
) -> frozenset[str]:
    """The environments of the main branch that the change can affect.

    Who approves decides only what enters the environment itself. What verifies a release there also
    decides what the later environments are offered.
    """
    if kind != "Environment" or names is None or names & _PATH_KEYS or key[0] not in environments:
        return frozenset(environments)
    found = {key[0]}
    if names <= _OWN_KEYS:
        return frozenset(found)
    while True:
        more = {
            each.name
            for each in environments.values()
            if each.promotes_from in found or each.joins in found
        } | {name for name in environments if name in {environments[it].joins for it in found}}
        if more <= found:
            return frozenset(found)
        found |= more


def _flat(fields: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """The values in words, by dotted name."""
    found: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = _shown(value)
    return found


def _shown(value: object) -> str:
    text = _words(value)
    # The end tells long values apart that start alike.
    half = LONGEST_VALUE // 2
    return text if len(text) <= LONGEST_VALUE else f"{text[:half]}...{text[-half:]}"


def _words(value: object) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_words(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_words(each) for each in value) + "]"
    return str(value)
