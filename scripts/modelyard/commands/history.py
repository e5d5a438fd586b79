"""`modelyard history`: what happened lately, or to one model with its DORA measures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from modelyard.commands.options import output_option, pass_services
from modelyard.commands.output.terminal import make_console, print_json, print_line
from modelyard.operations.open_workspace import workspace_of
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.domain.promotion.dora import Agreement, DoraMeasures, Lead
    from modelyard.domain.promotion.timeline import Event


_SPAN = re.compile(r"(?P<number>[1-9][0-9]{0,4})(?P<unit>[mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}

_OF_A_NIGHT = timedelta(hours=24)
"""What is shown of all models unless somebody asks for more."""


class SinceType(click.ParamType["datetime | timedelta"]):
    """A time, as the span until now, a day in UTC, or a time with its offset."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime | timedelta:
        """Return the time, or the span before now."""
        from modelyard.domain.specs.times import parse_moment

        if (span := _SPAN.fullmatch(value)) is not None:
            return timedelta(**{_UNITS[span["unit"]]: int(span["number"])})
        try:
            if re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
                return datetime.fromisoformat(value).replace(tzinfo=UTC)
            return parse_moment(value)
        except ValueError:
            why = f"{value!r} is no time: write 12h, 3d, 2026-12-31 or 2026-12-31T08:00Z"
            raise click.BadParameter(why, ctx, param) from None


@click.command()
@click.argument("model", required=False)
@click.option(
    "--since",
    type=SinceType(),
    metavar="TIME",
    help="Only what happened since, such as 12h, 3d or 2026-12-31. [default without MODEL: 24h]",
)
@output_option
@pass_services
def history(
    services: Services, /, *, model: str | None, since: datetime | timedelta | None, output: str
) -> None:
    """Show what happened lately to all models, newest first, or all that happened to MODEL.

    Of MODEL it is told oldest first, with how long its versions took. Read from the history of
    the main branch and of the facts.
    """
    now = services.clock.now()
    if isinstance(since, timedelta):
        since = now - since
    if model is None:
        _show_recent(services, since or now - _OF_A_NIGHT, output)
    else:
        _show_model(services, model, since, output)


def _show_recent(services: Services, since: datetime, output: str) -> None:
    from modelyard.operations.status.recent import read_recent

    events = read_recent(workspace_of(services), since)
    if output == "json":
        print_json(_recent_document(events, since))
    else:
        _print_recent(events, since)


def _show_model(services: Services, model: str, since: datetime | None, output: str) -> None:
    from modelyard.operations.history import read_history

    story = read_history(workspace_of(services), model)
    events = tuple(each for each in story.events if since is None or each.at >= since)
    if output == "json":
        print_json(_document(model, events, story.measures, since))
    else:
        _print_text(model, events, story.measures, since)


def _recent_document(events: tuple[Event, ...], since: datetime) -> dict[str, Any]:
    from modelyard.domain.specs.interval import iso_utc

    told = [_event(event, event.model) for event in events]
    nothing: dict[str, Any] = {"versions": [], "failures": [], "summary": None}
    return {"model": None, "since": iso_utc(since), "events": told, **nothing}


def _print_recent(events: tuple[Event, ...], since: datetime) -> None:
    from modelyard.commands.output.formatting import clock_time, print_table
    from modelyard.domain.promotion.timeline import Kind

    # Between its merge and its verdict, a release starts and is ready: nobody asks about that.
    shown = [each for each in events if each.kind not in {Kind.SEEN, Kind.HEALTHY}]
    if not shown:
        print_line(f"nothing happened since {clock_time(since)} UTC")
        return
    rows = [
        (
            clock_time(event.at),
            event.model,
            event.environment,
            event.version,
            str(event.kind),
            _what(event),
        )
        for event in shown
    ]
    title = f"Since {clock_time(since)} UTC, newest first"
    columns = ("at (UTC)", "model", "environment", "version", "event", "")
    print_table(title, columns, rows)


def _document(
    model: str, events: tuple[Event, ...], summed: DoraMeasures, since: datetime | None
) -> dict[str, Any]:
    from modelyard.domain.specs.interval import iso_utc

    known = {lead.version: lead.seconds for lead in summed.leads if lead.seconds is not None}
    agreed = [each.seconds for each in summed.agreements if each.seconds is not None]
    return {
        "model": model,
        "since": iso_utc(since),
        "events": [_event(event, model) for event in events],
        "versions": [
            {
                "version": lead.version,
                "merged_at": iso_utc(lead.merged_at),
                "verdict": str(lead.outcome) if lead.outcome else None,
                "production_at": iso_utc(lead.production_at),
                "counted_from": iso_utc(lead.counted_from or lead.merged_at),
                "lead_time_seconds": lead.seconds,
            }
            for lead in summed.leads
        ],
        "failures": [_failure(each) for each in summed.agreements],
        "summary": {
            "lead_times_seconds": known,
            "lead_time_median_seconds": summed.lead_time_median,
            "releases_to_production": summed.releases_to_production,
            "versions_exposed": list(summed.exposed),
            "versions_rolled_back": list(summed.rolled_back),
            "rolled_back_share": summed.rolled_back_share,
            "seconds_from_fail_to_agreement": agreed,
        },
    }


def _event(event: Event, model: str | None) -> dict[str, Any]:
    from modelyard.domain.specs.interval import iso_utc

    return {
        "at": iso_utc(event.at),
        "kind": str(event.kind),
        "model": model,
        "environment": event.environment,
        "version": event.version,
        "what": event.what,
        "outcome": str(event.outcome) if event.outcome else None,
        "numbers": {name: event.numbers[name] for name in sorted(event.numbers)},
        "rolled_back": event.rolled_back,
        "release": event.release,
        "commit": event.commit,
        "pull": event.pull,
    }


def _failure(agreement: Agreement) -> dict[str, Any]:
    from modelyard.domain.specs.interval import iso_utc

    failed_at, agreed_at = iso_utc(agreement.failed_at), iso_utc(agreement.agreed_at)
    times = {"failed_at": failed_at, "agreed_at": agreed_at, "seconds": agreement.seconds}
    return {**asdict(agreement), **times}


def _print_text(
    model: str, events: tuple[Event, ...], summed: DoraMeasures, since: datetime | None
) -> None:
    from modelyard.commands.output.formatting import clock_time, make_table

    rows = [
        (clock_time(event.at), event.environment, event.version, str(event.kind), _what(event))
        for event in events
    ]
    printer = make_console()
    if rows or since is None:
        title, columns = f"History of {model}", ("at (UTC)", "environment", "version", "event", "")
        printer.print(make_table(title, columns, rows))
    else:
        print_line(f"nothing happened to {model} since {clock_time(since)} UTC")
    columns = ("version", "spec merged", "verdict", "in production", "lead time")
    printer.print(make_table("Versions", columns, [_lead(lead) for lead in summed.leads]))
    for line in _closing(summed):
        print_line(line)


def _what(event: Event) -> str:
    return f"{event.what} (#{event.pull})" if event.pull is not None else event.what


def _lead(lead: Lead) -> tuple[object, ...]:
    from modelyard.commands.output.formatting import clock_time
    from modelyard.domain.specs.times import format_span

    seconds = lead.seconds
    return (
        lead.version,
        clock_time(lead.merged_at),
        lead.outcome,
        clock_time(lead.production_at),
        None if seconds is None else format_span(seconds),
    )


def _closing(summed: DoraMeasures) -> Iterator[str]:
    """Yield the DORA measures, a line each, and a line for each failure."""
    from modelyard.domain.specs.times import format_span

    median = summed.lead_time_median
    lead = "no version in production yet" if median is None else f"{format_span(median)} (median)"
    yield f"lead time from merge to production: {lead}"
    if came := [each.version for each in summed.leads if each.counted_from is not None]:
        yield (
            f"  of {', '.join(came)} from the first pull request here: the spec is older than this "
            "repository"
        )
    yield f"releases to production: {summed.releases_to_production}"
    if summed.rolled_back_share is not None:
        share = f"{len(summed.rolled_back)} of {len(summed.exposed)}"
        share += f" ({summed.rolled_back_share:.0%})"
        yield f"rolled back, of the versions that answered production's requests: {share}"
    for each in summed.agreements:
        took = "not yet" if each.seconds is None else format_span(each.seconds)
        to = f" to {each.restored}" if each.restored else ""
        what = f"{each.version}{to} in {each.environment}"
        yield f"from the judge's fail until Git and servers agree: {took} ({what})"
