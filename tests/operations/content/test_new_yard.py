from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from modelyard.cli import cli
from modelyard.domain.review.rule_changes import may_hold_rules
from modelyard.errors import Refused
from modelyard.operations.content.new_yard import start_idle
from modelyard.operations.content.seed import seeded_files
from modelyard.operations.content.toolkit_lock import Wheel, read_wheel

ROOT = Path(__file__).parents[3]
WHEEL = "modelyard-7.8.9-py3-none-any.whl"


def modelyard(*arguments: str | Path):
    return CliRunner().invoke(cli, ["--debug", *map(str, arguments)])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    file = tmp_path_factory.mktemp("wheel") / WHEEL
    file.write_bytes(b"what pip would install")
    return file


@pytest.fixture(scope="module")
def yard(tmp_path_factory, wheel):
    folder = tmp_path_factory.mktemp("new") / "yard"
    said = modelyard("init", folder, "--wheel", wheel)
    assert said.exit_code == 0, said.output
    for words in (["init", "-q", "-b", "main"], ["add", "--all"], ["commit", "-q", "-m", "Yard"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


@pytest.mark.sample(2)
@pytest.mark.parametrize("check", ["validate", "render --check", "render --check --platform"])
def test_a_yard_without_models_passes_its_own_checks(yard, check):
    said = modelyard("--root", yard, *check.split())

    assert said.exit_code == 0, said.output


def test_the_toolkit_is_pinned_by_hash_with_everything_it_needs(yard, wheel):
    lock = (yard / "toolkit.lock").read_text()
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()

    assert f"./toolkit/{WHEEL} \\\n    --hash=sha256:{digest}\n" in lock
    assert (yard / "toolkit" / WHEEL).read_bytes() == wheel.read_bytes()
    named = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert all(line.endswith("\\") for line in named)  # its hashes follow
    assert {"click", "mlflow", "uv"} <= {line.partition("==")[0] for line in named}


@pytest.mark.long  # it reads what two hundred packages need
def test_nothing_is_left_for_pip_to_resolve(yard):
    """pip takes the extra of a pinned package for another one, and would fail on it."""
    lock = (yard / "toolkit.lock").read_text()
    pinned = {line.partition("==")[0].lower() for line in lock.splitlines() if "==" in line}
    needed, unread = set(), {("modelyard", "")}
    while unread:
        name, extra = unread.pop()
        needed.add((name, extra))
        requirements = map(Requirement, metadata.requires(name) or ())
        for each in requirements:
            if each.marker is None or each.marker.evaluate({"extra": extra}):
                key = canonicalize_name(each.name)
                unread |= {(key, wanted) for wanted in ("", *each.extras)} - needed

    assert {name for name, _ in needed} - pinned == {"modelyard"}  # the wheel beside the lock
    assert "pip install -q --no-deps --require-hashes" in (yard / "Makefile").read_text()


def test_pip_installs_uv_alone_by_the_hashes_of_the_lock(yard, tmp_path):
    makefile = (yard / "Makefile").read_text()
    (cut,) = [line.strip() for line in makefile.splitlines() if line.strip().startswith("sed ")]
    written = cut.replace("$(VENV)", str(tmp_path)).replace("$$", "$")
    subprocess.run(["sh", "-c", written], cwd=yard, check=True)

    lines = (tmp_path / "uv.lock").read_text().splitlines()
    assert re.fullmatch(r"uv==\S+ \\", lines[0])
    assert len(lines) > 10
    assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in lines[1:])
    assert not lines[-1].endswith("\\")
    assert "uv pip sync -q --compile-bytecode --python $(BIN)/python --require-hashes toolkit" in (
        makefile
    )


def test_whoever_changes_a_file_that_a_yard_starts_with_changes_a_rule(yard):
    listed = subprocess.run(["git", "ls-files"], cwd=yard, check=True, capture_output=True)
    paths = listed.stdout.decode().split()

    free = [path for path in paths if not (may_hold_rules(path) or path.endswith(".md"))]

    # The manifests of the platform are rendered, and `render --check` holds them to the rest.
    assert [path for path in free if path != ".gitignore"] == []
    assert may_hold_rules("toolkit")  # a link in place of the folder


def test_nothing_of_a_model_is_in_a_new_yard(yard):
    names = {str(file.relative_to(yard)) for file in yard.rglob("*") if ".git/" not in str(file)}

    assert {name for name in names if name.startswith("models/")} == {"models/README.md"}
    assert not [name for name in names if "flight" in name or "wine" in name]
    jobs = yaml.safe_load((yard / ".github/workflows/drift.yml").read_text())["jobs"]
    # A model that somebody asks for is compared, before anybody names one for every night.
    assert jobs["drift"]["if"] == "inputs.model && github.ref == 'refs/heads/main'"
    assert """|| '["NAME"]')""" in jobs["drift"]["strategy"]["matrix"]["model"]


def test_a_nightly_drift_of_an_older_wheel_is_known_as_that_version_wrote_it():
    before = b"        model: [flight-delay]\n    if: github.ref == 'refs/heads/main'\n"
    idle = start_idle({".github/workflows/drift.yml": before})[".github/workflows/drift.yml"]
    assert idle.startswith(b"        model: [NAME]\n    # No model has a feed yet.")
    assert idle.endswith(b"in place of false.\n    if: false\n")


def test_a_folder_with_files_is_left_alone(tmp_path, wheel):
    (tmp_path / "yard").mkdir()
    (tmp_path / "yard" / "mine.txt").write_text("irreplaceable")

    for words in ((), ("--dry-run",)):
        said = modelyard("init", tmp_path / "yard", "--wheel", wheel, *words)

        assert said.exit_code == 3
        assert "is not empty: a new yard overwrites nothing" in said.output
        assert "would write" not in said.output
    assert [file.name for file in tmp_path.rglob("*")] == ["yard", "mine.txt"]


@pytest.mark.parametrize("named", [".", "link"])
def test_an_empty_folder_becomes_a_yard_however_it_is_named(tmp_path, wheel, monkeypatch, named):
    folder = tmp_path / "a yard"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(folder if named == "." else tmp_path)

    said = modelyard("init", named, "--wheel", wheel)

    assert said.exit_code == 0, said.output
    assert (folder / "modelyard.yaml").is_file()
    assert (tmp_path / "link").is_symlink()


def test_the_next_command_can_be_pasted(tmp_path, wheel):
    said = modelyard("init", tmp_path / "a yard", "--wheel", wheel)

    lines = said.output.splitlines()[1:]
    assert lines[0].startswith(f"  next: cd '{tmp_path / 'a yard'}' && git init")
    named = "git config --global user.name Ada; git config --global user.email ada@example.org"
    typed = "\n".join([named, *(line.partition(": ")[2] for line in lines)])
    home = {**os.environ, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["bash", "-ec", typed], env=home, check=True)
    assert modelyard("--root", tmp_path / "a yard", "pr", "list").output == (
        "no open pull requests\n"
    )


def test_a_dry_run_names_the_files_and_writes_none(tmp_path, wheel):
    said = modelyard("init", tmp_path / "yard", "--wheel", wheel, "--dry-run")

    assert said.exit_code == 3
    assert "would write: modelyard.yaml" in said.output.splitlines()
    assert not (tmp_path / "yard").exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "give DIR for a new yard, or --forge"),
        (["new", "--forge", "github"], "a new yard has no remote yet"),
        (["--forge", "github", "--wheel", WHEEL], "--wheel belongs to a new yard"),
    ],
)
def test_a_new_yard_and_its_forge_are_two_steps(monkeypatch, wheel, words, why):
    monkeypatch.chdir(wheel.parent)

    said = modelyard("init", *words)

    assert said.exit_code == 2
    assert why in " ".join(said.output.split())


def test_another_file_is_no_wheel_of_modelyard(tmp_path):
    other = tmp_path / "requests-2.0-py3-none-any.whl"
    other.write_bytes(b"")

    with pytest.raises(Refused, match="is no wheel of modelyard"):
        read_wheel(other)


def test_a_wheel_says_its_version():
    assert Wheel(name=WHEEL, content=b"").version == "7.8.9"


def test_the_wheel_brings_every_file_that_a_new_yard_has():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    brought = [
        source for source, target in included.items() if target == f"modelyard/yard/{source}"
    ]
    files = {*seeded_files(), "requirements-image.lock", "requirements-uv.lock"}

    missing = [
        name
        for name in files
        if not any(name == source or name.startswith(f"{source}/") for source in brought)
    ]
    assert missing == []
