"""Simulates the error rates of every subject, and writes them to docs/statistics.md.

`PYTHONPATH=tests python -m error_rates.run [--quick] [SUBJECT ...]`. With `--quick` a few runs of a
few cases, and nothing is written. Exit 3 if a promise is broken.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

from error_rates import drift, gate, judge
from error_rates.rates import Rate, table_of, write_table

SUBJECTS: dict[str, Callable[..., Iterator[Rate]]] = {
    "gate": gate.rates,
    "judge": judge.rates,
    "drift": drift.rates,
}
"""By name, the rates of a subject; `quick=True` gives a few quick ones."""


def main() -> int:
    """Run the subjects, and return the exit code."""
    parser = argparse.ArgumentParser(prog="error-rates")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("subject", nargs="*", choices=[*SUBJECTS, []])
    chosen = parser.parse_args()
    broken = 0
    for subject in chosen.subject or SUBJECTS:
        found = list(SUBJECTS[subject](quick=chosen.quick))
        broken += sum(not rate.is_kept for rate in found)
        table = table_of(found)
        sys.stdout.write(f"{subject}\n{table}\n\n")
        if not chosen.quick:
            write_table(subject, table)
    return 3 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
