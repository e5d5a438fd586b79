"""`modelyard replay`: send recorded rows to a model's servers, as its users would."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelyard.commands.options import output_option, pass_services, print_json
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.paths import environment_file, model_file
from modelyard.domain.specs.repository import Orchestrator
from modelyard.errors import CannotAnswer
from modelyard.ports import Services

if TYPE_CHECKING:
    import random

    import pyarrow as pa

    from modelyard.adapters.metrics.replay import Sent, ServiceTraffic, Traffic

_THREADS = 4


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How rows are sent.

    Args:
        rows: How many.
        rows_per_request: How many at once.
        rate: Rows a second; None for as fast as they are answered.
    """

    rows: int
    rows_per_request: int
    rate: float | None


def _http(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not value.startswith(("http://", "https://")):
        raise click.BadParameter(f"{value!r} is no http:// or https:// address", ctx, param)
    return value


@click.command()
@click.argument("model")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Parquet or CSV file to take rows from.",
)
@click.option("--rows", default=1000, show_default=True, type=click.IntRange(1), help="How many.")
@click.option("--seed", default=0, show_default=True, type=int, help="Draws rows and releases.")
@click.option("--rows-per-request", default=20, show_default=True, type=click.IntRange(1, 10_000))
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    help="Rows a second at most; default: no limit.",
)
@click.option(
    "--blank",
    "blanks",
    multiple=True,
    metavar="COLUMN",
    help="Send null for this column, as a broken upstream would; may be repeated.",
)
@click.option(
    "--environment", help="Whose traffic; default: the end of the path, and who joins it."
)
@click.option(
    "--url",
    callback=_http,
    help="Send to this address, such as a cluster's Service, which spreads requests itself.",
)
@output_option
@pass_services
def replay(
    services: Services,
    /,
    model: str,
    data: Path,
    rows: int,
    seed: int,
    rows_per_request: int,
    rate: float | None,
    blanks: tuple[str, ...],
    environment: str | None,
    url: str | None,
    output: str,
) -> None:
    """Send recorded rows to a model's servers.

    Rows are drawn from the file, and each request's release by share, with one seed: the same
    command sends the same requests. Only columns that are known when a request is made are sent.
    Succeeds when the replay ran, whatever the servers answered.
    """
    import random

    catalog = _catalog(services, model)
    columns = _sent_columns(catalog.models[model], blanks)
    where = _owner(catalog, environment)
    chance = random.Random(seed)  # noqa: S311 - a run that can be repeated, not a secret
    pace = Pace(rows=rows, rows_per_request=rows_per_request, rate=rate)
    with _traffic(services, catalog, model, where, url) as traffic:
        bodies = _bodies(_drawn_rows(data, columns, rows, chance), columns, blanks, pace)
        before = time.perf_counter()
        sent = _send(traffic, bodies, pace, chance)
    _tell(sent, rows=rows, where=where, seconds=time.perf_counter() - before, output=output)


@contextmanager
def _traffic(
    services: Services, catalog: Catalog, model: str, where: str, url: str | None
) -> Iterator[Traffic | ServiceTraffic]:
    from modelyard.adapters.metrics.replay import ServiceTraffic, Traffic

    if url is not None:
        versions = {each.identity: each.version for each in catalog.releases.values()}
        yield ServiceTraffic(url, model=model, versions=versions)
        return
    if services.repository.orchestrator is Orchestrator.ARGO:
        raise CannotAnswer(
            f"the servers of {model} run in a cluster",
            hint=f"say where its Service is reached: --url http://{model}.NAMESPACE",
        )
    state = services.root.absolute() / services.repository.state
    with Traffic(state, environment=where, model=model) as traffic:
        if not traffic.endpoints():
            raise CannotAnswer(
                f"no server of {model} takes requests in {where}",
                hint="`modelyard status` shows what runs where; `modelyard watch` starts it",
            )
        yield traffic


def _catalog(services: Services, model: str) -> Catalog:
    from modelyard.adapters.git.trees import WorkingTree
    from modelyard.adapters.specs.reader import sound

    catalog = sound(WorkingTree(services.root), models=[model])
    if model not in catalog.models:
        raise CannotAnswer(f"{model_file(model)}: there is no such model")
    return catalog


def _owner(catalog: Catalog, environment: str | None) -> str:
    """The environment that owns the traffic: production, the one named, or whom that one joins."""
    if environment is None:
        if catalog.production is None:
            raise CannotAnswer("no environment is the end of a path", hint="say --environment")
        return catalog.production.name
    if environment not in catalog.environments:
        raise CannotAnswer(f"{environment_file(environment)}: there is none")
    return catalog.environments[environment].joins or environment


def _sent_columns(model: Model, blanks: Sequence[str]) -> tuple[Column, ...]:
    names = [column.name for column in model.inputs]
    if strangers := [name for name in blanks if name not in names]:
        raise CannotAnswer(
            f"--blank {strangers[0]}: no column of model {model.name} that a request carries",
            hint=f"it carries {', '.join(names)}",
        )
    return model.inputs


def _drawn_rows(
    data: Path, columns: Sequence[Column], rows: int, chance: random.Random
) -> pa.Table:
    """That many rows of the file in random order; more than it has are drawn anew each time."""
    import pyarrow as pa

    table = _table(data)
    names = [column.name for column in columns if column.name in table.column_names]
    if not names or not table.num_rows:
        raise CannotAnswer(f"{data}: has no rows with a column the model's requests carry")
    numbers = (
        chance.sample(range(table.num_rows), rows)
        if rows <= table.num_rows
        else chance.choices(range(table.num_rows), k=rows)
    )
    return table.select(names).take(pa.array(numbers, type=pa.int64()))


def _table(data: Path) -> pa.Table:
    import pyarrow as pa

    is_csv = data.name.endswith((".csv", ".csv.gz"))
    try:
        if is_csv:
            from pyarrow import csv

            return csv.read_csv(data)
        from pyarrow import parquet

        return parquet.read_table(data)
    except (OSError, pa.ArrowException) as error:
        kind = "CSV" if is_csv else "Parquet"
        raise CannotAnswer(f"{data}: cannot be read as {kind}: {error}") from error


def _bodies(
    table: pa.Table, columns: Sequence[Column], blanks: Sequence[str], pace: Pace
) -> Iterator[bytes]:
    """One request document after the other."""
    from modelyard.serving.tensor import DATATYPES

    values = {
        column: [None] * table.num_rows
        if column.name in blanks
        else [_json(value) for value in table.column(column.name).to_pylist()]
        for column in columns
        if column.name in blanks or column.name in table.column_names
    }
    for start in range(0, table.num_rows, pace.rows_per_request):
        stop = min(start + pace.rows_per_request, table.num_rows)
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


def _json(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None  # NaN and infinity have no JSON
    if value is None or isinstance(value, str | int):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _send(
    traffic: Traffic | ServiceTraffic, bodies: Iterator[bytes], pace: Pace, chance: random.Random
) -> list[Sent]:
    from concurrent.futures import ThreadPoolExecutor

    begin = time.monotonic()

    def send(order: tuple[int, bytes, float]) -> Sent:
        number, body, at = order
        if pace.rate is not None:
            due = begin + number * pace.rows_per_request / pace.rate
            time.sleep(max(0.0, due - time.monotonic()))
        return traffic.send(body, at=at)

    orders = ((number, body, chance.random()) for number, body in enumerate(bodies))
    with ThreadPoolExecutor(_THREADS, "replay") as pool:
        return list(pool.map(send, orders))


def _tell(sent: Sequence[Sent], *, rows: int, where: str, seconds: float, output: str) -> None:
    codes = Counter(one.code for one in sent)
    releases = Counter((one.version or "none", one.release or "none") for one in sent)
    if output == "json":
        print_json(
            {
                "environment": where,
                "rows": rows,
                "requests": len(sent),
                "seconds": round(seconds, 3),
                "codes": dict(sorted(codes.items())),
                "releases": [
                    {"version": version, "release": release, "requests": count}
                    for (version, release), count in sorted(releases.items())
                ],
            }
        )
        return
    click.echo(f"{rows:,} rows in {len(sent):,} requests to {where}, {rows / seconds:,.0f} rows/s")
    for code, count in sorted(codes.items()):
        click.echo(f"  {code}: {count:,} requests")
    for (version, release), count in sorted(releases.items()):
        click.echo(f"  {version} (release {release}): {count:,} requests, {count / len(sent):.1%}")
