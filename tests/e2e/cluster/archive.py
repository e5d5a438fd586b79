"""Images without an engine: what containerd imports, written as plain tar files."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

_OCI = "application/vnd.oci"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer, uncompressed; `file` is its tar, where it has to be handed over."""

    digest: str
    size: int
    file: Path | None = None


def write_image(archive: Path, name: str, files: Mapping[str, Path]) -> None:
    """A docker-archive of one layer: an empty /tmp and executables, the first of them run."""
    layer = _layer(files)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [f"/{next(iter(files))}"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        "history": [{"created_by": "modelyard e2e"}],
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(archive, "w") as tar:
        _add(tar, "config.json", json.dumps(config).encode())
        _add(tar, "layer.tar", layer)
        _add(tar, "manifest.json", json.dumps(manifest).encode())


def write_stack(archive: Path, name: str, config: dict, layers: Sequence[Layer]) -> None:
    """An OCI image of these layers; those without a file are taken for known by the reader."""
    rootfs = {"type": "layers", "diff_ids": [layer.digest for layer in layers]}
    settings = {key: config[key] for key in ("architecture", "os", "config")}
    blobs = [json.dumps(settings | {"rootfs": rootfs}).encode()]
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.image.manifest.v1+json",
        "config": _described(blobs[0], "image.config.v1+json"),
        "layers": [
            {
                "mediaType": f"{_OCI}.image.layer.v1.tar",
                "digest": layer.digest,
                "size": layer.size,
            }
            for layer in layers
        ],
    }
    blobs.append(json.dumps(manifest).encode())
    entry = _described(blobs[1], "image.manifest.v1+json")
    index = {
        "schemaVersion": 2,
        "manifests": [entry | {"annotations": {"io.containerd.image.name": name}}],
    }
    with tarfile.open(archive, "w") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        for layer in layers:
            if layer.file:
                tar.add(layer.file, _blob_path(layer.digest))
        for blob in blobs:
            _add(tar, _blob_path(_digest(blob)), blob)
        _add(tar, "index.json", json.dumps(index).encode())


def write_layer(file: Path, folder: Path) -> Layer:
    """The files of an overlay folder as a layer, its deletions as images say them."""
    with tarfile.open(file, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            item = tar.gettarinfo(path, str(path.relative_to(folder)))
            if item is None:
                continue
            if item.ischr() and (item.devmajor, item.devminor) == (0, 0):
                _add(tar, str(path.relative_to(folder).with_name(f".wh.{path.name}")), b"")
                continue
            # Compiled modules name the whole seconds of their sources.
            item.mtime = int(item.mtime)
            with path.open("rb") if item.isreg() else nullcontext() as content:
                tar.addfile(item, content)
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return Layer(digest=f"sha256:{digest}", size=file.stat().st_size, file=file)


def _layer(files: Mapping[str, Path]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        temporary = tarfile.TarInfo("tmp")
        temporary.type, temporary.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(temporary)
        for path, source in files.items():
            _add(tar, path, source.read_bytes(), 0o755)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    item = tarfile.TarInfo(name)
    item.size, item.mode = len(content), mode
    tar.addfile(item, io.BytesIO(content))


def _described(blob: bytes, kind: str) -> dict:
    return {"mediaType": f"{_OCI}.{kind}", "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _blob_path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
