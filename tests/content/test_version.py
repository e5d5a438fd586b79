"""Each place that names the toolkit's version names that of pyproject.toml."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from modelyard.domain.specs.repository import Repository

ROOT = Path(__file__).parents[2]
AWS = "environments/platform/aws"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
NUMBER = r"\d+\.\d+\.\d+"
# Changes and decisions tell what was; tests have images of any version.
OTHERS = (":!CHANGELOG.md", ":!docs/decisions", ":!tests")


def places(pattern: str) -> list[tuple[str, str]]:
    """The file of each match in what Git keeps here, and the version in it."""
    words = ["git", "ls-files", "-z", "--", ".", *OTHERS]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [
        (name, found)
        for name in filter(None, listed.split("\0"))
        for found in re.findall(pattern, (ROOT / name).read_bytes().decode("utf-8", "replace"))
    ]


@pytest.mark.parametrize(
    ("pattern", "known"),
    [
        (rf"modelyard:({NUMBER})", "scripts/modelyard/domain/specs/repository.py"),
        (rf'variable "image_tag" \{{[^}}]*default *= "({NUMBER})"', f"{AWS}/variables.tf"),
        (r"This is version (\d+\.\d+(?:\.\d+)?)", "README.md"),
    ],
    ids=["images", "the tag of the image on AWS", "the front page"],
)
def test_each_place_names_the_version_of_the_package(pattern, known):
    found = places(pattern)
    assert known in {name for name, _ in found}
    assert [each for each in found if each[1] != VERSION] == []


def test_the_image_is_that_of_the_package_unless_a_team_names_another():
    assert Repository().server_image == f"localhost/modelyard:{VERSION}"


def test_the_newest_numbered_changes_are_those_of_the_package():
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    numbered = [each for each in headings if each != "Unreleased"]
    assert re.fullmatch(rf"{re.escape(VERSION)} - \d{{4}}-\d\d-\d\d", numbered[0])
    assert "Unreleased" not in headings[1:]
