from __future__ import annotations

import copy
from typing import Any

import pytest

from modelyard.adapters.specs.older_readers import CHAMPION, LEFT_OUT, Readable, make_readable
from modelyard.adapters.specs.schemas import schema_of

MODEL: dict[str, Any] = {
    "name": "m",
    "data": {"columns": [{"name": "x"}, {"name": "y", "kind": "new"}], "feed": "f"},
    "canary": {"alpha": 0.1, "segments": ["x"]},
    "drift": {"profile_shards": 8},
    "artifact": {"formats": ["onnx"], "signed_by": ["k"]},
}
"""A document for the schemas of this module, not a real model.yaml."""


def without(*places: str) -> dict[str, Any]:
    """The document without these places, such as `drift.profile_shards`."""
    found = copy.deepcopy(MODEL)
    for place in places:
        *folders, key = place.split(".")
        inside = found
        for each in folders:
            inside = inside[each]
        del inside[key]
    return found


def rules_for(document: object) -> dict[str, Any]:
    """A closed schema that knows exactly the keys of a document, and asks for none."""
    if isinstance(document, dict):
        properties = {key: rules_for(value) for key, value in document.items()}
        return {"type": "object", "properties": properties, "additionalProperties": False}
    if isinstance(document, list) and document:
        return {"type": "array", "items": rules_for(document[0])}
    return {}


@pytest.mark.parametrize(
    "unknown",
    ["drift", "drift.profile_shards", "canary.alpha"],
)
def test_a_key_that_no_step_needs_is_left_out(unknown):
    rules = rules_for(without(unknown, "data") | {"data": {}})
    rules["properties"]["data"] = {}

    found = make_readable("Model", MODEL, rules)

    assert found == Readable(document=without(unknown), left_out=(unknown,))


def test_what_is_read_already_stays_as_it_is():
    assert make_readable("Model", MODEL, {}) == Readable(document=MODEL)


@pytest.mark.parametrize("unknown", ["artifact.signed_by", "artifact", "canary.segments", "canary"])
def test_an_image_that_does_not_know_what_a_step_does_is_refused(unknown):
    rules = rules_for(without(unknown))
    rules["properties"]["data"] = {}

    found = make_readable("Model", MODEL, rules)

    assert (found.document, found.left_out) == (MODEL, ())
    assert found.refused is not None
    assert found.refused.startswith(f"{unknown}: is not known here")


def test_a_whole_part_may_go_where_nothing_in_it_is_needed():
    document = without("canary.segments")
    rules = rules_for(without("canary"))
    rules["properties"]["data"] = {}

    assert make_readable("Model", document, rules).document == without("canary")


def test_a_new_key_at_the_top_is_refused_until_somebody_says_that_no_step_needs_it():
    found = make_readable("Model", {**MODEL, "privacy": {}}, rules_for(MODEL) | {"x": 1})

    assert found.refused is not None
    assert "privacy: is not known here" in found.refused or "data" in found.refused


def test_the_champion_is_scored_without_knowing_the_data_the_gate_and_the_trainer():
    rules = rules_for(MODEL)  # it knows no `kind` of a column

    found = make_readable("Model", MODEL, rules, left_out=CHAMPION)

    assert found.left_out == ("data.columns[1].kind",)
    assert make_readable("Model", MODEL, rules).refused is not None


def test_a_value_that_is_new_is_left_out_with_what_needs_it():
    rules = {
        "properties": {
            "rollout": {
                "properties": {
                    "steps": {"items": {"properties": {"by": {"enum": ["a"]}}, "required": ["by"]}}
                }
            }
        }
    }
    document = {"rollout": {"steps": [{"by": "b"}, {"by": "a"}, {"by": "c"}]}}

    found = make_readable("Environment", document, rules)

    assert found.document == {"rollout": {"steps": [{"by": "a"}]}}


@pytest.mark.parametrize("key", ["joins", "promotes_from", "name"])
def test_the_order_of_the_environments_is_never_changed(key):
    found = make_readable("Environment", {key: "new"}, {"properties": {key: {"enum": ["old"]}}})

    assert found.refused is not None


def older_record_rules() -> dict[str, Any]:
    """What an image reads that knows no `inconclusive`."""
    rules = copy.deepcopy(schema_of("Record"))
    rules["$defs"]["verdict"]["properties"]["outcome"]["enum"] = ["pass", "fail"]
    return rules


def test_no_version_is_left_out_of_those_that_were_judged_on_a_held_out_set():
    digest = f"sha256:{'a' * 64}"
    result = {
        "name": "recent",
        "digest": digest,
        "rows": 9,
        "unlabelled": 0,
        "clusters": 9,
        "look": 1,
        "metrics": {},
        "scores": digest,
        "verdict": {"outcome": "inconclusive", "reason": "too few rows"},
    }
    record = {
        "apiVersion": "modelyard/v1",
        "kind": "Record",
        "model": "m",
        "version": "v1",
        "spec": "a" * 64,
        "workflow": "w",
        "attempt": 1,
        "seed": 1,
        "lock": "a" * 64,
        "threads": 1,
        "verdict": {"outcome": "fail", "reason": "worse"},
        "held_out": [result],
    }

    found = make_readable("Record", record, older_record_rules())

    assert found.document == record
    assert found.refused is not None
    assert found.refused.startswith("held_out[0]: verdict is missing")


@pytest.mark.parametrize("place", ["held_out", "held_out[0]", "held_out[0].name"])
def test_the_results_of_a_record_stay_whatever_is_wrong_in_them(place):
    refused = {"type": "null"}
    rules = {
        "held_out": refused,
        "held_out[0]": {"items": refused},
        "held_out[0].name": {"items": {"properties": {"name": refused}}},
    }[place]

    found = make_readable(
        "Record", {"held_out": [{"name": "recent", "look": 1}]}, {"properties": {"held_out": rules}}
    )

    assert found.refused is not None
    assert found.refused.startswith(place)


def test_a_new_key_of_a_result_is_left_out_as_it_decides_nothing():
    rules = {"properties": {"held_out": {"items": rules_for({"name": "recent"})}}}
    record = {"held_out": [{"name": "recent", "better_by": 1}]}

    found = make_readable("Record", record, rules)

    assert found.left_out == ("held_out[0].better_by",)


def test_the_length_of_a_window_is_never_left_to_a_default():
    rules = {"properties": {"drift": {"properties": {"window_days": {"maximum": 7}}}}}

    assert make_readable("Model", {"drift": {"window_days": 30}}, rules).refused is not None


@pytest.mark.parametrize("key", ["$ref", "$dynamicRef"])
@pytest.mark.parametrize("place", ["http://127.0.0.1:1/a", "file:///etc/hostname"])
def test_an_image_makes_the_platform_fetch_no_other_schema(monkeypatch, key, place):
    monkeypatch.setattr("urllib.request.urlopen", lambda *_: pytest.fail("it was fetched"))

    with pytest.raises(ValueError, match=r"fetch|retriev"):
        make_readable("Model", MODEL, {"properties": {"drift": {key: place}}})


def test_each_part_of_the_model_and_the_settings_is_left_out_or_needed_on_purpose():
    """Add a new one here: does a step of an older image do without it? If in doubt, it does not."""
    needed = {
        "Model": {
            *("apiVersion", "kind", "name", "task", "target", "outputs"),
            *("trainer", "data", "gate", "artifact"),
        },
        "Repository": {
            *("apiVersion", "kind", "artifacts", "data", "data_roots", "main", "remote"),
            *("state", "tracking_uri", "unisolated_trainers"),
        },
    }
    for kind, places in needed.items():
        parts = schema_of(kind)["properties"].keys()
        left_out = {key for key, *_ in LEFT_OUT[kind]}
        assert left_out | places == parts
        assert not left_out & places
