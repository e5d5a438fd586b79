"""The folder of a site: each page is replaced whole, and nothing of anybody else is touched."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.adapters.replaced_file import replace_file
from modelyard.errors import CannotAnswer, Refused

MANIFEST = "site.json"
FORMAT = 1


@dataclass
class SiteFolder:
    """A folder of pages and the list of what is in it.

    Args:
        path: The folder.
        keys: By group of pages, what they were made of.
        files: By group, the files.
    """

    path: Path
    keys: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> SiteFolder:
        """The folder, which need not be there yet.

        Raises:
            Refused: There are files in it, and no list of a site.
            CannotAnswer: It cannot be read.
        """
        manifest = path / MANIFEST
        try:
            if not manifest.exists():
                if path.exists() and any(path.iterdir()):
                    raise Refused(
                        f"{path} is not empty and holds no site ({MANIFEST})",
                        hint="choose a folder of its own, such as --out build/site",
                    )
                return cls(path)
            known = json.loads(manifest.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise CannotAnswer(
                f"{path} cannot be read: {error}", hint=f"delete {path} and run it again"
            ) from error
        if not isinstance(known, dict) or known.get("format") != FORMAT:
            return cls(path, files={"": _listed(known)})  # of another version: made anew
        return cls(path, keys=known["keys"], files=known["files"])

    def is_current(self, group: str, key: str) -> bool:
        """Whether the group's pages were made of the same, and are all there."""
        here = self.files.get(group, ())
        return self.keys.get(group) == key and all((self.path / each).is_file() for each in here)

    def write(self, group: str, key: str, pages: Iterable[tuple[str, bytes]]) -> None:
        """Write the pages of a group; a page that is the same already is left alone.

        Raises:
            CannotAnswer: The folder cannot be written.
        """
        written = []
        for name, content in pages:
            self._replace(name, content)
            written.append(name)
        self.keys[group], self.files[group] = key, written

    def finish(self, groups: Iterable[str]) -> None:
        """Keep these groups alone: write the list, then delete the pages that are in none."""
        kept = sorted(groups)
        wanted = {name for group in kept for name in self.files[group]}
        stale = {name for names in self.files.values() for name in names} - wanted
        self.keys = {group: self.keys[group] for group in kept}
        self.files = {group: self.files[group] for group in kept}
        document = {"format": FORMAT, "keys": self.keys, "files": self.files}
        self._replace(MANIFEST, json.dumps(document, indent=1, sort_keys=True).encode())
        for name in sorted(stale):
            if _is_inside(name):
                (self.path / name).unlink(missing_ok=True)
                self._remove_empty(name)

    def _replace(self, name: str, content: bytes) -> None:
        if not _is_inside(name):
            raise Refused(f"{name!r} is no page of a site")
        file = self.path / name
        try:
            if not file.is_file() or file.read_bytes() != content:
                file.parent.mkdir(parents=True, exist_ok=True)
                replace_file(file, content)
        except OSError as error:
            raise CannotAnswer(f"cannot write {file}: {error.strerror}") from error

    def _remove_empty(self, name: str) -> None:
        for folder in list(Path(name).parents)[:-1]:
            place = self.path / folder
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()


def _listed(known: object) -> list[str]:
    return list(_names(known.get("files"))) if isinstance(known, dict) else []


def _names(files: object) -> Iterator[str]:
    groups = files.values() if isinstance(files, dict) else ()
    for names in groups:
        yield from (name for name in names if isinstance(name, str))


def _is_inside(name: str) -> bool:
    parts = Path(name).parts
    return bool(parts) and not Path(name).is_absolute() and ".." not in parts
