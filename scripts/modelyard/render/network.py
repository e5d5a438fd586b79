"""How a release is reached, watched and kept available: Services, monitor, policy, budget."""

from __future__ import annotations

from modelyard.domain.labels import PREFIX
from modelyard.render.identity import Document, Identity

_SCRAPE_SECONDS = 5  # a canary is judged on counts; every scrape is one look at them


def services(identity: Identity) -> list[Document]:
    """The Service of this environment's own pods, and the shared one where it owns that.

    An environment that joins another never writes the shared Service: two writers of one object
    would undo each other.
    """
    own = _service(identity, identity.own, identity.own_selector, label="own")
    if identity.environment.joins is not None:
        return [own]
    shared = _service(identity, identity.model, identity.shared_selector, label="shared")
    if identity.environment.rollout.router is None:
        return [shared, own]
    return [shared, own, _service(identity, identity.next, identity.own_selector, label="next")]


def monitor(identity: Identity) -> Document:
    """The ServiceMonitor of the own Service, so that no pod is counted twice."""
    endpoint = {"port": "http", "path": "/metrics", "interval": f"{_SCRAPE_SECONDS}s"}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": identity.metadata(identity.own),
        "spec": {
            "endpoints": [endpoint],
            "selector": {"matchLabels": {**identity.own_selector, f"{PREFIX}/traffic": "own"}},
        },
    }


def policy(identity: Identity) -> Document:
    """The NetworkPolicy: nothing but the server's port is reached."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": identity.metadata(identity.own),
        "spec": {
            "podSelector": {"matchLabels": identity.own_selector},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": "http", "protocol": "TCP"}]}],
        },
    }


def budget(identity: Identity) -> Document:
    """The PodDisruptionBudget: maintenance takes one pod at a time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": identity.metadata(identity.own),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": identity.own_selector}},
    }


def _service(identity: Identity, name: str, selector: dict[str, str], *, label: str) -> Document:
    metadata = identity.metadata(name)
    metadata["labels"] = {**identity.labels, f"{PREFIX}/traffic": label}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}],
            "selector": selector,
        },
    }
