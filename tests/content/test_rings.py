from __future__ import annotations

import ast
import importlib.util
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "scripts" / "modelyard"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
RINGS = {
    module.strip().removeprefix("modelyard."): depth
    for depth, layer in enumerate(CONTRACTS[0]["layers"])
    for module in layer.split("|")
}


def named_modules() -> Iterator[tuple[str, str]]:
    """Every file with the modules of this package that it names in string literals."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                package, _, rest = node.value.partition(".")
                if package == "modelyard" and rest.split(".")[0] in RINGS and " " not in rest:
                    yield str(path.relative_to(PACKAGE)), node.value.rstrip(".")


def ring_of(dotted: str) -> str:
    return dotted.split(".", maxsplit=1)[0]


def test_no_ring_names_a_module_of_an_outer_or_a_sibling_ring_as_a_string():
    def reaches_outward(file: str, module: str) -> bool:
        inner, named = ring_of(file.replace("/", ".")), ring_of(module.removeprefix("modelyard."))
        return named != inner and RINGS[named] <= RINGS.get(inner, -1)

    assert [found for found in named_modules() if reaches_outward(*found)] == []


@pytest.mark.long
def test_modules_named_as_strings_exist():
    missing = [found for found in named_modules() if importlib.util.find_spec(found[1]) is None]
    assert missing == []
