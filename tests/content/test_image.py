"""`make image` with a docker that only writes down what it is asked for."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.operations.runtimes.built import read_built

ROOT = Path(__file__).parents[2]
DIGEST = f"sha256:{'d' * 64}"
DOCKER = f"""#!/bin/sh
echo "$@" >> "$SAID"
[ "$1" = login ] && cat >> "$SAID"
while [ $# -gt 0 ]; do
  [ "$1" = --metadata-file ] && echo '{{"containerimage.digest": "{DIGEST}"}}' > "$2"
  shift
done
exit 0
"""


@pytest.fixture
def built(tmp_path):
    """What docker was asked, and how the build ended, by the variables of the call."""
    program = tmp_path / "docker"
    program.write_text(DOCKER)
    program.chmod(0o755)

    def run(**variables: str):
        said = tmp_path / "said"
        known = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SAID": str(said)}
        done = subprocess.run(
            [sys.executable, "scripts/image/build.py"],
            cwd=ROOT,
            env={**known, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        return done, said.read_text() if said.exists() else ""

    return run


def test_an_image_is_built_of_the_lock_and_pushed_with_what_is_in_it(built, tmp_path):
    output = tmp_path / "output"

    done, said = built(
        IMAGE="ghcr.io/Acme/yard",
        LOCK="requirements-runtime.lock",
        PUSH="true",
        REGISTRY_USER="ann",
        REGISTRY_TOKEN="s3cret",
        GITHUB_OUTPUT=str(output),
        BUILT=str(tmp_path / "built"),
    )

    assert (done.returncode, done.stdout) == (0, f"ghcr.io/acme/yard@{DIGEST}\n")
    login, token, build = said.splitlines()[0], "s3cret", said.rpartition("buildx")[2]
    assert login == "login ghcr.io --username ann --password-stdin"
    assert token not in login + build
    lock = hashlib.sha256((ROOT / "requirements-runtime.lock").read_bytes()).hexdigest()
    assert f"--build-arg LOCK_SHA256={lock}" in build
    assert "--push --sbom=true --provenance=mode=max" in build
    assert read_built(tmp_path / "built") == {
        "requirements-runtime.lock": f"ghcr.io/acme/yard@{DIGEST}"
    }
    assert output.read_text() == f"name=ghcr.io/acme/yard\ndigest={DIGEST}\n"


def test_what_is_no_lock_builds_nothing(built):
    done, said = built(IMAGE="x", LOCK="nothing.lock")

    assert (done.returncode, said) == (2, "")
    assert "nothing.lock is no lock" in done.stderr
