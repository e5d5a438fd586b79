"""Composes a new model from a table: its files, all valid, of which none is written yet."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.adapters.specs import schemas
from modelyard.adapters.specs.documents import build_spec, dump_spec, load_yaml
from modelyard.adapters.tables.column_facts import TableFacts, read_facts
from modelyard.adapters.tables.frames import (
    LABEL,
    clusters_of,
    columns_of,
    rows_by_day,
    rows_within,
    with_labels,
)
from modelyard.adapters.tables.table_files import read_table
from modelyard.domain import checks
from modelyard.domain.proposal.held_out import (
    DaySplit,
    every_how_many,
    held_out_rows,
    name_of_split,
    split_days,
)
from modelyard.domain.proposal.look_alikes import LIKE_DATES
from modelyard.domain.proposal.model import (
    ROW,
    ModelProposal,
    Wishes,
    choose_timestamp,
    propose_model,
    unknown_column,
)
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.contract import Column, describe_breach, find_breaches
from modelyard.domain.specs.heldout import HeldOut, Role
from modelyard.domain.specs.model import DataContract, Model, Task
from modelyard.domain.specs.paths import held_out_file, model_file, model_folder, trainer_folder
from modelyard.domain.specs.repository import Repository
from modelyard.errors import OverLimit, Refused
from modelyard.operations.models.new_data import Given, Placed, place_split, place_whole, read_given
from modelyard.operations.models.page import model_page
from modelyard.operations.models.skeleton import Framework, trainer_files
from modelyard.operations.training.data_root import data_root
from modelyard.operations.training.seen_rows import find_copies

if TYPE_CHECKING:
    import pandas as pd

NO_TIME = "none"
"""Given as the timestamp: the rows have no time, whatever their columns say."""

_LOOKS = 20
_MOST_COPIES = 0.1
"""Share of rows beyond which equal rows are chance, as in a table of a few categories."""


@dataclass(frozen=True, kw_only=True)
class NewModel:
    """A new model, not written yet.

    Args:
        documents: The bytes of its files, by their paths from the repository's root.
        proposal: The model with its guesses.
        held_out: Its held-out set.
        training: The address of the training rows.
        days: The days that train and that are held out; None without time.
        rows: Rows that train, and rows that are held out.
        warnings: What will stop a version, or makes a bad one, one sentence each.
    """

    documents: Mapping[str, bytes]
    proposal: ModelProposal
    held_out: HeldOut
    training: str
    days: DaySplit | None
    rows: tuple[int, int]
    warnings: tuple[str, ...]


def compose_model(
    root: Path,
    catalog: Catalog,
    wishes: Wishes,
    framework: Framework,
    *,
    file: str,
    timestamp: str | None,
    here: Path,
) -> NewModel:
    """Return the files of a model that admits the rows of a file.

    Args:
        root: The checkout's root.
        catalog: The specs of the checkout.
        wishes: What a person says about the model.
        framework: The library that trains.
        file: A path of this machine, or a data address.
        timestamp: The column that has a row's day, `NO_TIME`, or None to guess.
        here: The folder that a path is relative to.

    Raises:
        CannotAnswer: The file is out of reach or damaged.
        Refused: There is such a model, or no model can be made of the rows.
    """
    name = wishes.name
    if (root / model_folder(name)).exists():
        raise Refused(
            f"{model_folder(name)} exists already", hint="choose another name, or remove the folder"
        )
    data = data_root(root, catalog.repository)
    given = read_given(file, data, here=here)
    try:
        facts = read_facts(given.content, uri=given.name)
    except OverLimit as error:  # whose hint is of a model.yaml, which is not there yet
        raise Refused(
            error.message, hint="give the rows as .parquet, which has no such limit, or fewer rows"
        ) from error
    chosen, note, days = _choose_days(given, facts, wishes, timestamp)
    proposal = propose_model(
        facts.columns, wishes, missing=facts.missing, timestamp=chosen, timestamp_note=note,
        days=days,
    )  # fmt: skip
    frame = read_table(given.content, uri=given.name, data=proposal.model.data)
    each = every_how_many(len(frame))
    copies, numbers = find_copies(frame, proposal.model.data.columns)
    copies = copies if copies <= _MOST_COPIES * len(frame) else 0
    if days is None:
        clusters = numbers if copies else None
        if proposal.cluster != ROW:
            clusters = facts.table.column(proposal.cluster).to_pylist()
        held = held_out_rows(clusters, rows=len(frame), each=each)
        placed = place_split(given, facts, held, data, model=name)
        sides = [frame.loc[[not one for one in held]], frame.loc[held]]
    else:
        placed = place_whole(given, data, model=name)
        spans = (days.training, days.held_out)
        sides = [rows_within(frame, timestamp=str(chosen), spans=(span,)) for span in spans]
    proposal = _admit(proposal, [frame, *sides])
    held_out = _held_out(proposal, placed, days, each)
    documents = _documents(proposal, held_out, placed, framework, given, rows=len(frame))
    _refuse_invalid(catalog, proposal.model, held_out, documents)
    return NewModel(
        documents=documents,
        proposal=proposal,
        held_out=held_out,
        training=placed.training,
        days=days,
        rows=(len(sides[0]), len(sides[1])),
        warnings=(
            *(_ask_for_time(proposal) if timestamp is None else ()),
            *([_describe_copies(copies, len(frame))] if copies else ()),
            *_warnings(proposal, sides),
        ),
    )


def write_model(root: Path, repository: Repository, new: NewModel) -> None:
    """Write all files of the model at once.

    Raises:
        Refused: There is such a model by now.
    """
    folder = model_folder(new.proposal.model.name)
    state = root / repository.state
    state.mkdir(parents=True, exist_ok=True)
    # On the same file system: a rename is all or nothing, and refuses a folder that has files.
    beside = Path(tempfile.mkdtemp(prefix="new-model-", dir=state))
    try:
        for path, content in new.documents.items():
            file = beside / "model" / path.removeprefix(folder)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        target = root / folder
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            (beside / "model").rename(target)
        except OSError as error:
            raise Refused(f"{folder} exists already: {os.strerror(error.errno or 0)}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _choose_days(
    given: Given, facts: TableFacts, wishes: Wishes, wanted: str | None
) -> tuple[str | None, str, DaySplit | None]:
    """The timestamp, how it was chosen, and the days that train and are held out."""
    if wanted == NO_TIME:
        return None, "", None
    chosen = wanted or choose_timestamp(facts.columns, wishes.target)
    if chosen is None:
        return None, "", None
    kinds = {each.name: each.type for each in facts.columns}
    if kinds.get(chosen) != "timestamp":
        hint = f"--timestamp {NO_TIME} if rows have no time; times are ISO 8601, as 2026-01-31"
        if chosen not in kinds:
            raise unknown_column("timestamp", chosen, kinds, hint=hint)
        raise Refused(f"timestamp column {chosen!r} is of type {kinds[chosen]}", hint=hint)
    only = DataContract(columns=(Column(name=chosen, type="timestamp", nullable=True),),
                        missing=facts.missing)  # fmt: skip
    days = split_days(rows_by_day(read_table(given.content, uri=given.name, data=only), chosen))
    if days is None and wanted is not None:
        raise Refused(f"timestamp column {chosen!r} has too few days to hold some of them out")
    if days is None:
        return None, f"GUESS: rows have no time; {chosen} has too few days to hold some out", None
    others = [name for name, kind in kinds.items() if kind == "timestamp" and name != chosen]
    more = f", not of {', '.join(others)}" if others else ""
    return chosen, "" if wanted else f"GUESS: rows are of the day of {chosen}{more}", days


def _admit(proposal: ModelProposal, frames: list[pd.DataFrame]) -> ModelProposal:
    """The proposal without limits of nulls that a part of the rows does not keep.

    Raises:
        Refused: The rows break any contract.
    """
    columns = proposal.model.data.columns
    found = [breach for frame in frames for breach in find_breaches(columns, columns_of(frame))]
    loose = {breach.column for breach in found if breach.rule == "null"}
    others = [breach for breach in found if breach.rule != "null"]
    if others:
        reasons = "; ".join(dict.fromkeys(describe_breach(breach) for breach in others))
        raise Refused(f"the data breaks the contract that was made of it: {reasons}")
    if not loose:
        return proposal

    def free(column: Column) -> Column:
        return replace(column, max_null_share=None) if column.name in loose else column

    data = replace(proposal.model.data, columns=tuple(free(column) for column in columns))
    return replace(
        proposal,
        model=replace(proposal.model, data=data),
        columns=tuple(
            replace(each, column=each.column and free(each.column)) for each in proposal.columns
        ),
    )


def _held_out(proposal: ModelProposal, placed: Placed, days: DaySplit | None, each: int) -> HeldOut:
    name = f"since-{days.held_out.since}" if days else name_of_split(each)
    return HeldOut(
        model=proposal.model.name,
        name=name,
        files=(placed.held_out,),
        cluster=proposal.cluster,
        role=Role.RECENT,
        max_looks=_LOOKS,
        window=days.held_out if days else None,
    )


def _documents(
    proposal: ModelProposal,
    held_out: HeldOut,
    placed: Placed,
    framework: Framework,
    given: Given,
    *,
    rows: int,
) -> dict[str, bytes]:
    name = proposal.model.name
    note = f"# {proposal.cluster_note}\n".encode() if proposal.cluster_note else b""
    trainer = trainer_files(framework, proposal)
    return {
        model_file(name): model_page(proposal, source=given.name, rows=rows),
        held_out_file(name, held_out.name): note + dump_spec("HeldOut", held_out),
        **{f"{trainer_folder(name)}/{path}": text for path, text in trainer.items()},
        **placed.files,
    }


def _refuse_invalid(
    catalog: Catalog, model: Model, held_out: HeldOut, documents: Mapping[str, bytes]
) -> None:
    """Refuse a model that `modelyard validate` would not accept as it is written."""
    path = model_file(model.name)
    document = load_yaml(documents[path], name=path).document
    reasons = [text for _, text in schemas.spec_errors("Model", document)]
    if not reasons and build_spec(Model, document) != model:
        reasons.append("it cannot be written as YAML and read back")
    key = (model.name, held_out.name)
    after = replace(
        catalog,
        models={**catalog.models, model.name: model},
        held_out={**catalog.held_out, key: held_out},
    )
    mine = set(documents)
    reasons += [each.message for each in checks.find_problems(after) if each.file in mine]
    if reasons:
        raise Refused(f"{path} would not be valid: {'; '.join(reasons)}")


def _describe_copies(copies: int, rows: int) -> str:
    is_or_are = "is a copy" if copies == 1 else "are copies"
    return (
        f"{copies:,} of {rows:,} rows {is_or_are} of another one in all columns: if the source "
        "wrote them twice, take them out; equal rows are on one side of the held-out set"
    )


def _ask_for_time(proposal: ModelProposal) -> Iterator[str]:
    """Ask which column is the time of a row, where some have dates in another form."""
    kept = {each.column.name: each.look_alike for each in proposal.columns if each.column}
    odd = [n for n, why in {**kept, **proposal.left_out}.items() if why.startswith(LIKE_DATES)]
    if odd and proposal.model.data.timestamp is None:
        asked = " or ".join(odd)
        yield f"no time of a row is known, so rows of any day are held out: is it {asked}?"


def _warnings(proposal: ModelProposal, sides: list[pd.DataFrame]) -> Iterator[str]:
    for each in proposal.columns:
        if each.column is not None and each.look_alike:
            yield f"column {each.column.name}: {each.look_alike}"
    model, least = proposal.model, proposal.model.gate.least_clusters
    labels: list[Any] = []
    for frame, what in zip(sides, ("trains", "is held out"), strict=True):
        labelled, _ = with_labels(frame, model)
        labels.append(set(labelled[LABEL].tolist()))
        if model.task is not Task.REGRESSION and len(labels[-1]) == 1:
            yield f"of what {what}, all rows have the label {next(iter(labels[-1]))}"
        elif not len(labelled):
            yield f"of what {what}, no row has a label"
    if model.task is Task.MULTICLASS and len(labels[0]) < len(model.primary.classes):
        gone = sorted({*model.primary.classes} - {*map(str, labels[0])})
        yield f"no row that trains has the label {', '.join(gone)}"
    clusters = len(set(clusters_of(with_labels(sides[1], model)[0], proposal.cluster)))
    if clusters < least:
        yield (
            f"only {clusters} clusters ({proposal.cluster}) are held out and the gate needs "
            f"{least}, so its verdict will be inconclusive: give more rows"
        )
