"""Services, ServiceMonitor, NetworkPolicy and PodDisruptionBudget of a release."""

from __future__ import annotations

from collections.abc import Sequence

from modelyard.domain.labels import PREFIX
from modelyard.domain.server_arguments import GRPC_PORT
from modelyard.render.identity import Document, Identity

_PORTS = (("http", 80), ("grpc", GRPC_PORT))  # of Services, by the names of the pods' ports
_SCRAPE_SECONDS = 5  # each scrape is one sample of the counts that a canary is judged by


def render_services(
    identity: Identity, *, is_shadowed: bool = False, has_grpc: bool = False
) -> list[Document]:
    """The Service of this environment's own pods, and the shared one unless the environment joins.

    An environment that joins another must not write the shared Service: two writers of one object
    would undo each other. It has one for copies of that other's requests if it is shadowed, under a
    name that production's servers know without knowing who joins. That one has no port of gRPC:
    copies are sent over HTTP.
    """
    ports = _PORTS if has_grpc else _PORTS[:1]
    own = _service(identity, identity.own_name, identity.own_selector, label="own", ports=ports)
    if identity.environment.joins is not None and is_shadowed:
        copies = _service(identity, identity.shadow_name, identity.own_selector, label="shadow")
        return [own, copies]
    if identity.environment.joins is not None:
        return [own]
    shared = _service(
        identity, identity.model, identity.shared_selector, label="shared", ports=ports
    )
    if identity.environment.rollout.router is None:
        return [shared, own]
    following = _service(
        identity, identity.next_name, identity.own_selector, label="next", ports=ports
    )
    return [shared, own, following]


def render_monitor(identity: Identity) -> Document:
    """The ServiceMonitor: it selects the own Service only, so that no pod is scraped twice."""
    endpoint = {"port": "http", "path": "/metrics", "interval": f"{_SCRAPE_SECONDS}s"}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": identity.metadata(identity.own_name),
        "spec": {
            "endpoints": [endpoint],
            "selector": {"matchLabels": {**identity.own_selector, f"{PREFIX}/traffic": "own"}},
        },
    }


def render_network_policy(identity: Identity, *, has_grpc: bool = False) -> Document:
    """The NetworkPolicy: only the server's ports accept connections."""
    names = ["http", "grpc"] if has_grpc else ["http"]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": identity.metadata(identity.own_name),
        "spec": {
            "podSelector": {"matchLabels": identity.own_selector},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": name, "protocol": "TCP"} for name in names]}],
        },
    }


def render_disruption_budget(identity: Identity) -> Document:
    """The PodDisruptionBudget: maintenance evicts one pod at a time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": identity.metadata(identity.own_name),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": identity.own_selector}},
    }


def _service(
    identity: Identity,
    name: str,
    selector: dict[str, str],
    *,
    label: str,
    ports: Sequence[tuple[str, int]] = _PORTS[:1],
) -> Document:
    metadata = identity.metadata(name)
    metadata["labels"] = {**identity.labels, f"{PREFIX}/traffic": label}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "ports": [
                {"name": port, "port": number, "protocol": "TCP", "targetPort": port}
                for port, number in ports
            ],
            "selector": selector,
        },
    }
