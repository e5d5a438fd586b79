"""What a pull request from one of the tool's branches may change."""

from __future__ import annotations

import re
from collections.abc import Collection

from modelyard.domain.promotion.change import Branch, Purpose
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import (
    PLATFORM,
    held_out_folder,
    manifests_folder,
    record_file,
    release_file,
    versions_folder,
)


def find_strays(branch: Branch, catalog: Catalog, changed: Collection[str]) -> list[str]:
    """The paths that one of the tool's branches may not change, sorted.

    Approvals and merges are decided by the branch's name and the release it pins, so a person who
    pushes to such a branch, or opens one, could get anything else merged.

    Args:
        branch: The branch.
        catalog: The specs of the merge result.
        changed: What the merge changes.
    """
    allowed = _allowed(branch, catalog)
    return [
        path
        for path in sorted(changed)
        # The platform is a folder beside the environments, and people write it.
        if not allowed.fullmatch(path) or path.startswith(PLATFORM)
    ]


def _allowed(branch: Branch, catalog: Catalog) -> re.Pattern[str]:
    """The paths that one of the tool's branches may change."""
    model = branch.model
    match branch.purpose:
        case Purpose.RECORD:
            path = catalog.path_to_production()
            record = re.escape(record_file(model, branch.subject))
            first = catalog.releases.get((path[0].name, model)) if path else None
            if first is None or first.version != branch.subject:  # no release but its version's
                return re.compile(record)
            return re.compile(f"{record}|{_release_paths(first.environment, model)}")
        case Purpose.PROMOTE | Purpose.ROLLBACK:
            return re.compile(_release_paths(branch.subject, model))
        case Purpose.RETRAIN | Purpose.SPEC:
            # Neither policy nor trainer: those are rules and code, which people propose.
            folders = (versions_folder(model), held_out_folder(model))
            return re.compile("|".join(rf"{re.escape(folder)}.*" for folder in folders))


def _release_paths(environment: str, model: str) -> str:
    pin, manifests = release_file(environment, model), manifests_folder(environment, model)
    return rf"{re.escape(pin)}|{re.escape(manifests)}.*"
