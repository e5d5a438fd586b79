"""The traffic router: weights that are exact, whatever the number of pods.

Rendered and checked against the Gateway API's schema. Argo Rollouts needs its plugin
argoproj-labs/gatewayAPI, and the right to change HTTPRoutes, before it can run.
"""

from __future__ import annotations

from modelyard.domain.specs.environment import Router
from modelyard.render.identity import Document, Identity

PLUGIN = "argoproj-labs/gatewayAPI"


def routing(identity: Identity) -> Document:
    """What the Rollout's strategy says of the route.

    Argo Rollouts narrows the shared Service to the stable pods, so a request that goes past the
    Gateway is answered by them. They stay until the new release has taken over: an abort moves
    weights, and starts no pod.
    """
    route = {"httpRoute": identity.workload, "namespace": identity.environment.namespace}
    return {
        "canaryService": identity.next,
        "stableService": identity.model,
        "trafficRouting": {"plugins": {PLUGIN: route}},
    }


def route(identity: Identity, router: Router) -> Document:
    """The HTTPRoute: the model's path of the inference protocol, all of it to stable at first."""
    gateway: Document = {"name": router.gateway}
    if router.namespace is not None:
        gateway["namespace"] = router.namespace
    path = {"type": "PathPrefix", "value": f"/v2/models/{identity.model}"}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": identity.metadata(identity.workload),
        "spec": {
            "parentRefs": [gateway],
            "rules": [
                {
                    "backendRefs": [
                        {"name": identity.model, "port": 80, "weight": 100},
                        {"name": identity.next, "port": 80, "weight": 0},
                    ],
                    "matches": [{"path": path}],
                }
            ],
        },
    }
