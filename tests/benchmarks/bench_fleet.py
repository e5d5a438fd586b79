"""What commands and a watcher cost in a repository of many models.

    python tests/benchmarks/bench_fleet.py [MODELS ...]

Prints JSON, for each number of models: CPU seconds and peak memory (of the largest process) of each
command, as a ratio to parsing the same specs with PyYAML's C loader and to an empty `git` process.
Every model is a copy of one that runs a verified v2 in four environments, released by four merged
pull requests. The watcher's servers and registry are stand-ins that answer at once.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "scripts")]
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])

MODELYARD = str(Path(sys.executable).parent / "modelyard")
PARSE = """
import glob, yaml
for file in glob.glob("models/*/*.yaml") + glob.glob("models/*/*/*.yaml") + \\
        glob.glob("environments/*/environment.yaml") + glob.glob("environments/*/releases/*.yaml"):
    with open(file, "rb") as stream:
        yaml.load(stream, yaml.CSafeLoader)
"""
Measured = dict[str, float]


def measure(root: Path, *words: str) -> Measured:
    """CPU seconds and megabytes of a process that must answer yes or no, with its children's."""
    start = time.monotonic()
    with subprocess.Popen(words, cwd=root, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in {0, 3}:
        raise SystemExit(f"{' '.join(words)}: exit code {process.returncode}")
    found = {
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "wall_s": round(time.monotonic() - start, 2),
        "mb": round(used.ru_maxrss / 1024),
    }
    print(*words[-3:], found, file=sys.stderr, flush=True)  # a fleet takes many minutes
    return found


def measure_watcher(root: Path, one: str) -> dict[str, Measured]:
    """The first look of a watcher at the fleet, the next two, and one at a model that moved."""
    words = (sys.executable, __file__, "--watch", str(root), one)
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True)
    found: dict[str, Measured] = json.loads(done.stdout)
    return found


def watch(root: Path, one: str) -> None:
    """Look at the fleet and at one model of it, and print what each look took."""
    from fleet_servers import watched

    run_pass = watched(root)
    found: dict[str, Measured] = {}
    looks = {"first look": None, "second look": None, "look at an unchanged fleet": None}
    for name, models in {**looks, "reconcile one model": frozenset({one})}.items():
        before, start = _cpu_seconds(), time.monotonic()
        run_pass(models)
        found[name] = {
            "cpu_s": round(_cpu_seconds() - before, 2),
            "wall_s": round(time.monotonic() - start, 2),
            "mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        }
        print(name, found[name], file=sys.stderr, flush=True)
    print(json.dumps(found))


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def bench(models: int) -> dict[str, object]:
    """All figures for so many models."""
    from fleet_yard import fleet_yard, name_of

    with tempfile.TemporaryDirectory() as folder:
        root = fleet_yard(Path(folder), models).folder / "clone"
        one = name_of(models // 2)
        subprocess.run([MODELYARD, "status", one], cwd=root, check=True, capture_output=True)
        works: Mapping[str, Callable[[], Measured]] = {
            f"modelyard {' '.join(words)}": lambda words=words: measure(root, MODELYARD, *words)  # type: ignore[misc]
            for words in (
                ("status", "--output", "json"),
                ("status",),
                ("status", one),
                ("history", one),
                ("reconcile", one, "--dry-run"),
                ("render", "--check", "--changed-since", "HEAD"),
                ("render", "--check"),
                ("validate", "--changed-since", "HEAD"),
            )
        }
        parsed = measure(root, sys.executable, "-c", PARSE)
        empty = measure(root, "git", "version")
        found = {name: work() for name, work in works.items() if _is_asked(name)}
        if _is_asked("watcher"):
            looks = measure_watcher(root, one)
            found |= {f"watcher: {name}": each for name, each in looks.items()}
    for each in found.values():
        each["times_parsing"] = round(each["cpu_s"] / parsed["cpu_s"], 2)
        each["times_git"] = round(each["cpu_s"] / max(empty["cpu_s"], 0.002))
    return {"parsing": parsed, "git": empty, **found}


def _is_asked(name: str) -> bool:
    return os.environ.get("ONLY", "") in name


if __name__ == "__main__":
    if sys.argv[1:2] == ["--watch"]:
        watch(Path(sys.argv[2]), sys.argv[3])
    else:
        numbers = [int(each) for each in sys.argv[1:]] or [100, 1000, 10_000]
        with tempfile.TemporaryDirectory() as place:
            os.environ["BUILT_ONCE"] = place
            print(json.dumps({number: bench(number) for number in numbers}, indent=2))
