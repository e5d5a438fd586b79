"""The images pods run: pause, argoexec and the project's own, made here and imported."""

import hashlib
import shutil
import subprocess
from pathlib import Path

from e2e.cluster.archive import write_difference, write_image
from e2e.cluster.layout import (
    ARGOEXEC_IMAGE,
    IMAGE,
    PAUSE_IMAGE,
    REPOSITORY,
    Layout,
)
from e2e.cluster.node import ctr
from e2e.cluster.progress import step

_INCLUDED = "ca-certificates,git,python3,python3-venv"
_DEBOOTSTRAP = ["debootstrap", "--variant=minbase", f"--include={_INCLUDED}", "bookworm"]
_BASE = "localhost/modelyard-e2e-base"


def import_small_images(layout: Layout) -> None:
    """Pause and argoexec: a static program each."""
    for image, program in ((PAUSE_IMAGE, "pause"), (ARGOEXEC_IMAGE, "argoexec")):
        binary = (layout.bin / program).resolve()
        # Built programs are in a folder named by what they were built from.
        if _imported(layout, image) == binary.parent.name:
            continue
        with step(f"imported {image}"):
            archive = _scratch(layout) / f"{program}.tar"
            write_image(archive, image, {f"bin/{program}": binary})
            _import(layout, archive, image, binary.parent.name)


def build_project_image(layout: Layout) -> str:
    """Build the Containerfile with its dependencies cached; the image's id."""
    base = _base_image(layout)
    with step(f"built {IMAGE}"):
        ids = layout.cache / "images" / "project.id"
        _buildah(
            layout,
            *("build-using-dockerfile", "--quiet", "--isolation", "chroot", "--layers"),
            *("--volume", "/etc/ssl/certs:/etc/ssl/certs:ro", "--build-arg", f"BASE={base}"),
            *("--iidfile", str(ids), "--tag", IMAGE, str(REPOSITORY)),
        )
    return ids.read_text().strip()


def import_project_image(layout: Layout, image_id: str) -> None:
    """Hand containerd only the layers it does not have."""
    if _imported(layout, IMAGE) == image_id:
        return
    with step(f"imported {IMAGE}"):
        oci = layout.cache / "images" / "oci"
        (oci / "index.json").unlink(missing_ok=True)
        push = ("push", "--quiet", "--disable-compression", "--format", "oci")
        _buildah(layout, *push, IMAGE, f"oci:{oci}:project")
        archive = _scratch(layout) / "project.tar"
        write_difference(archive, oci, IMAGE, set(ctr(layout, "content", "list", "-q").split()))
        _import(layout, archive, IMAGE, image_id)


def _base_image(layout: Layout) -> str:
    """A Debian with Python 3.11, in place of python:3.11-slim, which needs a registry."""
    name = f"{_BASE}:{hashlib.sha256(' '.join(_DEBOOTSTRAP).encode()).hexdigest()[:12]}"
    if _buildah(layout, "images", "--quiet", "--filter", f"reference={name}").strip():
        return name
    root = layout.cache / "images" / "rootfs"
    shutil.rmtree(root, ignore_errors=True)
    with step("made a base image by debootstrap"):
        subprocess.run([*_DEBOOTSTRAP, str(root)], check=True, stdout=subprocess.DEVNULL)
        for leftover in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(root / leftover)
        recipe = root.with_suffix(".containerfile")
        recipe.write_text("FROM scratch\nCOPY . /\n")
        build = ("build-using-dockerfile", "--quiet", "--isolation", "chroot")
        _buildah(layout, *build, "--file", str(recipe), "--tag", name, str(root))
        shutil.rmtree(root)
    return name


def _import(layout: Layout, archive: Path, image: str, key: str) -> None:
    ctr(layout, "images", "import", str(archive))
    archive.unlink()
    stamp = _stamp(layout, image)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(key)


def _imported(layout: Layout, image: str) -> str | None:
    """What was imported under this name, as far as containerd still has it."""
    there = image in ctr(layout, "images", "list", "-q").split()
    stamp = _stamp(layout, image)
    return stamp.read_text() if there and stamp.exists() else None


def _stamp(layout: Layout, image: str) -> Path:
    return layout.cache / "images" / "imported" / image.replace("/", "_").replace(":", "_")


def _scratch(layout: Layout) -> Path:
    folder = layout.cache / "images" / "scratch"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _buildah(layout: Layout, *arguments: str) -> str:
    where = ["--root", f"{layout.cache}/buildah", "--runroot", f"{layout.run}/buildah"]
    command = ["buildah", *where, "--storage-driver", "overlay", *arguments]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout
