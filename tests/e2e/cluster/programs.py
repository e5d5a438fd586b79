"""Kubernetes and Argo, built from their Go modules into a cache, once for each go.sum."""

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from e2e.cluster.layout import HERE, Layout
from e2e.cluster.progress import say, step

_VERSION = "k8s.io/component-base/version"
_STAMP = f"-X {_VERSION}.gitVersion=v1.34.4 -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=34"
_WORKFLOWS = "github.com/argoproj/argo-workflows/v3"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A folder of programs/, the packages to build in it, and what the linker is told."""

    module: str
    packages: dict[str, str]
    flags: str = ""


SOURCES = (
    Source(module="etcd", packages={"etcd": "go.etcd.io/etcd/server/v3"}),
    Source(
        module="kubernetes",
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
        module="argo-workflows",
        packages={name: f"{_WORKFLOWS}/cmd/{name}" for name in ("argoexec", "workflow-controller")},
    ),
    Source(module="coredns", packages={"coredns": "github.com/coredns/coredns"}),
    Source(
        module="argo-rollouts",
        packages={
            "rollouts-controller": "github.com/argoproj/argo-rollouts/cmd/rollouts-controller"
        },
    ),
    Source(module="argo-cd", packages={"argocd": "github.com/argoproj/argo-cd/v3/cmd"}),
    Source(
        module="versitygw",
        packages={"versitygw": "github.com/versity/versitygw/cmd/versitygw"},
    ),
    Source(module="pause", packages={"pause": "."}),
)
# One binary, whose role is the name it is called by.
ARGOCD_ROLES = (
    "argocd-application-controller",
    "argocd-applicationset-controller",
    "argocd-repo-server",
)
# Modules that are unpacked, not built in place: a checksum, as no go.sum names them.
CHECKSUMS = {
    f"{_WORKFLOWS}@v3.7.3": "h1:b0o03RTLXIL7lQunDEvLoDTeI5TbfXe2obGaItvvifk=",
    "github.com/argoproj/argo-cd/v3@v3.2.6": "h1:nDCjBnHyxUf6JFuCKjuuXHS23LFj6/TjuO/APrS1ku4=",
    "github.com/argoproj/argo-rollouts@v1.9.2": "h1:NaAtrUjjm9AFAyurAEFRJjP54mk98s8007B3vsdFEbI=",
    "github.com/prometheus-operator/prometheus-operator@v0.83.0": (
        "h1:qAKbm+45fqNGcn9sGTa1Ae2TM3KZuYA/uyoD2QKi9+o="
    ),
}


def build_programs(layout: Layout) -> None:
    """Build what is missing, and point `layout.bin` at the present versions."""
    layout.bin.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        folder = layout.cache / "programs" / f"{source.module}-{_key(source)}"
        for program, package in source.packages.items():
            if program == "kubectl" and shutil.which("kubectl"):
                continue
            if not (folder / program).exists():
                _build(source, program, package, folder)
            _link(layout.bin / program, folder / program)
    for role in ARGOCD_ROLES:
        _link(layout.bin / role, (layout.bin / "argocd").resolve())


@cache
def module_folder(module: str) -> Path:
    """The unpacked module, downloaded when missing; refused when its checksum is another."""
    command = ["go", "mod", "download", "-json", module]
    output = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/").stdout
    answer = json.loads(output or "{}")
    if answer.get("Sum") != CHECKSUMS[module]:
        raise SystemExit(f"{module}: {answer.get('Error') or 'not the pinned checksum'}")
    return Path(answer["Dir"])


def _build(source: Source, program: str, package: str, folder: Path) -> None:
    if shutil.which("go") is None:
        raise SystemExit(f"building {program} needs Go 1.26 or newer on PATH")
    say(f"building {program}: this takes minutes, once")
    work = folder / "source"
    shutil.copytree(HERE / "programs" / source.module, work, dirs_exist_ok=True)
    if source.module == "argo-workflows":
        _complete_workflows(work / "source")
    flags = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}
    with step(f"built {program}"):
        subprocess.run(
            [
                *("nice", "-n", "10", "go", "build", "-ldflags", f"-s -w {source.flags}"),
                *("-o", folder / program, package),
            ],
            check=True,
            cwd=work,
            env={**os.environ, **flags},
        )


def _complete_workflows(copy: Path) -> None:
    """A copy of the module with the one symlink that its zip could not hold."""
    if copy.exists():
        return
    original = module_folder(f"{_WORKFLOWS}@v3.7.3")
    shutil.copytree(original, copy, copy_function=shutil.copyfile)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    signals = copy / "workflow" / "executor" / "osspecific"
    shutil.copyfile(signals / "signal_darwin.go", signals / "signal_linux.go")


def _key(source: Source) -> str:
    digest = hashlib.sha256(source.flags.encode())
    for path in sorted((HERE / "programs" / source.module).iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(target)
