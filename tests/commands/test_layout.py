from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.cli import COMMANDS

PACKAGE = Path(__file__).parents[2] / "scripts" / "modelyard"
# Each is a verb. `check-pull` is what every CI calls, and `chatops` what a workflow calls for a
# comment; they fit no other verb.
MOST_MODULES, MOST_COMMANDS = 14, 30
# A verb and its opposite share a module.
# A person's word on a gate stands beside the gate.
# And who runs the servers is said where the servers are, what pods run is where the steps are, and
# what is asked before a version exists is where models are made. What a cluster has
# is set up like a forge. Pages show what `status` tells. What has grown is packed where all is
# checked.
WITH_ITS_OPPOSITE = {
    "check-pull": "validate",
    "unhold": "hold",
    "unfreeze": "freeze",
    "adopt": "servers",
    "workflow": "step",
    "platform": "init",
    "fetch-model": "step",
    "serve-judge": "judge",
    "feedback": "judge",
    "contract": "model",
    "try": "model",
    "override": "gate",
    "site": "status",
    "upgrade": "init",
    "gc": "doctor",
}


def modules(folder: Path) -> set[str]:
    return {file.stem for file in folder.glob("*.py")} - {"__init__", "__main__"}


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_every_module_of_commands_but_options_is_a_verb():
    verbs = {WITH_ITS_OPPOSITE.get(name, name).replace("-", "_") for name in COMMANDS}

    assert modules(PACKAGE / "commands") == {"options", *verbs}


def test_every_verb_is_found_in_the_module_of_its_name():
    wanted = {name: WITH_ITS_OPPOSITE.get(name, name).replace("-", "_") for name in COMMANDS}

    assert {name: entry.target.split(":")[0] for name, entry in COMMANDS.items()} == wanted


def test_commands_has_no_more_modules_than_a_reader_can_scan():
    assert len(modules(PACKAGE / "commands")) <= MOST_COMMANDS


@pytest.mark.parametrize(
    "folder",
    sorted(folder for folder in (PACKAGE, *PACKAGE.rglob("*/")) if modules(folder)),
    ids=lambda folder: str(folder.relative_to(PACKAGE.parent)),
)
def test_a_folder_has_one_subject_and_few_modules(folder: Path):
    most = MOST_COMMANDS if folder == PACKAGE / "commands" else MOST_MODULES

    assert len(modules(folder)) <= most


@pytest.mark.sample(60)
@pytest.mark.parametrize(
    "file",
    sorted((PACKAGE / "operations").rglob("*.py")),
    ids=lambda file: str(file.relative_to(PACKAGE)),
)
def test_no_operation_imports_click(file: Path):
    assert "click" not in {name.partition(".")[0] for name in imported(file)}
