"""Pins: data comes from allowed addresses, and each address has one content."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.domain.problem import Path, Problem
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import held_out_file, model_file, version_file
from modelyard.domain.specs.version import DataFile

PROTOCOLS = ("file", "s3", "gs", "https")
"""Protocols that outlive the process, unlike `memory:`."""


def uris_are_allowed(catalog: Catalog) -> Iterator[Problem]:
    """Data has a relative path or one plain URI, and does not leave its folder."""
    for file, path, pin in _pins(catalog):
        fault = _fault(pin.uri, wildcards=False)
        if fault:
            yield Problem(file=file, path=(*path, "uri"), message=f"{pin.uri!r} {fault}")
    for name, model in catalog.models.items():
        feed = model.data.feed
        fault = _fault(feed, wildcards=True) if feed is not None else None
        if fault:
            place = ("data", "feed")
            yield Problem(file=model_file(name), path=place, message=f"{feed!r} {fault}")


def a_file_has_one_content(catalog: Catalog) -> Iterator[Problem]:
    """A URI has the same SHA-256 in all pins; otherwise one of them cannot be right."""
    first: dict[str, tuple[str, str]] = {}
    for file, path, pin in _pins(catalog):
        digest, where = first.setdefault(pin.uri, (pin.sha256, file))
        if digest != pin.sha256:
            message = (
                f"{pin.uri} is pinned as {pin.sha256[:12]}... here and as {digest[:12]}... in "
                f"{where}: data that changed needs a new name"
            )
            yield Problem(file=file, path=(*path, "sha256"), message=message, involves=(where,))


def _pins(catalog: Catalog) -> Iterator[tuple[str, Path, DataFile]]:
    """Every pinned file: first of held-out sets, then of versions, in the order of names."""
    for (model, name), held_out in sorted(catalog.held_out.items()):
        file = held_out_file(model, name)
        for index, pin in enumerate(held_out.files):
            yield file, ("files", index), pin
    for (model, name), version in sorted(catalog.versions.items()):
        file = version_file(model, name)
        for index, pin in enumerate(version.data.files):
            yield file, ("data", "files", index), pin


def _fault(uri: str, *, wildcards: bool) -> str | None:
    """What is wrong with an address, or None."""
    protocol, separator, path = uri.partition("://")
    # fsspec would open the inner file system, whose protocol is not checked below.
    if "::" in uri:
        return "chains file systems with `::`: use one"
    # A reviewer must see the address that is read.
    if not uri.isprintable() or uri != uri.strip():
        return "has invisible characters"
    if not separator:
        return _path_fault(uri, wildcards=wildcards)
    if protocol not in PROTOCOLS:
        return f"has protocol {protocol}: use a relative path, {', '.join(PROTOCOLS)}"
    if "@" in path.partition("/")[0] and protocol == "https":
        return "has credentials, which everybody who can read the repository could use"
    # In an https URI `?` starts a query, and `*` is a plain character.
    return _walk_fault(path, wildcards=wildcards or protocol == "https")


def _path_fault(path: str, *, wildcards: bool) -> str | None:
    if path.startswith(("/", "~", "\\")):
        return "is a path of one machine: write it relative to `data` of modelyard.yaml"
    # `data:` is a protocol without `//`, and `c:` is a drive.
    if ":" in path.partition("/")[0]:
        return f"has protocol {path.partition(':')[0]}: use a relative path, {', '.join(PROTOCOLS)}"
    return _walk_fault(path, wildcards=wildcards)


def _walk_fault(path: str, *, wildcards: bool) -> str | None:
    if ".." in path.replace("\\", "/").split("/"):
        return "leaves its folder with `..`"
    if not wildcards and any(sign in path for sign in "*?["):
        return "has a wildcard: a pin is of one file"
    return None
