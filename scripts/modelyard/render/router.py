"""The traffic router: exact weights for any number of pods.

The documents are checked against the Gateway API's schema. To run them, Argo Rollouts needs its
plugin argoproj-labs/gatewayAPI and the right to change HTTPRoutes.
"""

from __future__ import annotations

from modelyard.domain.specs.environment import Router
from modelyard.render.identity import Document, Identity

PLUGIN = "argoproj-labs/gatewayAPI"


def traffic_routing(identity: Identity) -> Document:
    """The part of the Rollout's strategy that names the route.

    Argo Rollouts narrows the shared Service to the stable pods, so they answer requests that bypass
    the Gateway. They stay until the new release has taken over: an abort only moves weights.
    """
    route = {"httpRoute": identity.workload_name, "namespace": identity.environment.namespace}
    return {
        "canaryService": identity.next_name,
        "stableService": identity.model,
        "trafficRouting": {"plugins": {PLUGIN: route}},
    }


def render_route(identity: Identity, router: Router) -> Document:
    """The HTTPRoute of the model's inference path; at first all requests go to stable."""
    gateway: Document = {"name": router.gateway}
    if router.namespace is not None:
        gateway["namespace"] = router.namespace
    path = {"type": "PathPrefix", "value": f"/v2/models/{identity.model}"}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": identity.metadata(identity.workload_name),
        "spec": {
            "parentRefs": [gateway],
            "rules": [
                {
                    "backendRefs": [
                        {"name": identity.model, "port": 80, "weight": 100},
                        {"name": identity.next_name, "port": 80, "weight": 0},
                    ],
                    "matches": [{"path": path}],
                }
            ],
        },
    }
