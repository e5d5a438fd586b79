"""Which place a path is about."""

from __future__ import annotations

import pytest

from modelyard.domain.specs.paths import place_of

RELEASE = "environments/dev/manifests/wine/"


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("environments/dev/manifests/wine/rollout.yaml", RELEASE),
        ("environments/dev/manifests/wine/é\n.yaml", RELEASE),
        ("environments/dev/manifests/wine", RELEASE),
        ("environments/dev/releases/wine.yaml", RELEASE),
        ("environments/dev/releases/wine.yaml/x", RELEASE),
        ("environments/dev/releases/wine.yaml.bak", None),
        ("environments/dev/releases/wine.yaml\n", None),
        ("environments/dev/manifests/wine\n", None),
        ("environments/dev/manifests/winé/x", None),
        ("environments/dev/manifests", None),
        ("environments/platform/manifests/wine/x", None),
        ("models/wine", "models/wine/"),
        ("models/wine/trainer/a\tb", "models/wine/"),
        ("models/wine.bak", None),
        ("old/models/wine/model.yaml", None),
    ],
)
def test_a_path_is_about_one_place_or_none(path: str, place: str | None) -> None:
    assert place_of(path) == place
