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
