"""Reads requests of the Open Inference Protocol into frames, or refuses them by the contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from modelyard.domain.specs.contract import Column
from modelyard.errors import Refused, join_first
from modelyard.serving.tensor import (
    DATATYPES,
    ReadTensor,
    TensorError,
    Values,
    describe_column,
    describe_value,
    read_tensor,
    values_of_nulls,
)

if TYPE_CHECKING:
    import pandas as pd

_MOST_NAMED = 5
MOST_INPUTS = 2000
"""Of a request; those that the model does not ask for are counted too."""

_LONGEST_NAME = 512


@dataclass(frozen=True, kw_only=True)
class InferenceRequest:
    """A request that keeps the contract.

    Args:
        identifier: The id that the client gave it, or None.
        rows: The number of rows to predict.
        columns: The values of each of the model's inputs, in order; see `tensor.read_tensor`.
        nulls: Rows with a missing value, by input column; a column that was left out counts.
        levels: Rows by level, by category; a null is none. Empty for one row, which has one level.
    """

    identifier: str | None
    rows: int
    columns: Mapping[str, Values]
    nulls: Mapping[str, int]
    levels: Mapping[str, Mapping[str, int]]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The columns as a frame."""
        import pandas as pd  # noqa: PLC0415 - only where a frame is asked for

        return pd.DataFrame(self.columns, copy=False)


def read_request(
    document: object, columns: Sequence[Column], *, output: str | None = None
) -> InferenceRequest:
    """The request with the values of exactly the model's inputs.

    - JSON null stands for a missing value of any datatype, where the column is nullable.
    - An input that is nullable or has a default may be left out as a whole.
    - Whole numbers may come as floats without a fraction: nulls turn integers into floats.
    - Inputs that the model does not ask for are ignored, so that stable and canary can answer the
      same request; one that differs from an input's name only in case or punctuation is refused.
    - Ranges and levels are not checked: one odd value must not refuse the whole request.

    Args:
        document: The parsed body.
        columns: The model's inputs.
        output: The model's output; a request that asks for another one is refused.

    Raises:
        Refused: The request breaks the protocol or the contract; the message names every column
            at fault, what was expected and what was found.
    """
    request = _object(document)
    _refuse_outputs(request.get("outputs"), output)
    tensors = _tensors(request)
    read, problems = _read_all(columns, tensors)
    if problems := [*_twins(tensors, columns), *problems]:
        raise Refused(join_first(problems, _MOST_NAMED, between="; "))
    rows = _rows(read)
    nulls = {c.name: read[c.name].nulls if c.name in read else rows for c in columns}
    arrays = {
        c.name: read[c.name].array if c.name in read else values_of_nulls(c, rows) for c in columns
    }
    return InferenceRequest(
        identifier=_identifier(request),
        rows=rows,
        columns=arrays,
        nulls=nulls,
        levels={name: tensor.levels for name, tensor in read.items() if tensor.levels},
    )


def tensors_of_rows(
    columns: Sequence[Column], rows: Sequence[Mapping[str, object]]
) -> list[dict[str, object]]:
    """The `inputs` of a request for these rows; a value that is left out is null."""
    return [
        {
            "name": column.name,
            "datatype": DATATYPES[column.type],
            "shape": [len(rows)],
            "data": [row.get(column.name) for row in rows],
        }
        for column in columns
    ]


def request_of_rows(
    columns: Sequence[Column], rows: Sequence[Mapping[str, object]]
) -> InferenceRequest:
    """The request for these rows.

    Raises:
        Refused: A row breaks the contract.
    """
    return read_request({"inputs": tensors_of_rows(columns, rows)}, columns)


def frame_of_rows(columns: Sequence[Column], rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """The frame of a request for these rows.

    Raises:
        Refused: A row breaks the contract.
    """
    return request_of_rows(columns, rows).frame


def _object(document: object) -> Mapping[str, object]:
    if not isinstance(document, dict):
        raise Refused(f"request: expected a JSON object, found {describe_value(document)}")
    return document


def _identifier(request: Mapping[str, object]) -> str | None:
    identifier = request.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise Refused(f"id: expected text, found {describe_value(identifier)}")
    if identifier is not None and len(identifier) > _LONGEST_NAME:
        raise Refused(f"id: expected at most {_LONGEST_NAME} characters, found {len(identifier)}")
    return identifier


def _refuse_outputs(outputs: object, output: str | None) -> None:
    if outputs is None:
        return
    if not isinstance(outputs, list):
        raise Refused(f"outputs: expected a list, found {describe_value(outputs)}")
    for item in outputs:
        name = item.get("name") if isinstance(item, dict) else item
        if name != output:
            raise Refused(f"outputs: expected {output}, found {describe_value(name)}")


def _tensors(request: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    inputs = request.get("inputs")
    if not isinstance(inputs, list):
        raise Refused(f"inputs: expected a list, found {describe_value(inputs)}")
    if len(inputs) > MOST_INPUTS:
        raise Refused(f"inputs: expected at most {MOST_INPUTS}, found {len(inputs)}")
    tensors: dict[str, Mapping[str, object]] = {}
    for item in inputs:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            raise Refused(f"inputs: expected objects with a name, found {describe_value(item)}")
        if len(name) > _LONGEST_NAME:
            raise Refused(f"input {describe_value(name)}: expected a shorter name")
        if name in tensors:
            raise Refused(f"input {describe_value(name)}: expected once, found twice")
        tensors[name] = item
    return tensors


def _twins(tensors: Mapping[str, object], columns: Sequence[Column]) -> list[str]:
    others = tensors.keys() - {column.name for column in columns}
    if not others:
        return []  # as in most requests
    plain = {_normalized(column.name): column.name for column in columns}
    return [
        f"input {describe_value(name)}: expected the name {plain[_normalized(name)]}"
        for name in tensors
        if name in others and _normalized(name) in plain
    ]


def _normalized(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _read_all(
    columns: Sequence[Column], tensors: Mapping[str, Mapping[str, object]]
) -> tuple[dict[str, ReadTensor], list[str]]:
    read: dict[str, ReadTensor] = {}
    problems: list[str] = []
    for column in columns:
        if column.name in tensors:
            try:
                read[column.name] = read_tensor(column, tensors[column.name])
            except TensorError as error:
                problems.append(f"input {column.name}: {error}")
        elif not column.nullable and column.default is None:
            problems.append(
                f"input {column.name}: expected {describe_column(column)}, found no such input"
            )
    return read, problems


def _rows(read: Mapping[str, ReadTensor]) -> int:
    lengths = {name: len(tensor.array) for name, tensor in read.items()}
    if not lengths:
        raise Refused("inputs: expected at least one of the model's inputs, found none")
    rows = next(iter(lengths.values()))
    strays = [
        f"input {name}: expected {rows} rows, found {n}" for name, n in lengths.items() if n != rows
    ]
    if strays:
        raise Refused(join_first(strays, _MOST_NAMED, between="; "))
    return rows
