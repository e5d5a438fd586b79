"""What commands and a watcher cost in a repository of many models.

    python tests/benchmarks/bench_fleet.py [MODELS ...]

Prints a line of JSON for each result as it comes: CPU seconds and peak memory (of the largest
process) of a command, and its CPU as a ratio to parsing the same specs with PyYAML's C loader and
to an empty `git` process. ONLY=watcher, or a part of a command, leaves out the others. 10,000
models take a quarter of an hour, most of it for writing them.
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
from pathlib import Path

import psutil

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
_EMPTY = 100

# The long ones last.
_COMMANDS = (
    ("status", "ONE"),
    ("history", "ONE"),
    ("history",),
    ("reconcile", "ONE", "--dry-run"),
    ("render", "--check", "--changed-since", "HEAD"),
    ("validate", "--changed-since", "HEAD"),
    ("status", "--output", "json"),  # the first one keeps rows for the next ones
    ("status",),
    ("status", "--output", "json"),
    ("render", "--check"),
)


def measure(root: Path, *words: str) -> Measured:
    """CPU seconds and megabytes of a process that must answer yes or no, with its children's."""
    start = time.monotonic()
    with subprocess.Popen(words, cwd=root, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in {0, 3}:
        raise SystemExit(f"{' '.join(words)}: exit code {process.returncode}")
    return {
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "wall_s": round(time.monotonic() - start, 2),
        "mb": round(used.ru_maxrss / 1024),
    }


def measure_empty_git() -> Measured:
    """The same of a git that does nothing, as a mean: one is shorter than what is counted."""
    before, start = cpu_seconds(), time.monotonic()
    for _ in range(_EMPTY):
        subprocess.run(["git", "version"], stdout=subprocess.DEVNULL, check=True)
    spent, took = cpu_seconds() - before, time.monotonic() - start
    return {"cpu_s": round(spent / _EMPTY, 4), "wall_s": round(took / _EMPTY, 4)}


def build_fleet(folder: Path, models: int) -> Path:
    """Write a fleet in a process of its own; returns its checkout.

    A process that starts has at least the memory of the one that started it, which stays small so.
    """
    builder = Path(__file__).with_name("fleet_yard.py")
    subprocess.run([sys.executable, builder, folder, str(models)], check=True)
    return folder / "fleet" / "clone"


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
        before, start = cpu_seconds(), time.monotonic()
        run_pass(models)
        found[name] = {
            "cpu_s": round(cpu_seconds() - before, 2),
            "wall_s": round(time.monotonic() - start, 2),
            "mb": _most_megabytes(),
        }
        print(name, found[name], file=sys.stderr, flush=True)
    print(json.dumps(found))


def _most_megabytes() -> int:
    """The most memory that this program had, without what started it."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return round(int(next(row for row in rows if row.startswith("VmHWM:")).split()[1]) / 1024)


def cpu_seconds() -> float:
    """CPU seconds of this process, of those that ended and of those that still run for it."""
    running = [each.cpu_times() for each in psutil.Process().children(recursive=True)]
    rest = sum(each.user + each.system for each in running)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return rest + sum(each.ru_utime + each.ru_stime for each in used)


def bench(models: int) -> None:
    """Print all figures for so many models, each as it comes."""
    with tempfile.TemporaryDirectory() as folder:
        root = build_fleet(Path(folder), models)
        one = sorted(each.name for each in root.glob("models/*"))[models // 2]
        parsed = measure(root, sys.executable, "-c", PARSE)
        empty = measure_empty_git()

        def tell(what: str, found: Measured) -> None:
            found["times_parsing"] = round(found["cpu_s"] / parsed["cpu_s"], 2)
            found["times_git"] = round(found["cpu_s"] / empty["cpu_s"])
            print(json.dumps({"models": models, "what": what, **found}), flush=True)

        tell("parsing", parsed)
        tell("git version", empty)
        tell("first command, with the first fetch", measure(root, MODELYARD, "status", one))
        for words in _COMMANDS:
            if _is_asked(named := " ".join(words)):
                asked = (one if word == "ONE" else word for word in words)
                tell(f"modelyard {named}", measure(root, MODELYARD, *asked))
        if _is_asked("watcher"):
            for name, each in measure_watcher(root, one).items():
                tell(f"watcher: {name}", each)


def _is_asked(name: str) -> bool:
    return os.environ.get("ONLY", "") in name


if __name__ == "__main__":
    if sys.argv[1:2] == ["--watch"]:
        watch(Path(sys.argv[2]), sys.argv[3])
    else:
        numbers = [int(each) for each in sys.argv[1:]] or [100, 1000, 10_000]
        with tempfile.TemporaryDirectory() as place:
            os.environ["BUILT_ONCE"] = place
            for number in numbers:
                bench(number)
