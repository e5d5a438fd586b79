"""Runtimes for tests: this interpreter's, and another one that borrows its libraries offline."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import site
import sys
import zipfile
from base64 import urlsafe_b64encode
from pathlib import Path

from modelyard.adapters.runtimes.environments import Environments, Runtime, runtimes_folder

OWN_LOCK = f"numpy=={importlib.metadata.version('numpy')}\n".encode()
"""A lock that this interpreter fulfils."""

OWN = hashlib.sha256(OWN_LOCK).hexdigest()


def own_runtime() -> Runtime:
    """The runtime of `OWN_LOCK`, which is this interpreter."""
    kept = Environments(runtimes_folder()).keep_lock(OWN_LOCK)
    return Runtime(lock=OWN, lock_file=kept, python=Path(sys.executable))


def borrowing_lock(wheels: Path, name: str = "borrowed", *, libraries: bool = True) -> bytes:
    """A lock of one package, whose wheel is made here: with it an environment has our libraries.

    uv finds the wheel with `UV_NO_INDEX` and `UV_FIND_LINKS`, so nothing is downloaded.
    """
    path = Path(site.getsitepackages()[0])
    files = {
        f"{name}/__init__.py": b"",
        **({f"{name}.pth": f"{path}\n".encode()} if libraries else {}),
        f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        .encode(),
        f"{name}-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\n"
        b"Root-Is-Purelib: true\nTag: py3-none-any\n",
    }  # fmt: skip
    record = f"{name}-1.0.dist-info/RECORD"
    rows = [f"{each},sha256={_digest(text)},{len(text)}" for each, text in files.items()]
    files[record] = "\n".join([*rows, f"{record},,", ""]).encode()
    wheels.mkdir(exist_ok=True)
    wheel = wheels / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for each, text in files.items():
            # With a fixed time: the same wheel has the same hash.
            archive.writestr(zipfile.ZipInfo(each, (2026, 1, 1, 0, 0, 0)), text)
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n".encode()


def offline_uv(wheels: Path) -> dict[str, str]:
    """The variables with which uv installs from a folder of wheels alone."""
    kept = {"UV_CACHE_DIR": os.environ["UV_CACHE_DIR"]} if "UV_CACHE_DIR" in os.environ else {}
    return {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(wheels), "UV_OFFLINE": "1", **kept}


def _digest(content: bytes) -> str:
    return urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
