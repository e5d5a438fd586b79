"""`modelyard status` and `site`: what runs where and what waits, as tables and as pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from modelyard.commands.options import output_option, pass_services
from modelyard.commands.output.terminal import print_json, print_line
from modelyard.operations.open_workspace import workspace_of
from modelyard.ports import Services

INCIDENTS = 5
"""How many incidents people are shown, newest first; programs get all of them."""


@click.command()
@click.argument("model", required=False)
@click.option("--registry", is_flag=True, help="Also show whether the registry's aliases agree.")
@output_option
@pass_services
def status(services: Services, /, *, model: str | None, registry: bool, output: str) -> None:
    """Show what MODEL, or every model, runs where, and what its pull requests wait for.

    Reads the main branch, the facts and the open pull requests; asks no server.
    """
    workspace = workspace_of(services)
    if model is None:
        from modelyard.operations.status.fleet import report_fleet

        report = report_fleet(workspace, with_registry=registry)
    else:
        from modelyard.operations.status.report import status_report
        from modelyard.operations.status.worlds import collect_worlds

        report = status_report(collect_worlds(workspace, model, with_registry=registry))
    if output == "json":
        print_json(report)
        return
    from modelyard.commands.output.formatting import print_table

    # Whoever asks for a retired model by its name wants to see what is left of it.
    for title, columns, rows in _tables(report if model else _without_retired(report)):
        print_table(title, columns, rows)


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The folder of the pages; a new one, or one of an earlier run.",
)
@pass_services
def site(services: Services, /, *, out: Path) -> None:
    """Write pages of every model, its versions and its drift, to look at in a browser.

    They are made of the main branch, the facts, the open pull requests and the evidence, need no
    server and ask for nothing elsewhere. Run again, it replaces the pages of what changed.
    """
    from modelyard.operations.site.pages import write_site

    written = write_site(workspace_of(services), out)
    models = "1 model" if written.models == 1 else f"{written.models} models"
    print_line(f"{models}, pages of {written.renewed} made anew: {out / 'index.html'}")


def _without_retired(report: dict[str, Any]) -> dict[str, Any]:
    """The report without the rows of retired models, but for the one that says so."""
    gone = {each["model"] for each in report["retired"]}

    def keep(row: Any) -> bool:
        return not isinstance(row, dict) or row.get("model") not in gone

    parts = {
        name: list(filter(keep, part)) if isinstance(part, list) else part
        for name, part in report.items()
    }
    return {**parts, "retired": report["retired"]}


def _tables(report: dict[str, Any]) -> Iterator[tuple[str, Sequence[str], list[list[object]]]]:
    """The tables for people, each by its title, columns and rows; only the first may be empty."""
    yield _releases(report)
    for title, columns, rows in (
        ("Retired", ("model", "since", "next"), _retired(report)),
        ("On hold", ("model", "version", "by", "since", "reason", "next"), _holds(report)),
        ("Gate overridden", ("model", "version", "by", "until", "reason"), _overrides(report)),
        ("Code in artifacts is trusted", ("model", "formats", "reason"), _trusted(report)),
        ("Frozen", ("environment", "by", "until", "reason", "next"), _freezes(report)),
        ("Incidents, newest first", ("model", "at", "what"), _incidents(report)),
        ("Rules changed by a push", ("file", "what", "next"), _pushed_rules(report)),
        (
            "Cannot be read on the main branch: nothing is promoted",
            ("file", "line", "what", "what goes back goes by", "next"),
            _unreadable(report),
        ),
        ("Training", ("model", "version", "attempt", "state", "next"), _trainings(report)),
        ("Open pull requests", ("", "title", "waits for", "next"), _pulls(report)),
    ):
        if rows:
            yield title, columns, rows


def _releases(report: dict[str, Any]) -> tuple[str, Sequence[str], list[list[object]]]:
    from modelyard.operations.reconcile.pages import short_digest

    columns = ["model", "environment", "version", "artifact", "state", "since"]
    asked = any(each["alias"] for each in report["releases"])
    has_next = any(each["next"] for each in report["releases"])
    rows = []
    for each in report["releases"]:
        artifact = short_digest(each["artifact"]) if each["artifact"] else None
        row = [each["model"], each["environment"], each["version"], artifact, each["state"]]
        alias, command = [_alias(each)] if asked else [], [each["next"]] if has_next else []
        rows.append([*row, _time(each["since"]), *alias, *command])
    columns += [*(["alias"] if asked else []), *(["next"] if has_next else [])]
    return f"Releases as of {report['commit'][:10]}", columns, rows


def _alias(release: dict[str, Any]) -> str:
    alias = release["alias"]
    found = alias["version"] or "nothing"
    return "agrees" if alias["agrees"] else f"points at {found}: modelyard reconcile"


def _retired(report: dict[str, Any]) -> list[list[object]]:
    return [[each["model"], _time(each["since"]), each["next"]] for each in report["retired"]]


def _holds(report: dict[str, Any]) -> list[list[object]]:
    return [
        [
            each["model"],
            each["version"],
            each["by"],
            _time(each["since"]),
            each["reason"],
            each["next"],
        ]
        for each in report["holds"]
    ]


def _overrides(report: dict[str, Any]) -> list[list[object]]:
    return [
        [each["model"], each["version"], each["by"], _time(each["until"]), each["reason"]]
        for each in report["overrides"]
    ]


def _unreadable(report: dict[str, Any]) -> list[list[object]]:
    return [
        [each["file"], each["line"], each["what"], _stand_in(each), each["next"]]
        for each in report["unreadable"]
    ]


def _stand_in(unreadable: dict[str, Any]) -> str:
    commit = unreadable["stands_in_before"]
    return f"the file before commit {commit[:10]}" if commit else "nothing"


def _trusted(report: dict[str, Any]) -> list[list[object]]:
    return [
        [each["model"], ", ".join(each["formats"]), each["reason"]] for each in report["trusted"]
    ]


def _freezes(report: dict[str, Any]) -> list[list[object]]:
    return [
        [each["environment"], each["by"], _time(each["until"]), each["reason"], each["next"]]
        for each in report["freezes"]
    ]


def _incidents(report: dict[str, Any]) -> list[list[object]]:
    newest = sorted(report["incidents"], key=lambda each: each["at"], reverse=True)
    rows = [[each["model"], _time(each["at"]), each["what"]] for each in newest[:INCIDENTS]]
    if more := len(newest) - INCIDENTS:
        rows += [[None, None, f"and {more} more: modelyard history MODEL"]] if more > 0 else []
    return rows


def _pushed_rules(report: dict[str, Any]) -> list[list[object]]:
    return [[each["file"], each["what"], each["next"]] for each in report["pushed_rules"]]


def _trainings(report: dict[str, Any]) -> list[list[object]]:
    return [
        [each["model"], each["version"], each["attempt"], _training(each), each["next"]]
        for each in report["trainings"]
    ]


def _training(training: dict[str, Any]) -> str:
    message = training["message"]
    return f"{training['state']}: {message}" if message else str(training["state"])


def _pulls(report: dict[str, Any]) -> list[list[object]]:
    return [
        [f"#{each['number']}", each["title"], "; ".join(each["waits_for"]), each["next"]]
        for each in report["pulls"]
    ]


def _time(text: str | None) -> str | None:
    return None if text is None else text[:19].replace("T", " ")
