"""Compares a ruleset of GitHub with the wanted one: what people made stricter stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelyard.adapters.forge.hosted.dialect import Json
from modelyard.adapters.forge.hosted.settings import differences

_BYPASSES = {None: "never", "pull_request": "pull_requests_only", "always": "always"}
"""What GitHub tells an actor of a bypass, by its mode."""

_EXACT = frozenset({"allowed_merge_methods"})
"""Lists in which one more entry makes a rule looser."""


def find_lacking(wanted: Json, found: Json, bypass: str | None) -> Iterator[str]:
    """Yield what a ruleset lacks; one more rule, check or reviewer is none of it.

    Args:
        wanted: The body that creates it.
        found: The ruleset, as whoever asks may see it.
        bypass: How the tool may pass it; None if nobody may.
    """
    plain = {key: wanted[key] for key in ("target", "enforcement", "conditions")}
    yield from differences(plain, found)
    there = _by_type(found)
    for rule in wanted["rules"]:
        if rule["type"] not in there:
            yield f"the rule {rule['type']} is missing"
            continue
        held = _parameters(there[rule["type"]])
        for name, value in _demands(rule).items():
            yield from _lacking(value, held.get(name), f"{rule['type']}.{name}", name)
    if "bypass_actors" in found:
        yield from differences({"bypass_actors": wanted["bypass_actors"]}, found)
    # Who may pass is shown to administrators alone; what the asker may, to anybody.
    elif (mine := found.get("current_user_can_bypass")) != _BYPASSES[bypass]:
        yield f"modelyard may pass it: {mine or 'not known'}, not {_BYPASSES[bypass]}"


def repaired(wanted: Json, found: Json) -> Json:
    """Return the body that gives a ruleset what it lacks, and keeps what is stricter."""
    there = _by_type(found)
    rules = [_joined(rule, there.pop(rule["type"], {})) for rule in wanted["rules"]]
    return {**wanted, "rules": [*rules, *there.values()]}


def _joined(rule: Json, found: Json) -> Json:
    if "parameters" not in rule:
        return rule
    held = _parameters(found)
    joined = {**rule["parameters"], **held}
    for name, value in _demands(rule).items():
        joined[name] = value
        if isinstance(value, list) and name not in _EXACT:
            kept = (each for each in held.get(name) or () if not _replaces(value, each))
            joined[name] = [*value, *kept]
    return {**rule, "parameters": joined}


def _lacking(wanted: Any, found: Any, at: str, name: str) -> Iterator[str]:
    if not isinstance(wanted, list) or name in _EXACT:
        yield from differences({at: wanted}, {at: found})
        return
    for one in wanted:
        if not any(not list(differences(one, other)) for other in found or ()):
            yield from differences({at: [one]}, {at: found})


def _replaces(wanted: Any, found: Any) -> bool:
    """Whether one of the wanted entries is about the same check, or the same files."""
    if not isinstance(found, Mapping):
        return found in wanted
    keys = [key for key in ("context", "file_patterns") if key in found]
    return any(all(one.get(key) == found[key] for key in keys) for one in wanted)


def _demands(rule: Json) -> Json:
    """The parameters that ask for something; what is off or none may be stricter."""
    return {name: value for name, value in _parameters(rule).items() if value}


def _parameters(rule: Json) -> Json:
    return dict(rule.get("parameters") or {})


def _by_type(ruleset: Json) -> dict[str, Json]:
    return {rule["type"]: rule for rule in ruleset.get("rules") or ()}
