"""The AnalysisTemplate: asks the judge until it knows."""

from __future__ import annotations

from math import ceil

from modelyard.domain.specs.release import Release
from modelyard.render.identity import Document, Identity

JUDGE = "http://modelyard-judge.modelyard.svc.cluster.local/v1/verdicts"
"""Where the judge answers `{"outcome": "pass" | "fail" | "inconclusive", ...}`."""

INTERVAL_SECONDS = 5
"""Between two questions; a failing release is found within one of them."""

ERRORS_IN_A_ROW = 1_000_000
"""A judge that is away says nothing about the release, so that alone never aborts it."""


def template_name(identity: Identity) -> str:
    """The AnalysisTemplate's name."""
    return f"{identity.workload}-judge"


def judged_by(release: Release) -> list[Document]:
    """What the judge is asked about."""
    asked = {
        "environment": release.environment,
        "model": release.model,
        "release": release.identity,
    }
    return [{"name": name, "value": value} for name, value in asked.items()]


def analysis_template(identity: Identity) -> Document:
    """The questions: a pass ends them well, a fail at once aborts, doubt asks again.

    After `decide_within_seconds` of doubt the analysis is inconclusive, and the rollout pauses.
    """
    limit = identity.environment.rollout.decide_within_seconds
    count = max(1, ceil(limit / INTERVAL_SECONDS))
    names = ("environment", "model", "release")
    address = "/".join([JUDGE, *(f"{{{{args.{name}}}}}" for name in names)])
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisTemplate",
        "metadata": identity.metadata(template_name(identity)),
        "spec": {
            "args": [{"name": name} for name in names],
            "metrics": [
                {
                    "name": "judge",
                    "count": count,
                    "interval": f"{INTERVAL_SECONDS}s",
                    "successCondition": 'result == "pass"',
                    "failureCondition": 'result == "fail"',
                    "consecutiveSuccessLimit": 1,
                    "failureLimit": 0,
                    "inconclusiveLimit": count,
                    "consecutiveErrorLimit": ERRORS_IN_A_ROW,
                    "provider": {
                        "web": {"url": address, "jsonPath": "{$.outcome}", "timeoutSeconds": 10}
                    },
                }
            ],
        },
    }
