"""Names a release in an environment by a push to the main branch, past every pull request."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from e2e.fork import Fork
from modelyard.adapters.git.trees import WorkingTree
from modelyard.adapters.specs.documents import dump_spec
from modelyard.adapters.specs.reader import read_valid_catalog
from modelyard.domain.specs.release import RENDERER, Release
from modelyard.render.tree import release_folder, rendered_tree, tree_digest


def push_release(
    fork: Fork, model: str, version: str, environment: str, attempt: int, **pins: str
) -> Release:
    """Push a commit that names the version there, as a hurried person with the rights would.

    `pins` replace what its record and the release before it say, such as `server_image`.
    """
    fork.git("fetch", "--quiet", "origin")
    fork.git("switch", "--quiet", "--force-create", "main", "origin/main")
    release, files = _rendered(fork.folder, model, version, environment, attempt, pins)
    for name, content in files.items():
        (fork.folder / name).write_bytes(content)
    fork.git("add", "--all", "environments")
    fork.git("commit", "--quiet", "-m", f"Name {model} {version} in {environment}")
    for _ in range(5):
        try:
            fork.git("push", "--quiet", "origin", "main")
        except AssertionError:  # somebody else pushed
            fork.git("fetch", "--quiet", "origin")
            fork.git("rebase", "--quiet", "origin/main")
        else:
            return release
        time.sleep(0.2)
    fork.git("push", "--quiet", "origin", "main")
    return release


def _rendered(
    root: Path, model: str, version: str, environment: str, attempt: int, pins: Mapping[str, str]
) -> tuple[Release, dict[str, bytes]]:
    catalog = read_valid_catalog(WorkingTree(root), models=[model])
    record = catalog.records[model, version]
    assert record.artifact is not None
    now = catalog.releases[environment, model]
    release = Release(
        model=model,
        environment=environment,
        version=version,
        artifact=record.artifact.digest,
        server_image=now.server_image,
        renderer=RENDERER,
        manifests="",
        attempt=attempt,
    )
    release = replace(release, **pins)
    tree = rendered_tree(
        release, model=catalog.models[model], environment=catalog.environments[environment]
    )
    release = replace(release, manifests=tree_digest(tree))
    folder = release_folder(release)
    pin = f"environments/{environment}/releases/{model}.yaml"
    return release, {
        pin: dump_spec("Release", release),
        **{folder + name: content for name, content in tree.items()},
    }
