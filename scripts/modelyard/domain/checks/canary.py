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
_LIMITS = ("error_limit", "refusal_limit", "slow_limit")
"""Of a first release alone: others are compared with stable."""
_RADIUS = "distribution_radius"
_OF_LATENCY = ("margin_slow", "slow_limit")


def a_canary_can_pass(catalog: Catalog) -> Iterator[Problem]:
    """No margin or limit is one that no number of requests shows to be kept."""
    judged = [name for name, each in catalog.environments.items() if each.rollout.judged]
    for name, model in catalog.models.items() if judged else ():
        is_first = any((environment, name) not in catalog.releases for environment in judged)
        for key, message in _faults(model.canary, is_first=is_first):
            yield Problem(file=model_file(name), path=("canary", key), message=message)


def _faults(policy: CanaryPolicy, *, is_first: bool) -> Iterator[tuple[str, str]]:
    # With a slow_ms of 0 no latency is judged.
    unused = _OF_LATENCY if policy.slow_ms == 0 else ()
    for key in (field.name for field in fields(policy) if field.name not in unused):
        chosen = getattr(policy, key)
        if key in (*_MARGINS, _RADIUS) and chosen == 0:
            yield (
                key,
                (
                    "with 0 no canary passes: no number of requests shows that two releases do not "
                    "differ at all; give the most that you would accept, such as 0.01"
                ),
            )
        elif key in _LIMITS and chosen == 0 and is_first:
            yield (
                key,
                (
                    "with 0 no first release passes: no number of requests shows that there is "
                    "never one; give the most that you would accept, such as 0.001"
                ),
            )
        elif key in _MARGINS and chosen == 1:
            yield key, "with 1 nothing is judged, so no canary passes; give less, such as 0.99"
