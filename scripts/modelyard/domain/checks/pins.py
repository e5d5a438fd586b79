"""Pins: data comes from allowed addresses, and each address has one content."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.domain.problem import Path, Problem
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import held_out_file, model_file, version_file
from modelyard.domain.specs.repository import Repository
from modelyard.domain.specs.version import DataFile

PROTOCOLS = ("file", "s3", "gs", "https")
"""Protocols that outlive the process, unlike `memory:`."""

_LEAVES = "leaves its folder with `..`"
_WRITE_RELATIVE = "copy the file below `data` of modelyard.yaml and write its path from there"


def uris_are_allowed(catalog: Catalog) -> Iterator[Problem]:
    """Data has a relative path or one plain URI, and does not leave its folder."""
    for file, path, pin in _pins(catalog):
        fault = find_address_fault(pin.uri, catalog.repository, wildcards=False)
        if fault:
            yield Problem(file=file, path=(*path, "uri"), message=f"{pin.uri!r} {fault}")
    for name, model in catalog.models.items():
        feed = model.data.feed
        fault = feed and find_address_fault(feed, catalog.repository, wildcards=True)
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


def find_address_fault(
    uri: str, places: Repository, *, wildcards: bool, here: str | None = None
) -> str | None:
    """What is wrong with an address, or None.

    Args:
        uri: The address.
        places: The settings, which say where data may come from.
        wildcards: Whether it may have `*`.
        here: The folder of `data` on this machine, if it is known.
    """
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
    fault = _walk_fault(path, wildcards=wildcards or protocol == "https")
    return fault or _place_fault(uri, places, here)


def file_path(uri: str) -> str | None:
    """The path of a `file:///` address; None for any other."""
    return uri.removeprefix("file://") if uri.startswith("file:///") else None


def _place_fault(uri: str, places: Repository, here: str | None) -> str | None:
    """That the address is not below `data`, nor below one of `data_roots`."""
    roots = [*places.data_roots, *([places.data] if "://" in places.data else [])]
    if uri.startswith("file:"):
        path = file_path(uri)
        folders = [file_path(root) for root in roots]
        # An absolute `data` is a place of every machine, a relative one of this checkout.
        folders += [places.data if places.data.startswith("/") else None, here]
        if path is not None and any(_is_below(path, each) for each in folders if each):
            return None
        return (
            f"is a path of one machine: {_WRITE_RELATIVE}, or list its folder in `data_roots` there"
        )
    if any(uri.startswith(root) for root in roots):
        return None
    return f"is in no place of `data_roots` in modelyard.yaml: {', '.join(roots) or 'none'}"


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def _path_fault(path: str, *, wildcards: bool) -> str | None:
    if path.startswith(("/", "~", "\\")):
        return f"is a path of one machine: {_WRITE_RELATIVE}"
    # `data:` is a protocol without `//`, and `c:` is a drive.
    if ":" in path.partition("/")[0]:
        return f"has protocol {path.partition(':')[0]}: use a relative path, {', '.join(PROTOCOLS)}"
    fault = _walk_fault(path, wildcards=wildcards)
    return f"{fault}: {_WRITE_RELATIVE}" if fault == _LEAVES else fault


def _walk_fault(path: str, *, wildcards: bool) -> str | None:
    # Some stores decode a path: %2e%2e is `..` there.
    if any(sign in path.lower() for sign in ("%2e", "%2f", "%5c", "%00")):
        return "has a dot or a slash in percent-encoding: write the character"
    if ".." in path.replace("\\", "/").split("/"):
        return _LEAVES
    if not wildcards and any(sign in path for sign in "*?["):
        return "has a wildcard: a pin is of one file"
    return None
