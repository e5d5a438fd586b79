"""MLmodel comes from a trainer and is read by processes that nothing closes in."""

from __future__ import annotations

import json
import os
import resource
import string
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import CannotAnswer, Refused, YardError
from modelyard.serving.formats.loaders import find_opening, has_code
from modelyard.serving.formats.metadata import FILE, LARGEST, read_metadata

GOOD = """\
flavors:
  python_function: {loader_module: mlflow.sklearn, model_path: model.skops}
  sklearn: {serialization_format: skops}
"""


def doubled(start: str, make: str) -> str:
    """Anchors of which each holds the one before nine times."""
    lines = [f"a: &a {start}"]
    for before, name in zip(string.ascii_lowercase, string.ascii_lowercase[1:12], strict=False):
        lines.append(f"{name}: &{name} {make.replace('*', f'*{before}')}")
    return "\n".join(lines) + "\n"


LISTS = doubled("[x, x]", f"[{', '.join('*' * 9)}]")
GROWING = {
    "a setting": LISTS + GOOD.replace("mlflow.sklearn", "*l"),
    "the format": LISTS + GOOD.replace("skops}\n  sk", "m}\n  sk").replace("skops}", "*l}"),
    "merged mappings": doubled("{k: 1}", "{<<: [*, *, *, *, *, *, *, *, *]}") + GOOD,
    "keys": "x: {" + ", ".join(f"k{n}: 1" for n in range(20_000)) + "}\n" + GOOD,
    "an alias of itself": "a: &a [*a]\n" + GOOD,
    "many levels": f"x: {'[' * 100_000}{']' * 100_000}\n" + GOOD,
    "levels without an end": "x: " + "{a: " * 100_000,
    "a chain of aliases": "a0: &a0 [x]\n"
    + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 3_000))
    + GOOD,
}


def write(folder: Path, text: str) -> Path:
    (folder / "MLmodel").write_text(text)
    return folder


@pytest.mark.parametrize("text", GROWING.values(), ids=list(GROWING))
def test_a_file_that_grows_when_it_is_read_is_refused_at_once(text: str, tmp_path: Path):
    started = time.process_time()
    with pytest.raises(Refused, match="more than 20,000 values, or more than 60 levels"):
        read_metadata(write(tmp_path, text))
    assert time.process_time() - started < 2


def test_of_a_file_larger_than_any_nothing_is_read_but_its_first_bytes(tmp_path: Path):
    os.truncate(write(tmp_path, GOOD) / "MLmodel", 1 << 34)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Refused, match="has more than 4 MB"):
        read_metadata(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_what_libraries_share_by_aliases_is_read(tmp_path: Path):
    shared = {"conda": ["python"], "pip": ["mlflow"] * 50}
    document = {**yaml.safe_load(GOOD), "environments": [shared] * 100}
    text = yaml.safe_dump(document)
    assert "*id001" in text
    assert read_metadata(write(tmp_path, text)).loader == "mlflow.sklearn"


def test_a_signature_of_many_columns_is_read(tmp_path: Path):
    columns = [{"name": f"column {n}", "type": "double"} for n in range(40_000)]
    document = {**yaml.safe_load(GOOD), "signature": {"inputs": json.dumps(columns)}}
    text = yaml.safe_dump(document)
    assert len(text) < LARGEST
    types = read_metadata(write(tmp_path, text)).types()
    assert types is not None
    assert len(types) == 40_000


@pytest.mark.parametrize(
    "value", ["!!int ''", "!!float ''", "!!bool x", "!!timestamp x", "!!int '_'", "!!int 1:x"]
)
def test_a_tag_whose_value_is_none_is_named(value: str, tmp_path: Path):
    with pytest.raises(CannotAnswer, match="MLmodel: cannot be read"):
        read_metadata(write(tmp_path, f"{GOOD}x: {value}\n"))


@pytest.mark.parametrize(
    "inputs",
    [
        "[" * 100_000 + "]" * 100_000,
        json.dumps([{"name": "\ud800", "type": "double"}]),
        json.dumps([{"name": None, "type": "double"}]),
        json.dumps([{"name": ["a"], "type": "double"}]),
        json.dumps([["name", "type"]]),
    ],
)
def test_a_signature_whose_columns_have_no_names_is_named(inputs: str, tmp_path: Path):
    document = {**yaml.safe_load(GOOD), "signature": {"inputs": inputs}}
    with pytest.raises(CannotAnswer, match="its signature has no named columns"):
        read_metadata(write(tmp_path, yaml.safe_dump(document))).types()


@given(st.text(alphabet="[]{}&*!:,-?<>|'\"% \nabintls0", max_size=200) | st.binary(max_size=50))
def test_whatever_the_file_holds_it_is_read_or_refused(tmp_path_factory, text: str | bytes):
    folder = tmp_path_factory.mktemp("model")
    content = text if isinstance(text, bytes) else f"{GOOD}x: {text}\n".encode()
    (folder / "MLmodel").write_bytes(content)
    with suppress(YardError):
        found = read_metadata(folder)
        has_code(found)
        found.types()
        find_opening(found)


@pytest.mark.parametrize("name", ["a\nb", "price\u00a0EUR", "a\tb", "\u200b", "größe (m²)"])
def test_a_column_has_each_name_that_a_contract_may_have(name: str, tmp_path: Path):
    inputs = json.dumps([{"name": name, "type": "double"}])
    (tmp_path / FILE).write_text(json.dumps({"signature": {"inputs": inputs}}), encoding="utf-8")
    assert read_metadata(tmp_path).types() == {name: "double"}
