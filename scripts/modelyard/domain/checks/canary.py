"""Margins and limits of the judge: with each some canary passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from modelyard.domain.problem import Problem
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.model import CanaryPolicy
from modelyard.domain.specs.paths import model_file

# A pass rejects that the canary is worse by the margin: nothing rejects 0, or a share beyond 1.
_MARGINS = ("margin_error_rate", "margin_refusals", "margin_slow")
_LIMITS = ("error_limit", "refusal_limit", "slow_limit", "distribution_radius")


def a_canary_can_pass(catalog: Catalog) -> Iterator[Problem]:
    """No margin or limit is one that no number of requests shows to be kept."""
    if not any(each.rollout.judged for each in catalog.environments.values()):
        return
    for name, model in catalog.models.items():
        for key, message in _faults(model.canary):
            yield Problem(file=model_file(name), path=("canary", key), message=message)


def _faults(policy: CanaryPolicy) -> Iterator[tuple[str, str]]:
    for key in (field.name for field in fields(policy)):
        chosen = getattr(policy, key)
        if key in (*_MARGINS, *_LIMITS) and chosen == 0:
            least = "0.001" if key in _LIMITS[:3] else "0.01"
            yield (
                key,
                (
                    "with 0 no canary passes: no number of requests shows that two releases do not "
                    f"differ at all; give the most that you would accept, such as {least}"
                ),
            )
        elif key in _MARGINS and chosen == 1:
            yield key, "with 1 nothing is judged, so no canary passes; give less, such as 0.99"
