"""`modelyard validate` and `check-pull`: print every problem of the specs, or of a pull request."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelyard.commands.options import find_services, pass_root
from modelyard.commands.output.terminal import print_json, print_line
from modelyard.domain.harmless_text import harmless_line
from modelyard.domain.specs.paths import model_file
from modelyard.errors import Refused, YardError

if TYPE_CHECKING:
    from modelyard.adapters.specs.reader import Specs
    from modelyard.domain.problem import Problem

ANNOTATIONS = 10
"""GitHub shows at most this many annotations of one step."""

_QUESTION = b"QUESTION:"


@click.command()
@click.option(
    "--output",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="Text for people, JSON for programs, or annotations of a pull request.",
)
@click.option(
    "--changed-since",
    metavar="REF",
    help="Only problems of files changed since REF. Records must not have changed.",
)
@pass_root
def validate(root: Path, output: str, changed_since: str | None) -> None:
    """Check every spec of the checkout: its format, and the rules between specs.

    Where there are releases, it also asks the forge which of the main branch came without a merged
    pull request. With --changed-since it reads nothing outside the checkout, and of it only the
    specs that what changed can concern. Exit 3 if there are problems.
    """
    from modelyard.adapters.git.trees import WorkingTree
    from modelyard.adapters.specs.reader import read_specs
    from modelyard.operations.training.kept_pins import kept_problems
    from modelyard.operations.validation import changed_problems, problems_in

    if changed_since is not None:
        problems, specs = changed_problems(root, changed_since)
    else:
        specs = read_specs(WorkingTree(root))
        problems = problems_in(specs, kept=kept_problems(root, specs))
        if specs.catalog.releases:
            problems = (*problems, *_unreviewed())
    _REPORTS[output](problems, len(specs.files))
    if problems:
        raise Refused(_count(problems))
    # On stderr: stdout has problems and nothing else.
    if output == "text":
        print_line(f"{len(specs.files):,} specs are valid", err=True)
        for note in (*_open_questions(specs.files), *_idle_keys(specs)):
            print_line(note, err=True)


def _open_questions(files: Mapping[str, bytes]) -> Iterator[str]:
    """The files in which `model new` asked what only a person knows, and nobody answered yet."""
    for path, content in sorted(files.items()):
        comments = (line for line in content.splitlines() if line.lstrip().startswith(b"#"))
        if asked := sum(line.count(_QUESTION) for line in comments):
            noun = "question" if asked == 1 else "questions"
            yield f"note: {path} asks {asked} {noun}: answer them, and delete the comments"


def _idle_keys(specs: Specs) -> Iterator[str]:
    from modelyard.operations.models.idle_choices import find_idle_keys

    for name, model in sorted(specs.catalog.models.items()):
        for key, why in find_idle_keys(model):
            yield f"note: {model_file(name)}: {key} does nothing: {why}"


def _unreviewed() -> Sequence[Problem]:
    """Return the main branch's releases that nobody reviewed, as far as the forge answers."""
    from modelyard.operations.open_workspace import workspace_of
    from modelyard.operations.reconcile.unreviewed import unreviewed_problems

    try:
        return unreviewed_problems(workspace_of(find_services()))
    except YardError as error:
        note = f"note: releases were not compared with the pull requests: {error.message}"
        print_line(note, err=True)
        return ()


def _count(problems: Sequence[Problem]) -> str:
    files = len({problem.file for problem in problems})
    return (
        f"{len(problems):,} problem{'s' if len(problems) > 1 else ''} "
        f"in {files:,} file{'s' if files > 1 else ''}"
    )


def _print_text(problems: Sequence[Problem], _: int) -> None:
    for problem in problems:
        line = f"{problem.file}:{problem.line}: {problem.message} [{problem.check}]"
        print_line(line)


def _print_json(problems: Sequence[Problem], files: int) -> None:
    print_json(
        {
            "valid": not problems,
            "files": files,
            "problems": [
                {
                    "file": problem.file,
                    "line": problem.line,
                    "path": list(problem.path),
                    "message": problem.message,
                    "check": problem.check,
                    "involves": list(problem.involves),
                }
                for problem in problems
            ],
        }
    )


def _print_github(problems: Sequence[Problem], _: int) -> None:
    for line in _annotations(problems):
        print_line(line)


def _annotations(problems: Sequence[Problem]) -> Iterator[str]:
    """Yield GitHub's workflow commands, escaped as @actions/core does."""
    # The last annotation counts the problems that are not shown.
    shown = problems if len(problems) <= ANNOTATIONS else problems[: ANNOTATIONS - 1]
    for problem in shown:
        place = f"file={_property(problem.file)},line={problem.line}"
        title = _property(problem.check)
        yield f"::error {place},title={title}::{_data(harmless_line(problem.message))}"
    if len(problems) > len(shown):
        rest = len(problems) - len(shown)
        yield f"::error ::{rest} more problems; `modelyard validate` lists all of them"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(harmless_line(text)).replace(":", "%3A").replace(",", "%2C")


_REPORTS = {"text": _print_text, "json": _print_json, "github": _print_github}


@click.command("check-pull")
@click.option("--branch", metavar="NAME", help="The head branch. [default: of the CI's event]")
@click.option("--base", metavar="NAME", help="The branch it is for. [default: of the CI's event]")
@click.option("--head", metavar="SHA", help="The head commit. [default: of the event, or HEAD]")
@click.option("--author", metavar="NAME", help="Who opened it. [default: of the CI's event]")
@pass_root
def check_pull(
    root: Path, branch: str | None, base: str | None, head: str | None, author: str | None
) -> None:
    """Check that a pull request changes only what its branch may change.

    People never write releases, manifests and records. The tool's branches change what their name
    says, and only the tool opens them. In GitHub Actions the pull request is the event's. The base
    must be fetched. Exit 3 if the pull request may not be merged.
    """
    from modelyard.operations.check_pull import PullArguments, check_branch, read_github_event
    from modelyard.operations.services import repository_of

    given = PullArguments(branch=branch, base=base, head=head, author=author)
    event = read_github_event(os.environ)
    if event is None and given == PullArguments():
        if "GITHUB_EVENT_NAME" not in os.environ:
            raise click.UsageError("give --branch and --base")
        print_line("this run is about no pull request")
        return
    pull = given.or_else(event or PullArguments())
    problems = check_branch(root, repository_of(root).remote, pull)
    for problem in problems:
        print_line(problem)
    if problems:
        count = f"{len(problems):,} problem{'s' if len(problems) > 1 else ''}"
        raise Refused(f"{count} with the pull request from {pull.branch}")
    print_line(f"{pull.branch} changes only what it may change")
