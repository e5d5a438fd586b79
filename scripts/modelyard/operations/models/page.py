"""Writes the model.yaml of a new model, with its guesses and questions as comments."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from modelyard.adapters.specs.documents import document_of
from modelyard.domain.harmless_text import harmless_line
from modelyard.domain.proposal.columns import ColumnProposal
from modelyard.domain.proposal.model import ModelProposal
from modelyard.yaml_writer import yaml_bytes

_WIDTH = 98
_EXACT = 2**53
_LATER = (
    "QUESTION: which of these does a request not have yet? Add `available_at: later` to them: such "
    "a feature makes every offline comparison look good, and is missing in production."
)
_FEED = (
    "QUESTION: in which files does new data arrive? `feed: data/{name}/*.parquet` has drift look "
    "at them every night."
)
_CANARY = (
    "The judge passes a release after 30 intervals of about 5 seconds with traffic, and enough "
    "requests. Where traffic is short, or to try it out, take away the # of the next line:"
)
_SHORT_CANARY = (
    "# canary: {least_looks: 1, least_seconds: 0, least_predictions: 1000, "
    "margin_error_rate: 0.05, error_limit: 0.05}"
)
_ZONE = "GUESS: times are on the clock of UTC; `timezone: Europe/Rome` says another one."


def model_page(proposal: ModelProposal, *, source: str, rows: int) -> bytes:
    """The file's bytes: valid as they are, with a comment wherever a person has to look."""
    document = _plain(document_of(proposal.model))
    comments: dict[str, list[str]] = {
        "description": ["QUESTION: what does it predict, for people who do not know it?"],
        "owner": ["QUESTION: which team is responsible, and where is it reached?"],
        "task": [
            f"GUESS: the task, since {proposal.model.target.column} has {proposal.target.why}"
        ],
        "target": list(proposal.target.notes),
        "gate": [_gate_comment(proposal)],
    }
    if proposal.model.target.delay_days == 0 and proposal.model.data.timestamp is not None:
        asked = "QUESTION: how many days later is the label known? delay_days: 0"
        comments["target"].append(asked)
    head = (
        f"Proposed from {rows:,} rows of {source}. GUESS marks what the rows suggest, QUESTION "
        f"what only a person knows: answer them and delete the comments."
    )
    lines = list(_comment([head], indent=""))
    for key, value in document.items():
        lines += _comment(comments.get(key, ()), indent="")
        lines += _data(value, proposal) if key == "data" else _dump({key: value}, indent="")
    lines += [*_comment([_CANARY], indent=""), _SHORT_CANARY]
    return ("\n".join(lines) + "\n").encode()


def columns_page(columns: Iterable[ColumnProposal]) -> bytes:
    """The `columns` of a contract, to be pasted below `data` of model.yaml."""
    return ("\n".join(["  columns:", *_columns(columns)]) + "\n").encode()


def _data(data: Mapping[str, Any], proposal: ModelProposal) -> Iterator[str]:
    yield "data:"
    told = [proposal.timestamp_note] if proposal.timestamp_note else []
    if proposal.model.data.timestamp is not None:
        told += [_ZONE, _FEED.format(name=proposal.model.name)]
    yield from _comment(told, indent="  ")
    for key, value in data.items():
        if key == "missing":
            words = ", ".join(repr(word) for word in value)
            yield from _comment([f"GUESS: these fields mean a missing value: {words}"], indent="  ")
        if key != "columns":
            yield from _dump({key: value}, indent="  ")
    yield from _comment([_LATER], indent="  ")
    yield "  columns:"
    yield from _columns(proposal.columns)
    gone = [f"{name}: {reason}" for name, reason in proposal.left_out.items()]
    if gone:
        yield from _comment(["Not in the contract, so no trainer gets it:", *gone], indent="  ")


def _columns(columns: Iterable[ColumnProposal]) -> Iterator[str]:
    for each in columns:
        if each.column is not None:
            yield from _comment(each.notes, indent="  ")
            yield from _dump([_plain(document_of(each.column))], indent="  ")


def _gate_comment(proposal: ModelProposal) -> str:
    gate = proposal.model.gate
    return (
        f"GUESS: a version that is worse by less than {gate.margin:g} of {gate.metric} counts as "
        f"not worse. QUESTION: how much worse would somebody notice?"
    )


def _comment(notes: Iterable[str], *, indent: str) -> Iterator[str]:
    for note in notes:
        start = f"{indent}# "
        yield from textwrap.wrap(
            harmless_line(note), _WIDTH, initial_indent=start, subsequent_indent=f"{start}  ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip


def _dump(value: object, *, indent: str) -> Iterator[str]:
    text = yaml_bytes([value], sort_keys=False).decode()
    for line in text.removesuffix("\n").split("\n"):
        yield f"{indent}{line}" if line else line


def _plain(value: Any) -> Any:
    """The same document, with whole numbers as people write them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return str(value)  # not the member of an enumeration
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < _EXACT
    return int(value) if is_whole else value
