"""An environment: where releases run, and the rules for promotion into it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from modelyard.domain.machines.placement import Placement


@dataclass(frozen=True, kw_only=True)
class Approvals:
    """The approvals that a promotion needs.

    Args:
        needed: Number of people who must approve the head commit; the requester does not count.
        approvers: The people who may approve; if empty, everybody except the requester.
    """

    needed: int = 0
    approvers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FreezeWindow:
    """A time without promotions; rollbacks still happen."""

    since: datetime
    until: datetime
    reason: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a rollout.

    Args:
        share: The share of requests that the new release answers, 0 to 1.
        pause_seconds: How long the step lasts before it may end.
    """

    share: float
    pause_seconds: int = 0


class RouterKind(StrEnum):
    """What splits requests by weight."""

    GATEWAY_API = "gateway-api"


@dataclass(frozen=True, kw_only=True)
class Router:
    """A traffic router, which makes shares exact for any number of pods.

    Args:
        kind: The kind of router.
        gateway: The Gateway's name.
        namespace: The Gateway's namespace; None for the environment's namespace.
    """

    kind: RouterKind
    gateway: str
    namespace: str | None = None


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """How a release takes over.

    Args:
        replicas: Servers at full share.
        steps: The steps, with growing shares; without steps it takes over at once.
        judged: Whether the judge must pass it.
        ready_within_seconds: A release that is not ready after this time is rolled back.
        decide_within_seconds: A release that is undecided after this time is rolled back without a
            hold.
        router: Splits requests by weight; without it the number of pods makes the share.
    """

    replicas: int = 1
    steps: tuple[Step, ...] = ()
    judged: bool = False
    ready_within_seconds: int = 90
    decide_within_seconds: int = 86_400
    router: Router | None = None


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One environment.

    Args:
        name: Its name, which is also the folder's name.
        description: What it is for, for people.
        promotes_from: The environment where a release must be verified first; None for the first.
        joins: The environment that it joins: it shares that one's cluster, namespace and traffic.
        cluster: The cluster it runs in.
        namespace: The Kubernetes namespace.
        approvals: The approvals that a promotion into it needs.
        soak_seconds: How long a release must be healthy here before it may be promoted further.
        freeze_windows: Times without promotions into it.
        rollout: How a release takes over.
        placements: The classes of nodes that servers may ask for here.
    """

    name: str
    description: str
    namespace: str
    cluster: str = "in-cluster"
    promotes_from: str | None = None
    joins: str | None = None
    approvals: Approvals = field(default_factory=Approvals)
    soak_seconds: int = 0
    freeze_windows: tuple[FreezeWindow, ...] = ()
    rollout: Rollout = field(default_factory=Rollout)
    placements: tuple[Placement, ...] = ()

    @property
    def exact_share(self) -> float | None:
        """The least share of requests that a router sends to a new release; None without one.

        Without a router, and for pods that join another environment, the share follows from the
        number of pods and from the connections of clients.
        """
        if self.rollout.router is None or self.joins is not None or not self.rollout.steps:
            return None
        return min(step.share for step in self.rollout.steps)
