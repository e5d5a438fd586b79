"""`modelyard model`, `contract` and `try`: all that is asked before a version exists."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from modelyard.commands.options import (
    choose_parameters,
    choose_window,
    dry_run_option,
    output_option,
    pass_root,
    training_options,
)
from modelyard.commands.output.terminal import make_console, print_json, print_line, print_lines
from modelyard.domain.harmless_text import harmless_line
from modelyard.errors import Refused

if TYPE_CHECKING:
    from modelyard.adapters.specs.reader import Specs
    from modelyard.domain.specs.catalog import Catalog
    from modelyard.domain.specs.model import Model
    from modelyard.domain.specs.version import ModelVersion
    from modelyard.operations.models.new_data import Given
    from modelyard.operations.models.new_model import NewModel

FRAMEWORKS = ("sklearn", "lightgbm", "xgboost")
_MOST_LEFT_OUT = 10
TASKS = ("binary", "multiclass", "regression")


class _Framework(click.Choice[str]):
    """A library with a skeleton; of any other it is said how it is used all the same."""

    def fail(self, message: str, *where: Any, **place: Any) -> NoReturn:
        """Raise the error of the command line, with what to do for another library."""
        super().fail(
            f"{message} For another library take one of these, then write trainer/train.py and "
            "trainer/requirements.in, and name its format in artifact.formats of model.yaml: see "
            "docs/frameworks.md of modelyard.",
            *where,
            **place,
        )


@click.group()
def model() -> None:
    """Propose a new model from its data."""


@model.command("new")
@click.argument("name")
@click.option("--data", required=True, metavar="FILE", help="Table of its data: a path or a URI.")
@click.option("--target", required=True, metavar="COLUMN", help="Column to predict.")
@click.option(
    "--framework",
    type=_Framework(FRAMEWORKS),
    default="sklearn",
    show_default=True,
    help="Library of the trainer.",
)
@click.option("--task", type=click.Choice(TASKS), help="Kind of question, instead of a guess.")
@click.option(
    "--timestamp", metavar="COLUMN|none", help="Column with a row's day, instead of a guess."
)
@click.option(
    "--cluster", metavar="COLUMN|row", help="Column that dependent rows share, instead of a guess."
)
@dry_run_option
@pass_root
def new_model(root: Path, /, *, name: str, dry_run: bool, **given: Any) -> None:
    """Propose the model NAME from a CSV or Parquet file.

    Writes models/NAME: model.yaml with types, ranges and levels of the data, a trainer that works,
    and a held-out set, of the last days or of every k-th row. Guesses and questions are comments.
    Any other framework than scikit-learn gets a runtime of its own, which `modelyard runtime lock`
    locks. Nothing is overwritten.
    """
    from modelyard.operations.models.new_model import compose_model, write_model
    from modelyard.operations.models.skeleton import FRAMEWORKS as SKELETONS

    specs = _read_specs(root)
    framework = SKELETONS[given.pop("framework")]
    new = compose_model(
        root,
        specs.catalog,
        _wishes(root, name, framework, given),
        framework,
        file=given["data"],
        timestamp=given["timestamp"],
        here=Path.cwd(),
    )
    if dry_run:
        print_lines(new.documents[f"models/{name}/model.yaml"].decode())
    else:
        write_model(root, specs.repository, new)
    for path, content in sorted(new.documents.items()):
        print_line(f"{path} ({len(content):,} bytes)", err=dry_run)
    _tell(root, specs, new)


def _wishes(root: Path, name: str, framework: Any, given: dict[str, Any]) -> Any:
    from modelyard.adapters.git.repository import Git
    from modelyard.domain.proposal.model import Wishes
    from modelyard.domain.specs.model import Owner, Task
    from modelyard.operations.models.skeleton import COMMAND

    person = Git(root).user_name() or "unknown"
    return Wishes(
        name=name,
        target=given["target"],
        owner=Owner(team=person, contact=person),
        command=COMMAND,
        artifact=framework.artifact,
        task=Task(given["task"]) if given["task"] else None,
        cluster=given["cluster"],
    )


def _tell(root: Path, specs: Specs, new: NewModel) -> None:
    """Print what was guessed, what will stop a version, and the next commands, for people."""
    made, held = new.proposal.model, new.held_out
    asked = new.documents[f"models/{made.name}/model.yaml"].count(b"QUESTION:")
    days = f", the days from {held.window.since} to {held.window.last}" if held.window else ""
    left_out = len(new.proposal.left_out)
    for line in (
        f"{made.task}: {made.target.column} has {new.proposal.target.why}",
        f"{new.rows[0]:,} rows train, {new.rows[1]:,} are held out as {held.name}{days}",
        f"{len(new.proposal.features)} of {len(made.data.columns)} columns are inputs; "
        f"{left_out} {'is' if left_out == 1 else 'are'} not in the contract",
        *_left_out(new.proposal.left_out),
        *(f"warning: {text}" for text in new.warnings),
        f"models/{made.name}/model.yaml asks {asked} questions: answer them first",
        "next:",
        *(f"  {line}" for line in _next_commands(root, specs, new)),
    ):
        print_line(line, err=True)


def _left_out(columns: Mapping[str, str]) -> Iterator[str]:
    """The columns that are not in the contract, with the reason for each."""
    for name, reason in list(columns.items())[:_MOST_LEFT_OUT]:
        yield harmless_line(f"  left out: {name}: {reason}")
    if len(columns) > _MOST_LEFT_OUT:
        yield f"  and {len(columns) - _MOST_LEFT_OUT} more, at the end of `data` in model.yaml"


def _next_commands(root: Path, specs: Specs, new: NewModel) -> list[str]:
    from modelyard.adapters.git.repository import Git
    from modelyard.domain.specs.paths import trainer_folder
    from modelyard.operations.models.skeleton import WISHES

    name, days = new.proposal.model.name, new.days
    inputs = ["--data", new.training]
    if days is not None:
        inputs += ["--since", str(days.training.since), "--until", str(days.training.until)]
    inputs += ["--held-out", new.held_out.name]
    current = Git(root).current_branch()
    is_on_main = current in {None, specs.repository.main}
    branch = name if is_on_main else str(current)
    version = ["modelyard", "version", "new", name, "v1", "--reason", "A first model", *inputs]
    wishes = f"{trainer_folder(name)}/{WISHES}"
    return [
        *([f"modelyard runtime lock {name}"] if wishes in new.documents else []),
        shlex.join(["modelyard", "try", name, *inputs]),
        *([f"git switch -c {branch}"] if is_on_main else []),
        f"git add models/{name}",
        f'git commit -m "Add the model {name}"',
        shlex.join(version),
        f"git add models/{name}",
        f'git commit -m "Add {name} v1"',
        f"git push -u {specs.repository.remote} {branch}",
        f'modelyard pr open {branch} --title "Add {name}"',
    ]


def _read_specs(root: Path) -> Specs:
    from modelyard.adapters.git.trees import WorkingTree
    from modelyard.adapters.specs.reader import read_specs

    return read_specs(WorkingTree(root))


@click.group()
def contract() -> None:
    """Compare a contract with a file of data, or propose it again."""


def _data_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--data", "file", required=True, metavar="FILE", help="Table: a path or a URI."
    )(function)


@contract.command("infer")
@click.argument("model")
@_data_option
@pass_root
def infer(root: Path, /, *, model: str, file: str) -> None:
    """Print the columns that FILE suggests for MODEL, to be pasted into its model.yaml.

    Descriptions, units, defaults and what is known only later stay as they are. Changes nothing.
    """
    from modelyard.operations.models.compare_contract import infer_columns
    from modelyard.operations.models.page import columns_page

    spec, given = _find_table(root, model, file)
    found = infer_columns(spec, given.content, uri=given.name)
    print_lines(columns_page(found).decode())


@contract.command("diff")
@click.argument("model")
@_data_option
@output_option
@pass_root
def diff(root: Path, /, *, model: str, file: str, output: str) -> None:
    """Show what FILE has against the contract of MODEL, column by column.

    Columns outside of the contract are listed and are no difference. Exit 0 if the contract admits
    the file, 3 if it does not.
    """
    from modelyard.adapters.specs.documents import document_of
    from modelyard.commands.output.formatting import make_table
    from modelyard.domain.specs.contract import describe_breach
    from modelyard.operations.models.compare_contract import Standing, compare_contract

    spec, given = _find_table(root, model, file)
    found = compare_contract(spec, given.content, uri=given.name)
    differs = any(each.standing is Standing.DIFFERS for each in found)
    if output == "json":
        columns = [
            {**document_of(each), "breaches": [document_of(one) for one in each.breaches]}
            for each in found
        ]
        print_json({"model": model, "file": file, "differs": differs, "columns": columns})
    else:
        rows = [(each.name, each.contract, each.file, each.standing) for each in found]
        titles = ("column", "contract", "file", "")
        make_console().print(make_table(f"{model} and {given.name}", titles, rows))
        for breach in (breach for each in found for breach in each.breaches):
            print_line(describe_breach(breach))
    if differs:
        raise click.exceptions.Exit(Refused.exit_code)


def _find_table(root: Path, model: str, file: str) -> tuple[Model, Given]:
    from modelyard.operations.models.new_data import read_given
    from modelyard.operations.training.data_root import data_root

    specs = _read_specs(root)
    spec = specs.catalog.require_model(model, where=str(root))
    return spec, read_given(file, data_root(root, specs.repository), here=Path.cwd())


@click.command("try")
@click.argument("model")
@training_options
@click.option("--data-only", is_flag=True, help="Only read the data, and check it.")
@pass_root
def try_(root: Path, /, *, model: str, data_only: bool, **given: Any) -> None:
    """Train MODEL as it is in this checkout, and say what the gate would say.

    Runs the steps of a training on the working tree: fetch, train, evaluate and verify. It leaves
    no record, version, artifact or look of a held-out set, here or elsewhere. What is not given is
    that of --parent, by default the newest version. The champion is the one of this checkout: pull
    first. Exit 0 for a pass, 3 for a refusal or any other verdict.
    """
    from modelyard.commands.output.trial import describe_trial
    from modelyard.operations.models.trial import try_model

    trial = try_model(
        root,
        model,
        lambda yard, catalog: _version_to_try(yard, catalog, model, given),
        data_only=data_only,
        tell=lambda line: print_line(line, err=True),
    )
    for line in describe_trial(trial):
        print_line(line)
    verdict = trial.evaluation and trial.evaluation["verdict"]["outcome"]
    if verdict not in {None, "pass"} or (verdict is None and trial.is_undecided):
        raise click.exceptions.Exit(Refused.exit_code)


def _version_to_try(
    yard: Path, catalog: Catalog, model: str, given: Mapping[str, Any]
) -> ModelVersion:
    from modelyard.domain.promotion.training_workflows import version_order
    from modelyard.domain.specs.catalog import Catalog
    from modelyard.operations.models.first_inputs import suggest_first_inputs
    from modelyard.operations.models.idle_choices import find_idle_choices
    from modelyard.operations.models.trial import VERSION
    from modelyard.operations.training.new_version import compose_version

    catalog.require_model(model, where="the checkout")
    versions = sorted(catalog.versions_of(model), key=lambda each: version_order(each.version))
    base = versions[-1] if versions else None
    if given["parent"]:
        base = catalog.require_version(model, given["parent"], where="the checkout")
    if base is None and not (given["data"] and given["held_out"]):
        raise click.UsageError(
            f"{model} has no version yet: give --data URI and --held-out NAME, and --since and "
            f"--until if its rows have a time, such as: "
            f"modelyard try {model} {suggest_first_inputs(yard, catalog, model)}"
        )
    spec = compose_version(
        yard,
        catalog,
        model=model,
        version=VERSION,
        reason="A trial",
        base=base,
        data=given["data"],
        window=choose_window(given["since"], given["until"], base.data.window if base else None),
        held_out=given["held_out"],
        parameters=choose_parameters(
            base.parameters if base else {}, given["params"], given["param"]
        ),
        seed=given["seed"],
    )
    for line in find_idle_choices(yard, Catalog(), spec):  # to try a version again is no mistake
        print_line(f"note: {line}", err=True)
    return spec
