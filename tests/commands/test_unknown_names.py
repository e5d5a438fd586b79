"""Every command that takes the name of something answers alike when there is none of that name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import click
import pytest
from click.testing import CliRunner

from modelyard.cli import COMMANDS, cli, load_command
from modelyard.commands.history import SinceType
from modelyard.domain.unknown_name import unknown_name
from operations.yard import HELD_OUT, MODEL, living_yard

KINDS = {
    "model": (MODEL, "mm", f"; it has {MODEL}", f"did you mean {MODEL}?"),
    "version": ("v1", "v11", "; it has v1", "did you mean v1?"),
    "parent": ("v1", "v11", "; it has v1", "did you mean v1?"),
    "as_version": ("v1", "v11", "; it has v1", "did you mean v1?"),
    "against": ("v1", "v11", "; it has v1", "did you mean v1?"),
    "held_out": (HELD_OUT, "recnt", f"; it has {HELD_OUT}", f"did you mean {HELD_OUT}?"),
    "environment": ("canary", "canry", "; it has ", "did you mean canary?"),
    "number": ("1", "99", "; origin has ", "modelyard pr list --all"),
}
"""For each kind of name: one there is, one there is none of, and what must be said of it."""

NAMES_A_VERSION = {("version show", "name")}
NEW = {("version new", "version"), ("version held-out", "name")}
"""Names that must be new."""

WITHOUT_A_CHECKOUT = {"serve", "fetch-model", "preload"}
OTHERS = {
    "addresses": {
        "listen",
        "lease",
        "url",
        "remote",
        "address",
        "store",
        "artifact",
        "image",
        "pages",
    },
    "people": {"name", "author", "bot"},
    "digests": {"lock", "inputs"},
    "files and folders": {
        "apart",
        "built",
        "labels",
        "left",
        "payloads",
        "schemas",
        "shards",
        "data",
        "directory",
        "feed",
        "out",
        "page",
        "picture",
        "wheel",
        "decision",
        "params",
        "folder",
        "event",
        "file",
        "order",
        "source",
        "task",
    },
    "columns of a file": {"target", "timestamp"},
    "Git's own names": {
        "branch",
        "sha",
        "commit",
        "changed_since",
        "base",
        "head",
        "submitted",
    },
    "texts": {
        "reason",
        "title",
        "body",
        "param",
        "cluster",
        "blanks",
        "workflow",
        "breaks",
        "until",
        "shard",
    },
}
NOT_TEXT = (click.types.BoolParamType, click.types.IntParamType, click.types.FloatParamType,
            click.IntRange, click.FloatRange, click.DateTime, click.Choice, SinceType)  # fmt: skip
VALUES = {"reason": "x", "title": "x", "body": "x", "branch": "x", "data": "train.csv",
          "file": "train.csv", "labels": "train.csv",
          "cluster": "row", "commit": "0" * 40, "workflow": "x", "artifact": "x",
          "until": "2099-01-01T00:00Z"}  # fmt: skip


@dataclass(frozen=True)
class Case:
    command: str
    param: str
    kind: str

    def __str__(self) -> str:
        return f"{self.command} {self.param}"


def leaves(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    for each in command.commands:
        yield from leaves(f"{name} {each}", command.commands[each])


LEAVES = dict(leaf for name in COMMANDS for leaf in leaves(name, load_command(name)))


def kind_of(command: str, param: click.Parameter) -> str | None:
    if (command, param.name) in NEW or command in WITHOUT_A_CHECKOUT:
        return None
    if (command, param.name) in NAMES_A_VERSION:
        return "version"
    return param.name if param.name in KINDS else None


CASES = [
    Case(name, param.name, kind)
    for name, command in LEAVES.items()
    for param in command.params
    if (kind := kind_of(name, param))
]


@pytest.fixture(scope="module")
def yard(tmp_path_factory):
    yard = living_yard(tmp_path_factory.mktemp("living") / "yard")
    yard.git.run("checkout", "-q", "-B", "main", yard.main())
    (yard.git.root / "modelyard.yaml").write_text("apiVersion: modelyard/v1\nkind: Repository\n")
    return yard


def arguments(case: Case, commit: str) -> list[str]:
    """The command with everything it needs, and one name of something that there is not."""
    needed = [p for p in LEAVES[case.command].params if p.required or p.name == case.param]
    # An optional argument stands after others, which must be given too.
    if case.param in {p.name for p in needed if isinstance(p, click.Argument)}:
        needed = [p for p in LEAVES[case.command].params if p in needed or p.name == "model"]
    if case.command == "gate":
        needed = [p for p in LEAVES["gate"].params if p.name in {"model", "version", case.param}]
    found = case.command.split()
    for param in needed:
        kind = kind_of(case.command, param)
        right, wrong = (
            KINDS[kind][:2] if kind else ({**VALUES, "commit": commit}.get(param.name, "new"), "")
        )
        value = wrong if param.name == case.param else right
        found += [value] if isinstance(param, click.Argument) else [param.opts[0], value]
    return found


@pytest.mark.sample(1)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_name_of_nothing_is_answered_alike_by_every_command(yard, case: Case, tmp_path):
    (tmp_path / "train.csv").write_text("x\n1\n")
    given = [
        str(tmp_path / "train.csv") if each == "train.csv" else each
        for each in arguments(case, yard.main())
    ]
    done = CliRunner().invoke(cli, given, obj=yard.workspace().services)
    listed, meant = KINDS[case.kind][2:]

    assert done.exit_code == 1, (given, done.output)
    error, hint = done.stderr.splitlines()[-2:]
    assert KINDS[case.kind][1] in error
    assert listed in error
    assert hint == f"hint: {meant}"


def test_every_parameter_is_known_to_this_test():
    others = set().union(*OTHERS.values())
    unknown = [
        f"{name}: {param.name}"
        for name, command in LEAVES.items()
        for param in command.params
        if name not in WITHOUT_A_CHECKOUT
        and kind_of(name, param) is None
        and (name, param.name) not in NEW
        and param.name not in others
        and not isinstance(param.type, NOT_TEXT)
        and not getattr(param, "is_flag", False)
    ]

    assert unknown == [], "say in this test what the parameter names"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("promote", MODEL, "production", "v1"), "production is an environment: "),
        (("promote", "v1", MODEL, "production"), "v1 is a version of m: "),
        (("promote", "v1", MODEL), "v1 is a version of m: "),
        (("promote", "staging", "v1", MODEL), "v1 is a version of m: "),
        (("rollback", MODEL, "canary", "--reason", "x"), "canary is an environment: "),
        (("judge", MODEL, "canary"), "m is a model: "),
        (("hold", "v1", MODEL, "--reason", "x"), "v1 is a version of m: "),
        (("gate", "v1", MODEL), "v1 is a version of m: "),
        (("freeze", MODEL, "--reason", "x"), "m is a model: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "-",
)
def test_arguments_in_another_order_are_told_the_order(yard, command, why):
    done = CliRunner().invoke(cli, list(command), obj=yard.workspace().services)

    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith(f"hint: {why}the order is ENVIRONMENT MODEL")


def test_of_a_thousand_names_only_some_are_listed():
    error = unknown_name("x", "zz", [f"m{n}" for n in range(1000)], where="here")

    assert (
        error.message
        == f"here has no x; it has {', '.join(f'm{n}' for n in range(20))} and 980 more"
    )
