"""Lists the runtimes of this machine, and removes those that nothing here needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from modelyard.adapters.runtimes.environments import Built, Environments, runtimes_folder
from modelyard.domain.specs.catalog import Catalog


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One environment, and what needs it.

    Args:
        built: The environment.
        reasons: Releases, versions without a record, and processes; without one it may go.
    """

    built: Built
    reasons: tuple[str, ...]


def list_runtimes(catalog: Catalog) -> list[Kept]:
    """The environments of this user, with what needs each of them in this yard or now."""
    wanted = _wanted_locks(catalog)
    return [
        Kept(built=built, reasons=tuple(_reasons(built, wanted)))
        for built in Environments(runtimes_folder()).list_built()
    ]


def prune_runtimes(catalog: Catalog, *, dry_run: bool) -> Iterator[Kept]:
    """Remove every environment that no process, release or open version needs, and yield it.

    One of another yard is built again there when it is needed.
    """
    environments = Environments(runtimes_folder())
    for each in list_runtimes(catalog):
        if not each.reasons and (dry_run or environments.remove(each.built.lock)):
            yield each


def _wanted_locks(catalog: Catalog) -> Mapping[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    for (environment, model), release in sorted(catalog.releases.items()):
        if release.lock is not None:
            wanted.setdefault(release.lock, []).append(f"{model} in {environment}")
    for (model, name), version in sorted(catalog.versions.items()):
        if (model, name) not in catalog.records:
            wanted.setdefault(version.runtime.lock, []).append(f"{model} {name}")
    return wanted


def _reasons(built: Built, wanted: Mapping[str, list[str]]) -> Iterator[str]:
    yield from wanted.get(built.lock, ())
    if built.processes:
        yield f"{len(built.processes)} processes"
