"""Commands that a person types where there is no pull request, so they name what they are about."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from modelyard.domain.chatops.commands import (
    Freeze,
    Hold,
    Promote,
    Retrain,
    Rollback,
    Unfreeze,
    Unhold,
    YardCommand,
)
from modelyard.domain.chatops.grammar import (
    ENVIRONMENT,
    LONGEST_LINE,
    LONGEST_REASON,
    REASON,
    UNTIL,
)
from modelyard.domain.specs.names import NAME, VERSION, is_name, is_version
from modelyard.domain.specs.times import parse_moment

_MODEL = rf"(?P<model>{NAME.pattern})"
_VERSION = rf"(?P<version>{VERSION.pattern})"
# An option stands where a reason begins.
_OWN_REASON = f"(?!--){REASON}"


@dataclass(frozen=True, kw_only=True)
class Typed:
    """A command with the model and the version that it names; empty if it is about none."""

    command: YardCommand
    model: str = ""
    version: str = ""


@dataclass(frozen=True)
class _Form:
    usage: str
    pattern: str
    make: Callable[..., YardCommand]


_FORMS: Mapping[str, _Form] = {
    "hold": _Form("/hold MODEL VERSION REASON", f" {_MODEL} {_VERSION} {_OWN_REASON}", Hold),
    "unhold": _Form("/unhold MODEL VERSION", f" {_MODEL} {_VERSION}", Unhold),
    "promote": _Form(
        "/promote ENVIRONMENT MODEL VERSION [--replace]",
        f" {ENVIRONMENT} {_MODEL} {_VERSION}(?P<replace> --replace)?",
        Promote,
    ),
    "rollback": _Form(
        "/rollback ENVIRONMENT MODEL [--remove] REASON",
        f" {ENVIRONMENT} {_MODEL}(?P<remove> --remove)? {_OWN_REASON}",
        Rollback,
    ),
    "freeze": _Form(
        "/freeze ENVIRONMENT until TIME REASON", f" {ENVIRONMENT} {UNTIL} {REASON}", Freeze
    ),
    "unfreeze": _Form("/unfreeze ENVIRONMENT", f" {ENVIRONMENT}", Unfreeze),
    "retrain": _Form("/retrain MODEL VERSION", f" {_MODEL} {_VERSION}", Retrain),
}

_A = {"ENVIRONMENT": "an environment", "MODEL": "a model", "VERSION": "a version"}

USAGES = tuple(form.usage for form in _FORMS.values())
"""How each of them is written."""


def parse_typed(line: str) -> Typed | None:
    """Return the command of a line; None if it is none, to the letter.

    Raises:
        ValueError: Its time is none.
    """
    name, _, _ = line.removeprefix("/").partition(" ")
    form = _FORMS.get(name)
    if form is None or not line.startswith("/") or len(line) > LONGEST_LINE:
        return None
    found = re.fullmatch(form.pattern, line.removeprefix(f"/{name}"), re.ASCII)
    if found is None or not line.isprintable():
        return None
    named: dict[str, Any] = found.groupdict()
    model, version = named.pop("model", ""), named.pop("version", "")
    if version and not is_version(version):
        return None
    for flag in {"replace", "remove"} & named.keys():
        named[flag] = named[flag] is not None
    if "until" in named:
        named["until"] = parse_moment(named["until"])
    return Typed(command=form.make(**named), model=model, version=version)


def write_typed(typed: Typed) -> str:
    """Return the line of a command, which `parse_typed` reads."""
    model, version = typed.model, typed.version
    words: tuple[str | None, ...]
    match typed.command:
        case Hold(reason=reason):
            words = ("/hold", model, version, reason)
        case Unhold():
            words = ("/unhold", model, version)
        case Promote(environment=where, replace=replace):
            words = ("/promote", where, model, version, "--replace" if replace else "")
        case Rollback(environment=where, reason=reason, remove=remove):
            words = ("/rollback", where, model, "--remove" if remove else "", reason)
        case Freeze(environment=where, until=until, reason=reason):
            words = ("/freeze", where, "until", until.isoformat(timespec="seconds"), reason)
        case Unfreeze(environment=where):
            words = ("/unfreeze", where)
        case Retrain():
            words = ("/retrain", model, version)
        case _:
            assert_never(typed.command)
    return " ".join(filter(None, words))


def find_fault(typed: Typed) -> str | None:
    """Return which of a command's words has no form that `parse_typed` reads; None if all have."""
    line, command = write_typed(typed), typed.command
    try:
        if parse_typed(line) == typed:
            return None
    except ValueError as error:
        return f"{line!r}: {error}"
    usage = _FORMS[line.removeprefix("/").partition(" ")[0]].usage
    where = getattr(command, "environment", None) or ""
    for word, name, is_right, rule in (
        ("ENVIRONMENT", where, is_name, NAME.pattern),
        ("MODEL", typed.model, is_name, NAME.pattern),
        ("VERSION", typed.version, is_version, f"{VERSION.pattern}, without .. and a last .lock"),
    ):
        if word in usage and not is_right(name):
            return f"{name!r} is no name of {_A[word]}: it must match {rule}"
    if "REASON" in usage:
        reason = getattr(command, "reason", None) or ""
        limits = f"3 to {LONGEST_REASON} printable characters without < and >"
        return f"the reason {reason!r} must have {limits}, and begin with neither a blank nor --"
    return f"{line!r} is none of {', '.join(USAGES)}"


def as_comment(typed: Typed) -> str | None:
    """Return the comment that does the same below a pull request of the version; None if none."""
    match typed.command:
        case Promote(replace=True) | Rollback(remove=True):
            return None
        case Hold(reason=reason):
            return f"/hold {reason}"
        case Promote(environment=where):
            return f"/promote {where}"
        case Rollback(environment=where, reason=reason):
            return f"/rollback {where} {reason}"
        case Unhold() | Retrain():
            return write_typed(typed).split(maxsplit=1)[0]
        case Freeze() | Unfreeze():
            return write_typed(typed)
        case _:
            assert_never(typed.command)
