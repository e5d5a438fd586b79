"""The scenes: each plays one part of the path with the real commands, and checks the outcome."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from demo.stage import REPOSITORY, Scene, Stage
from modelyard.domain.promotion.pulls import REQUIRED

MODEL = "flight-delay"
DATA = "data/flight-delay"
Q1 = tuple(f"{DATA}/2013-{month:02}.parquet" for month in (1, 2, 3))
APRIL = f"{DATA}/2013-04.parquet"
MAY = f"{DATA}/2013-05.parquet"

WEATHER = ("precip", "visib", "wind_speed", "temp")
V1 = ("carrier", "origin", "distance", "minute")
V2 = ("carrier", "origin", "dest", "distance", "minute", "weekday", *WEATHER)
# Bad weather may only raise the predicted risk.
MONOTONE = {"precip": 1, "visib": -1, "wind_speed": 1, "temp": -1}

# Rows are sent 20 a request, of which the new release answers a fifth or more. Some 110 requests
# without an error rule out a worse error rate. On a machine that is slow or busy twice as many rule
# out that it is slower, so more is sent until the watcher, which looks every five seconds, has seen
# enough.
ROWS_A_BATCH = 6000
# Small, to show after how many predictions the judge is certain.
ROWS_A_SHORT_BATCH = 1000
# As in environments/canary/environment.yaml.
CANARY_SHARE = 0.2
MOST_BATCHES = 40
MOST_SHORT_BATCHES = 30
PAUSE_SECONDS = 1


def prepare(stage: Stage) -> None:
    """Write the flights as one file a month, where the feed would put them."""
    before = time.monotonic()
    _write_flights(stage.yard / DATA)
    stage.note(f"336,776 flights of 2013 joined with the weather in {_since(before)}")


def first_version(stage: Stage, scene: Scene) -> None:
    """v1 is proposed in a pull request, checked, merged, trained and recorded."""
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
    record = stage.read_json("record", MODEL, "v1")
    stage.check(record["verdict"]["outcome"] == "pass", "v1 beats the baseline")
    runs, versions = _registry(stage)
    stage.check((runs, versions) == (1, 1), "there is one MLflow run and one registered version")
    auc = record["held_out"][0]["metrics"]["auc"]
    scene.result = f"April AUC {auc:.4f}, MLflow run and registered version 1"


def to_production(stage: Stage, scene: Scene) -> None:
    """v1 moves dev -> staging -> canary -> production, with one pull request each."""
    _enter(stage, "canary", "v1", show=True)
    _enter(stage, "production", "v1")
    _check_everywhere(stage, "v1")
    scene.result = "4 pull requests; v1 serves dev, staging, canary and production"


def better_version(stage: Stage, scene: Scene) -> None:
    """v2 passes the gate against v1, and then the canary."""
    # Requests of v1's callers need not have them; the gate would fail v2 without the reason.
    breaks = [
        word
        for name in ("dest", "weekday")
        for word in ("--breaks", f"{name}=all callers send it since v1, which ignored it")
    ]
    _new(stage, "v2", "v1", "Add the weather", *breaks, features=list(V2), monotone=MONOTONE)
    record = _gate(stage, "v2", "pass")
    _enter(stage, "canary", "v2")
    _enter(stage, "production", "v2")
    _check_everywhere(stage, "v2")
    scene.result = f"{_interval(record)}; the judge passed it in canary and production"


def refused_version(stage: Stage, scene: Scene) -> None:
    """v3 is smaller and faster, and worse by more than the margin."""
    _new(
        stage, "v3", "v2", "Smaller and faster",
        features=["carrier", "dest", "minute"], monotone={}, max_iter=15, max_leaf_nodes=3,
    )  # fmt: skip
    record = _gate(stage, "v3", "fail")
    stage.modelyard("record", MODEL, "v3")
    _check_everywhere(stage, "v2")
    scene.result = f"refused: {_interval(record)}; its record is kept"


def silent_regression(stage: Stage, scene: Scene) -> None:
    """v4 passes offline thanks to a column that is empty in requests."""
    _new(stage, "v4", "v2", "Add dep_delay", features=[*V2, "dep_delay"], monotone=MONOTONE)
    record = _gate(stage, "v4", "pass")
    stage.note("the training data has dep_delay; a request, sent before departure, does not")
    number = _waiting(stage, "canary", "v4")
    stage.modelyard("pr", "approve", str(number), user="grace")
    stage.watcher_says(f"^canary: {MODEL} v4 is ready")
    verdict_at = _until_judged_bad(stage)
    for environment in ("canary", "staging", "dev"):
        stage.watcher_says(f"rolled {environment} back from v4 to v2")
    stage.watcher_says(f"^canary: {MODEL} v2 is ready")
    history = stage.read_json("history", MODEL)
    _check_everywhere(stage, "v2")
    stage.check(_held(stage) == ["v4"], "v4 is on hold")
    last = stage.git("log", "--first-parent", "--oneline", "-3", "origin/main")
    stage.check("Roll flight-delay in canary back" in stage.git("log", "--format=%s", "origin/main",
                quiet=True), f"Git has the rollback commit: {last}")  # fmt: skip
    seconds = history["summary"]["seconds_from_fail_to_agreement"][-1]
    stage.note(f"from the judge's verdict until Git and servers agree: {seconds:.1f} s")
    scene.result = (
        f"offline {_interval(record)}; the judge failed it after about {verdict_at} predictions "
        f"and named dep_delay; rolled back in {seconds:.1f} s; on hold"
    )


def summer(stage: Stage, scene: Scene) -> None:
    """No drift until the end of April; then drift, a retraining pull request, and v5."""
    stage.modelyard("drift", MODEL, "--until", "2013-04-30")
    page = "drift.html"
    output = stage.modelyard("drift", MODEL, "--until", "2013-08-01", "--page", page, expected=3)
    stage.check("temp" in output, "temp is one of the drifted columns")
    for _ in range(2):  # the second time changes nothing
        stage.modelyard("retrain", MODEL, "--until", "2013-08-01")
    opened = [pull for pull in _open(stage) if "/retrain/" in pull["branch"]]
    stage.check(len(opened) == 1, "there is one retraining pull request")
    number = str(opened[0]["number"])
    _until_mergeable(stage, number)
    stage.modelyard("pr", "show", number)
    # Not grace: who merges a version does not approve its promotions.
    stage.modelyard("pr", "merge", number)
    record = _train(stage, "v5")
    stage.check(record["verdict"]["outcome"] == "pass", "v5 passes on both held-out sets")
    _enter(stage, "canary", "v5")
    _enter(stage, "production", "v5")
    _check_everywhere(stage, "v5")
    passed = [f"{each['name']} {_numbers(each['verdict'])}" for each in record["held_out"]]
    scene.result = f"one retraining pull request; v5 passes on {' and '.join(passed)}"


def broken_column(stage: Stage, scene: Scene) -> None:
    """One input column changes its unit, another its name: incidents, and no retraining."""
    for kind in ("unit", "name"):
        folder = stage.yard / "data" / f"broken-{kind}"
        _write_flights(folder, "--break", kind)
        feed = f"data/broken-{kind}/*.parquet"
        output = stage.modelyard("drift", MODEL, "--feed", feed, expected=3)
        column = "visib" if kind == "unit" else "precip"
        stage.check(column in output, f"the incident names {column}")
        stage.modelyard("retrain", MODEL, "--feed", feed, expected=3)
    stage.check(not [p for p in _open(stage) if "/retrain/" in p["branch"]], "nothing is retrained")
    scene.result = "incidents for visib (unit) and precip (name); no retraining is proposed"


def whole_story(stage: Stage, scene: Scene) -> None:
    """Status and history show what happened."""
    stage.modelyard("status")
    stage.modelyard("history", MODEL)
    leads = stage.read_json("history", MODEL)["summary"]["lead_times_seconds"]
    stage.check(set(leads) == {"v1", "v2", "v5"}, "v1, v2 and v5 reached production")
    times = ", ".join(f"{version} {seconds:.0f} s" for version, seconds in leads.items())
    scene.result = f"lead time from merge to production: {times}"


def _write_flights(folder: Path, *options: str) -> None:
    script = REPOSITORY / "models" / MODEL / "data" / "prepare.py"
    command = [sys.executable, str(script), str(folder), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _new(
    stage: Stage, version: str, parent: str, reason: str, *options: str, **parameters: Any
) -> None:
    stage.modelyard(
        *("version", "new", MODEL, version, "--parent", parent, "--reason", reason, *options),
        *_parameters(**{"max_iter": 100, **parameters}),
    )
    _propose(stage, version, f"Add flight-delay {version}")


def _propose(stage: Stage, version: str, title: str) -> None:
    branch = f"ada/{version}"
    stage.git("switch", "--quiet", "--create", branch)
    stage.git("add", f"models/{MODEL}")
    stage.git("commit", "--quiet", "--message", title)
    stage.git("push", "--quiet", "origin", branch)
    said = stage.modelyard("pr", "open", branch, "--title", title)
    number = said.split()[2]  # pull request 6 is open: ...
    _until_mergeable(stage, number)
    stage.modelyard("pr", "merge", number)
    # The next version starts from the merged main branch.
    stage.git("switch", "--quiet", "main", quiet=True)
    stage.git("pull", "--quiet", "--ff-only", quiet=True)


def _until_mergeable(stage: Stage, number: str) -> None:
    """Wait until the watcher has reported every required status as success."""
    # In any order: a pass over the models that moved reports `modelyard/promote` first.
    stage.watcher_says_each(*(f"^#{number} {context}: success" for context in REQUIRED))


def _train(stage: Stage, version: str) -> dict[str, Any]:
    stage.watcher_says(f"opened: Record {MODEL} {version}:")
    record: dict[str, Any] = stage.read_json("record", MODEL, version)
    return record


def _gate(stage: Stage, version: str, expected: str) -> dict[str, Any]:
    record = _train(stage, version)
    stage.note(f"{version}: {record['verdict']['outcome']}: {record['verdict']['reason']}")
    stage.check(record["verdict"]["outcome"] == expected, f"the verdict on {version} is {expected}")
    return record


def _enter(stage: Stage, environment: str, version: str, *, show: bool = False) -> None:
    """Approve the proposal, and send traffic until the judge passes it."""
    number = str(_waiting(stage, environment, version))
    if show:
        stage.modelyard("pr", "show", number, user="grace")
    stage.modelyard("pr", "approve", number, user="grace")
    stage.watcher_says(f"^{environment}: {MODEL} {version} is ready")
    verified = f"^{environment}: {MODEL} {version} is verified"
    for batch in range(MOST_BATCHES):
        _traffic(stage, rows=ROWS_A_BATCH, seed=batch)
        if stage.watcher_said(verified, within=PAUSE_SECONDS):
            return
    stage.watcher_says(verified)


def _until_judged_bad(stage: Stage) -> int:
    """Send traffic until the judge fails the canary; return about how many predictions it made."""
    failed = f"^canary: {MODEL} v4 judged fail: .*dep_delay"
    for batch in range(MOST_SHORT_BATCHES):
        _traffic(stage, rows=ROWS_A_SHORT_BATCH, seed=100 + batch)
        if stage.watcher_said(failed, within=PAUSE_SECONDS):
            return round((batch + 1) * ROWS_A_SHORT_BATCH * CANARY_SHARE)
    stage.watcher_says(failed)
    return round(MOST_SHORT_BATCHES * ROWS_A_SHORT_BATCH * CANARY_SHARE)


def _traffic(stage: Stage, *, rows: int, seed: int) -> None:
    stage.modelyard(
        *("replay", MODEL, "--data", MAY, "--rows", str(rows), "--seed", str(seed)),
        *("--blank", "dep_delay"),
        user="traffic",
    )


def _waiting(stage: Stage, environment: str, version: str) -> int:
    """The pull request that promotes this version, once it waits for an approval alone."""
    opened = stage.watcher_says(rf"^#\d+ opened: Promote {MODEL} {version} to {environment}$")
    number = int(opened.removeprefix("#").split()[0])
    stage.watcher_says(rf"^#{number} modelyard/promote: pending: 1 more approval")
    return number


def _open(stage: Stage) -> list[dict[str, Any]]:
    pulls: list[dict[str, Any]] = stage.read_json("pr", "list")["pulls"]
    return pulls


def _state(stage: Stage, environment: str) -> dict[str, Any]:
    releases = stage.read_json("status", MODEL)["releases"]
    return next(each for each in releases if each["environment"] == environment)


def _held(stage: Stage) -> list[str]:
    return [hold["version"] for hold in stage.read_json("status", MODEL)["holds"]]


def _check_everywhere(stage: Stage, version: str) -> None:
    releases = stage.read_json("status", MODEL)["releases"]
    found = {each["environment"]: each["version"] for each in releases}
    wanted = dict.fromkeys(("dev", "staging", "canary", "production"), version)
    stage.check(found == wanted, f"every environment runs {version}: {found}")


def _registry(stage: Stage) -> tuple[int, int]:
    # Read directly: importing MLflow takes seconds.
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
