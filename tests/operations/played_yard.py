"""A yard in which everything that a site shows has happened, written down directly."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from modelyard.adapters.specs.documents import dump_spec
from modelyard.domain.promotion.actions import RollBack
from modelyard.domain.promotion.facts import Freeze, Hold, ModelFacts
from modelyard.domain.promotion.incidents import Incident
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.operations.reconcile.changes import rollback_change
from operations.yard import MODEL, Yard, spec, spec_file
from operations.yard_with_history import (
    in_production,
    land,
    promoted,
    recorded,
    watched,
    world_of,
)

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\u202e\x1b[31m{{ 7 * 7 }}"
"""Text from outside that would like to be more than text."""

FAIL = Verdict(
    outcome=Outcome.FAIL,
    reason="error rate 9 %: worse than stable",
    numbers={"canary_error_rate": 0.09, "evidence_error_rate": 180.0},
)


def played_yard(folder: Path) -> Yard:
    """v1 runs everywhere, v2 failed in canary, v3 is made for drift, and people stopped things."""
    yard = in_production(folder)
    recorded(yard, "v2", 5, champion="v1")
    promoted(yard, "v2", "canary", 6)
    watched(yard, "canary")
    yard.clock.wait(60)
    watched(yard, "canary", ready=False, verdict=FAIL)
    stop_things(yard)
    yard.clock.wait(2)
    target = world_of(yard).past["canary"][1]
    action = RollBack(environment="canary", version="v2", target=target, reason=FAIL.reason)
    land(yard, rollback_change(world_of(yard), action, git=yard.git), 7)
    yard.clock.wait(3.5)
    watched(yard, "canary")
    digest = yard.workspace().store.put_evidence(json.dumps(drift_evidence()).encode())
    made = replace(spec("v3"), parent="v1", reason=f"drift {HOSTILE}", evidence=digest)
    yard.land("drift", {spec_file("v3"): dump_spec("ModelVersion", made)}, "Add v3", number=8)
    return yard


def stop_things(yard: Yard) -> None:
    """A hold, an incident and a freeze, in words of somebody who means no good."""
    now, facts = yard.clock.now(), yard.workspace().facts
    hold = Hold(reason=f"canary: bad {HOSTILE}", by="modelyard[bot]", since=now)
    incident = Incident(what=f"the feed broke {HOSTILE}", at=now, key="feed")
    facts.update_model(MODEL, lambda _: ModelFacts(holds={"v2": hold}, incidents=(incident,)))
    freeze = Freeze(reason=f"Christmas {HOSTILE}", by="ada", since=now)
    facts.update_freeze("production", lambda _: freeze)


def drift_evidence() -> dict[str, Any]:
    """Four weeks in which a column moves further and further."""
    first = date(2026, 2, 1)
    windows = [
        {
            "since": str(first + timedelta(days=7 * week)),
            "until": str(first + timedelta(days=7 * week + 7)),
            "rows": 700,
            "usable": True,
            "columns": [
                {
                    "column": f"x{HOSTILE}",
                    "reason": "shape",
                    "measure": "KS D",
                    "effect": 0.05 + 0.1 * week,
                    "floor": 0.1,
                    "drifted": week > 1,
                }
            ],
        }
        for week in range(4)
    ]
    confirmed = [{"column": "x", "reason": "shape"}]
    return {
        "format": 1,
        "version": "v1",
        "feed": "data/feed/*.parquet",
        "windows": windows,
        "confirmed": confirmed,
        "quality": {"watched": False, "why": "no labels yet"},
    }
