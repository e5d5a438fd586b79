"""The check of `modelyard doctor` about passwords in the addresses of Git's configuration."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit, urlunsplit

from modelyard.domain.harmless_text import hide_passwords
from modelyard.errors import CannotAnswer
from modelyard.operations.doctor.runner import Checkout, Finding

_URL = re.compile(r"(?<![a-z0-9])[a-z][a-z0-9+.-]*://[^\s'\"]+", re.IGNORECASE)
_REMOTE = re.compile(r"remote\.(?P<name>.+)\.(?P<what>url|pushurl)")
_TOKEN = re.compile(r"(gh[a-z]_|github_pat_|glpat-).+|[0-9a-fA-F]{40}")
"""A token in the place of the user name: GitHub's, GitLab's and Gitea's."""

_THEN = "then revoke it: backups and lists of processes have it"


def no_address_has_a_password(checkout: Checkout) -> Iterator[Finding]:
    """Git signs in with it as that person, whoever runs the tool, and shows it to processes."""
    try:
        listed = checkout.git.run("config", "--list", "-z").stdout.decode("utf-8", "replace")
    except CannotAnswer:  # no repository; others say so
        return
    for key, _, value in (row.partition("\n") for row in listed.split("\0")[:-1]):
        if any(map(_has_password, _URL.findall(f"{key} {value}"))):
            yield Finding(
                what=f"git config {hide_passwords(key)} has a password or a token in its address",
                fix=f"{_repair(key, value)}; {_THEN}",
            )


def _has_password(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "@" in url
    # Git decodes both before it signs in.
    name = unquote(parts.username or "")
    return bool(parts.password) or _TOKEN.fullmatch(name) is not None


def _repair(key: str, value: str) -> str:
    remote, address = _REMOTE.fullmatch(key), _without_user(value)
    if remote is None or address is None:
        return "git config --edit, or with --global; keep the password in a credential helper"
    way = ["--push"] if remote["what"] == "pushurl" else []
    return shlex.join(["git", "remote", "set-url", *way, remote["name"], address])


def _without_user(value: str) -> str | None:
    """The address without who signs in; None for what is no address, or more than one."""
    if _URL.fullmatch(value) is None:
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
