"""The outside world as a few small files, so that it outlives the process that is killed in it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from modelyard.domain.canary.latency import LATENCY_BOUNDS_MS
from modelyard.domain.canary.traffic import Counts, RolloutState, Sample
from modelyard.domain.promotion.world import PastRelease
from modelyard.domain.server_fault import Blame, ServerFault
from modelyard.domain.sites import Site
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.release import Release
from modelyard.errors import CannotAnswer
from modelyard.ports import Phase, WorkflowStatus


@dataclass(frozen=True)
class Ledger:
    """One JSON document; every change of the faked world is a `write`, whole or not at all."""

    path: Path

    def read(self) -> dict[str, Any]:
        return json.loads(self.path.read_bytes()) if self.path.exists() else {}

    def write(self, document: Mapping[str, Any]) -> None:
        beside = self.path.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(document, indent=1, sort_keys=True))
        beside.replace(self.path)

    def put(self, key: str, value: object) -> None:
        """Write one entry, if it is news; None takes it out."""
        before = self.read()
        after = {**before, key: value}
        if value is None:
            del after[key]
        if after != before:
            self.write(after)


@dataclass
class StoppedClock:
    at: datetime
    jumped_at: datetime | None = None

    def now(self) -> datetime:
        return self.at

    def even_since(self) -> datetime | None:
        return self.jumped_at

    def jump(self, by: timedelta) -> None:
        """Be set, or have slept; a clock that is asked all the time sees that."""
        self.at += by
        self.jumped_at = self.at

    def wait(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass
class ScriptedOrchestrator:
    """`ports.Orchestrator`: workflows stay where `put` leaves them."""

    ledger: Ledger
    reachable: bool = True

    def submit(self, name: str, *, template: str, parameters: Mapping[str, str]) -> None:
        self._reach()
        if name not in self.ledger.read():
            started = {"template": template, "parameters": dict(parameters), "phase": "Running"}
            self.ledger.put(name, started)

    def status(self, name: str) -> WorkflowStatus | None:
        self._reach()
        known = self.ledger.read().get(name)
        if known is None:
            return None
        return WorkflowStatus(
            name=name, phase=Phase(known["phase"]), message=known.get("message", "")
        )

    def wait(self, name: str, *, progress: Callable[[WorkflowStatus], None]) -> WorkflowStatus:
        status = self.status(name)
        assert status is not None
        progress(status)
        return status

    def pulse(self) -> str:
        return ""

    def end(self, name: str, phase: Phase, message: str = "") -> None:
        known = self.ledger.read()[name]
        self.ledger.put(name, {**known, "phase": phase, "message": message})

    def _reach(self) -> None:
        if not self.reachable:
            raise CannotAnswer("the orchestrator is out of reach")


@dataclass
class ScriptedCluster:
    """`ports.Cluster`: servers are ready at once, unless their version is in `never_ready`.

    An entry is what `observe` says of one model in one environment, with the release before it.
    """

    ledger: Ledger
    never_ready: set[str] = field(default_factory=set)
    place: str = "the yard"

    def site(self, *, create: bool = False) -> Site:
        """All clones of a faked yard share its servers, if they are not put elsewhere."""
        del create
        return Site(id=self.place, name=self.place)

    def sync(
        self,
        release: Release,
        *,
        model: Model,
        environment: Environment,
        origin: PastRelease | None = None,
    ) -> None:
        key, steps = _key(environment.name, release.model), environment.rollout.steps
        known = self.ledger.read().get(key)
        if known is not None and known["release"] == release.identity:
            ready = release.version not in self.never_ready and known["aborted"] is None
            ready = ready and not known.get("fault")
            self.ledger.put(key, {**known, "ready": ready})
            return
        me = {"release": release.identity, "version": release.version}
        stable = None if known is None else known["stable"]
        if known is not None and known["aborted"] is None and known["share"] >= 1:
            stable = {"release": known["release"], "version": known["version"]}
        alone = stable in (None, me) and environment.joins is None
        self.ledger.put(
            key,
            {
                **me,
                "ready": release.version not in self.never_ready,
                "share": 1.0 if alone or not steps else steps[0].share,
                "step": 0,
                "stable": None if alone else stable,
                "aborted": None,
            },
        )

    def remove(self, *, model: str, environment: Environment) -> None:
        self.ledger.put(_key(environment.name, model), None)

    def observe(self, *, model: str, environment: Environment) -> RolloutState | None:
        known = self.ledger.read().get(_key(environment.name, model))
        if known is None:
            return None
        return RolloutState(
            release=known["release"],
            ready=known["ready"],
            share=known["share"],
            aborted=known["aborted"],
            fault=known.get("fault") and ServerFault(**known["fault"]),
        )

    def fail(
        self, release: Release, blame: Blame | None, why: str = "", *, aborted: str | None = None
    ) -> None:
        """Let the release's servers fail, and the cluster abort it; without blame they recover."""
        key = _key(release.environment, release.model)
        fault = None if blame is None else {"blame": blame, "why": why}
        up = {"ready": blame is None, "aborted": aborted, "fault": fault}
        self.ledger.put(key, {**self.ledger.read()[key], **up})

    def advance(self, release: Release, *, environment: Environment) -> bool:
        key, steps = _key(environment.name, release.model), environment.rollout.steps
        known = self.ledger.read()[key]
        assert known["release"] == release.identity
        step = known["step"] + 1
        share = steps[step].share if step < len(steps) else 1.0
        stable = known["stable"] if share < 1 else None
        self.ledger.put(key, {**known, "step": step, "share": share, "stable": stable})
        return True

    def abort(self, release: Release, *, environment: Environment, reason: str) -> None:
        key = _key(environment.name, release.model)
        known = self.ledger.read()[key]
        if known["release"] == release.identity:
            self.ledger.put(key, {**known, "aborted": reason, "ready": False, "share": 0.0})

    def hurry(self, *, model: str, environment: Environment) -> None:
        pass

    def note(self, release: Release, *, environment: Environment, what: str, is_good: bool) -> None:
        pass

    def tells_changes(self) -> bool:
        return False

    def changed(self, environments: Iterable[Environment], *, seconds: float) -> frozenset[str]:
        return frozenset()


@dataclass
class ScriptedMetrics:
    """`ports.Metrics`: every server the cluster runs predicts as it did on its held-out rows.

    Args:
        cluster: Whose servers count.
        histogram: Predictions by bin, of a version.
        broken: Versions of which every third answer is an error.
        silent: Whether nothing is counted at all.
        refusing: Versions that answer 400 to two of three requests.
        slow: Versions that need ten times as long for each answer.
        old: Versions on a server of version 0.1, which does not count refusals.
    """

    cluster: ScriptedCluster
    histogram: Callable[[str], tuple[int, ...]]
    broken: set[str] = field(default_factory=set)
    silent: bool = False
    refusing: set[str] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)
    old: set[str] = field(default_factory=set)

    def samples(self, model: str, *, since: datetime, keep: bool = True) -> tuple[Sample, ...]:
        known = [e for key, e in self.cluster.ledger.read().items() if key.endswith(f"/{model}")]
        stable = [each["stable"] for each in known if each["stable"]]
        running = {each["release"]: each["version"] for each in (*known, *stable)}
        times = range(0 if self.silent else 21)
        return tuple(
            Sample(
                at=since + timedelta(seconds=10 * time),
                counts={release: self._counts(v, time) for release, v in running.items()},
            )
            for time in times
        )

    def _counts(self, version: str, times: int) -> Counts:
        bins = tuple(times * count for count in self.histogram(version))
        rows = sum(bins)
        errors = rows // 3 if version in self.broken else 0
        refused = 2 * rows if version in self.refusing else 0
        fast = "0.05" if version in self.slow else "0.005"
        bounds = [f"{bound / 1000:g}" for bound in LATENCY_BOUNDS_MS]
        within = {
            bound: rows + refused if float(bound) >= float(fast) else 0
            for bound in (*bounds, "inf")
        }
        return Counts(
            requests={"2xx": rows - errors, "4xx": refused, "5xx": errors},
            refused=None if version in self.old else refused,
            within=within,
            rows=rows,
            predictions=bins,
            nulls={"x": 0},
        )


@dataclass
class FolderRegistry:
    """What reconcile asks of `adapters.registry.Registry`, without MLflow."""

    ledger: Ledger
    reachable: bool = True

    def read_aliases(self, model: str) -> dict[str, str]:
        self._reach()
        known: dict[str, str] = self.ledger.read().get(model, {})
        return known

    def remove_alias(self, model: str, *, alias: str) -> None:
        self._reach()
        aliases = self.ledger.read().get(model, {})
        self.ledger.put(model, {name: each for name, each in aliases.items() if name != alias})

    def has_version(self, model: str, version: str) -> bool:
        self._reach()
        return True

    def set_alias(self, model: str, *, alias: str, version: str) -> None:
        self._reach()
        self.ledger.put(model, {**self.read_aliases(model), alias: version})

    def _reach(self) -> None:
        if not self.reachable:
            raise CannotAnswer("the registry is out of reach")


def _key(environment: str, model: str) -> str:
    return f"{environment}/{model}"
