"""Every example file is a test: put one into a `valid` or `invalid` folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes import Files
from modelyard.adapters.specs.reader import read_specs
from modelyard.adapters.specs.schemas import FILES

HERE = Path(__file__).parent
EXPECT = "# expect: "
PLACES = {
    "environment": "environments/e/environment.yaml",
    "held-out": "models/m/heldout/h.yaml",
    "model": "models/m/model.yaml",
    "model-version": "models/m/versions/v.yaml",
    "record": "models/m/records/v.yaml",
    "release": "environments/e/releases/m.yaml",
    "repository": "modelyard.yaml",
}


def examples(which: str) -> list[Path]:
    return sorted(HERE.glob(f"*/{which}/*.yaml"))


def shown(path: Path) -> str:
    return path.relative_to(HERE).as_posix()


def said_of(example: Path) -> list[str]:
    place = PLACES[example.parents[1].name]
    text = example.read_text(encoding="utf-8")
    return [p.message for p in read_specs(Files({place: text})).problems if p.file == place]


@pytest.mark.parametrize("example", examples("valid"), ids=shown)
def test_accepts_a_valid_example(example: Path):
    assert said_of(example) == []


@pytest.mark.parametrize("example", examples("invalid"), ids=shown)
def test_refuses_an_invalid_example_with_the_expected_words(example: Path):
    first, _, _ = example.read_text(encoding="utf-8").partition("\n")
    fragment = first.removeprefix(EXPECT)
    assert first != fragment, f"the first line must be '{EXPECT}<words of the message>'"
    said = said_of(example)
    assert len(said) <= 2, "an example breaks one rule, so that it shows one message"
    assert [words for words in said if fragment in words], said


@pytest.mark.parametrize("kind", sorted(FILES.values()))
def test_each_kind_has_examples_of_both_sorts(kind: str):
    counts = tuple(len(list(HERE.glob(f"{kind}/{which}/*.yaml"))) for which in ("valid", "invalid"))
    assert counts >= (3, 6)
    assert counts[1] >= 6
