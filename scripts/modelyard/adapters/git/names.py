"""Checks what is handed to git: paths, revisions, names and messages from outside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from modelyard.errors import Refused

# C0, C1 and the marks that reorder or break text (bidirectional, line separators).
_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]"
    # Lone surrogates, but for those that stand for a byte of a file's name.
    r"|[\ud800-\udc7f\udd00-\udfff]"
)
_LONE = re.compile(r"[\ud800-\udfff]")
# Git's own name for what it removes from names (ident.c).
_CRUD = re.compile(r"[<>\x00-\x1f\x7f]+")
_AUTHOR = re.compile(r"^(?P<name>[^<>]+?) *<(?P<mail>[^<>]+)>$")
_KEY = re.compile(r"^[A-Z][A-Za-z0-9]*(-[A-Z][A-Za-z0-9]*)*$")


def safe_line(text: str) -> str:
    """Text from outside as one line without control characters."""
    # No document and no commit can hold a lone surrogate.
    return " ".join(_CONTROL.sub(" ", _LONE.sub("\N{REPLACEMENT CHARACTER}", text)).split())


def path_of(path: str) -> str:
    """The path, if it stays inside a repository; one ending in `/` is a folder.

    Raises:
        Refused: It is absolute, empty, climbs out, reaches into `.git` or holds control characters.
    """
    parts = path.removesuffix("/").split("/")
    # Some file systems fold case, drop trailing dots and blanks, and know `.git` as `git~1`.
    folded = {part.lower().rstrip(" .") for part in parts}
    outside = folded & {"", ".git", "git~1"}
    if outside or "\\" in path or _CONTROL.search(path):
        raise Refused(f"{safe_line(path)!r} is not a path inside a repository")
    return path


def revision_of(revision: str) -> str:
    """The revision, if git cannot read it as an option or as several revisions.

    Raises:
        Refused: It starts with `-` or holds blanks or control characters.
    """
    if not revision or revision.startswith("-") or re.search(r"\s", revision):
        raise Refused(f"{safe_line(revision)!r} is not the name of a commit")
    return refuse_control_characters(revision)


def since_option(moment: datetime) -> str:
    """The option with which `git log` leaves out what was committed before a moment.

    It goes on behind an older commit: one from a machine with a wrong clock hides none before it.
    """
    # Git takes fewer digits for a date, and any year before 1970 for one of its own guesses.
    return f"--since-as-filter=@{max(100_000_000, int(moment.timestamp()))}"


def refuse_control_characters(text: str) -> str:
    """The text, if it holds no control characters; `Refused` otherwise."""
    if _CONTROL.search(text):
        raise Refused(f"{safe_line(text)!r} holds control characters")
    return text


def name_and_mail(author: str) -> tuple[str, str]:
    """Name and mail address of `Name <mail>`; a name alone gets an address nobody can own.

    Raises:
        Refused: The name is empty once git's separators are removed.
    """
    match = _AUTHOR.match(author.strip())
    if match:
        return safe_line(match["name"]), safe_line(match["mail"])
    # Git strips these at the ends too, and refuses an empty name.
    name = safe_line(_CRUD.sub(" ", author)).strip(" .,:;\"'")
    if not name:
        raise Refused(f"{safe_line(author)!r} is not a name to commit under")
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "someone"
    return name, f"{slug}@modelyard.invalid"


def message_bytes(message: str) -> bytes:
    """A commit message as git stores it: no NUL, one newline at the end."""
    return (message.replace("\0", "").rstrip() + "\n").encode("utf-8", "replace")


def message_of(title: str, trailers: Mapping[str, str], body: str = "") -> str:
    """A commit message with exactly these trailers, whatever the texts hold.

    Raises:
        Refused: A trailer's key is not of the form `Modelyard-Version`.
    """
    for key in trailers:
        if not _KEY.match(key):
            raise Refused(f"{safe_line(key)!r} is not a trailer's key, as `Modelyard-Version` is")
    block = "\n".join(f"{key}: {safe_line(value)}" for key, value in trailers.items())
    safe_lines = (safe_line(title) or "Change", body.strip(), block)
    return "\n\n".join(filter(None, safe_lines))
