"""The folder of a site: each page is replaced whole, and nothing of anybody else is touched."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

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
        listed: Every file that was listed when it was opened.
    """

    path: Path
    keys: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    listed: frozenset[str] = frozenset()

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
                    raise _not_a_site(path)
                return cls(path)
            known = json.loads(manifest.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise CannotAnswer(
                f"{path} cannot be read: {error}", hint=f"delete {path} and run it again"
            ) from error
        if not _is_list(known):
            raise _not_a_site(path)
        files = known["files"]
        listed = frozenset(name for names in files.values() for name in names)
        if known["format"] != FORMAT:
            return cls(path, listed=listed)  # of another version: made anew
        return cls(path, keys=known["keys"], files=files, listed=listed)

    def has(self, group: str) -> bool:
        """Whether the group's pages are all there, whatever they were made of."""
        here = self.files.get(group)
        return here is not None and all((self.path / each).is_file() for each in here)

    def is_current(self, group: str, key: str) -> bool:
        """Whether the group's pages were made of the same, and are all there."""
        return self.keys.get(group) == key and self.has(group)

    def write(self, group: str, key: str, pages: Iterable[tuple[str, bytes]]) -> None:
        """Write the pages of a group; a page that is the same already is left alone.

        Raises:
            CannotAnswer: The folder cannot be written.
        """
        if not (self.path / MANIFEST).exists():
            self._write_list()  # so that what is cut off is known as a site, and goes on
        written = []
        for name, content in pages:
            self._replace(name, content)
            written.append(name)
        self.keys[group], self.files[group] = key, written

    def finish(self, groups: Iterable[str]) -> None:
        """Keep these groups alone: write the list, then delete the pages that are in none.

        Raises:
            CannotAnswer: The folder cannot be written.
        """
        kept = sorted(groups)
        wanted = {name for group in kept for name in self.files[group]}
        written = {name for names in self.files.values() for name in names}
        self.keys = {group: self.keys[group] for group in kept}
        self.files = {group: self.files[group] for group in kept}
        self._write_list()
        for name in sorted({*self.listed, *written} - wanted):
            try:
                self._delete(name)
            except OSError as error:
                raise CannotAnswer(f"cannot delete {self.path / name}: {error.strerror}") from error

    def _write_list(self) -> None:
        document = {"format": FORMAT, "keys": self.keys, "files": self.files}
        self._replace(MANIFEST, json.dumps(document, indent=1, sort_keys=True).encode())

    def _replace(self, name: str, content: bytes) -> None:
        file = self.path / name
        try:
            if not self._holds(name):
                raise Refused(f"{file} is no page of a site, or behind a link to somewhere else")
            if not file.is_file() or file.read_bytes() != content:
                file.parent.mkdir(parents=True, exist_ok=True)
                replace_file(file, content)
        except OSError as error:
            raise CannotAnswer(f"cannot write {file}: {error.strerror}") from error

    def _delete(self, name: str) -> None:
        file = self.path / name
        if not self._holds(name) or not file.is_file():
            return
        file.unlink()
        for folder in list(Path(name).parents)[:-1]:
            place = self.path / folder
            if not any(place.iterdir()):
                place.rmdir()

    def _holds(self, name: str) -> bool:
        """Whether a file of this name is in the folder itself, not where a link in it leads."""
        folder = (self.path / name).parent.resolve()
        return _is_inside(name) and folder.is_relative_to(self.path.resolve())


def _not_a_site(path: Path) -> Refused:
    return Refused(
        f"{path} is not empty and holds no site ({MANIFEST})",
        hint="choose a folder of its own, such as --out build/site",
    )


def _is_list(known: object) -> TypeGuard[dict[str, Any]]:
    """Whether a document has the shape of the list, which is the same in every format."""
    if not isinstance(known, dict) or known.keys() != {"format", "keys", "files"}:
        return False
    keys, files = known["keys"], known["files"]
    if not isinstance(keys, dict) or not isinstance(files, dict) or keys.keys() != files.keys():
        return False
    names = [name for each in files.values() if isinstance(each, list) for name in each]
    return (
        all(isinstance(key, str) for key in keys.values())
        and all(isinstance(each, list) for each in files.values())
        and all(isinstance(name, str) and _is_inside(name) for name in names)
    )


def _is_inside(name: str) -> bool:
    path = Path(name)
    is_safe = name.isprintable() and not path.is_absolute() and ".." not in path.parts
    return is_safe and bool(path.parts)
