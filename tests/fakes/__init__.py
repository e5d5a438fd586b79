"""In-memory stand-ins that obey the contracts of the real things."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from modelyard.errors import CannotAnswer


class Files:
    """A `checkout.Tree` of text files.

    Args:
        files: Their text by path.
    """

    def __init__(self, files: dict[str, str]) -> None:
        self._files = {path: text.encode() for path, text in sorted(files.items())}

    def paths(self, prefix: str = "") -> tuple[str, ...]:
        return tuple(path for path in self._files if path.startswith(prefix))

    def folders(self, folder: str) -> tuple[str, ...]:
        below = {path.removeprefix(folder) for path in self.paths(folder)}
        return tuple(sorted({path.partition("/")[0] for path in below if "/" in path}))

    def part(self, places: Collection[str]) -> Files:
        kept = {
            path: text.decode()
            for path, text in self._files.items()
            if any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)
        }
        return Files(kept)

    def exists(self, path: str) -> bool:
        return path in self._files

    def read(self, path: str) -> bytes:
        return self.read_many((path,))[path]

    def read_many(self, paths: Iterable[str]) -> dict[str, bytes]:
        asked = tuple(paths)
        for path in asked:
            if path not in self._files:
                raise CannotAnswer(f"there is no file {path!r}")
        return {path: self._files[path] for path in asked}
