"""`modelyard check-pull`: check that a pull request changes only what its branch may change."""

from __future__ import annotations

import os
from pathlib import Path

import click

from modelyard.commands.options import pass_root
from modelyard.commands.output.terminal import print_line
from modelyard.errors import Refused


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
