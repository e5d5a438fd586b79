"""What may be handed to git: paths, revisions, names and messages that came from anywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping

from modelyard.errors import Refused

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_CRUD = re.compile(r"[<>\x00-\x1f\x7f]+")
_AUTHOR = re.compile(r"^(?P<name>[^<>]+?) *<(?P<mail>[^<>]+)>$")
_KEY = re.compile(r"^[A-Z][A-Za-z0-9]*(-[A-Z][A-Za-z0-9]*)*$")


def readable(text: str) -> str:
    """Text from others as one line that no terminal acts on."""
    return " ".join(_CONTROL.sub(" ", text).split())


def paragraphs(text: str) -> str:
    """Text from others with its lines and blanks, but nothing a terminal acts on."""
    lines = text.replace("\r\n", "\n").replace("\t", "    ").split("\n")
    return "\n".join(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", line) for line in lines)


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
        raise Refused(f"{readable(path)!r} is not a path inside a repository")
    return path


def revision_of(revision: str) -> str:
    """The revision, if git cannot take it for an option or for several.

    Raises:
        Refused: It starts with `-` or holds blanks or control characters.
    """
    if not revision or revision.startswith("-") or re.search(r"\s", revision):
        raise Refused(f"{readable(revision)!r} is not the name of a commit")
    return path_free(revision)


def path_free(text: str) -> str:
    """The text, if it holds no control characters; `Refused` otherwise."""
    if _CONTROL.search(text):
        raise Refused(f"{readable(text)!r} holds control characters")
    return text


def name_and_mail(author: str) -> tuple[str, str]:
    """Name and mail address of `Name <mail>`; a name alone gets an address nobody can own.

    Raises:
        Refused: Nothing of the name is left once git's separators are taken out.
    """
    match = _AUTHOR.match(author.strip())
    if match:
        return readable(match["name"]), readable(match["mail"])
    name = readable(_CRUD.sub(" ", author)).strip(" .,:;\"'")
    if not name:
        raise Refused(f"{readable(author)!r} is not a name to commit under")
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "someone"
    return name, f"{slug}@modelyard.invalid"


def message_bytes(message: str) -> bytes:
    """A commit message as git stores it: no NUL, one newline at the end."""
    return (message.replace("\0", "").rstrip() + "\n").encode("utf-8", "replace")


def message_of(title: str, trailers: Mapping[str, str], body: str = "") -> str:
    """A commit message whose trailers are exactly these, whatever the texts hold.

    Raises:
        Refused: A trailer's key is not of the form `Modelyard-Version`.
    """
    for key in trailers:
        if not _KEY.match(key):
            raise Refused(f"{readable(key)!r} is not a trailer's key, as `Modelyard-Version` is")
    told = "\n".join(f"{key}: {readable(value)}" for key, value in trailers.items())
    told_in = (readable(title) or "Change", body.strip(), told)
    return "\n\n".join(paragraph for paragraph in told_in if paragraph)
