"""MLflow's own protocol, `/invocations`: the same rows under the same contract, written its way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from modelyard.errors import Refused
from modelyard.serving.inputs import MOST_INPUTS, InferenceRequest, read_request
from modelyard.serving.tensor import DATATYPES, MAX_ROWS, describe_value

if TYPE_CHECKING:
    from modelyard.domain.specs.contract import Column

SPLIT, RECORDS, INPUTS, INSTANCES = "dataframe_split", "dataframe_records", "inputs", "instances"
FORMS = (SPLIT, RECORDS, INPUTS, INSTANCES)

JSON = "application/json"

_CODES: Mapping[int, str] = {
    HTTPStatus.TOO_MANY_REQUESTS: "RESOURCE_EXHAUSTED",
    HTTPStatus.INTERNAL_SERVER_ERROR: "INTERNAL_ERROR",
    HTTPStatus.SERVICE_UNAVAILABLE: "TEMPORARILY_UNAVAILABLE",
}
_SPLIT_KEYS = frozenset({"columns", "data", "index"})
_Columns = Mapping[str, list[object] | None]
"""Values by name; None for those of a column that the model does not ask for."""


def read_invocation(
    document: object, columns: Sequence[Column], *, output: str | None = None
) -> InferenceRequest:
    """The request in a document of MLflow's, read by the rules of `read_request`.

    `dataframe_split` has `columns`, `data` and maybe `index`, `dataframe_records` is a list of
    objects, `inputs` and `instances` are a list of objects, an object of lists or one row. Other
    keys, `params` among them, have no meaning here, as in MLflow for a model without parameters.

    Raises:
        Refused: It is none of these, or breaks the contract.
    """
    del output  # such a request asks for no output by name
    if not isinstance(document, dict):
        raise Refused(f"request: expected a JSON object, found {describe_value(document)}")
    forms = [form for form in FORMS if form in document]
    if len(forms) != 1:
        found = ", ".join(forms) or "none of them"
        raise Refused(f"request: expected exactly one of {', '.join(FORMS)}, found {found}")
    wanted = {column.name for column in columns}
    given = _READERS[forms[0]](document[forms[0]], wanted)
    if len(given) > MOST_INPUTS:
        raise Refused(f"{forms[0]}: expected at most {MOST_INPUTS} columns, found {len(given)}")
    kinds = {column.name: DATATYPES[column.type] for column in columns}
    tensors = [
        {"name": name}
        if values is None
        else {"name": name, "datatype": kinds[name], "shape": [len(values)], "data": values}
        for name, values in given.items()
    ]
    return read_request({"inputs": tensors}, columns)


def invocation_error(status: int, message: str) -> dict[str, Any]:
    """An error in MLflow's form."""
    return {"error_code": _CODES.get(status, "BAD_REQUEST"), "message": message}


def _split(value: object, wanted: set[str]) -> _Columns:
    keys = value.keys() if isinstance(value, dict) else set()
    if not isinstance(value, dict) or not {"columns", "data"} <= keys or keys - _SPLIT_KEYS:
        found = describe_value(", ".join(sorted(keys)) or value)
        raise Refused(f"{SPLIT}: expected columns, data and maybe index, found {found}")
    names, rows = _list(SPLIT, "columns", value["columns"]), _rows(SPLIT, value["data"])
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str):
            raise Refused(f"{SPLIT}: expected texts as columns, found {describe_value(name)}")
        if name in seen:
            raise Refused(f"input {describe_value(name)}: expected once, found twice")
        seen.add(name)
    for at, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(names):
            raise Refused(
                f"{SPLIT}: expected a list of {len(names)} values, found {describe_value(row)}"
                f" in row {at}"
            )
    return {
        name: [row[at] for row in rows] if name in wanted else None
        for at, name in enumerate(names)
    }  # fmt: skip


def _records(value: object, wanted: set[str], form: str = RECORDS) -> _Columns:
    rows = _rows(form, value)
    names: dict[str, None] = {}
    for at, row in enumerate(rows):
        if not isinstance(row, dict):
            raise Refused(f"{form}: expected an object, found {describe_value(row)} in row {at}")
        names.update(dict.fromkeys(row))
    # A key that a record lacks is a missing value, as in a frame of pandas.
    return {name: [row.get(name) for row in rows] if name in wanted else None for name in names}


def _inputs(value: object, wanted: set[str], form: str = INPUTS) -> _Columns:
    if not isinstance(value, dict):
        return _records(value, wanted, form)
    is_row = not any(isinstance(each, list) for each in value.values())
    return {
        name: ([each] if is_row else _rows(f"{form} {describe_value(name)}", each))
        if name in wanted
        else None
        for name, each in value.items()
    }


_READERS: Mapping[str, Callable[[object, set[str]], _Columns]] = {
    SPLIT: _split,
    RECORDS: _records,
    INPUTS: _inputs,
    INSTANCES: partial(_inputs, form=INSTANCES),
}


def _rows(what: str, value: object) -> list[Any]:
    rows = _list(what, "rows", value)
    if not rows or len(rows) > MAX_ROWS:
        raise Refused(f"{what}: expected 1 to {MAX_ROWS} rows, found {len(rows)}")
    return rows


def _list(what: str, of: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise Refused(f"{what}: expected a list of {of}, found {describe_value(value)}")
    return value
