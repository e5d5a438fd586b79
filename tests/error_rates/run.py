"""Simulates the error rates of every subject, and writes them to docs/statistics.md.

`PYTHONPATH=tests python -m error_rates.run [--quick] [--jobs N] [SUBJECT ...]`. Rates of unchanged
code and cases are kept (`running.py`), so it may be ended at any time and goes on where it was.
With `--quick` a few runs of a few cases, and nothing is kept or written. Exit 3 if a promise is
broken.
"""

from __future__ import annotations

import argparse
import os
import sys

# Small arrays: more threads than processes only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from error_rates import drift, gate, judge
from error_rates.rates import table_of, write_table
from error_rates.running import code_digest, run_tasks

SUBJECTS = {"gate": gate, "judge": judge, "drift": drift}


def main() -> int:
    """Run the subjects, and return the exit code."""
    parser = argparse.ArgumentParser(prog="error-rates")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("subject", nargs="*", choices=[*SUBJECTS, []])
    chosen = parser.parse_args()
    broken = 0
    for name in chosen.subject or SUBJECTS:
        subject = SUBJECTS[name]
        tasks = subject.tasks(quick=chosen.quick)
        kept = {} if chosen.quick else {"code": code_digest(name), "jobs": chosen.jobs}
        found = run_tasks(tasks, **kept)
        broken += sum(not rate.is_kept for rate in found)
        table = table_of(found)
        sys.stdout.write(f"{name}\n{table}\n\n")
        if not chosen.quick:
            write_table(name, table)
    return 3 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
