"""How long a drift verdict takes: our profile against Evidently's preset, in one process.

Run it as a script; it prints JSON. With `--large` it adds a profile of 1,000,000 rows x 50 columns,
compared with as many rows.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

os.environ["DO_NOT_TRACK"] = "1"

import numpy as np

from modelyard.domain.drift.detection import check_window
from modelyard.domain.drift.profiling.build import build_profile
from modelyard.domain.drift.second_look.chosen_rows import ChosenRows, content_keys, read_chosen
from modelyard.domain.drift.second_look.findings import look_again
from modelyard.domain.drift.second_look.habits import number_columns
from modelyard.domain.specs.contract import Column, find_breaches

SIZES = (5, 20, 50)


def window(rng: np.random.Generator, rows: int, number: int) -> dict[str, Any]:
    """A window of `number` columns, 60 % numbers and 40 % categories with Zipf shares."""
    numbers = number * 6 // 10
    table: dict[str, Any] = {}
    draws = (
        rng.normal,
        rng.lognormal,
        rng.uniform,
        lambda size: np.asarray(rng.poisson(3, size), dtype=np.float64),
    )
    for position in range(numbers):
        table[f"number_{position}"] = draws[position % len(draws)](size=rows)
    for position in range(number - numbers):
        size = SIZES[position % len(SIZES)]
        weights = 1 / np.arange(1, size + 1)
        names = np.array([f"level_{level}" for level in range(size)], dtype=object)
        table[f"category_{position}"] = names[rng.choice(size, rows, p=weights / weights.sum())]
    return table


def columns_of(table: dict[str, Any]) -> list[Column]:
    """The contract of a window."""
    return [
        Column(name=name, type="number" if name.startswith("number") else "category")
        for name in table
    ]


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The shortest of several runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def ours(rows: int, number: int, repeats: int) -> dict[str, float]:
    """Seconds to check the contract, to build a profile of 13 blocks, and to compare with it."""
    rng = np.random.default_rng(1)
    reference, current = window(rng, rows, number), window(rng, rows, number)
    columns, blocks = columns_of(reference), np.arange(rows) * 13 // rows
    quarter = np.timedelta64(13 * 7 * 86_400, "s").astype("timedelta64[us]")
    times = np.datetime64("2024-01-01", "us") + np.arange(rows) * quarter // rows
    profile = build_profile(reference, columns, blocks, times=times)
    return {
        "rows": rows,
        "columns": number,
        "contract_seconds": seconds(lambda: find_breaches(columns, current), repeats),
        "build_seconds": seconds(lambda: build_profile(reference, columns, blocks, times=times), 1),
        "compare_seconds": seconds(lambda: check_window(profile, current, least_rows=500), repeats),
        "second_look_seconds": seconds(
            lambda: look_again(
                profile.habits, choose(current, columns, times), usual_rows=rows / 13
            ),
            repeats,
        ),
        "profile_bytes": len(json.dumps(profile.to_document(), separators=(",", ":"))),
    }


def choose(table: dict[str, Any], columns: list[Column], times: Any) -> ChosenRows:
    """The rows of a window in memory that are looked at again."""
    keys = content_keys(number_columns(table, columns), times)
    return read_chosen(lambda _: iter([{**table, "at": times}]), columns, "at", keys)


def evidently(rows: int, number: int, repeats: int) -> float:
    """Seconds of Evidently's DataDriftPreset on the same rows, import and frames not counted."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    rng = np.random.default_rng(1)
    reference, current = (pd.DataFrame(window(rng, rows, number)) for _ in range(2))
    names = [str(name) for name in reference]
    definition = DataDefinition(
        numerical_columns=[name for name in names if name.startswith("number")],
        categorical_columns=[name for name in names if name.startswith("category")],
    )

    def run() -> None:
        frames = (Dataset.from_pandas(f, data_definition=definition) for f in (current, reference))
        Report([DataDriftPreset()]).run(*frames)

    return seconds(run, repeats)


def main() -> None:
    """Prints the measurements."""
    warnings.simplefilter("ignore")
    small = ours(10_000, 20, 5)
    preset = evidently(10_000, 20, 2)
    found: dict[str, Any] = {
        "ours": small,
        "evidently_preset_seconds": preset,
        "times_faster": preset / small["compare_seconds"],
    }
    if "--large" in sys.argv:
        found["large"] = ours(1_000_000, 50, 1)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
