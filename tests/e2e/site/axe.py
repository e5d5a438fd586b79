"""axe-core, which finds what people with a keyboard or a screen reader cannot use."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

VERSION = "4.14.1"
INTEGRITY = (
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg"
    "2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
)
"""Of the package, as the npm registry lists it."""

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "build" / "site-test"
PACKAGE = FOLDER / f"axe-core-{VERSION}.tgz"


def script() -> str | None:
    """Its text; None if it was not fetched."""
    if not PACKAGE.exists() or not is_whole(PACKAGE):
        return None
    with tarfile.open(PACKAGE) as archive:
        found = archive.extractfile("package/axe.min.js")
        assert found is not None
        return found.read().decode()


def is_whole(package: Path) -> bool:
    """Whether the package is the one that is pinned."""
    digest = hashlib.sha512(package.read_bytes()).digest()
    return f"sha512-{base64.b64encode(digest).decode()}" == INTEGRITY


def main() -> None:
    """Fetch the package unless it is there."""
    if PACKAGE.exists() and is_whole(PACKAGE):
        return
    if shutil.which("npm") is None:
        sys.exit("npm fetches axe-core, and is not installed: apt-get install npm")
    FOLDER.mkdir(parents=True, exist_ok=True)
    words = ["npm", "pack", "--silent", f"axe-core@{VERSION}"]
    subprocess.run(words, cwd=FOLDER, check=True, stdout=subprocess.DEVNULL)
    if not is_whole(PACKAGE):
        PACKAGE.unlink()
        sys.exit(f"axe-core {VERSION} is not what is pinned ({INTEGRITY})")


if __name__ == "__main__":
    main()
