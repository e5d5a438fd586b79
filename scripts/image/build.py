"""Builds the image of one lock with docker, and says by which digest a version pins it.

`make image` runs it with the variables LOCK, IMAGE and PUSH; a workflow adds REGISTRY_USER,
REGISTRY_TOKEN and BUILT, a folder for what was built. `make locks` lists the locks instead. It
needs nothing but Python, git's checkout and docker.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PLATFORM_LOCK = "requirements-runtime.lock"
MOST_LOCKS = 256
"""GitHub starts no more jobs of one matrix."""

OWN_LOCK = r"models/[a-z][a-z0-9-]*/trainer/requirements\.lock"


def find_locks(root: Path = Path()) -> list[str]:
    """Return every lock that an image is built of: the platform's, and those of models."""
    own = sorted(str(path.relative_to(root)) for path in root.glob("models/*/trainer/*.lock"))
    return [PLATFORM_LOCK, *filter(re.compile(OWN_LOCK).fullmatch, own)]


def list_locks() -> int:
    """Print the locks as JSON, and give them to the workflow."""
    locks = find_locks()
    if len(locks) > MOST_LOCKS:
        print(
            f"error: {len(locks)} locks, and a workflow of GitHub builds at most {MOST_LOCKS}; "
            "hint: remove the trainer/requirements.lock of models that need no library of their "
            "own, or build each with make image LOCK=...",
            file=sys.stderr,
        )
        return 3
    found = json.dumps(locks)
    _say("GITHUB_OUTPUT", f"locks={found}\n")
    print(found)
    return 0


def main() -> int:
    """Build, push if asked to, and print `NAME@DIGEST`."""
    lock, name = Path(os.environ.get("LOCK") or PLATFORM_LOCK), os.environ["IMAGE"].lower()
    if not lock.is_file():
        print(f"error: {lock} is no lock; hint: modelyard runtime list", file=sys.stderr)
        return 2
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    is_pushed = bool(os.environ.get("PUSH"))
    if is_pushed and (token := os.environ.get("REGISTRY_TOKEN")):
        user, host = os.environ["REGISTRY_USER"], name.partition("/")[0]
        # By stdin: what is in argv, every process of the machine can read.
        command = ["docker", "login", host, "--username", user, "--password-stdin"]
        subprocess.run(command, input=token.encode(), check=True)
    with tempfile.TemporaryDirectory() as place:
        metadata = Path(place) / "image.json"
        # The list of packages and how it was built stand beside the image in the registry.
        kept = ["--push", "--sbom=true", "--provenance=mode=max"] if is_pushed else ["--load"]
        command = [
            *("docker", "buildx", "build", "--file", "Containerfile"),
            *("--build-arg", f"LOCK={lock}", "--build-arg", f"LOCK_SHA256={digest}"),
            *("--tag", f"{name}:lock-{digest[:12]}", "--metadata-file", str(metadata), *kept, "."),
        ]
        if (ended := subprocess.run(command, check=False).returncode) != 0:
            return ended
        built = json.loads(metadata.read_text())["containerimage.digest"]
    _say("GITHUB_OUTPUT", f"name={name}\ndigest={built}\n")
    _say("GITHUB_STEP_SUMMARY", f"`{lock}`: `modelyard version new ... --image {name}@{built}`\n")
    if folder := os.environ.get("BUILT"):
        _note(Path(folder), lock, f"{name}@{built}")
    print(f"{name}@{built}")
    return 0


def _note(folder: Path, lock: Path, image: str) -> None:
    """Write what was built into a file that `modelyard runtime image --built` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(str(lock).encode()).hexdigest()
    noted = json.dumps({"lock": str(lock), "image": image})
    (folder / f"{name}.json").write_text(noted, encoding="utf-8")


def _say(variable: str, text: str) -> None:
    """Add to a file that a workflow's step may have."""
    if file := os.environ.get(variable):
        with Path(file).open("a", encoding="utf-8") as said:
            said.write(text)


if __name__ == "__main__":
    sys.exit(list_locks() if sys.argv[1:] == ["list"] else main())
