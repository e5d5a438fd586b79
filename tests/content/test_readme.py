from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest

from demo.watcher import Watcher, WatcherError
from modelyard.adapters.processes.fork_client import PRELOADED
from modelyard.adapters.processes.start import run_command
from modelyard.cli import COMMANDS, load_command

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PLAYED = ("The five-minute tour", "Add a model")
RETIRES = "Retire a model"
WATCHER = "modelyard watch"
LONGEST = 300.0
BLOCK = re.compile(r"^ *```(console|text)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
# What an interpreter reads only when it starts: the preloaded process and what it forks agree.
FIXED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}


@dataclass(frozen=True)
class Typed:
    """A command of the page, and the lines it shows as its output; `…` stands for anything.

    Without a command the lines are those of the watcher, for which a reader waits.
    """

    command: str
    shown: tuple[str, ...]


def section(title: str, page: str = README) -> str:
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def typed(text: str) -> Iterator[Typed]:
    for kind, block in BLOCK.findall(text):
        lines = [line.strip() for line in block.splitlines()]
        if kind == "text":
            yield Typed("", tuple(lines))
            continue
        starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            yield Typed(lines[start][2:], tuple(lines[start + 1 : end]))


COMMANDS_OF_THE_PAGE = tuple(each for title in PLAYED for each in typed(section(title)))
RETIRING = tuple(typed(section(RETIRES)))


@dataclass
class Reader:
    """Somebody who types what the page says, in a checkout of their own.

    Args:
        cwd: Where they are.
        environment: All their shell has.
    """

    cwd: Path
    environment: dict[str, str]
    said: list[tuple[Typed, int, str]] = field(default_factory=list)
    watcher: Watcher | None = None
    releases: list[dict[str, Any]] = field(default_factory=list)
    retired: list[dict[str, Any]] = field(default_factory=list)

    def type(self, line: Typed) -> int:
        if line.command == WATCHER:
            log = Path(self.environment["HOME"]) / "watcher"
            self.watcher = Watcher(self.cwd, log, self.environment, lambda _: None)
            return 0
        if not line.command:
            return self.wait(line)
        program = line.command.partition(" ")[0]
        run = self.modelyard if program == "modelyard" else self.shell
        code, said = run(line.command.replace("ADDRESS", self.address()))
        self.said.append((line, code, said))
        return code

    def type_all(self, lines: Iterable[Typed]) -> bool:
        """Type these up to the first that fails; whether none did."""
        # They are read here already, and this installation is to be tested.
        mine = (each for each in lines if not each.command.startswith(("make ", "export ")))
        return not any(map(self.type, mine))

    def wait(self, line: Typed) -> int:
        """Wait until the watcher in the second terminal said these lines, in this order."""
        assert self.watcher is not None
        code, said = 0, []
        try:
            for shown in line.shown:
                wanted = ".*".join(map(re.escape, shown.split("…")))
                said.append(self.watcher.wait_for(f"^{wanted}$"))
        except WatcherError as error:
            code, said = 1, [*said, str(error)]
        self.said.append((line, code, "\n".join(said)))
        return code

    def stop_watcher(self) -> None:
        if self.watcher is not None:
            self.watcher.stop()
            self.watcher = None

    def address(self) -> str:
        """What a reader puts in place of `ADDRESS`: where production takes requests."""
        page = "\n".join(said for _, _, said in self.said)
        found = re.findall(r"^production .*, (http://\S+)$", page, re.MULTILINE)
        return found[-1] if found else "ADDRESS"

    def modelyard(self, command: str) -> tuple[int, str]:
        output = Path(self.environment["HOME"]) / "said"
        output.unlink(missing_ok=True)
        code = run_command(
            shlex.split(command),
            cwd=self.cwd,
            environment=self.environment,
            output=output,
            timeout=LONGEST,
        )
        return code, output.read_text()

    def shell(self, command: str) -> tuple[int, str]:
        place = Path(self.environment["HOME"]) / "place"
        done = subprocess.run(
            ["bash", "-c", f"{command}\ncode=$?; pwd > {place}; exit $code"],
            cwd=self.cwd,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self.cwd = Path(place.read_text().strip())
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A shell that finds this installation and a preloaded process, and little else."""
    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text("[user]\n  name = Ada Example\n  email = ada@example.org\n")
    sockets = Path(tempfile.mkdtemp(prefix="modelyard-readme-"))  # a socket's path may not be long
    shell = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "COLUMNS": "100",
        "GIT_CONFIG_NOSYSTEM": "1",
        PRELOADED: str(sockets / "socket"),
        **FIXED,
    }
    preloaded = subprocess.Popen(
        [sys.executable, "-m", "modelyard", "preload", "--socket", shell[PRELOADED]],
        env=shell,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert preloaded.stdin is not None
    assert preloaded.stdout is not None
    try:
        assert preloaded.stdout.readline() == b"ready\n"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(PRELOADED, shell[PRELOADED])
            yield shell
    finally:
        preloaded.stdin.close()
        preloaded.wait(20)
        preloaded.stdout.close()
        shutil.rmtree(sockets)


@pytest.fixture(scope="module")
def reader(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reader]:
    """The page was played up to its end, or to the first command that failed."""
    checkout = tmp_path_factory.mktemp("reader") / "modelyard"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, checkout / name)
    reader = Reader(checkout, environment)
    reader.shell("git init --quiet -b main && git add --all && git commit --quiet -m 'A fork'")
    try:
        if reader.type_all(COMMANDS_OF_THE_PAGE):
            reader.releases = told(reader, "status")["releases"]
            reader.type_all(RETIRING)
            reader.retired = told(reader, "status", "parcels")["releases"]
        reader.stop_watcher()
        yield reader
    finally:
        reader.stop_watcher()
        reader.modelyard("modelyard servers stop")


def told(reader: Reader, *arguments: str) -> Any:
    code, said = reader.modelyard(f"modelyard {shlex.join(arguments)} --output json")
    assert code == 0, said
    return json.loads(said)


@pytest.mark.long
def test_every_command_of_the_page_succeeds(reader: Reader):
    failed = [(line.command, code, said) for line, code, said in reader.said if code]
    assert failed == []
    skipped = ("make ", "export ", WATCHER)
    assert [line for line, _, _ in reader.said] == [
        line
        for line in (*COMMANDS_OF_THE_PAGE, *RETIRING)
        if not line.command.startswith(skipped) or line.command.startswith(f"{WATCHER} ")
    ]


@pytest.mark.long
def test_commands_say_what_the_page_shows(reader: Reader):
    showing = [each for each in reader.said if each[0].shown and each[0].command]
    assert len(showing) > 5
    for line, _, said in showing:
        parts = (".*".join(map(re.escape, shown.split("…"))) for shown in line.shown)
        wanted = r"$[\s\S]*^\s*".join(parts)
        assert re.search(rf"^\s*{wanted}$", said, re.MULTILINE), f"$ {line.command}\n{said}"


@pytest.mark.long
def test_the_tour_and_the_new_model_end_in_production(reader: Reader):
    assert {
        (each["model"], each["environment"])
        for each in reader.releases
        if each["verified"] and each["version"] == "v1"
    } == {
        (model, environment)
        for model in ("wine", "parcels")
        for environment in ("dev", "staging", "canary", "production")
    }


@pytest.mark.long
def test_the_model_that_is_retired_runs_nowhere(reader: Reader):
    assert [each["version"] for each in reader.retired] == [None] * 4
    assert "parcels" not in reader.modelyard("modelyard servers list")[1]


@pytest.mark.long
@pytest.mark.parametrize(
    "arguments",
    [
        ("record", "wine", "v1"),
        ("gate", "wine", "v1"),
        ("judge", "production", "wine"),
        ("replay", "wine", "--data", "models/wine/data/heldout.csv", "--rows", "40"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_programs_are_told_what_the_schema_of_the_output_says(
    reader: Reader, arguments: tuple[str, ...]
):
    schema = json.loads((ROOT / f"schemas/output/{arguments[0]}.schema.json").read_bytes())
    jsonschema.Draft202012Validator(schema).validate(told(reader, *arguments))


@pytest.mark.long
def test_the_next_version_takes_over_what_the_page_does_not_say(reader: Reader):
    command = re.search(r"`(modelyard version new parcels v2 .*)`", section("Add a model"))
    assert command is not None
    assert reader.modelyard(command[1])[0] == 0
    v1, v2 = (told(reader, "version", "show", "parcels", version) for version in ("v1", "v2"))
    assert v2 == {
        **v1,
        "version": "v2",
        "parent": "v1",
        "reason": "Fewer trees",
        "parameters": {"max_iter": 50},
    }


def subcommands(name: str) -> set[str]:
    command = load_command(name)
    if not isinstance(command, click.Group):
        return set()
    return {name for name, each in command.commands.items() if not each.hidden}


def named() -> Iterator[tuple[str, ...]]:
    """Every `modelyard COMMAND ...` of the page and of those in docs/, as its words."""
    others = [page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md"))]
    for page in (README, *others):
        for text in (*SPAN.findall(page), *(each.command for each in typed(page))):
            words = text.split()
            if words[:1] == ["modelyard"] and len(words) > 1 and not words[1].startswith("-"):
                yield tuple(words[1:])


def test_every_command_that_the_pages_name_exists():
    names = list(named())
    assert len(names) > len(COMMANDS_OF_THE_PAGE) // 2
    for name, *rest in names:
        assert name in COMMANDS
        assert not COMMANDS[name].hidden
        if rest and subcommands(name):
            assert rest[0] in subcommands(name), (name, rest)


def test_the_table_lists_every_command_and_subcommand_once():
    rows = [line.split("|")[1] for line in section("Commands").splitlines() if "| `" in line]
    found: list[str] = []
    for row in rows:
        words = [span.split() for span in SPAN.findall(row)]
        first = words[0][1:]
        group = first[0] if len(first) > 1 and subcommands(first[0]) else ""
        found += [" ".join(first[:2] if group else first[:1])]
        found += [f"{group} {other[0]}".strip() for other in words[1:]]
    wanted = [name for name, entry in COMMANDS.items() if not entry.hidden]
    split = {"version", "pr", "model", "contract", "runtime", "signature", "platform"}
    expected = [name for name in wanted if name not in split]
    expected += [f"{name} {sub}" for name in split for sub in subcommands(name)]
    assert sorted(found) == sorted(expected)


def test_the_tables_options_are_options_of_their_commands():
    for line in section("Commands").splitlines():
        if "| `" not in line:
            continue
        _, commands, words, _ = re.split(r"(?<!\\)\|", line)
        spans = SPAN.findall(commands)
        names = [spans[0].split()[1], *(span.split()[0] for span in spans[1:])]
        known = {
            option
            for name in names
            if name in COMMANDS
            for command in (
                load_command(name),
                *getattr(load_command(name), "commands", {}).values(),
            )
            for parameter in command.params
            for option in parameter.opts
        }
        wanted = {span.split()[0] for span in SPAN.findall(words) if span.startswith("--")}
        assert wanted <= known, line


def test_every_file_the_page_links_to_exists():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_script_the_page_names_exists():
    words = {word for span in SPAN.findall(README) for word in span.split()}
    scripts = [word for word in words if word.endswith(".py")]
    assert scripts
    assert [script for script in scripts if not (ROOT / script).is_file()] == []


@pytest.mark.long
def test_every_target_of_make_the_page_names_exists():
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|\$ )make ([a-z0-9-]+)", README))
    assert {"demo", "install", "test"} <= named <= targets
