from __future__ import annotations

from typing import Any

from modelyard.adapters.workflows.argo import failing_node, out_of_memory, steps_of
from modelyard.adapters.workflows.patience import last_error_line
from modelyard.ports import Phase


def node(kind: str, name: str, phase: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "type": kind, "displayName": name, "phase": phase, **more}


NODES = {
    "w": node("DAG", "w", "Failed", children=["fetch"]),
    "fetch": node("Retry", "fetch", "Succeeded", children=["f0", "f1"]),
    "f0": node("Pod", "fetch(0)", "Failed", finishedAt="2026-01-01T00:00:01Z"),
    "f1": node("Pod", "fetch(1)", "Succeeded", finishedAt="2026-01-01T00:00:09Z"),
    "train": node("Retry", "train", "Failed", children=["t0"]),
    "t0": node("Pod", "train(0)", "Failed", finishedAt="2026-01-01T00:00:20Z", message="exit 3"),
    "evaluate": node("Skipped", "evaluate", "Omitted"),
}


def test_a_step_that_was_tried_again_is_one_step_and_what_never_ran_is_none():
    assert steps_of(NODES) == {"fetch": Phase.SUCCEEDED, "train": Phase.FAILED}


def test_each_word_of_a_list_is_a_step_and_the_group_of_them_is_none():
    shard = "profile(0:1-of-8)"
    nodes = {
        "g": node("TaskGroup", "profile", "Running", children=["r"]),
        "r": node("Retry", shard, "Running", children=["p"]),
        "p": node("Pod", f"{shard}(0)", "Error"),
    }
    assert steps_of(nodes) == {shard: Phase.RUNNING}
    assert steps_of({"s": node("Skipped", "profile", "Skipped")}) == {}


def test_a_step_without_retries_is_its_pod():
    assert steps_of({"p": node("Pod", "compare", "Running")}) == {"compare": Phase.RUNNING}


def test_the_step_that_failed_last_is_the_one_to_blame():
    found = failing_node(NODES)

    assert found is not None
    assert found["displayName"] == "train(0)"


def test_nothing_failed_where_no_pod_did():
    assert failing_node({"p": node("Pod", "compare", "Succeeded")}) is None


def test_a_log_ends_in_its_error_or_else_in_its_last_line():
    assert last_error_line("loading\nerror: no such column\nhint: look\n") == "no such column"
    assert last_error_line("Killed\n\n") == "Killed"
    assert last_error_line("") == ""


def test_a_step_that_used_too_much_memory_is_told_its_limit_and_what_raises_it():
    limits = {"resources": {"limits": {"memory": "4Gi"}}}
    pod = {"spec": {"containers": [{"name": "wait"}, {"name": "main", **limits}]}}
    killed = {"displayName": "train(1)", "message": "OOMKilled (exit code 137)"}
    raised = "it used more memory than 4Gi: raise trainer.resources.memory in model.yaml"
    assert out_of_memory(killed, pod) == raised
    assert "server.resources.memory" in out_of_memory({**killed, "displayName": "verify"}, pod)
    shard = {**killed, "displayName": "profile(0:1-of-8)(2)"}
    assert out_of_memory(shard, pod) == raised
    assert out_of_memory({**killed, "displayName": "record"}, pod).endswith("memory than 4Gi")
    assert out_of_memory({**killed, "message": "Error (exit code 1)"}, pod) == ""
