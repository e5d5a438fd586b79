"""The AnalysisTemplate: asks the judge until it has a verdict."""

from __future__ import annotations

from math import ceil

from modelyard.domain.specs.release import Release
from modelyard.render.identity import Document, Identity

JUDGE = "http://modelyard-judge.modelyard.svc.cluster.local/v1/verdicts"
"""Where the judge answers `{"outcome": "pass" | "fail" | "inconclusive", ...}`."""

INTERVAL_SECONDS = 2
"""Between two questions, and so the longest that a sample which decides goes unnoticed."""

ERRORS_IN_A_ROW = 1_000_000
"""Never reached: a judge that is down says nothing about the release, so it must not abort it."""


def template_name(identity: Identity) -> str:
    """The AnalysisTemplate's name."""
    return f"{identity.workload_name}-judge"


def analysis_arguments(release: Release) -> list[Document]:
    """The arguments of the analysis: the release to ask the judge about."""
    asked = {
        "environment": release.environment,
        "model": release.model,
        "release": release.identity,
    }
    return [{"name": name, "value": value} for name, value in asked.items()]


def analysis_template(identity: Identity) -> Document:
    """The template: a pass ends the analysis, a fail aborts at once, anything else asks again.

    After `decide_within_seconds` without a decision it is inconclusive, and the rollout pauses.
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
                    # The first fail aborts: the judge's test allows for repeated questions.
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
