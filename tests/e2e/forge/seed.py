"""This checkout's files as a bare repository with one commit, from which tests make theirs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def write_seed(folder: Path) -> Path:
    """The bare repository in this folder, made when it is not there."""
    bare = folder / "seed.git"
    if not bare.exists():
        work = folder / "seed"
        copy_checkout(work)
        git(work, "init", "--quiet", "--initial-branch=main")
        git(work, "add", "--all")
        git(work, "commit", "--quiet", "-m", "A yard")
        # By its address, so that it is one pack, not a file an object.
        git(folder, "clone", "--quiet", "--bare", work.as_uri(), str(bare))
    return bare


def copy_checkout(folder: Path) -> None:
    """Copy the files that Git knows here, as they are in the working tree."""
    for name in git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split(
        "\0"
    ):
        source, copy = ROOT / name, folder / name
        if name and source.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)


def git(folder: Path, *arguments: str, accept: tuple[int, ...] = (0,)) -> str:
    """What one Git command prints."""
    done = subprocess.run(
        ["git", "-C", folder, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode not in accept:
        raise AssertionError(f"git {' '.join(arguments)}: {done.stderr}")
    return done.stdout
