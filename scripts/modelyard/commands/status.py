"""`modelyard status`: which version runs where, and what everything else waits for."""

from __future__ import annotations

from typing import Any

import click

from modelyard.commands.options import make_console, output_option, pass_services, print_json
from modelyard.operations.workspace import workspace_of
from modelyard.ports import Services

INCIDENTS = 5
"""Incidents shown to people, the newest ones; programs get all of them."""


@click.command()
@click.argument("model", required=False)
@click.option("--registry", is_flag=True, help="Ask the registry too: do its aliases agree?")
@output_option
@pass_services
def status(services: Services, /, *, model: str | None, registry: bool, output: str) -> None:
    """Show what runs where of MODEL, or of every model, and what is waited for.

    Reads the main branch, the facts and the open pull requests; asks no server.
    """
    from modelyard.operations.reconcile.collect import collect_worlds
    from modelyard.operations.status.report import status_report

    told = status_report(collect_worlds(workspace_of(services), model, with_registry=registry))
    if output == "json":
        print_json(told)
        return
    for part in _tables(told):
        make_console().print(part)


def _tables(told: dict[str, Any]) -> list[object]:
    """The report for people; what there is nothing of is left out."""
    from modelyard.commands.output.tables import make_table

    parts: list[object] = [_releases(told)]
    for title, columns, rows in (
        ("On hold", ("model", "version", "by", "since", "reason"), _holds(told)),
        ("Frozen", ("environment", "by", "until", "reason"), _freezes(told)),
        ("Incidents, newest first", ("model", "at", "what"), _incidents(told)),
        ("Training", ("model", "version", "attempt", "state"), _trainings(told)),
        ("Open pull requests", ("", "title", "waits for"), _pulls(told)),
    ):
        if rows:
            parts.append(make_table(title, columns, rows))
    if told["problems"]:
        files = "1 file" if told["problems"] == 1 else f"{told['problems']} files"
        parts.append(f"{files} of the main branch cannot be read: modelyard validate")
    return parts


def _releases(told: dict[str, Any]) -> object:
    from modelyard.commands.output.tables import make_table
    from modelyard.operations.reconcile.pages import short_digest

    columns = ["model", "environment", "version", "artifact", "state", "since"]
    asked = any(each["alias"] for each in told["releases"])
    rows = []
    for each in told["releases"]:
        artifact = short_digest(each["artifact"]) if each["artifact"] else None
        row = [each["model"], each["environment"], each["version"], artifact, each["state"]]
        rows.append([*row, _time(each["since"]), *([_alias(each)] if asked else [])])
    if asked:
        columns.append("alias")
    return make_table(f"What runs, as {told['commit'][:10]} names it", columns, rows)


def _alias(release: dict[str, Any]) -> str:
    alias = release["alias"]
    found = alias["version"] or "nothing"
    return "agrees" if alias["agrees"] else f"points at {found}: modelyard reconcile"


def _holds(told: dict[str, Any]) -> list[list[object]]:
    return [
        [each["model"], each["version"], each["by"], _time(each["since"]), each["reason"]]
        for each in told["holds"]
    ]


def _freezes(told: dict[str, Any]) -> list[list[object]]:
    return [
        [each["environment"], each["by"], _time(each["until"]), each["reason"]]
        for each in told["freezes"]
    ]


def _incidents(told: dict[str, Any]) -> list[list[object]]:
    newest = sorted(told["incidents"], key=lambda each: each["at"], reverse=True)
    rows = [[each["model"], _time(each["at"]), each["what"]] for each in newest[:INCIDENTS]]
    if more := len(newest) - INCIDENTS:
        rows += [[None, None, f"and {more} more: modelyard history MODEL"]] if more > 0 else []
    return rows


def _trainings(told: dict[str, Any]) -> list[list[object]]:
    return [
        [each["model"], each["version"], each["attempt"], _training(each)]
        for each in told["trainings"]
    ]


def _training(training: dict[str, Any]) -> str:
    message = training["message"]
    return f"{training['state']}: {message}" if message else str(training["state"])


def _pulls(told: dict[str, Any]) -> list[list[object]]:
    return [
        [f"#{each['number']}", each["title"], "; ".join(each["waits_for"])]
        for each in told["pulls"]
    ]


def _time(text: str | None) -> str | None:
    return None if text is None else text[:19].replace("T", " ")
