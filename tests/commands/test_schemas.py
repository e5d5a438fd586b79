from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from modelyard.adapters.specs.schemas import schema_folder
from modelyard.cli import cli
from modelyard.commands.output.schema_reference import render_reference

THING = {
    "title": "Thing",
    "description": "What it is. File: things/<thing>.yaml.",
    "required": ["name"],
    "properties": {
        "name": {"description": "Its name.", "$ref": "#/$defs/name"},
        "size": {"description": "How large.", "type": "integer", "minimum": 1, "default": 2},
        "sort": {"description": "Big | small.", "enum": ["big", "small"]},
        "parts": {
            "description": "Its parts.",
            "type": "array",
            "items": {
                "description": "One.",
                "type": "object",
                "required": ["tags"],
                "properties": {
                    "tags": {
                        "description": "Words.",
                        "type": "array",
                        "items": {"description": "One.", "type": "string"},
                    }
                },
            },
        },
    },
    "$defs": {"name": {"description": "letters only", "type": "string"}},
}


def test_the_reference_has_a_row_for_every_key():
    page = render_reference({"thing": THING})
    assert page.endswith(
        "## Thing\n\n"
        "What it is.\n\n"
        "File: `things/<thing>.yaml`. Schema: [thing.schema.json](thing.schema.json).\n\n"
        "| Key | Value | Default | Meaning |\n"
        "| --- | --- | --- | --- |\n"
        "| **`name`** | letters only |  | Its name. |\n"
        "| `size` | whole number, at least 1 | `2` | How large. |\n"
        "| `sort` | `big`, `small` |  | Big \\| small. |\n"
        "| `parts` | list |  | Its parts. |\n"
        "| **`parts[].tags`** | list: text |  | Words. |\n"
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    settings = "apiVersion: modelyard/v1\nkind: Repository\n"
    (tmp_path / "modelyard.yaml").write_text(settings, encoding="utf-8")
    return tmp_path


def test_check_refuses_a_stale_page_and_write_mends_it(checkout: Path):
    def run(*args: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["--root", str(checkout), "schemas", *args])
        return done.exit_code, done.output

    stale = "error: schemas/README.md is stale\nhint: modelyard schemas --write\n"
    assert run("--check") == (3, stale)
    assert run("--write") == (0, "wrote schemas/README.md\n")
    assert run("--check") == (0, "")
    page = (checkout / "schemas/README.md").read_text(encoding="utf-8")
    assert run() == (0, page)
    assert page == (schema_folder() / "README.md").read_text(encoding="utf-8")
    assert run("--check", "--write")[0] == 2
