"""`modelyard drift`: compare new data with the training data of production's version."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelyard.commands.options import (
    DayType,
    explain_option,
    output_option,
    pass_services,
    picture_option,
)
from modelyard.commands.output.picture import drift_picture, picture_svg, print_explained
from modelyard.commands.output.terminal import make_console, print_json, print_line
from modelyard.commands.output.unmerged import note_other_spec
from modelyard.domain.specs.paths import model_file
from modelyard.errors import Refused
from modelyard.operations.open_workspace import workspace_of
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.domain.promotion.incidents import Incident
    from modelyard.operations.drift.compare import ContractBreach, FeedComparison
    from modelyard.operations.drift.page import DriftPage

HEADINGS = ("window", "rows", "column", "reason", "effect", "floor", "p", "what")

until_option = click.option(
    "--until",
    type=DayType(),
    metavar="DATE",
    help="Compare the windows before this day. [default: the day after the newest row]",
)
feed_option = click.option(
    "--feed", metavar="URI", help="Read this feed, several files with `*`, instead of the model's."
)


@click.command()
@click.argument("model")
@until_option
@feed_option
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    metavar="FILE.html",
    help="Also write a page for people, and Evidently's report beside it; neither decides.",
)
@click.option(
    "--decision",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    metavar="FILE",
    help="Also write the result to FILE: none, confirmed or breached.",
)
@explain_option
@picture_option
@output_option
@pass_services
def drift(
    services: Services,
    /,
    *,
    model: str,
    until: datetime | None,
    feed: str | None,
    page: Path | None,
    decision: Path | None,
    explain: bool,
    picture: Path | None,
    output: str,
) -> None:
    """Compare MODEL's newest data with the training data of the version production runs.

    Broken data comes first: a broken contract ends the comparison. A feed that is late, incomplete
    or delivered twice is compared all the same. Both are incidents, and nothing is retrained.
    Production's version is also scored on newly labelled rows.
    Nothing is recorded of a feed that --feed names and model.yaml does not.
    Exit 0 if no drift is confirmed, 3 if drift is confirmed or the data is broken, 1 if the data
    cannot be compared.
    """
    from modelyard.operations.drift.compare import (
        FeedComparison,
        compare_feed,
        drift_evidence,
    )
    from modelyard.operations.drift.feed_incidents import record_incidents

    workspace = workspace_of(services)
    result = compare_feed(workspace, model, feed=feed, until=until.date() if until else None)
    note_other_spec(workspace, result.commit, model_file(model))
    incidents = record_incidents(workspace, result)
    evidence = written = None
    if isinstance(result, FeedComparison):
        evidence = workspace.store.put_evidence(drift_evidence(result))
        if page:
            from modelyard.operations.drift.page import write_drift_page

            print_line(f"{page}: importing evidently takes about 12 s", err=True)
            written = write_drift_page(workspace, result, page)
    elif page:
        print_line(f"{page} is not written: the data breaks the contract", err=True)
    if decision is not None:
        # The nightly workflow branches on this file.
        decision.write_text(result.outcome)
    if picture is not None and isinstance(result, FeedComparison):
        drawn = drift_picture(result.windows[-1].checks or ())
        picture.write_text(picture_svg(drawn), "utf-8")
    elif picture is not None:
        print_line(f"{picture} is not written: the data breaks the contract", err=True)
    if explain and output == "text" and isinstance(result, FeedComparison):
        _explain(result)
    elif output == "json":
        print_json(_document(result, incidents, evidence, written))
    else:
        _print(result, evidence, written)
    if result.outcome != "none":
        # The result is printed already: no error message.
        raise click.exceptions.Exit(Refused.exit_code)


def _explain(result: FeedComparison) -> None:
    """Print the verdict as one sentence, the last window as one table and as one picture."""
    from modelyard.operations.drift.compare import summarize_comparison

    checks = result.windows[-1].checks or ()
    rows = [
        (
            check.column,
            check.reason,
            f"{check.measure} {check.effect:.3g}",
            f"{check.floor:.3g}",
            f"{check.p:.1e}",
            "yes" if check.drifted else "no",
            check.detail,
        )
        for check in checks
    ]
    headings = ("column", "reason", "effect", "floor", "p", "drifted", "what")
    print_explained(summarize_comparison(result), headings, rows, drift_picture(checks))


def _document(
    result: ContractBreach | FeedComparison,
    incidents: tuple[Incident, ...],
    evidence: str | None,
    page: DriftPage | None,
) -> dict[str, Any]:
    """Return the result as schemas/output/drift.schema.json describes it."""
    from modelyard.operations.drift.compare import (
        FeedComparison,
        confirmed_document,
        quality_document,
        second_look_document,
        window_document,
    )
    from modelyard.operations.drift.feed_incidents import broken_rules

    compared = result if isinstance(result, FeedComparison) else None
    broken = broken_rules(result)
    return {
        "model": result.model.name,
        "outcome": result.outcome,
        "feed": result.feed.uri,
        "until": result.until.isoformat() if result.until else None,
        "version": compared.parent.version if compared else None,
        "profile": compared.digest if compared else None,
        "evidence": evidence,
        "breaches": [asdict(breach) for breach in broken],
        "incidents": [incident.what for incident in incidents],
        "windows": [window_document(window) for window in result.windows],
        "confirmed": confirmed_document(compared.confirmed if compared else ()),
        "quality": quality_document(compared.quality) if compared else None,
        "second_look": second_look_document(compared.second_look if compared else ()),
        "warnings": list(compared.warnings) if compared else [],
        "page": _page_document(page) if page else None,
    }


def _print(
    result: ContractBreach | FeedComparison, evidence: str | None, page: DriftPage | None
) -> None:
    from modelyard.commands.output.formatting import make_table
    from modelyard.domain.drift.quality import Quality
    from modelyard.domain.specs.contract import describe_breach
    from modelyard.operations.drift.compare import (
        FeedComparison,
        describe_finding,
        summarize_comparison,
        window_rows,
    )

    if not isinstance(result, FeedComparison):
        _print_breaches(result)
        return
    rows = [row for window in result.windows for row in window_rows(window)]
    title = f"{result.model.name} against what {result.parent.version} was trained on"
    make_console().print(make_table(title, HEADINGS, rows))
    for warning in result.warnings:
        print_line(f"warning: {warning}", err=True)
    if page is not None:
        for column, why in page.summary.left_out.items():
            print_line(f"{page.report} omits {column}: {why}", err=True)
    for found in result.second_look:
        print_line(describe_finding(found))
    if isinstance(result.quality, Quality):
        print_line(f"quality: {result.quality.detail}")
    print_line(f"evidence {evidence}")
    for fault in result.faults:
        print_line(describe_breach(fault))
    print_line(summarize_comparison(result))
    if result.faults:
        print_line(f"{result.model.name}: {_say_recorded(result)}, and nothing is retrained")


def _print_breaches(result: ContractBreach) -> None:
    from modelyard.domain.specs.contract import describe_breach

    for breach in result.breaches:
        print_line(describe_breach(breach))
    print_line(
        f"{result.model.name}: the contract of {result.feed.uri} is broken; "
        f"{_say_recorded(result)}, "
        f"drift is not tested, and nothing is retrained"
    )


def _say_recorded(result: ContractBreach | FeedComparison) -> str:
    from modelyard.operations.drift.feed_incidents import is_own_feed

    return "an incident is recorded" if is_own_feed(result) else "no incident is recorded"


def _page_document(page: DriftPage) -> dict[str, Any]:
    summary = page.summary
    return {
        "path": str(page.path),
        "report": str(page.report),
        "report_digest": page.digest,
        "reference_rows": summary.reference_rows,
        "current_rows": summary.current_rows,
        "columns": list(summary.columns_checked),
        "left_out": dict(summary.left_out),
    }
