"""A cluster somebody else runs, Argo included."""

import json
import os
import subprocess

from e2e.cluster.layout import IMAGE, Layout
from e2e.cluster.progress import say

# MODELYARD_E2E_<NAME> for each: what cannot be found out from a kubeconfig.
ASKED = (
    "forge_url",
    "forge_repository",
    "owner_token",
    "bot_token",
    "ada_token",
    "grace_token",
    "s3_endpoint",
    "s3_bucket",
    "s3_access_key",
    "s3_secret_key",
    "s3_region",
    "postgres_uri",
    "prometheus_url",
)
KINDS = ("rollouts.argoproj.io", "workflows.argoproj.io", "applicationsets.argoproj.io")


class ExistingCluster:
    """KUBECONFIG names it; its addresses come from MODELYARD_E2E_FORGE_URL and the like."""

    name = "existing"

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def up(self) -> None:
        """Check that it has Argo, and write down the addresses."""
        if "KUBECONFIG" not in os.environ:
            raise SystemExit("MODELYARD_E2E_CLUSTER=existing needs KUBECONFIG")
        subprocess.run(["kubectl", "get", "crd", *KINDS, "-o", "name"], check=True)
        missing = [name for name in ASKED if _variable(name) not in os.environ]
        if missing:
            raise SystemExit(f"set {', '.join(map(_variable, missing))}")
        description = {name: os.environ[_variable(name)] for name in ASKED} | {
            "provider": self.name,
            "kubeconfig": os.environ["KUBECONFIG"],
            "image": os.environ.get(_variable("image"), IMAGE),
            "argocd_namespace": os.environ.get(_variable("argocd_namespace"), "argocd"),
            "logs": str(self.layout.logs),
        }
        self.layout.logs.mkdir(parents=True, exist_ok=True)
        self.layout.description.write_text(json.dumps(description, indent=2) + "\n")

    def down(self) -> None:
        """Forget it; nothing of it is ours to end."""
        self.layout.description.unlink(missing_ok=True)

    def status(self) -> None:
        """What the cluster says of itself."""
        subprocess.run(["kubectl", "cluster-info"], check=True)

    def image(self) -> None:
        """Its nodes pull from a registry, which only its owner can push to."""
        say(f"build the Containerfile and push it, then set {_variable('image')}")


def _variable(name: str) -> str:
    return f"MODELYARD_E2E_{name.upper()}"
