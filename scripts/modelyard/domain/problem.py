"""Something wrong in a file of the repository, said to the person who wrote it."""

from __future__ import annotations

from dataclasses import dataclass

Path = tuple[str | int, ...]
"""Keys and indexes from the top of a document down to one value."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One finding.

    Args:
        file: The file at fault, as a repository path.
        message: One sentence that names the value and the limit.
        check: Which check found it.
        path: Where in the file; the empty path is the whole document.
        line: Line of that place, from 1; 0 until somebody looked it up.
        involves: Other files the finding follows from, whether they exist or not.
    """

    file: str
    message: str
    check: str = ""
    path: Path = ()
    line: int = 0
    involves: tuple[str, ...] = ()

    @property
    def sort_key(self) -> tuple[str, int, str, str]:
        """Reading order: by file, then line, then check."""
        return (self.file, self.line, self.check, self.message)

    def concerns(self, files: frozenset[str]) -> bool:
        """Whether one of the files is at fault or involved."""
        return self.file in files or not files.isdisjoint(self.involves)


def format_path(path: Path) -> str:
    """A path as people write it: `data.files[0].uri`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")
