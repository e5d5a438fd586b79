from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.release import RENDERER, Release
from modelyard.render.tree import rendered_tree, stale_manifests, tree_digest
from unit.render.pairs import MODEL, RELEASE

DEV = Environment(name="dev", description="The first stop.", namespace="models-dev")
FOLDER = "environments/dev/manifests/pairs/"
PIN = "environments/dev/releases/pairs.yaml"


class Files:
    """A tree in memory."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def paths(self, prefix: str = "") -> tuple[str, ...]:
        return tuple(sorted(path for path in self.files if path.startswith(prefix)))

    def read(self, path: str) -> bytes:
        return self.files[path]


def pinned(**changes: object) -> tuple[Release, dict[str, bytes]]:
    release = replace(RELEASE, environment="dev", **changes)
    tree = rendered_tree(release, model=MODEL, environment=DEV)
    release = replace(release, manifests=tree_digest(tree))
    return release, {FOLDER + name: text for name, text in tree.items()}


def stale(release: Release, files: dict[str, bytes], changed: set[str] | None = None) -> list[str]:
    catalog = Catalog(
        models={"pairs": MODEL}, environments={"dev": DEV}, releases={("dev", "pairs"): release}
    )
    return stale_manifests(Files(files), catalog, changed)


def test_the_digest_is_that_of_the_lines_sha256sum_prints():
    # printf 'one\n' > b; printf '' > a; sha256sum a b | sort | sha256sum
    files = {"b": b"one\n", "a": b""}
    assert tree_digest(files) == "30a8000c9c971db07f8c9f22af6d1cb48eb5b25f361a00a760b8c54a84bd19b5"


@pytest.mark.long
@given(st.dictionaries(st.text(min_size=1), st.binary(), max_size=5), st.randoms())
def test_the_digest_depends_on_every_file_and_on_no_order(files, random):
    items = list(files.items())
    random.shuffle(items)
    assert tree_digest(dict(items)) == tree_digest(files)
    for name in files:
        assert tree_digest({**files, name: files[name] + b"x"}) != tree_digest(files)
        assert tree_digest({k: v for k, v in files.items() if k != name}) != tree_digest(files)
        assert tree_digest({**files, name + "x": files[name]}) != tree_digest(files)


def test_what_was_rendered_is_not_stale():
    assert stale(*pinned()) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"rollout.yaml": b"edited"}, [f"{FOLDER}rollout.yaml is not what its release renders to"]),
        ({"rollout.yaml": None}, [f"{FOLDER}rollout.yaml is not what its release renders to"]),
        ({"more.yaml": b""}, [f"{FOLDER}more.yaml is not what its release renders to"]),
    ],
)
def test_an_edited_missing_or_added_file_is_stale(change, expected):
    release, files = pinned()
    files |= {FOLDER + name: text for name, text in change.items()}
    assert stale(release, {k: v for k, v in files.items() if v is not None}) == expected


def test_a_pin_that_names_another_tree_is_stale():
    release, files = pinned()
    assert stale(replace(release, manifests="ab" * 32), files) == [
        f"{FOLDER} does not have the digest its release pins, abababababab"
    ]


def test_a_tree_of_another_renderer_only_must_have_its_digest():
    release, _ = pinned(renderer=RENDERER + 1)
    files = {f"{FOLDER}deployment.yaml": b"kind: Deployment\n"}
    kept = replace(release, manifests=tree_digest({"deployment.yaml": b"kind: Deployment\n"}))
    assert stale(kept, files) == []
    assert stale(release, files) == [
        f"{FOLDER} does not have the digest its release pins, {release.manifests[:12]}"
    ]


def test_a_folder_that_no_release_pins_is_stale_but_the_platforms_is_not():
    release, files = pinned()
    other = "environments/dev/manifests/other/rollout.yaml"
    files |= {other: b"", "environments/platform/manifests/workflows/w.yaml": b""}
    expected = ["environments/dev/manifests/other/ belongs to no release"]
    assert stale(release, files) == expected
    assert stale(release, files, {other}) == expected
    assert stale(release, files, {PIN}) == []


@pytest.mark.parametrize(
    ("path", "concerned"),
    [
        (PIN, True),
        (f"{FOLDER}rollout.yaml", True),
        ("environments/dev/environment.yaml", True),
        ("models/pairs/model.yaml", True),
        ("models/pairs/versions/v2.yaml", False),
        ("environments/staging/environment.yaml", False),
        ("environments/dev/manifests/pairs-2/rollout.yaml", False),
    ],
)
def test_only_releases_that_a_change_concerns_are_looked_at(path, concerned):
    release, files = pinned()
    files[f"{FOLDER}rollout.yaml"] = b"edited"
    assert bool(stale(release, files, {path})) is concerned


def test_a_release_without_its_model_or_environment_is_said_to_be_so():
    release, files = pinned()
    catalog = Catalog(releases={("dev", "pairs"): release})
    assert stale_manifests(Files(files), catalog) == [
        f"{FOLDER}: its model or environment is missing"
    ]
