"""Sends recorded rows to a model's servers; one seed gives the same requests."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import DataContract
from modelyard.domain.specs.repository import OrchestratorKind
from modelyard.errors import CannotAnswer
from modelyard.ports import Services

if TYPE_CHECKING:
    import pandas as pd

    from modelyard.adapters.metrics.replay import Sent, ServiceTraffic, Traffic

_THREADS = 4


@dataclass(frozen=True, kw_only=True)
class ReplayPlan:
    """What to send, and where.

    Args:
        model: The model's name.
        data: Parquet or CSV file to take rows from.
        rows: Rows to send.
        rows_per_request: Rows in one request.
        rate: Rows a second; None for no limit.
        seed: Seed for drawing rows and releases.
        blanks: Columns sent as null.
        environment: The environment that takes the requests; None for production.
        url: Address to use instead of the local servers, such as that of a Service.
        as_version: Send what the metadata of this version taught callers; None for all inputs of
            model.yaml.
        days: Take rows of these days alone; None for all rows.
    """

    model: str
    data: Path
    rows: int
    rows_per_request: int
    rate: float | None
    seed: int
    blanks: tuple[str, ...]
    environment: str | None
    url: str | None
    as_version: str | None = None
    days: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """The result of every request, the environment that took them, and the time it took."""

    environment: str
    sent: Sequence[Sent]
    seconds: float


def send_recorded(services: Services, plan: ReplayPlan) -> Replayed:
    """Send the rows, and return the result of each request.

    Raises:
        CannotAnswer: There is no such model, environment, column or row, or no server.
    """
    catalog = _read_catalog(services, plan.model)
    contract = catalog.models[plan.model].data
    columns = _sent_columns(services, catalog, plan)
    where = _production_of(catalog, plan.environment)
    chance = random.Random(plan.seed)  # noqa: S311 - a run that can be repeated, not a secret
    with _open_traffic(services, catalog, plan, where) as traffic:
        rows = _draw_rows(plan, contract, columns, chance)
        bodies = _request_bodies(rows, columns, plan)
        before = time.perf_counter()
        sent = _send(traffic, bodies, plan, chance)
        seconds = time.perf_counter() - before
    return Replayed(environment=where, sent=sent, seconds=seconds)


@contextmanager
def _open_traffic(
    services: Services, catalog: Catalog, plan: ReplayPlan, where: str
) -> Iterator[Traffic | ServiceTraffic]:
    from modelyard.adapters.metrics.replay import ServiceTraffic, Traffic

    # A Service spreads requests itself; for local servers the release is drawn here, by share.
    if plan.url is not None:
        versions = {each.identity: each.version for each in catalog.releases.values()}
        yield ServiceTraffic(plan.url, model=plan.model, versions=versions)
        return
    if services.repository.orchestrator is OrchestratorKind.ARGO:
        raise CannotAnswer(
            f"the servers of {plan.model} run in a cluster",
            hint=f"give the address of its Service: --url http://{plan.model}.NAMESPACE",
        )
    state = services.root.absolute() / services.repository.state
    with Traffic(state, environment=where, model=plan.model) as traffic:
        if not traffic.current_endpoints():
            from modelyard.operations.open_workspace import workspace_of
            from modelyard.operations.sites import whose_servers

            elsewhere = whose_servers(workspace_of(services), where)
            raise CannotAnswer(
                f"{where} has no server of {plan.model} here{elsewhere}",
                hint=f"`modelyard status {plan.model}` lists its releases; `modelyard watch` "
                f"starts their servers, and says when they are ready",
            )
        yield traffic


def _read_catalog(services: Services, model: str) -> Catalog:
    # The checkout: sending requests needs no remote.
    from modelyard.adapters.git.trees import WorkingTree
    from modelyard.adapters.specs.reader import read_specs, read_valid_catalog

    tree = WorkingTree(services.root)
    catalog = read_valid_catalog(tree, models=[model])
    if model not in catalog.models:
        # With the other models: it names those that there are.
        read_specs(tree).catalog.require_model(model, where="the checkout")
    return catalog


def _production_of(catalog: Catalog, environment: str | None) -> str:
    """Return the environment that owns the traffic: production, or the one that this one joins."""
    if environment is None:
        if catalog.production is None:
            raise CannotAnswer("no environment is production", hint="use --environment")
        return catalog.production.name
    where = catalog.require_environment(environment, where="the checkout")
    return where.joins or environment


def _sent_columns(services: Services, catalog: Catalog, plan: ReplayPlan) -> tuple[Column, ...]:
    model = catalog.models[plan.model]
    columns = _taught_columns(services, catalog, plan) if plan.as_version else model.inputs
    names = [column.name for column in columns]
    if strangers := [name for name in plan.blanks if name not in names]:
        raise CannotAnswer(
            f"--blank {strangers[0]}: requests of {model.name} have no such column",
            hint=f"one of {', '.join(names)}",
        )
    return columns


def _taught_columns(services: Services, catalog: Catalog, plan: ReplayPlan) -> tuple[Column, ...]:
    """Return the inputs that the version's server lists in its metadata."""
    from modelyard.adapters.store.artifacts import Store
    from modelyard.serving.documents import SERVING, parse_serving

    version = plan.as_version or ""
    record = catalog.require_record(plan.model, version, where="the checkout", hint="git pull")
    if record.artifact is None:
        raise CannotAnswer(f"{plan.model} {version} has no artifact: its training was refused")
    digest = record.artifact.digest
    content = Store(services.repository.artifacts, services.root).read_model_file(digest, SERVING)
    return parse_serving(content, name=f"{digest}/{SERVING}").inputs


def _draw_rows(
    plan: ReplayPlan, contract: DataContract, columns: Sequence[Column], chance: random.Random
) -> pd.DataFrame:
    """Draw rows of the file in random order, with replacement only if it has too few."""
    from modelyard.adapters.tables.frames import rows_within
    from modelyard.adapters.tables.table_files import read_table

    time = _column_of_days(plan, contract)
    read = (*columns, *(each for each in time if each not in columns))

    try:
        content = plan.data.read_bytes()
    except OSError as error:
        raise CannotAnswer(f"{plan.data}: cannot be read: {error.strerror}") from error
    frame = read_table(content, uri=str(plan.data), data=replace(contract, columns=read))
    if not len(frame) or not set(frame.columns) & {column.name for column in columns}:
        raise CannotAnswer(f"{plan.data} has no row with a column of the model's requests")
    for column in time:
        if column.name not in frame:
            raise CannotAnswer(f"{plan.data} has no column {column.name}, which has a row's day")
        frame = rows_within(frame, timestamp=column.name, spans=(plan.days,) if plan.days else ())
        if not len(frame):
            raise CannotAnswer(f"{plan.data} has no row of the days that --since and --until name")
    numbers = (
        chance.sample(range(len(frame)), plan.rows)
        if plan.rows <= len(frame)
        else chance.choices(range(len(frame)), k=plan.rows)
    )
    return frame.iloc[numbers]


def _column_of_days(plan: ReplayPlan, contract: DataContract) -> tuple[Column, ...]:
    """The column with a row's day, if days were asked for."""
    if plan.days is None:
        return ()
    found = tuple(each for each in contract.columns if each.name == contract.timestamp)
    if not found:
        raise CannotAnswer(
            f"rows of {plan.model} have no day: its model.yaml has no data.timestamp",
            hint="leave out --since and --until",
        )
    return found


def _request_bodies(
    rows: pd.DataFrame, columns: Sequence[Column], plan: ReplayPlan
) -> Iterator[bytes]:
    """Yield one request document after the other."""
    from modelyard.serving.documents import json_value
    from modelyard.serving.tensor import DATATYPES

    values = {
        column: [None] * len(rows)
        if column.name in plan.blanks
        else [json_value(value) for value in rows[column.name].array]
        for column in columns
        if column.name in plan.blanks or column.name in rows
    }
    for start in range(0, len(rows), plan.rows_per_request):
        stop = min(start + plan.rows_per_request, len(rows))
        tensors = [
            {
                "name": column.name,
                "datatype": DATATYPES[column.type],
                "shape": [stop - start],
                "data": data[start:stop],
            }
            for column, data in values.items()
        ]
        yield json.dumps({"inputs": tensors}, separators=(",", ":")).encode()


def _send(
    traffic: Traffic | ServiceTraffic,
    bodies: Iterator[bytes],
    plan: ReplayPlan,
    chance: random.Random,
) -> list[Sent]:
    from concurrent.futures import ThreadPoolExecutor

    begin = time.monotonic()

    def send(order: tuple[int, bytes, float]) -> Sent:
        number, body, at = order
        if plan.rate is not None:
            # Counted from the start: one slow answer does not lower the rate.
            due = begin + number * plan.rows_per_request / plan.rate
            time.sleep(max(0.0, due - time.monotonic()))
        return traffic.send(body, at=at)

    # Drawn in order here, not in the threads, so that one seed gives one sequence.
    orders = ((number, body, chance.random()) for number, body in enumerate(bodies))
    with ThreadPoolExecutor(_THREADS, "replay") as pool:
        return list(pool.map(send, orders))
