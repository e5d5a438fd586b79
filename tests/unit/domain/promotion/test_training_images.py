from __future__ import annotations

from dataclasses import replace

from modelyard.domain.promotion.training_workflows import training_images
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.version import Runtime
from unit.domain.promotion.examples import PATH, spec

IMAGE, SERVES = "runtime@sha256:" + "1" * 64, "server@sha256:" + "2" * 64


def images(runtime: Runtime, champion: str | None, *, release: str = "v1") -> dict[str, str]:
    """What v2 with this runtime is submitted with, while production runs this lock."""
    runs = Release(
        model="m", environment="production", version=release, artifact="a", server_image=SERVES,
        renderer=1, manifests="", lock=champion,
    )  # fmt: skip
    catalog = Catalog(
        versions={("m", "v2"): replace(spec("v2"), model="m", runtime=runtime)},
        environments={each.name: each for each in PATH},
        releases={("production", "m"): runs},
    )
    return training_images(catalog, "m", "v2")


def test_a_version_without_an_image_trains_in_the_platforms():
    assert images(Runtime(lock="one"), "one") == {}


def test_a_version_trains_in_its_own_image_beside_a_champion_of_the_same_lock():
    assert images(Runtime(lock="one", image=IMAGE), "one") == {"image": IMAGE}


def test_a_champion_of_another_lock_is_scored_apart_in_the_image_that_serves_it():
    assert images(Runtime(lock="two", image=IMAGE), "one") == {
        "image": IMAGE,
        "champion-apart": "yes",
        "champion-image": SERVES,
    }
    # As after `make lock`: the platform's image has the new lock, and production the old one.
    assert images(Runtime(lock="two"), "one") == {
        "champion-apart": "yes",
        "champion-image": SERVES,
    }


def test_a_champion_of_before_runtimes_were_measured_is_scored_in_the_platforms_image():
    assert images(Runtime(lock="two"), None) == {}
    assert images(Runtime(lock="two", image=IMAGE), None) == {
        "image": IMAGE,
        "champion-apart": "yes",
    }


def test_a_version_is_no_champion_of_itself():
    assert images(Runtime(lock="two"), "one", release="v2") == {}
