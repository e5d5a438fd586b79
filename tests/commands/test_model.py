from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from modelyard.cli import cli
from modelyard.commands.model import FRAMEWORKS
from modelyard.operations.models import skeleton
from operations.models.test_new_model import csv_bytes, shop

ROOT = Path(__file__).parents[2]


def run(root: Path, *words: object):
    return CliRunner().invoke(cli, ["--root", str(root), *map(str, words)])


@pytest.fixture
def yard(tmp_path) -> Path:
    root = tmp_path / "yard"
    root.mkdir()
    (root / "modelyard.yaml").write_text("apiVersion: modelyard/v1\nkind: Repository\n")
    return root


@pytest.fixture
def table(tmp_path) -> Path:
    file = tmp_path / "shop.csv"
    kinds = [("food", "toys")[number % 2] for number in range(100)]
    file.write_bytes(csv_bytes(shop(kind=kinds)))
    return file


@pytest.fixture
def known(yard, table) -> Path:
    done = run(yard, "model", "new", "shop", "--data", table, "--target", "bought")
    assert done.exit_code == 0, done.output
    return yard


def test_a_new_model_is_valid_at_once_and_its_next_commands_are_said(yard, table):
    done = run(yard, "model", "new", "shop", "--data", table, "--target", "bought")
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "models/shop/data/heldout.csv",
        "models/shop/data/train.csv",
        "models/shop/heldout/every-third.yaml",
        "models/shop/model.yaml",
        "models/shop/trainer/train.py",
    ]
    assert "binary: bought has two different values of type category" in done.stderr
    assert "67 rows train, 33 are held out as every-third" in done.stderr
    new = (
        "  modelyard version new shop v1 --reason 'A first model' "
        "--data models/shop/data/train.csv --held-out every-third"
    )
    assert new in done.stderr.splitlines()
    found = run(yard, "validate")
    assert found.exit_code == 0, found.output


def test_a_dry_run_prints_the_model_and_writes_nothing(yard, table):
    done = run(yard, "model", "new", "shop", "--data", table, "--target", "bought", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "kind: Model\nname: shop\n" in done.stdout
    assert [path.name for path in yard.iterdir()] == ["modelyard.yaml"]


def test_a_model_that_is_there_is_not_overwritten(known, table):
    before = (known / "models/shop/model.yaml").read_bytes()
    done = run(known, "model", "new", "shop", "--data", table, "--target", "bought")
    assert done.exit_code == 3
    assert "error: models/shop/ exists already" in done.stderr
    assert (known / "models/shop/model.yaml").read_bytes() == before


def test_every_framework_of_the_command_has_a_skeleton():
    assert list(FRAMEWORKS) == list(skeleton.FRAMEWORKS)


@pytest.mark.parametrize("library", ["catboost", "torch", "LightGBM"])
def test_a_library_without_a_skeleton_is_answered_with_what_to_do(yard, table, library):
    done = run(yard, "model", "new", "shop", "--data", table, "--target", "bought",
                    "--framework", library)  # fmt: skip
    assert done.exit_code == 2
    assert "trainer/requirements.in" in " ".join(done.stderr.split())


def test_a_file_that_keeps_the_contract_is_the_same(known, table):
    done = run(known, "contract", "diff", "shop", "--data", table)
    assert done.exit_code == 0, done.output
    assert "differs" not in done.stdout


def test_a_file_that_breaks_the_contract_differs_column_by_column(known, tmp_path):
    other = tmp_path / "other.csv"
    columns = shop() | {"visits": [900.5] * 50 + [1.5] * 50, "extra": ["1"] * 100}
    other.write_bytes(csv_bytes(columns))
    done = run(known, "contract", "diff", "shop", "--data", other, "--output", "json")
    assert done.exit_code == 3
    told = json.loads(done.stdout)
    schema = json.loads((ROOT / "schemas/output/contract-diff.schema.json").read_bytes())
    jsonschema.Draft202012Validator(schema).validate(told)
    assert told["differs"]
    assert {each["name"]: each["standing"] for each in told["columns"]} == {
        "bought": "same",
        "visits": "differs",
        "kind": "differs",
        "extra": "not in contract",
    }
    found = {one["column"]: one for each in told["columns"] for one in each["breaches"]}
    assert (found["visits"]["rule"], found["visits"]["rows"]) == ("range", 50)
    assert found["visits"]["found"] == "values from 900.5 to 900.5"
    assert found["kind"]["rule"] == "missing"
    text = run(known, "contract", "diff", "shop", "--data", other)
    assert text.exit_code == 3
    assert "column visits (range): expected 0 to 9.5, found values from 900.5" in text.stdout


def test_what_people_said_of_a_column_stays_when_a_contract_is_inferred_again(known, tmp_path):
    file = known / "models/shop/model.yaml"
    text = file.read_text().replace("- name: visits\n", "- name: visits\n    unit: 1/week\n")
    file.write_text(text)
    other = tmp_path / "other.csv"
    kinds = [("food", "toys", "books", "")[number % 4] for number in range(100)]
    other.write_bytes(csv_bytes(shop(kind=kinds)))
    done = run(known, "contract", "infer", "shop", "--data", other)
    assert done.exit_code == 0, done.output
    assert "  - name: visits\n    type: number\n    unit: 1/week\n" in done.stdout
    levels = "    levels:\n    - food\n    - toys\n    - books\n    max_null_share: 0.55\n"
    assert levels in done.stdout
    file.write_text(text[: text.index("  columns:")] + done.stdout + text[text.index("gate:") :])
    assert run(known, "contract", "diff", "shop", "--data", other).exit_code == 0
    assert run(known, "validate").exit_code == 0


def test_contract_names_a_model_that_there_is(known, table):
    done = run(known, "contract", "diff", "shoop", "--data", table)
    assert done.exit_code == 1
    assert "did you mean shop?" in done.stderr


def test_columns_that_are_left_out_or_look_like_something_else_are_said_by_name(yard, tmp_path):
    file = tmp_path / "shop.csv"
    more = {
        "": list(range(100)),
        "income": [f"{number + 10},169.14" for number in range(100)],
        "day": [f"{number % 28 + 1}/12/2025" for number in range(100)],
        "kind": ["food", "toys"] * 50,
    }
    lines = csv_bytes(shop(**more)).decode().splitlines()
    file.write_text("\n".join(lines) + "\n")
    done = run(yard, "model", "new", "shop", "--data", file, "--target", "bought", "--dry-run")
    assert done.exit_code == 0, done.output
    said = done.stderr.splitlines()
    assert any(line.startswith("  left out: (no name): it has no name") for line in said), said
    assert any(line.startswith("  left out: income: its texts look like num") for line in said)
    assert any(line.startswith("warning: column day: its texts look like dates") for line in said)


def test_validate_counts_the_questions_that_nobody_answered(known):
    file = known / "models/shop/model.yaml"
    asked = file.read_text().count("QUESTION:")
    assert asked > 1
    said = run(known, "validate").stderr
    assert f"note: models/shop/model.yaml asks {asked} questions: answer them" in said
    file.write_text(file.read_text().replace("QUESTION:", "answered:"))
    assert "note:" not in run(known, "validate").stderr


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("canary: {margin_shadow: 0.2}", "canary.margin_shadow does nothing: canary.shadow is 0"),
        ("canary: {slow_limit: 0.2}", "canary.slow_limit does nothing: canary.slow_ms says no"),
        ("canary: {margin_slow: 0.2, slow_ms: 0}", "canary.margin_slow does nothing: canary.slow"),
        ("artifact: {formats: [lightgbm], trusted_types: [a.B]}", "artifact.trusted_types does"),
        ("drift: {needed: 2}", "drift does nothing: drift compares days"),
    ],
)
def test_a_key_that_does_nothing_beside_the_others_is_said(known, added, said):
    file = known / "models/shop/model.yaml"
    text = file.read_text().replace("QUESTION:", "answered:")
    key = added.partition(":")[0]
    kept = [line for line in text.splitlines() if not line.startswith(f"{key}:")]
    file.write_text("\n".join([*kept, added]) + "\n")
    found = run(known, "validate")
    assert (found.exit_code, found.stdout) == (0, "")
    assert f"note: models/shop/model.yaml: {said}" in found.stderr


@pytest.mark.parametrize(
    "added",
    ["canary: {margin_shadow: 0.2, shadow: 0.5}", "canary: {slow_limit: 0.2, slow_ms: 100}",
     "canary: {margin_slow: 0.2}", "artifact: {trusted_types: [a.B]}", "drift: {needed: 3}"],
)  # fmt: skip
def test_a_key_that_does_something_or_is_the_default_is_not_said(known, added):
    file = known / "models/shop/model.yaml"
    file.write_text(file.read_text().replace("QUESTION:", "answered:") + f"{added}\n")
    found = run(known, "validate")
    assert (found.exit_code, found.stdout, "note:" in found.stderr) == (0, "", False)
