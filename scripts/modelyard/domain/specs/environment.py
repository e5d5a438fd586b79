"""An environment: where releases run, and what it takes to get in."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, kw_only=True)
class Approvals:
    """Who must say yes.

    Args:
        needed: Distinct people who approved this very head commit; the requester never counts.
        approvers: The people whose approval counts; empty means everybody but the requester.
    """

    needed: int = 0
    approvers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FreezeWindow:
    """A time in which nothing is promoted; rollbacks still happen."""

    since: datetime
    until: datetime
    reason: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a rollout.

    Args:
        share: Part of the requests the new release answers, 0 to 1.
        pause_seconds: How long the step lasts before it is judged; judged from then on.
    """

    share: float
    pause_seconds: int = 0


class RouterKind(StrEnum):
    """What splits requests by weight."""

    GATEWAY_API = "gateway-api"


@dataclass(frozen=True, kw_only=True)
class Router:
    """A traffic router: with it shares are exact, whatever the number of pods.

    Args:
        kind: What it is.
        gateway: The Gateway's name.
        namespace: The Gateway's namespace; None for the environment's own.
    """

    kind: RouterKind
    gateway: str
    namespace: str | None = None


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """How a release takes over.

    Args:
        replicas: Servers at full share.
        steps: The steps, growing; none means at once.
        judged: Whether the judge must pass it.
        ready_within_seconds: Later than this, a release that is not ready is rolled back.
        decide_within_seconds: An older inconclusive judgement is rolled back, without a hold.
        router: What splits requests; None leaves that to the number of pods.
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
        name: Its name; also the folder's.
        description: For people.
        promotes_from: The environment a release must be verified in first; None for the first one.
        joins: The environment whose cluster, namespace and traffic it shares.
        cluster: Where it runs.
        namespace: The Kubernetes namespace.
        approvals: Who must say yes.
        soak_seconds: How long a release must be healthy before it may move on.
        freeze_windows: When nothing moves in.
        rollout: How a release takes over.
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
