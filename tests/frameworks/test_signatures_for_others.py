"""OpenSSF Model Signing's own program checks the signatures that modelyard writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from attacks.test_an_artifact_is_signed import Shelf
from modelyard.domain.signatures import public_pem

pytestmark = pytest.mark.frameworks

UV = Path(sys.executable).with_name("uv")
# It uses pyOpenSSL, and does not ask for it.
PACKAGES = ("model-signing==1.1.1", "pyOpenSSL")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, in an environment of its own."""
    place = tmp_path_factory.mktemp("model-signing") / "environment"
    subprocess.run([UV, "venv", "--quiet", place], check=True)
    python = place / "bin" / "python"
    subprocess.run([UV, "pip", "install", "--quiet", "--python", python, *PACKAGES], check=True)
    return place / "bin" / "model_signing"


def test_openssf_s_program_finds_our_signature_right_and_another_one_wrong(program, tmp_path):
    shelf = Shelf(tmp_path)
    shelf.sign()

    def verify(key: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "public.pem").write_bytes(public_pem(key))
        files = ("--signature", shelf.signature(), "--public_key", tmp_path / "public.pem")
        command = [program, "verify", "key", tmp_path / "made", *files]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    right = verify(shelf.key.public)
    assert right.returncode == 0, right.stderr
    assert verify(shelf.other.public).returncode != 0
    (tmp_path / "made" / "serving.json").write_bytes(b"another")
    assert verify(shelf.key.public).returncode != 0
