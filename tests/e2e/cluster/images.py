"""The images pods run: pause, argoexec and the project's own, made here and imported."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

from e2e.cluster.archive import Layer, write_image, write_layer, write_stack
from e2e.cluster.layout import (
    ARGOEXEC_IMAGE,
    IMAGE,
    PAUSE_IMAGE,
    REPOSITORY,
    Layout,
)
from e2e.cluster.node import ctr
from e2e.cluster.progress import step

_INCLUDED = "ca-certificates,git,libgomp1,python3,python3-venv"
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
    return _build_image(layout, IMAGE, REPOSITORY)


def import_project_image(layout: Layout, image_id: str) -> None:
    """Make pods that start from now on run it."""
    _import_image(layout, IMAGE, image_id)


def make_runtime_image(layout: Layout, folder: Path, lock: str) -> str:
    """Build the image of a model's own lock in a fork, and import it.

    Args:
        layout: Where the cluster is.
        folder: The fork's checkout.
        lock: The path of the lock in it.

    Returns:
        NAME@DIGEST, as a version pins it.
    """
    digest = hashlib.sha256((folder / lock).read_bytes()).hexdigest()
    name = IMAGE.partition(":")[0]
    tag = f"{name}:lock-{digest[:12]}"
    image_id = _build_image(layout, tag, folder, LOCK=lock, LOCK_SHA256=digest)
    _import_image(layout, tag, image_id)
    rows = [line.split() for line in ctr(layout, "images", "list").splitlines()[1:]]
    pinned = f"{name}@{next(row[2] for row in rows if row[0] == tag)}"
    ctr(layout, "images", "tag", "--force", tag, pinned)
    return pinned


def _build_image(layout: Layout, name: str, folder: Path, **arguments: str) -> str:
    values = {"BASE": _base_image(layout), **arguments}
    options = [word for key, value in values.items() for word in ("--build-arg", f"{key}={value}")]
    with step(f"built {name}"):
        ids = layout.cache / "images" / "built.id"
        _buildah(
            layout,
            *("build-using-dockerfile", "--quiet", "--isolation", "chroot", "--layers"),
            *("--volume", "/etc/ssl/certs:/etc/ssl/certs:ro", *options),
            *("--iidfile", str(ids), "--tag", name, str(folder)),
        )
    return ids.read_text().strip()


def _import_image(layout: Layout, name: str, image_id: str) -> None:
    """Hand containerd only the layers it does not have."""
    if _imported(layout, name) == image_id:
        return
    with step(f"imported {name}"):
        inspected = json.loads(_buildah(layout, "inspect", "--type", "image", image_id))
        known = set(ctr(layout, "content", "list", "-q").split())
        layers = [_layer(layout, layer, known) for layer in _chain(layout, image_id)]
        archive = _scratch(layout) / "image.tar"
        write_stack(archive, name, inspected["OCIv1"], layers)
        _import(layout, archive, name, image_id)
        for layer in layers:
            if layer.file:
                layer.file.unlink()


def forget_old_images(layout: Layout) -> None:
    """Containerd keeps what a tag no longer names; with nothing running, nobody needs it."""
    rows = [line.split() for line in ctr(layout, "images", "list").splitlines()[1:]]
    digests = {name: digest for name, _, digest, *_ in rows}
    named = {digest for name, digest in digests.items() if not name.startswith("sha256:")}
    if old := [name for name, digest in digests.items() if digest not in named]:
        ctr(layout, "images", "remove", *old)


def _chain(layout: Layout, image_id: str) -> list[str]:
    """The names of the image's layers in buildah's storage, the lowest first."""
    storage = layout.cache / "buildah"
    images = json.loads((storage / "overlay-images" / "images.json").read_text())
    layers = json.loads((storage / "overlay-layers" / "layers.json").read_text())
    parents = {layer["id"]: layer.get("parent") for layer in layers}
    bare = image_id.removeprefix("sha256:")
    names = [next(image["layer"] for image in images if image["id"] == bare)]
    while parent := parents[names[0]]:
        names.insert(0, parent)
    return names


def _layer(layout: Layout, name: str, known: set[str]) -> Layer:
    """A layer containerd knows, by the digest it had before, or a new file of it.

    `buildah push` would pack every layer again, each time: a minute for one changed line.
    """
    record = layout.cache / "images" / "layers" / name
    if record.exists():
        digest, size = record.read_text().split()
        if digest in known:
            return Layer(digest=digest, size=int(size))
    folder = layout.cache / "buildah" / "overlay" / name / "diff"
    layer = write_layer(_scratch(layout) / f"{name}.tar", folder)
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(f"{layer.digest} {layer.size}")
    return layer


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
