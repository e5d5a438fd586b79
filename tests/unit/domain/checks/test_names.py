from __future__ import annotations

from dataclasses import replace

from modelyard.domain.checks import CHECKS
from modelyard.domain.specs.catalog import Catalog
from unit.domain.checks.small_catalog import DEV, GOOD, RELEASE, VERSION, said, with_pending


def test_a_good_catalog_has_no_problems():
    assert said(GOOD) == []


def test_an_empty_catalog_has_no_problems():
    assert said(Catalog()) == []


def test_every_check_has_a_name_of_its_own_and_says_what_must_hold():
    names = [check.__name__ for check in CHECKS]
    assert len(set(names)) == len(names)
    assert all(check.__doc__ for check in CHECKS)


def test_refuses_names_that_differ_from_the_path():
    catalog = replace(
        GOOD,
        versions={**GOOD.versions, ("m", "v2"): replace(VERSION, model="n", version="v3")},
        environments={**GOOD.environments, "dev": replace(DEV, name="development")},
    )
    assert said(catalog)[:3] == [
        (
            "names-match-paths",
            "versions/v2.yaml",
            "model is n, but the path says m: rename one of them",
        ),
        (
            "names-match-paths",
            "versions/v2.yaml",
            "version is v3, but the path says v2: rename one of them",
        ),
        (
            "names-match-paths",
            "environments/dev/environment.yaml",
            "name is development, but the path says dev: rename one of them",
        ),
    ]


def test_refuses_a_model_called_as_another_one_is_where_it_joins():
    model = GOOD.models["m"]
    models = {"m": model, "m-canary": replace(model, name="m-canary")}
    found = [each for each in said(replace(GOOD, models=models)) if each[0].startswith("names-do")]
    message = "m-canary is also the name of m in canary: choose another name"
    assert found == [("names-do-not-collide", "models/m-canary/model.yaml", message)]


def test_refuses_two_releases_that_argo_cd_would_call_the_same():
    model, dev = GOOD.models["m"], GOOD.environments["dev"]
    models = {"m": model, "two-m": replace(model, name="two-m")}
    environments = {"dev": dev, "dev-two": replace(dev, name="dev-two", promotes_from="dev")}
    found = said(Catalog(models=models, environments=environments))
    message = "in Argo CD dev-two-m is m in dev-two and two-m in dev: choose another name"
    assert ("names-do-not-collide", "model.yaml", message) in found


def test_refuses_specs_of_a_model_that_is_not_there():
    found = said(replace(GOOD, models={}))
    message = "there is no model m: models/m/model.yaml is missing"
    assert found == [
        ("models-exist", "versions/v1.yaml", message),
        ("models-exist", "versions/v2.yaml", message),
        ("models-exist", "records/v1.yaml", message),
        ("models-exist", "heldout/april.yaml", message),
        (
            "models-exist",
            "environments/dev/releases/m.yaml",
            f"{message}; to retire m, first modelyard rollback dev m --remove --reason ...",
        ),
    ]


def test_refuses_a_record_without_its_version():
    catalog = replace(GOOD, versions={("m", "v2"): replace(VERSION, version="v2")})
    assert said(catalog) == [
        (
            "versions-of-records-exist",
            "records/v1.yaml",
            "there is no version v1: models/m/versions/v1.yaml is missing",
        )
    ]


def test_refuses_a_release_in_a_folder_that_is_no_environment():
    catalog = replace(GOOD, releases={("qa", "m"): replace(RELEASE, environment="qa")})
    assert said(catalog) == [
        (
            "environments-of-releases-exist",
            "environments/qa/releases/m.yaml",
            "there is no environment qa: environments/qa/environment.yaml is missing",
        )
    ]


def test_refuses_a_parent_that_is_not_there():
    assert said(with_pending(parent="v0")) == [
        (
            "parents-exist",
            "versions/v2.yaml",
            "there is no parent v0: models/m/versions/v0.yaml is missing",
        )
    ]


def test_refuses_versions_that_descend_from_each_other_once():
    versions = {
        ("m", name): replace(VERSION, version=name, parent=parent)
        for name, parent in [("v1", None), ("v2", "v4"), ("v3", "v2"), ("v4", "v3"), ("v5", "v4")]
    }
    assert said(replace(GOOD, versions=versions)) == [
        (
            "parents-come-first",
            "versions/v2.yaml",
            "v2 descends from itself: v2 -> v4 -> v3 -> v2; its parent must be older",
        )
    ]
