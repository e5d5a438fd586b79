"""The champion: held-out rows on which versions are compared with it are new to it."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.domain.problem import Problem
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.heldout import seen_by
from modelyard.domain.specs.paths import held_out_file, version_file
from modelyard.domain.specs.version import ModelVersion


def held_out_rows_are_new_to_the_champion(catalog: Catalog) -> Iterator[Problem]:
    """The version in production trained on no row of a set that it will be compared on."""
    # Of sets that versions were judged on only their next use counts: production may go back to a
    # version that is older than the set, and nothing may stand in its way.
    champions = _champions(catalog)
    for key, held_out in catalog.held_out.items():
        champion = champions.get(key[0])
        if champion is None or held_out.retired or catalog.judged_versions.get(key):
            continue
        if seen_by(champion, held_out):
            message = (
                f"{champion.version}, which production runs, trained on rows of this set, so no "
                f"version can be compared with it there: choose other rows"
            )
            yield Problem(
                file=held_out_file(*key),
                path=("window",) if held_out.window else ("files",),
                message=message,
                involves=(version_file(key[0], champion.version),),
            )
    for key, version in catalog.versions.items():
        champion = champions.get(key[0])
        if champion is None or key in catalog.records:
            continue
        for index, name in enumerate(version.held_out):
            wanted = catalog.held_out.get((key[0], name))
            if wanted is not None and seen_by(champion, wanted):
                yield Problem(
                    file=version_file(*key),
                    path=("held_out", index),
                    message=f"{champion.version}, which production runs, trained on rows of "
                    f"held-out set {name}, so the two cannot be compared on it: use another set",
                    involves=(held_out_file(key[0], name),),
                )


def _champions(catalog: Catalog) -> dict[str, ModelVersion]:
    """The version that production runs, by model."""
    production = catalog.production
    releases = catalog.releases.values() if production else ()
    found = (
        catalog.versions.get((release.model, release.version))
        for release in releases
        if production is not None and release.environment == production.name
    )
    return {version.model: version for version in found if version is not None}
