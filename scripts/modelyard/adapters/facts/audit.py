"""The audit log on the branch of the facts: a file of JSON lines for each month and model."""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from datetime import datetime

from modelyard.adapters.git.documents import Listing
from modelyard.adapters.git.repository import Git
from modelyard.domain.audit import YARD, AuditLine
from modelyard.domain.specs.interval import iso_utc

logger = logging.getLogger(__name__)

_FILE = re.compile(r"audit/[0-9]{4}-(0[1-9]|1[0-2])/([a-z][a-z0-9-]{0,39}|_yard)\.jsonl")
_KNOWN = frozenset(each.name for each in fields(AuditLine))


def is_audit_file(path: str) -> bool:
    """Whether a path of the branch is a file of the log."""
    return _FILE.fullmatch(path) is not None


def append_lines(git: Git, listing: Listing, lines: Iterable[AuditLine]) -> dict[str, bytes]:
    """Return the files with these lines at their ends, by path.

    A file whose place is taken, or that cannot be read, is left out: a log stops no rollback.
    """
    by_file: dict[str, list[AuditLine]] = defaultdict(list)
    for line in lines:
        by_file[f"audit/{line.at:%Y-%m}/{line.model or YARD}.jsonl"].append(line)
    for path in [path for path in by_file if (listing.obstacle(path)) is not None]:
        logger.warning("no line in the audit log: %s", listing.obstacle(path))
        del by_file[path]
    known = {path: listing.files[path] for path in by_file if path in listing.files}
    contents = git.read_many(known.values()) if known else {}
    found: dict[str, bytes] = {}
    for path, added in by_file.items():
        before = contents[known[path]] if path in known else b""
        if before is None:  # to write the new lines alone would drop those of the month
            logger.warning("no line in the audit log: %s cannot be read", path)
            continue
        found[path] = before + "".join(map(_dumped, added)).encode()
    return found


def read_lines(git: Git, listing: Listing, model: str) -> tuple[AuditLine, ...]:
    """Return the decisions about a model, oldest first; a line that cannot be read is left out."""
    paths = sorted(
        path for path in listing.files if path.endswith(f"/{model}.jsonl") and is_audit_file(path)
    )
    contents = git.read_many([listing.files[path] for path in paths])
    return tuple(
        line for path in paths for line in parse_lines(path, contents[listing.files[path]] or b"")
    )


def _dumped(line: AuditLine) -> str:
    said = {name: value for name, value in asdict(line).items() if value not in {"", None}}
    return json.dumps({**said, "at": iso_utc(line.at)}, sort_keys=True) + "\n"


def parse_lines(path: str, content: bytes) -> Iterator[AuditLine]:
    """The lines of a file of the log; one that cannot be read is left out."""
    for number, text in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        try:
            held = json.loads(text)
            held["at"] = datetime.fromisoformat(held["at"])
            # A newer modelyard may say more.
            yield AuditLine(**{name: held[name] for name in _KNOWN & held.keys()})
        except (ValueError, TypeError, LookupError) as error:
            logger.warning("left out, line %d of %s: %s", number, path, error)
