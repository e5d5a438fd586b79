"""`modelyard pr`: pull requests of the local forge, from the command line."""

from __future__ import annotations

import sys
import time

import click

from modelyard.commands.options import (
    as_option,
    dry_run_option,
    find_person,
    output_option,
    pass_services,
)
from modelyard.commands.output.terminal import make_console, print_json, print_line
from modelyard.domain.people import Person
from modelyard.domain.promotion.approvals import why_no_approver
from modelyard.domain.promotion.pulls import REQUIRED, PullRequest, PullState
from modelyard.errors import Refused
from modelyard.ports import Services

POLL_SECONDS = 0.5

number_argument = click.argument("number", type=click.IntRange(min=1))
sha_option = click.option(
    "--sha", metavar="SHA", help="The full head commit that you read. [default: the current head]"
)


@click.group()
def pr() -> None:
    """List, show, open, approve, merge and close pull requests."""


@pr.command("list")
@click.option("--all", "every", is_flag=True, help="Also merged and closed ones.")
@output_option
@pass_services
def list_pulls(services: Services, /, *, every: bool, output: str) -> None:
    """List the open pull requests."""
    from modelyard.commands.output.pull_page import make_pulls_table, summarize_pull

    pulls = services.desk.list(every=every)
    if output == "json":
        print_json({"pulls": [summarize_pull(pull) for pull in pulls]})
    elif pulls:
        make_console().print(make_pulls_table(pulls))
    else:
        print_line("no pull requests" if every else "no open pull requests")


@pr.command("show")
@number_argument
@output_option
@pass_services
def show_pull(services: Services, /, *, number: int, output: str) -> None:
    """Show a pull request with its statuses, reviews and files."""
    from modelyard.commands.output.pull_page import describe_pull, render_pull

    pull = services.desk.get(number)
    files = services.desk.files(number)
    if output == "json":
        print_json(describe_pull(pull, files))
        return
    printer = make_console()
    for part in render_pull(pull, files):
        printer.print(part)


@pr.command("open")
@click.argument("branch")
@click.option("--title", required=True, help="Title of the pull request.")
@click.option("--body", default="", help="Markdown of its page; - reads stdin.")
@as_option
@dry_run_option
@pass_services
def open_pull(
    services: Services, /, *, branch: str, title: str, body: str, name: str | None, dry_run: bool
) -> None:
    """Open a pull request for BRANCH, which is pushed already.

    If there is one, its title and body change.
    """
    who = find_person(services, name)
    text = sys.stdin.read() if body == "-" else body
    if dry_run:
        print_line(f"would open a pull request for {branch} as {who}: {title}")
        return
    pull = services.desk.open_branch(branch, title=title, body=text, author=who)
    print_line(f"pull request {pull.number} is open: {pull.title}")


@pr.command("approve")
@number_argument
@sha_option
@as_option
@dry_run_option
@pass_services
def approve_pull(
    services: Services, /, *, number: int, sha: str | None, name: str | None, dry_run: bool
) -> None:
    """Approve the head commit of a pull request.

    A later push is not approved.
    """
    who = find_person(services, name)
    pull = services.desk.get(number)
    # Reconcile would not count such an approval; tell the person now.
    _check_may_approve(pull, who)
    commit = sha or pull.head
    if dry_run:
        print_line(f"would approve pull request {number} at {commit} as {who}")
        return
    services.desk.review(number, sha=commit, by=who, approved=True)
    print_line(f"{who} approves pull request {number} at {commit}")


@pr.command("merge")
@number_argument
@sha_option
@click.option(
    "--wait",
    "longest",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for required statuses that have not reported yet.",
)
@as_option
@dry_run_option
@pass_services
def merge_pull(
    services: Services,
    /,
    *,
    number: int,
    sha: str | None,
    longest: float,
    name: str | None,
    dry_run: bool,
) -> None:
    """Merge a pull request whose required statuses are success."""
    who = find_person(services, name)
    # The merge is refused if the head has moved from this commit.
    commit = sha or services.desk.get(number).head
    if dry_run:
        print_line(f"would merge pull request {number} at {commit} as {who}")
        return
    try:
        merged = services.desk.merge(number, sha=commit, by=who)
    except Refused:
        if not _wait_for_reports(services, number, commit, longest):
            raise
        merged = services.desk.merge(number, sha=commit, by=who)
    print_line(f"pull request {number} is merged as {merged}")


@pr.command("close")
@number_argument
@click.option("--reason", required=True, help="Why; it becomes a comment.")
@as_option
@dry_run_option
@pass_services
def close_pull(
    services: Services, /, *, number: int, reason: str, name: str | None, dry_run: bool
) -> None:
    """Close a pull request without merging it, and delete its branch."""
    who = find_person(services, name)
    if dry_run:
        pull = services.desk.get(number)
        print_line(f"would close pull request {number} as {who} and delete {pull.branch}: {reason}")
        return
    services.desk.close(number, by=who, reason=reason)
    print_line(f"pull request {number} is closed")


@pr.command("comment")
@number_argument
@click.option("--body", required=True, help="Markdown; - reads stdin.")
@as_option
@dry_run_option
@pass_services
def add_comment(
    services: Services, /, *, number: int, body: str, name: str | None, dry_run: bool
) -> None:
    """Comment on a pull request."""
    who = find_person(services, name)
    text = sys.stdin.read() if body == "-" else body
    if not text.strip():
        raise click.BadParameter("must not be blank", param_hint="--body")
    if dry_run:
        print_line(f"would comment on pull request {number} as {who}: {text}")
        return
    services.desk.comment(number, by=who, body=text)
    print_line(f"commented on pull request {number}")


def _wait_for_reports(services: Services, number: int, commit: str, longest: float) -> bool:
    """Wait until every required status of the commit has reported; False if none was to come.

    A watcher may still be on its way to a new head. What waits for a person is not waited for.
    """
    if not longest or not (silent := _find_silent(services, number, commit)):
        return False
    print_line(
        f"waiting up to {longest:g} s for a watcher to report {' and '.join(silent)}", err=True
    )
    deadline = time.monotonic() + longest
    while _find_silent(services, number, commit) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return True


def _find_silent(services: Services, number: int, commit: str) -> list[str]:
    """The required statuses that have not reported on the commit, if it may be merged here."""
    pull = services.desk.get(number)
    is_elsewhere = services.desk.address(number) is not None
    if is_elsewhere or pull.state is not PullState.OPEN or pull.head != commit:
        return []
    return [context for context in REQUIRED if context not in pull.statuses]


def _check_may_approve(pull: PullRequest, who: str) -> None:
    did = why_no_approver(pull, Person.named(who))
    if did is None:
        return
    number = f"pull request {pull.number}"
    if did.endswith(" it"):
        what = f"{did.removesuffix('it')}{number}"
    else:
        what = f"{did}, which {number} releases,"
    raise Refused(
        f"{who} {what} and cannot approve it",
        hint="ask somebody who took no part in it",
    )
