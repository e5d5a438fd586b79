"""The scenes: each plays one part of the path through the real commands, and checks its end."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from demo.stage import REPOSITORY, Scene, Stage

MODEL = "flight-delay"
DATA = "data/flight-delay"
Q1 = tuple(f"{DATA}/2013-{month:02}.parquet" for month in (1, 2, 3))
APRIL = f"{DATA}/2013-04.parquet"
MAY = f"{DATA}/2013-05.parquet"

WEATHER = ("precip", "visib", "wind_speed", "temp")
V1 = ("carrier", "origin", "distance", "minute")
V2 = ("carrier", "origin", "dest", "distance", "minute", "weekday", *WEATHER)
MONOTONE = {"precip": 1, "visib": -1, "wind_speed": 1, "temp": -1}

# About 90 requests of 20 rows without an error rule a worse error rate out.
ROWS_A_LOOK = {"canary": 10_000, "production": 4_500}
ROWS_A_SHORT_LOOK = 1000
CANARY_SHARE = 0.2
MOST_LOOKS = 12


def prepare(stage: Stage) -> None:
    """Write the flights as one file a month, where the feed would leave them."""
    before = time.monotonic()
    _write_flights(stage.yard / DATA)
    stage.note(f"336,776 flights of 2013 joined with the weather in {_since(before)}")


def first_version(stage: Stage, scene: Scene) -> None:
    """v1 is proposed in a pull request, checked, merged, trained, recorded."""
    held = ("--data", APRIL, "--since", "2013-04-01", "--until", "2013-05-01")
    stage.modelyard(
        *("version", "held-out", MODEL, "april", *held, "--cluster", "date", "--role", "old")
    )
    files = [word for name in Q1 for word in ("--data", name)]
    days = ("--since", "2013-01-01", "--until", "2013-04-01")
    parameters = _parameters(features=list(V1), max_iter=100)
    stage.modelyard(
        *("version", "new", MODEL, "v1", "--reason", "A first model, from the schedule alone"),
        *(*files, *days, "--held-out", "april", *parameters),
    )
    _propose(stage, "v1", "Add flight-delay v1")
    _train(stage, "v1")
    record = stage.answer("record", MODEL, "v1")
    stage.check(record["verdict"]["outcome"] == "pass", "v1 beats the baseline")
    runs, versions = _registry(stage)
    stage.check((runs, versions) == (1, 1), "one MLflow run and one registered version exist")
    auc = record["held_out"][0]["metrics"]["auc"]
    scene.said = f"April AUC {auc:.4f}, MLflow run and registered version 1"


def to_production(stage: Stage, scene: Scene) -> None:
    """v1 moves dev -> staging -> canary -> production, one pull request each."""
    _watch(stage)
    _enter(stage, "canary", "v1", show=True)
    _enter(stage, "production", "v1")
    _check_everywhere(stage, "v1")
    scene.said = "4 pull requests, served in dev, staging, canary and production"


def better_version(stage: Stage, scene: Scene) -> None:
    """v2 passes the gate against v1 and goes through the canary."""
    _new(stage, "v2", "v1", "Add the weather", features=list(V2), monotone=MONOTONE)
    record = _gate(stage, "v2", "pass")
    _watch(stage)
    _enter(stage, "canary", "v2")
    _enter(stage, "production", "v2")
    _check_everywhere(stage, "v2")
    scene.said = f"{_interval(record)}; canary and production judged it good"


def refused_version(stage: Stage, scene: Scene) -> None:
    """v3 is smaller and faster, and worse by more than the margin."""
    _new(
        stage, "v3", "v2", "Smaller and faster",
        features=["carrier", "dest", "minute"], monotone={}, max_iter=15, max_leaf_nodes=3,
    )  # fmt: skip
    record = _gate(stage, "v3", "fail")
    _watch(stage)
    stage.modelyard("record", MODEL, "v3")
    _check_everywhere(stage, "v2")
    scene.said = f"refused: {_interval(record)}; its record stays"


def silent_regression(stage: Stage, scene: Scene) -> None:
    """v4 passes offline because of a column that is empty when a request comes."""
    _new(stage, "v4", "v2", "Add dep_delay", features=[*V2, "dep_delay"], monotone=MONOTONE)
    record = _gate(stage, "v4", "pass")
    stage.note("dep_delay is known in the training data, and empty when a request is made")
    _watch(stage)
    number = _waiting(stage, "canary")
    stage.modelyard("pr", "approve", str(number), user="grace")
    _watch(stage)
    verdict_at = _until_rolled_back(stage)
    told = stage.answer("history", MODEL)
    stage.modelyard("watch", "--once")
    _check_everywhere(stage, "v2")
    stage.check(_held(stage) == ["v4"], "v4 is on hold")
    last = stage.git("log", "--first-parent", "--oneline", "-3", "origin/main")
    stage.check("Roll flight-delay in canary back" in stage.git("log", "--format=%s", "origin/main",
                quiet=True), f"Git has the rollback commit: {last}")  # fmt: skip
    seconds = told["summary"]["seconds_from_fail_to_agreement"][-1]
    stage.note(f"from the judge's verdict to Git and servers agreeing: {seconds:.1f} s")
    scene.said = (
        f"offline {_interval(record)}; found after about {verdict_at} predictions, "
        f"names dep_delay; agreed again in {seconds:.1f} s; on hold"
    )


def summer(stage: Stage, scene: Scene) -> None:
    """No alarm through April; then drift, a retraining pull request, and v5."""
    stage.modelyard("drift", MODEL, "--until", "2013-04-30")
    page = "drift.html"
    told = stage.modelyard("drift", MODEL, "--until", "2013-07-01", "--page", page, expected=3)
    stage.check("temp" in told, "temp is among the drifted columns")
    stage.modelyard("retrain", MODEL, "--until", "2013-07-01")
    stage.modelyard("retrain", MODEL, "--until", "2013-07-01")
    opened = [pull for pull in _open(stage) if "/retrain/" in pull["branch"]]
    stage.check(len(opened) == 1, "there is one retraining pull request")
    number = str(opened[0]["number"])
    _watch(stage)
    stage.modelyard("pr", "show", number)
    stage.modelyard("pr", "merge", number, user="grace")
    record = _train(stage, "v5")
    stage.check(record["verdict"]["outcome"] == "pass", "v5 passes on both held-out sets")
    _watch(stage)
    _enter(stage, "canary", "v5")
    _enter(stage, "production", "v5")
    _check_everywhere(stage, "v5")
    said = [f"{each['name']} {_numbers(each['verdict'])}" for each in record["held_out"]]
    scene.said = f"one retraining pull request; v5 passes on {' and '.join(said)}"


def broken_column(stage: Stage, scene: Scene) -> None:
    """An upstream column changes its unit, another its name: incidents, no retraining."""
    for kind in ("unit", "name"):
        folder = stage.yard / "data" / f"broken-{kind}"
        _write_flights(folder, "--break", kind)
        feed = f"data/broken-{kind}/*.parquet"
        told = stage.modelyard("drift", MODEL, "--feed", feed, expected=3)
        column = "visib" if kind == "unit" else "precip"
        stage.check(column in told, f"the incident names {column}")
        stage.modelyard("retrain", MODEL, "--feed", feed, expected=3)
    stage.check(not [p for p in _open(stage) if "/retrain/" in p["branch"]], "nothing is retrained")
    scene.said = "incidents name visib (unit) and precip (name); no retraining proposed"


def whole_story(stage: Stage, scene: Scene) -> None:
    """What status and history tell of it."""
    stage.modelyard("status")
    stage.modelyard("history", MODEL)
    told = stage.answer("history", MODEL)
    leads = told["summary"]["lead_times_seconds"]
    stage.check(set(leads) == {"v1", "v2", "v5"}, "v1, v2 and v5 reached production")
    said = ", ".join(f"{version} {seconds:.0f} s" for version, seconds in leads.items())
    scene.said = f"lead time from merge to production: {said}"


def _write_flights(folder: Path, *options: str) -> None:
    script = REPOSITORY / "models" / MODEL / "data" / "prepare.py"
    command = [sys.executable, str(script), str(folder), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _new(stage: Stage, version: str, parent: str, reason: str, **parameters: Any) -> None:
    stage.modelyard(
        *("version", "new", MODEL, version, "--parent", parent, "--reason", reason),
        *_parameters(**{"max_iter": 100, **parameters}),
    )
    _propose(stage, version, f"Add flight-delay {version}")


def _propose(stage: Stage, version: str, title: str) -> None:
    branch = f"ada/{version}"
    stage.git("switch", "--quiet", "--create", branch)
    stage.git("add", f"models/{MODEL}")
    stage.git("commit", "--quiet", "--message", title)
    stage.git("push", "--quiet", "origin", branch)
    stage.modelyard("pr", "open", branch, "--title", title)
    _watch(stage)
    number = next(pull["number"] for pull in _open(stage) if pull["branch"] == branch)
    stage.modelyard("pr", "merge", str(number), user="grace")
    stage.git("switch", "--quiet", "main", quiet=True)
    stage.git("pull", "--quiet", "--ff-only", quiet=True)


def _train(stage: Stage, version: str) -> dict[str, Any]:
    stage.modelyard("reconcile", MODEL, "--wait")
    record: dict[str, Any] = stage.answer("record", MODEL, version)
    return record


def _gate(stage: Stage, version: str, expected: str) -> dict[str, Any]:
    record = _train(stage, version)
    stage.note(f"{version}: {record['verdict']['outcome']}: {record['verdict']['reason']}")
    stage.check(record["verdict"]["outcome"] == expected, f"the gate says {expected} of {version}")
    return record


def _watch(stage: Stage) -> None:
    stage.modelyard("watch", "--once", user="watcher")


def _enter(stage: Stage, environment: str, version: str, *, show: bool = False) -> None:
    """Approve the proposal, and send traffic until the judge has passed it."""
    number = _waiting(stage, environment)
    if show:
        stage.modelyard("pr", "show", str(number), user="grace")
    stage.modelyard("pr", "approve", str(number), user="grace")
    _watch(stage)
    for look in range(MOST_LOOKS):
        if _state(stage, environment)["verified"]:
            return
        _traffic(stage, rows=ROWS_A_LOOK[environment], seed=look)
        _watch(stage)
    stage.check(_state(stage, environment)["verified"], f"{version} is verified in {environment}")


def _until_rolled_back(stage: Stage) -> int:
    """Send traffic until the canary is out again; returns how many predictions it made."""
    for look in range(MOST_LOOKS):
        _traffic(stage, rows=ROWS_A_SHORT_LOOK, seed=100 + look)
        said = stage.modelyard("watch", "--once", user="watcher")
        if "judged fail" in said:
            stage.check("dep_delay" in said, "the judge names dep_delay")
            return round((look + 1) * ROWS_A_SHORT_LOOK * CANARY_SHARE)
    stage.check(False, "the canary was found out")
    return 0


def _traffic(stage: Stage, *, rows: int, seed: int) -> None:
    stage.modelyard(
        *("replay", MODEL, "--data", MAY, "--rows", str(rows), "--seed", str(seed)),
        *("--blank", "dep_delay"),
        user="traffic",
    )


def _waiting(stage: Stage, environment: str) -> int:
    branch = f"modelyard/promote/{environment}/{MODEL}"
    numbers = [pull["number"] for pull in _open(stage) if pull["branch"] == branch]
    stage.check(numbers, f"a pull request promotes to {environment}")
    return int(numbers[0])


def _open(stage: Stage) -> list[dict[str, Any]]:
    listed = stage.answer("pr", "list")
    pulls: list[dict[str, Any]] = listed["pulls"] if isinstance(listed, dict) else listed
    return pulls


def _state(stage: Stage, environment: str) -> dict[str, Any]:
    told = stage.answer("status", MODEL)
    return next(each for each in told["releases"] if each["environment"] == environment)


def _held(stage: Stage) -> list[str]:
    return [hold["version"] for hold in stage.answer("status", MODEL)["holds"]]


def _check_everywhere(stage: Stage, version: str) -> None:
    told = {r["environment"]: r["version"] for r in stage.answer("status", MODEL)["releases"]}
    wanted = dict.fromkeys(("dev", "staging", "canary", "production"), version)
    stage.check(told == wanted, f"every environment runs {version}: {told}")


def _registry(stage: Stage) -> tuple[int, int]:
    with sqlite3.connect(stage.yard / ".modelyard" / "mlflow.db") as database:
        runs = database.execute("select count(*) from runs where status = 'FINISHED'").fetchone()
        versions = database.execute("select count(*) from model_versions").fetchone()
    return int(runs[0]), int(versions[0])


def _interval(record: dict[str, Any]) -> str:
    return _numbers(record["held_out"][0]["verdict"])


def _numbers(verdict: dict[str, Any]) -> str:
    numbers = verdict["numbers"]
    low, high = numbers["interval_low"], numbers["interval_high"]
    return f"AUC {numbers['challenger']:.4f}, difference [{low:+.3f}, {high:+.3f}]"


def _parameters(**parameters: Any) -> list[str]:
    return [
        word
        for name, value in parameters.items()
        for word in ("--param", f"{name}={json.dumps(value)}")
    ]


def _since(before: float) -> str:
    return f"{time.monotonic() - before:.1f} s"
