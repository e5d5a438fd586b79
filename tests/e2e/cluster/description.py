"""What the tests are told about a cluster: one JSON file of addresses and credentials."""

import json

from e2e.cluster.layout import IMAGE, Layout
from e2e.cluster.services import addresses


def describe(layout: Layout, provider: str) -> None:
    """Write it last: whoever finds the file finds a cluster that is up."""
    description = {
        "provider": provider,
        "kubeconfig": str(layout.kubeconfig),
        "image": IMAGE,
        "argocd_namespace": "argocd",
        "logs": str(layout.logs),
        **addresses(layout),
    }
    layout.description.write_text(json.dumps(description, indent=2) + "\n")
