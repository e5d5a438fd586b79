"""The checks of `modelyard doctor` about passwords that Git keeps, which they never show."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from modelyard.domain.harmless_text import find_passwords, hide_passwords, remove_passwords
from modelyard.errors import CannotAnswer
from modelyard.operations.doctor.runner import Checkout, Finding

_REMOTE = re.compile(r"remote\.(?P<name>.+)\.(?P<what>url|pushurl)")
_HELPER = re.compile(r"credential\.(?:.+\.)?helper")
_HEADER = re.compile(r"http\.(?:.+\.)?extraheader")
_TOKEN = re.compile(r"(gh[a-z]_|github_pat_|glpat-).+|[0-9a-fA-F]{40}")
"""A token in the place of the user name: GitHub's, GitLab's and Gitea's."""
_SIGNS_IN = re.compile(
    r"[\w-]*(?:authorization|cookie|token|secret|password|key)[\w-]*\s*:\s*\S", re.IGNORECASE
)
_ANSWER = re.compile(
    r"(?:\b|\\n)password=(?![%$\\\"'\s])\S"
)  # not of a variable, or what printf fills in
_STORE = re.compile(r"(?:!?(?:\S*/)?(?:git )?(?:git-)?credential-)?store(?P<options>\s.*)?$")
_HOME = re.compile(r"^~(?=/)")
_OF_OTHERS = 0o077
_THEN = "then revoke it: backups and lists of processes have it"


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A key of Git's configuration, with its value and the file that it is written in."""

    file: str
    key: str
    value: str


def the_configuration_of_git_has_no_password(checkout: Checkout) -> Iterator[Finding]:
    """Git signs in with it as that person, whoever runs the tool, and shows it to processes."""
    entries = _read_entries(checkout)
    values = Counter((entry.file, entry.key) for entry in entries)
    for entry in entries:
        is_only = values[entry.file, entry.key] == 1
        shown = f"git config {hide_passwords(entry.key)} of {entry.file}"
        if _has_password(f"{entry.key} {entry.value}"):
            fix = _repair_address(entry, is_only=is_only)
            what = f"{shown} has a password or a token in its address"
        elif _HEADER.fullmatch(entry.key) and _SIGNS_IN.match(entry.value):
            words = ("--unset", entry.key) if is_only else ("--edit",)
            fix = f"{_git_config(entry, *words)}, and use a credential helper"
            what = f"{shown} sends a password or a token with each request"
        elif _HELPER.fullmatch(entry.key) and _ANSWER.search(entry.value):
            fix = f"{_git_config(entry, '--edit')}, and use a credential helper that encrypts"
            what = f"{shown} is a command with a password in it"
        else:
            continue
        yield Finding(what=what, fix=f"{fix}; {_THEN}")


def nobody_else_may_read_saved_passwords(checkout: Checkout) -> Iterator[Finding]:
    """`credential.helper store` and `.netrc` keep them as they are; Git writes for you alone."""
    for file in dict.fromkeys(_password_files(checkout)):
        try:
            mode = file.stat().st_mode & 0o777
        except OSError:  # there is none, or it is out of this user's reach
            continue
        if mode & _OF_OTHERS:
            yield Finding(
                what=f"{file} has passwords and the mode {mode:o}: others than you may open it",
                fix=f"{shlex.join(['chmod', '600', str(file)])}; then change the passwords in it",
            )


def _read_entries(checkout: Checkout) -> list[_Entry]:
    try:
        listed = checkout.git.run("config", "--list", "--show-origin", "-z").stdout
    except CannotAnswer:  # no repository; others say so
        return []
    fields = listed.decode("utf-8", "replace").split("\0")[:-1]
    found = []
    for origin, row in zip(fields[::2], fields[1::2], strict=True):
        kind, _, file = origin.partition(":")
        key, _, value = row.partition("\n")
        if kind == "file":  # what a command or the environment brings is not kept
            found.append(_Entry(file=file, key=key, value=value))
    return found


def _has_password(text: str) -> bool:
    # Git decodes both before it signs in.
    found = [(unquote(name), password) for name, password in find_passwords(text)]
    return any(password or _TOKEN.fullmatch(name) for name, password in found)


def _repair_address(entry: _Entry, *, is_only: bool) -> str:
    remote, address = _REMOTE.fullmatch(entry.key), remove_passwords(entry.value)
    # A key with a password is not repeated, and `set-url` replaces the first of several addresses.
    if remote is None or not is_only or re.search(r"[\s'\"]", address):
        return f"{_git_config(entry, '--edit')}; keep the password in a credential helper"
    way = ["--push"] if remote["what"] == "pushurl" else []
    return shlex.join(["git", "remote", "set-url", *way, remote["name"], address])


def _git_config(entry: _Entry, *words: str) -> str:
    return shlex.join(["git", "config", "--file", entry.file, *words])


def _password_files(checkout: Checkout) -> Iterator[Path]:
    """Where `.netrc` is, and what `credential.helper store` reads: its file, or both of its own."""
    home = Path.home()
    yield home / ".netrc"
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    for entry in _read_entries(checkout):
        found = _STORE.match(entry.value) if _HELPER.fullmatch(entry.key) else None
        if found is None:
            continue
        try:
            options = shlex.split(found["options"] or "")
        except ValueError:  # the shell refuses it, too
            continue
        named = next(_option_values(options, "--file"), None)
        if named is None:
            yield home / ".git-credentials"
            yield config / "git" / "credentials"
        else:  # a shell reads it, which fills in both
            yield checkout.root / os.path.expandvars(_HOME.sub(lambda _: str(home), named))


def _option_values(options: list[str], option: str) -> Iterator[str]:
    for word, following in pairwise([*options, ""]):
        if word == option:
            yield following
        elif word.startswith(f"{option}="):
            yield word.partition("=")[2]
