"""The change that proposes a retraining: the next version, its held-out set, and the page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.documents import dump_spec, read_spec
from modelyard.adapters.tables.data_files import sha256_of
from modelyard.domain.drift.regime import RetrainingDays, TooFewDays, plan_days
from modelyard.domain.drift.retraining import (
    Retraining,
    RetrainingInputs,
    current_sets,
    plan_retraining,
)
from modelyard.domain.harmless_text import escape_markdown, markdown_code
from modelyard.domain.promotion.change import EVIDENCE, Branch, Change, Purpose, version_trailers
from modelyard.domain.specs.heldout import HeldOut
from modelyard.domain.specs.interval import Interval, count_days
from modelyard.domain.specs.paths import held_out_file, version_file
from modelyard.domain.specs.version import DataFile, ModelVersion
from modelyard.errors import Refused
from modelyard.operations.drift.compare import FeedComparison, format_drift, window_rows
from modelyard.operations.drift.regime import find_regime
from modelyard.operations.reconcile.pages import short_digest
from modelyard.operations.training.data_root import data_root
from modelyard.operations.training.pins import code_at, refuse_changed, runtime_at
from modelyard.operations.workspace import Workspace

_ROLE = re.compile(rb"^role:[ \t]*recent\b", re.MULTILINE)


def retraining_branch(model: str) -> str:
    """The branch of a model's retraining; a model has one."""
    return str(Branch(purpose=Purpose.RETRAIN, model=model))


def plan_feed_days(workspace: Workspace, result: FeedComparison) -> RetrainingDays | TooFewDays:
    """The days of the next version for confirmed drift, or why the feed has too few of them."""
    model, sets = result.model, current_sets(result.catalog, result.model.name)
    return plan_days(model, result.parent, sets, find_regime(workspace, result))


def retraining_change(
    workspace: Workspace, result: FeedComparison, days: RetrainingDays, *, evidence: str
) -> Change:
    """The change that adds the next version, pinned from the main branch, and its held-out set.

    Raises:
        Refused: A day has no rows, or a pinned file changed.
        CannotAnswer: Something to be pinned is out of reach.
    """
    model = result.model.name
    made = plan_retraining(_inputs(workspace, result, days, evidence))
    version = made.version
    return Change(
        purpose=Purpose.RETRAIN,
        branch=retraining_branch(model),
        title=f"Retrain {model} as {version.version}: {format_drift(result.confirmed)} drifted",
        body=_page(result, made, days),
        documents=dict(_documents(workspace.git, result, made)),
        trailers={**version_trailers(model, version.version), EVIDENCE: evidence},
        labels=(version.version, "retrain"),
    )


def aged_text(text: bytes, held_out: HeldOut) -> bytes:
    """A held-out set's file with its new role, or retired, if possible with its comments."""
    # Edited as text, because a YAML dump would lose the comments. The edit is kept only if it reads
    # as the set that was meant.
    edited = _ROLE.sub(b"role: " + held_out.role.encode(), text, count=1)
    if held_out.retired:
        edited = edited.rstrip(b"\n") + b"\nretired: true\n"
    path = held_out_file(held_out.model, held_out.name)
    return (
        edited
        if read_spec(HeldOut, edited, name=path) == held_out
        else dump_spec("HeldOut", held_out)
    )


def _inputs(
    workspace: Workspace, result: FeedComparison, days: RetrainingDays, evidence: str
) -> RetrainingInputs:
    parent, git, policy = result.parent, workspace.git, result.model.drift
    until = result.windows[-1].data.days.until
    training, judging = (_pins(workspace, result, spans) for spans in (days.new, (days.held_out,)))
    refuse_changed((*training, *judging), result.catalog)
    return RetrainingInputs(
        model=result.model,
        parent=parent,
        catalog=result.catalog,
        days=days,
        training=training,
        judging=judging,
        reason=f"Drift of {format_drift(result.confirmed)} from what {parent.version} was trained "
        f"on, confirmed by {policy.needed} of {policy.of} windows before {until}",
        evidence=evidence,
        code=code_at(git, result.commit, result.model.name),
        runtime=runtime_at(git, result.commit, parent.model, base=parent.runtime),
    )


def _pins(
    workspace: Workspace, result: FeedComparison, spans: tuple[Interval, ...]
) -> tuple[DataFile, ...]:
    """The pins of the feed's files with rows in the spans; pins of the comparison are reused."""
    data = data_root(workspace.services.root, workspace.services.repository, commit=result.commit)
    # The same bytes that were compared: a file may change between two reads.
    known = {pin.uri: pin for pin in result.pins}
    files = [file.uri for file in result.feed.files if file.reaches(spans)]
    if not files:
        days = ", ".join(f"{span.since} to {span.until}" for span in spans)
        raise Refused(f"{result.feed.uri} has no rows in {days}", hint="wait for newer data")
    return tuple(
        known.get(uri) or DataFile(uri=uri, sha256=sha256_of(data.read(uri))) for uri in files
    )


def _documents(git: Git, result: FeedComparison, made: Retraining) -> Iterator[tuple[str, bytes]]:
    model, version = result.model.name, made.version
    yield version_file(model, version.version), dump_spec("ModelVersion", version)
    if (model, made.held_out.name) not in result.catalog.held_out:
        yield held_out_file(model, made.held_out.name), dump_spec("HeldOut", made.held_out)
    for each in _changed_sets(made):
        path = held_out_file(model, each.name)
        yield path, aged_text(git.read_file(result.commit, path), each)


def _changed_sets(made: Retraining) -> tuple[HeldOut, ...]:
    return (*made.aged, *made.retired)


def _page(result: FeedComparison, made: Retraining, days: RetrainingDays) -> str:
    policy, parent, version = result.model.drift, result.parent, made.version
    moved = [one for one in result.confirmed if one.reason != "quality"]
    first = [
        f"**{parent.version}** predicts worse than on its held-out rows: "
        f"{escape_markdown(one.detail)}."
        for one in result.confirmed
        if one.reason == "quality"
    ]
    if moved:
        first.append(
            f"Drift from what **{parent.version}** was trained on is confirmed by {policy.needed} "
            f"of {policy.of} windows of {policy.window_days} days: "
            f"{escape_markdown(format_drift(moved))}."
        )
    lines = [
        " ".join(first),
        "",
        f"Evidence `{version.evidence}`.",
        "",
        "### What drifted",
        "",
        "| window | rows | column | reason | effect | floor | p | what |",
        "|---|---|---|---|---|---|---|---|",
        *(_table_row(row) for window in result.windows for row in window_rows(window)),
        "",
        f"### What {version.version} would be",
        "",
        *(f"- {line}" for line in _plan_lines(result, made, days)),
        "",
        f"Merging trains {version.version}, which must be better than the champion on "
        f"`{made.held_out.name}`, and pass the same gates as any version. If you close the pull "
        f"request, it is not proposed again until another column drifts, or one drifts twice as "
        f"far.",
    ]
    return "\n".join(lines) + "\n"


def _table_row(cells: Iterable[str | None]) -> str:
    return f"| {' | '.join('-' if cell is None else escape_markdown(cell) for cell in cells)} |"


def _plan_lines(result: FeedComparison, made: Retraining, days: RetrainingDays) -> Iterator[str]:
    parent, version = result.parent, made.version
    new = [file for file in version.data.files if file not in parent.data.files]
    yield f"trained on {_days(version.data.spans)}; {parent.version} on {_days(parent.data.spans)}"
    yield f"{len(new)} files in addition to those of {parent.version}: {_uris(new)}"
    yield f"{count_days(days.regime)} days of the new regime train"
    yield f"judged on {', '.join(f'`{name}`' for name in version.held_out)}"
    if made.held_out.window is not None:
        yield f"new held-out set `{made.held_out.name}`: {_days((made.held_out.window,))}"
    for each in made.aged:
        yield (
            f"held-out set `{each.name}` now stands for an earlier regime: its role becomes old; "
            f"if that regime is over for good, retire the set"
        )
    for each in made.retired:
        yield f"held-out set `{each.name}` has no looks left: it is retired, and its rows may train"
    yield f"parameters and seed ({version.seed}) of {parent.version}"
    yield from _pin_lines(parent, version)


def _pin_lines(parent: ModelVersion, version: ModelVersion) -> Iterator[str]:
    trainer, lock = version.code.tree, version.runtime.lock
    same = "as for" if parent.code == version.code else "not the one of"
    yield f"trainer `{short_digest(trainer)}`, {same} {parent.version}"
    same = "as for" if parent.runtime.lock == lock else "not those of"
    yield f"locked requirements `{short_digest(lock)}`, {same} {parent.version}"


def _days(spans: Iterable[Interval]) -> str:
    return " and ".join(f"{span.since} until {span.until}" for span in spans)


def _uris(files: Iterable[DataFile]) -> str:
    return ", ".join(markdown_code(file.uri) for file in files)
