"""Which pods answer while a release is judged; without a traffic router pods are the share.

From the code of Argo Rollouts 1.9.2 (`utils/replicaset/canary.go`), run step by step. It may use
one pod more than `replicas` to approximate a weight, at most `replicas + maxSurge` during a change,
and with `maxUnavailable: 0` keeps `replicas` of them available. So:

- Weight 100 removes all old pods before the new ones are judged.
- A weight of at most 1 / (replicas + 1) adds one pod and keeps all old ones. An abort removes that
  pod at once and starts none.
- A greater weight replaces old pods. An abort starts them again first, and each bad pod answers
  until one of them is available. With a surge of as many pods as are judged, they start together.

| replicas | step | judged: new + old | an abort starts | bad pods answer for |
|---|---|---|---|---|
| 1, 2, 4, joined canary | one pod: weight 50, 33, 20 | 1 + 1, 1 + 2, 1 + 4 | nothing | no longer |
| 3, 4 | 0.25, 0.2 | 1 + 3, 1 + 4 | nothing | no longer |
| 1 | any below 1 | 1 + 1 | nothing | no longer |
| 2 | 0.5 | 1 + 1 | 1 | the start of a pod |
| 4 | 0.5 | 2 + 2 | 2, together | the start of a pod |
"""

from __future__ import annotations

from math import ceil, floor

from modelyard.domain.specs.environment import Environment, Step


def one_pod_weight(replicas: int) -> int:
    """The weight at which one new pod answers next to all old ones."""
    return max(1, 100 // (replicas + 1))


def weight_percent(step: Step) -> int:
    """A step's share in whole percent, as Argo Rollouts wants it; at least 1."""
    return max(1, round(step.share * 100))


def pods_at(weight: int, replicas: int) -> tuple[int, int]:
    """The numbers of new and old pods that Argo Rollouts chooses as closest to a weight.

    The same choice as `approximateWeightedCanaryStableReplicaCounts`, with a surge allowed.
    """
    if weight >= 100:  # noqa: PLR2004 - percent
        return replicas, 0
    fewer, more = floor(replicas * weight / 100), ceil(replicas * weight / 100)
    options = [(more, replicas)] if more < replicas else []
    for total in (replicas, replicas + 1):
        if total > replicas:
            options.append((more, total))
        is_tied = (total * weight) % 100 == 50  # noqa: PLR2004 - half a pod
        if fewer and not is_tied:
            options.append((fewer, total))
    new, total = min(options, key=lambda option: abs(option[0] * 100 / option[1] - weight))
    return new, total - new


def most_judged(environment: Environment) -> int:
    """The most new pods that an abort has to replace: with that surge they start together."""
    rollout = environment.rollout
    if environment.joins is not None or not rollout.steps:
        return 1
    return max(pods_at(weight_percent(step), rollout.replicas)[0] for step in rollout.steps)


def share_of(environment: Environment) -> str:
    """The part of the model's requests that its newest release answers, in words."""
    rollout, pods = environment.rollout, environment.rollout.replicas
    if environment.joins is not None:
        others = f"pods of {environment.joins}"
        return (
            f"1 / (1 + {pods} + {others}) while judged beside the release before, "
            f"then {pods} / ({pods} + {others})"
        )
    whole = f"all, but for the pods of environments that join {environment.name}"
    if rollout.router is not None:
        whole = "all"
    weights = [weight_percent(step) for step in rollout.steps]
    if rollout.judged and not weights:
        weights = [one_pod_weight(pods)]
    if not weights:
        return whole
    if rollout.router is not None:
        steps = [f"{each} %" for each in weights]
    else:
        found = [pods_at(each, pods) for each in weights]
        steps = [f"{new} / {new + old}" for new, old in found]
    return f"{', '.join(steps)} beside the release before, then {whole}"
