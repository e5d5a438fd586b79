"""What a file says of who ended pull requests, and when the forge is asked all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.adapters.forge.hosted.enders import KeptEnders
from modelyard.domain.people import Person

ANN, BOB = (Person(login=name, id=number) for name, number in (("ann", "1"), ("bob", "2")))
FIRST, LATER = "2024-01-01T00:00:00+00:00", "2024-01-01T00:00:10+00:00"


def find(file: Path, updated: str, told: Person | None) -> tuple[Person | None, bool]:
    """Who ended number 7, for a new process, and whether the forge was asked, which tells that."""
    asked = []

    def ask() -> Person | None:
        asked.append(told)
        return told

    kept = KeptEnders(file=file, repository="here")
    found = kept.find(7, updated, ask)
    kept.write()
    return found, bool(asked)


def test_the_forge_is_asked_once_and_again_for_what_changed_since(tmp_path: Path):
    file = tmp_path / "kept.json"
    assert find(file, FIRST, ANN) == (ANN, True)
    assert find(file, FIRST, BOB) == (ANN, False)
    assert find(file, LATER, BOB) == (BOB, True)


def test_whoever_the_forge_does_not_name_yet_is_not_kept(tmp_path: Path):
    assert find(tmp_path / "kept.json", FIRST, None) == (None, True)
    assert find(tmp_path / "kept.json", FIRST, ANN) == (ANN, True)


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b'{"repository": "there", "enders": []}',
     b'{"repository": "here", "enders": 1}', b'{"repository": "here", "enders": [[]]}', b"\xff"],
)  # fmt: skip
def test_a_file_that_says_nothing_is_as_good_as_none(tmp_path: Path, damage: bytes):
    (tmp_path / "kept.json").write_bytes(damage)
    assert find(tmp_path / "kept.json", FIRST, ANN) == (ANN, True)
