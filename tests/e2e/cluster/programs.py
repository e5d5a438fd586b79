"""Kubernetes, Argo and the forge, built from their Go modules, once for each go.sum."""

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path

from e2e.cluster.layout import HERE, Layout
from e2e.forge.programs import GITEA
from e2e.go_programs import Source, build_program

_PROGRAMS = HERE / "programs"

_VERSION = "k8s.io/component-base/version"
_STAMP = f"-X {_VERSION}.gitVersion=v1.34.4 -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=34"
_WORKFLOWS = "github.com/argoproj/argo-workflows/v3"
# Modules that are unpacked, not built in place: a checksum, as no go.sum names them.
CHECKSUMS = {
    f"{_WORKFLOWS}@v3.7.3": "h1:b0o03RTLXIL7lQunDEvLoDTeI5TbfXe2obGaItvvifk=",
    "github.com/argoproj/argo-cd/v3@v3.2.6": "h1:nDCjBnHyxUf6JFuCKjuuXHS23LFj6/TjuO/APrS1ku4=",
    "github.com/argoproj/argo-rollouts@v1.9.2": "h1:NaAtrUjjm9AFAyurAEFRJjP54mk98s8007B3vsdFEbI=",
    "github.com/prometheus-operator/prometheus-operator@v0.83.0": (
        "h1:qAKbm+45fqNGcn9sGTa1Ae2TM3KZuYA/uyoD2QKi9+o="
    ),
}


@cache
def module_folder(module: str) -> Path:
    """The unpacked module, downloaded when missing; refused when its checksum is another."""
    command = ["go", "mod", "download", "-json", module]
    output = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/").stdout
    answer = json.loads(output or "{}")
    if answer.get("Sum") != CHECKSUMS[module]:
        raise SystemExit(f"{module}: {answer.get('Error') or 'not the pinned checksum'}")
    return Path(answer["Dir"])


def _complete_workflows(work: Path) -> None:
    """A copy of the module with the one symlink that its zip could not hold."""
    copy = work / "source"
    if copy.exists():
        return
    original = module_folder(f"{_WORKFLOWS}@v3.7.3")
    shutil.copytree(original, copy, copy_function=shutil.copyfile)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    signals = copy / "workflow" / "executor" / "osspecific"
    shutil.copyfile(signals / "signal_darwin.go", signals / "signal_linux.go")


SOURCES = (
    Source(folder=_PROGRAMS / "etcd", packages={"etcd": "go.etcd.io/etcd/server/v3"}),
    Source(
        folder=_PROGRAMS / "kubernetes",
        packages={
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in (
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubelet",
                "kube-proxy",
                "kubectl",
            )
        },
        flags=_STAMP,
    ),
    Source(
        folder=_PROGRAMS / "argo-workflows",
        packages={name: f"{_WORKFLOWS}/cmd/{name}" for name in ("argoexec", "workflow-controller")},
        prepare=_complete_workflows,
    ),
    Source(folder=_PROGRAMS / "coredns", packages={"coredns": "github.com/coredns/coredns"}),
    Source(
        folder=_PROGRAMS / "argo-rollouts",
        packages={
            "rollouts-controller": "github.com/argoproj/argo-rollouts/cmd/rollouts-controller"
        },
    ),
    Source(folder=_PROGRAMS / "argo-cd", packages={"argocd": "github.com/argoproj/argo-cd/v3/cmd"}),
    Source(
        folder=_PROGRAMS / "versitygw",
        packages={"versitygw": "github.com/versity/versitygw/cmd/versitygw"},
    ),
    Source(folder=_PROGRAMS / "pause", packages={"pause": "."}),
    GITEA,
)
# One binary, whose role is the name it is called by.
ARGOCD_ROLES = (
    "argocd-application-controller",
    "argocd-applicationset-controller",
    "argocd-repo-server",
)


def build_programs(layout: Layout) -> None:
    """Build what is missing, and point `layout.bin` at the present versions."""
    layout.bin.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        for program in source.packages:
            if program == "kubectl" and shutil.which("kubectl"):
                continue
            _link(layout.bin / program, build_program(source, program, layout.cache))
    for role in ARGOCD_ROLES:
        _link(layout.bin / role, (layout.bin / "argocd").resolve())


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(target)
