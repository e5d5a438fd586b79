"""A whole new model, proposed from what a table has in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from modelyard.domain.proposal.columns import (
    ColumnFacts,
    ColumnProposal,
    Use,
    is_key,
    propose_column,
)
from modelyard.domain.proposal.held_out import DaySplit
from modelyard.domain.proposal.separator import commas_hint, find_separator
from modelyard.domain.proposal.task import TargetProposal, propose_target
from modelyard.domain.specs.contract import plain_name
from modelyard.domain.specs.model import ArtifactPolicy, DataContract, Model, Owner, Task, Trainer
from modelyard.errors import Refused

RESERVED = frozenset({"label", "cluster"})
"""Columns that the steps of training add to the rows themselves."""

ROW = "row"
"""The cluster of rows that do not depend on each other."""

_LONGEST_NAME = 200
_LEAST_CLUSTERS = 20
_DAYS_TOLD = "GUESS: days are the clusters, since rows of one day are rarely independent"


@dataclass(frozen=True, kw_only=True)
class ModelProposal:
    """A model, and what a person should know about how it came about.

    Args:
        model: The model.
        target: What follows from its target.
        columns: The columns of its contract, with notes, in order.
        left_out: Why a column of the table is not in the contract, by its name.
        features: The columns that the trainer reads, in order.
        cluster: The column that dependent rows share, or `row`.
        cluster_note: How the cluster was chosen.
        timestamp_note: How the timestamp was chosen; empty if a person chose it.
    """

    model: Model
    target: TargetProposal
    columns: tuple[ColumnProposal, ...]
    left_out: Mapping[str, str]
    features: tuple[str, ...]
    cluster: str
    cluster_note: str
    timestamp_note: str


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a person says about a new model, instead of a guess.

    Args:
        name: The model's name.
        target: Its target column.
        owner: The team that is responsible.
        command: The trainer's command.
        artifact: The rules for its artifacts.
        task: The task; None to guess it.
        cluster: The column that dependent rows share, or `row`; None to guess it.
    """

    name: str
    target: str
    owner: Owner
    command: tuple[str, ...]
    artifact: ArtifactPolicy
    task: Task | None = None
    cluster: str | None = None


def choose_timestamp(facts: Sequence[ColumnFacts], target: str) -> str | None:
    """The column that has a row's day: of the times, the one with the fewest nulls."""
    taken = {target, *RESERVED}
    times = [
        each for each in facts if each.type == "timestamp" and each.known and each.name not in taken
    ]
    return min(times, key=lambda each: each.nulls).name if times else None


def propose_model(
    facts: Sequence[ColumnFacts],
    wishes: Wishes,
    *,
    missing: tuple[str, ...],
    timestamp: str | None,
    timestamp_note: str,
    days: DaySplit | None,
) -> ModelProposal:
    """The model that admits the table.

    Args:
        facts: What the table has in its columns.
        wishes: What a person says.
        missing: The texts of a CSV file that mean a missing value.
        timestamp: The column that has a row's day; None if rows have no time.
        timestamp_note: How it was chosen.
        days: The days that train and that are held out; None without time.

    Raises:
        Refused: The target fits no task, or no column can be an input.
    """
    by_name = {each.name: each for each in facts}
    if wishes.target not in by_name:
        raise unknown_column("target", wishes.target, by_name)
    target = propose_target(by_name[wishes.target], wishes.task)
    cluster, cluster_note = _choose_cluster(by_name, wishes, timestamp, days)
    kept = {timestamp, cluster if cluster != ROW else None}
    columns, left_out = _split_columns(facts, target, kept)
    features = tuple(
        each.column.name
        for each in columns
        if each.column is not None
        and each.use is Use.INPUT
        and each.column.type != "timestamp"
        and each.column.name not in {wishes.target, cluster}
    )
    if not features:
        raise Refused(f"no column but {wishes.target} can be an input of the model")
    model = Model(
        name=wishes.name,
        description=f"Predicts {wishes.target}.",
        owner=wishes.owner,
        task=target.task,
        target=target.target,
        outputs=(target.output,),
        trainer=Trainer(command=wishes.command),
        data=DataContract(
            columns=tuple(each.column for each in columns if each.column is not None),
            timestamp=timestamp,
            missing=missing,
        ),
        gate=target.gate,
        artifact=wishes.artifact,
    )
    return ModelProposal(
        model=model,
        target=target,
        columns=columns,
        left_out=left_out,
        features=features,
        cluster=cluster,
        cluster_note=cluster_note,
        timestamp_note=timestamp_note,
    )


def _split_columns(
    facts: Sequence[ColumnFacts], target: TargetProposal, kept: set[str | None]
) -> tuple[tuple[ColumnProposal, ...], dict[str, str]]:
    """The proposals of the columns that are in the contract, and why the others are not."""
    found: list[ColumnProposal] = []
    left_out: dict[str, str] = {}
    for each in facts:
        proposal = propose_column(each)
        if each.name == target.target.column:
            found.append(target.column)
        elif not each.name:
            left_out["(no name)"] = "it has no name in the header, as the index of a data frame"
        elif each.name in RESERVED or len(each.name) > _LONGEST_NAME:
            left_out[each.name] = "its name is reserved, or too long"
        elif proposal.column is None and each.name in kept and each.type is not None:
            found.append(_bare(each))
        elif proposal.column is None:
            left_out[each.name] = proposal.notes[0]
        else:
            found.append(proposal)
    # A column outside of the contract may not be called almost like one in it.
    declared = {plain_name(each.column.name) for each in found if each.column is not None}
    for each in facts:
        twin = each.name in left_out and plain_name(each.name) in declared
        if twin and each.type is not None and each.name not in RESERVED:
            del left_out[each.name]
            found.append(_bare(each))
    return tuple(found), left_out


def _bare(facts: ColumnFacts) -> ColumnProposal:
    """The column without a range or levels, which is no input."""
    proposal = propose_column(replace(facts, distinct=0))
    column = proposal.column and replace(proposal.column, minimum=None, maximum=None, levels=None)
    return ColumnProposal(column=column, use=Use.KEY)


def _choose_cluster(
    facts: Mapping[str, ColumnFacts], wishes: Wishes, timestamp: str | None, days: DaySplit | None
) -> tuple[str, str]:
    if wishes.cluster is not None:
        if wishes.cluster != ROW and wishes.cluster not in facts:
            raise unknown_column("cluster", wishes.cluster, facts)
        return wishes.cluster, ""
    keys = [each for each in facts.values() if is_key(each) and each.name != wishes.target]
    for each in sorted(keys, key=lambda key: key.distinct):
        if _LEAST_CLUSTERS * 3 <= each.distinct <= each.known / 2 and not each.nulls:
            told = (
                f"GUESS: rows of one {each.name} depend on each other; {each.distinct:,} of them "
                f"have {each.known:,} rows"
            )
            return each.name, told
    if timestamp is not None and days is not None:
        held_out = (days.held_out.until - days.held_out.since).days
        each = facts[timestamp]
        if each.whole_days and held_out >= _LEAST_CLUSTERS and each.distinct <= each.known / 2:
            return timestamp, _DAYS_TOLD
    return ROW, "GUESS: no row depends on another"


def unknown_column(
    what: str, name: str, facts: Collection[str], *, hint: str | None = None
) -> Refused:
    """The error that the data has no such column.

    Args:
        what: What it should be, such as `target`.
        name: Its name.
        facts: The names of the columns that there are.
        hint: The next command if no known name is close.
    """
    from difflib import get_close_matches  # noqa: PLC0415 - only for this error

    close = get_close_matches(name, list(facts), n=1)
    listed = ", ".join(facts)
    hint = f"did you mean {close[0]}?" if close else hint
    if len(facts) == 1 and (separator := find_separator(listed)):
        hint = commas_hint(separator)
    return Refused(f"{what} column {name!r} is not in the data; it has {listed}", hint=hint)
