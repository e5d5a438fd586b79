"""A problem in a file of the repository, for the person who wrote the file."""

from __future__ import annotations

from dataclasses import dataclass

Path = tuple[str | int, ...]
"""Keys and indexes from the top of a document down to one value."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One problem that a check found.

    Args:
        file: The file at fault, as a repository path; empty for a problem of no one file.
        message: One sentence with the value and the limit.
        check: The check that found it.
        path: The place in the file; the empty path is the whole document.
        line: The line of that place, from 1; 0 if it has not been looked up.
        involves: Other files that the problem depends on, whether they exist or not.
    """

    file: str
    message: str
    check: str = ""
    path: Path = ()
    line: int = 0
    involves: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line for people, without the file where there is none."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}" if place else self.message

    @property
    def sort_key(self) -> tuple[str, int, str, str]:
        """The order in which problems are printed: by file, then line, then check."""
        return (self.file, self.line, self.check, self.message)

    def concerns(self, files: frozenset[str]) -> bool:
        """Whether any of the files is at fault or involved."""
        return self.file in files or not files.isdisjoint(self.involves)


def format_path(path: Path) -> str:
    """The path as people write it, such as `data.files[0].uri`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")
