"""`modelyard --help` as a process: what every command pays before it starts.

    python tests/benchmarks/bench_help.py [RUNS]

Prints JSON with the median, the fastest and the slowest run in milliseconds.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path


def milliseconds(args: list[str]) -> float:
    """Wall-clock time of one process that must succeed."""
    start = time.perf_counter()
    subprocess.run(args, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - start) * 1000


def main(runs: int) -> dict[str, float]:
    """All figures."""
    command = [str(Path(sys.executable).parent / "modelyard"), "--help"]
    milliseconds(command)  # compiles what was not compiled yet
    times = [milliseconds(command) for _ in range(runs)]
    return {
        "runs": runs,
        "median_ms": round(statistics.median(times), 1),
        "fastest_ms": round(min(times), 1),
        "slowest_ms": round(max(times), 1),
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20), indent=2))
