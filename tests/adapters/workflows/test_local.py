from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.processes.preloading import preloaded_process
from modelyard.adapters.processes import process_table
from modelyard.adapters.processes.fork_client import PRELOADED
from modelyard.adapters.processes.process_table import Started
from modelyard.adapters.processes.start import stop_process
from modelyard.adapters.workflows.local import LocalWorkflows
from modelyard.adapters.workflows.local_runner import Walk
from modelyard.adapters.workflows.template import planned
from modelyard.domain.specs.paths import WORKFLOW_TEMPLATES
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer, Refused
from modelyard.ports import Phase, WorkflowStatus

ONLY_COULD_NOT_ANSWER = "asInt(lastRetry.exitCode) == 1"


def template(name: str, script: str, **fields: Any) -> dict[str, Any]:
    container = {"command": ["sh", "-c"], "args": [script], "workingDir": "/work"}
    container |= fields.pop("container", {})
    return {"name": name, "container": container, **fields}


def spec(
    *templates: dict[str, Any], tasks: list[dict[str, Any]] | None = None, **fields: Any
) -> dict[str, Any]:
    """A workflow of these templates, one task each, one after the other unless `tasks` says."""
    names = [each["name"] for each in templates]
    chain = [
        {"name": name, "template": name, "depends": before}
        if before
        else {"name": name, "template": name}
        for before, name in zip([None, *names], names, strict=False)
    ]
    dag = {"tasks": tasks or chain, **fields.pop("dag", {})}
    return {
        "entrypoint": "all",
        "templates": [*templates, {"name": "all", "dag": dag}],
        **fields,
    }


class Ran:
    """A plan that was walked in this process."""

    def __init__(self, folder: Path, spec: dict[str, Any], parameters: dict[str, str]) -> None:
        self.folder = folder
        self.told: list[dict[str, str]] = []
        self.walk = Walk(
            planned(spec, parameters),
            name="w-1",
            folder=folder,
            root=folder,
            tell=lambda: self.told.append(self.phases),
        )
        self.walk.run()

    @property
    def phases(self) -> dict[str, str]:
        return {name: track.phase for name, track in self.walk.tracks.items()}

    @property
    def outcome(self) -> tuple[str, str]:
        return self.walk.phase, self.walk.message

    def log(self, step: str) -> str:
        return (self.folder / f"{step}.log").read_text()


@pytest.fixture
def walk(tmp_path):
    def run(spec: dict[str, Any], **parameters: str) -> Ran:
        return Ran(tmp_path, spec, parameters)

    return run


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "checkout"
    (root / WORKFLOW_TEMPLATES).mkdir(parents=True)
    (root / "modelyard.yaml").write_text("apiVersion: modelyard/v1\nkind: Repository\n")
    return root


@pytest.fixture
def workflows(checkout):
    made = LocalWorkflows(checkout, Repository())
    yield made
    for status in checkout.glob(".modelyard/workflows/*/status.json"):
        runner = json.loads(status.read_text())["runner"]
        if runner:
            stop_process(Started(**runner), grace_seconds=1)


def put(checkout: Path, name: str, spec: dict[str, Any]) -> None:
    document = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "WorkflowTemplate",
        "metadata": {"name": name},
        "spec": spec,
    }
    (checkout / WORKFLOW_TEMPLATES / f"{name}.yaml").write_text(yaml.safe_dump(document))


def eventually(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(condition())


def is_gone(pid: str) -> bool:
    """Whether the process ended, though perhaps nobody waited for it yet."""
    started = process_table.find_process(int(pid))
    return started is None or not process_table.is_running(started)


# One step.


def test_a_step_gets_its_command_parameters_environment_and_work_folder(walk, tmp_path):
    show = template(
        "show",
        'echo "$COLOUR|$HOME|$MODELYARD_ROOT|$PWD|$0|$1"',
        inputs={"parameters": [{"name": "colour"}, {"name": "size", "default": "L"}]},
        container={
            "args": [
                'echo "$COLOUR|$MODELYARD_ROOT|$PWD|$0|$1"',
                "{{workflow.name}}",
                "{{inputs.parameters.size}}",
            ],
            "env": [
                {"name": "COLOUR", "value": "{{inputs.parameters.colour}}"},
                {"name": "MODELYARD_ROOT", "value": "/checkout"},
                {"name": "HOME", "value": "/work"},
            ],
        },
    )
    colour = {"name": "colour", "value": "dark {{workflow.parameters.tone}}"}
    tasks = [{"name": "show", "template": "show", "arguments": {"parameters": [colour]}}]
    arguments = {"parameters": [{"name": "tone", "value": "red"}]}
    ran = walk(spec(show, tasks=tasks, arguments=arguments), tone="blue")
    assert ran.outcome == ("Succeeded", "")
    assert ran.log("show") == f"dark blue|{tmp_path}|{tmp_path}/show|w-1|L\n"


def test_a_single_container_is_a_workflow_too(walk):
    ran = walk({"entrypoint": "only", "templates": [template("only", "echo here")]})
    assert ran.phases == {"only": "Succeeded"}


def test_modelyard_itself_is_run_by_this_interpreter(walk):
    version = template("version", "", container={"command": ["modelyard"], "args": ["--version"]})
    ran = walk(spec(version))
    assert ran.outcome == ("Succeeded", "")
    assert re.fullmatch(r"modelyard \d+\.\d+\.\d+\n", ran.log("version"))


def test_a_failure_says_its_exit_code_and_what_was_said_last(walk):
    ran = walk(spec(template("a", "echo thinking; echo no such row >&2; exit 3")))
    assert ran.outcome == ("Failed", "a: exit code 3: no such row")


def test_a_program_that_is_not_there_is_an_error_of_its_step(walk):
    missing = template("a", "", container={"command": ["no-such-program"], "args": []})
    phase, message = walk(spec(missing)).outcome
    assert phase == "Error"
    assert "no-such-program" in message


def test_a_step_that_is_killed_is_an_error(walk):
    ran = walk(spec(template("a", "kill -9 $$")))
    assert ran.outcome == ("Error", "a: killed by signal 9")


# Retries.


def retrying(script: str, **strategy: Any) -> dict[str, Any]:
    return template("a", f"echo try >> ../tries; {script}", retryStrategy=strategy)


def tries(tmp_path: Path) -> int:
    return len((tmp_path / "tries").read_text().splitlines())


@pytest.mark.parametrize(
    ("strategy", "code", "expected"),
    [
        ({}, 1, None),
        ({"limit": 2}, 1, 3),
        ({"limit": "2"}, 3, 3),
        ({"limit": 2, "expression": ONLY_COULD_NOT_ANSWER}, 1, 3),
        ({"limit": 2, "expression": ONLY_COULD_NOT_ANSWER}, 3, 1),
        ({"limit": 2, "retryPolicy": "OnError"}, 1, 1),
        ({"limit": 2, "retryPolicy": "OnError"}, 137, 3),
        ({"limit": 2, "retryPolicy": "OnFailure"}, 137, 1),
        ({"limit": 2, "retryPolicy": "Always"}, 137, 3),
        ({"limit": 2, "expression": 'lastRetry.status == "Failed"'}, 137, 1),
        ({"limit": 2, "expression": 'lastRetry.exitCode != "3"'}, 4, 3),
        ({"limit": 0}, 1, 1),
    ],
)
def test_tries_again_as_often_and_as_long_as_the_strategy_says(
    walk, tmp_path, strategy, code, expected
):
    if expected is None:  # without a limit: until it works
        script = f"[ $(wc -l < ../tries) -ge 4 ] || exit {code}"
        assert walk(spec(retrying(script))).outcome == ("Succeeded", "")
        assert tries(tmp_path) == 4
    else:
        assert walk(spec(retrying(f"exit {code}", **strategy))).outcome[0] != "Succeeded"
        assert tries(tmp_path) == expected


def test_the_next_try_starts_in_an_empty_folder_and_its_log_goes_on(walk):
    script = (
        "[ -e seen ] && exit 5; touch seen; [ $(wc -l < ../tries) -ge 2 ] || { echo no; exit 1; }"
    )
    ran = walk(spec(retrying(script, limit=2)))
    assert ran.outcome == ("Succeeded", "")
    assert ran.log("a") == "no\n"


def test_waits_longer_before_each_further_try_but_never_longer_than_the_cap(walk):
    backoff = {"duration": "100ms", "factor": "3", "cap": "0.2s"}
    begun = time.monotonic()
    walk(spec(retrying("exit 1", limit=3, backoff=backoff)))
    assert 0.5 <= time.monotonic() - begun < 1.5


# Time.


@pytest.mark.parametrize("field", ["activeDeadlineSeconds", "timeout"])
def test_a_step_out_of_time_is_killed_with_all_it_started_and_not_tried_again(
    walk, tmp_path, field
):
    script = "echo try >> ../tries; sleep 60 & echo $! > ../child; wait"
    limits = {"activeDeadlineSeconds": 1, "timeout": "500ms"}
    slow = template(
        "a",
        script,
        retryStrategy={"limit": 2, "expression": ONLY_COULD_NOT_ANSWER},
        **{field: limits[field]},
    )
    ran = walk(spec(slow))
    limit = "1" if field == "activeDeadlineSeconds" else "0.5"
    assert ran.outcome == ("Error", f"a: out of time after {limit} s")
    assert tries(tmp_path) == 1
    assert eventually(lambda: is_gone((tmp_path / "child").read_text()))


def test_a_workflow_out_of_time_stops_everything(walk):
    slow = [template("a", "sleep 60"), template("b", "sleep 60"), template("c", "true")]
    tasks = [
        {"name": "a", "template": "a"},
        {"name": "b", "template": "b"},
        {"name": "c", "template": "c", "depends": "a"},
    ]
    ran = walk(spec(*slow, tasks=tasks, activeDeadlineSeconds=1))
    assert ran.phases == {"a": "Error", "b": "Error", "c": "Error"}
    assert ran.outcome == ("Error", "a: the workflow took more than 1 s")


def test_independent_steps_run_two_at_a_time(walk):
    script = "date +%s%N; sleep 0.4; date +%s%N"
    names = ["a", "b", "c", "d"]
    ran = walk(
        spec(
            *(template(name, script) for name in names),
            tasks=[{"name": name, "template": name} for name in names],
        )
    )
    spans = [[int(line) for line in ran.log(name).split()] for name in names]
    moments = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    at_once = [sum(step for _, step in moments[: n + 1]) for n in range(len(moments))]
    assert max(at_once) == 2


def test_parallelism_may_be_less(walk):
    script = "[ ! -e ../busy ] && touch ../busy && sleep 0.1 && rm ../busy"
    ran = walk(
        spec(
            template("a", script),
            template("b", script),
            tasks=[{"name": "a", "template": "a"}, {"name": "b", "template": "b"}],
            parallelism=1,
        )
    )
    assert ran.outcome == ("Succeeded", "")


# Order, conditions, outputs.


def leaving(name: str, script: str, output: dict[str, Any]) -> dict[str, Any]:
    return template(name, script, outputs={"parameters": [{"name": "word", "valueFrom": output}]})


def asking(condition: str, **fields: Any) -> dict[str, Any]:
    return {"name": "b", "template": "b", "depends": "a", "when": condition, **fields}


@pytest.mark.parametrize(
    ("word", "condition", "phase"),
    [
        ("yes", "{{tasks.a.outputs.parameters.word}} == yes", "Succeeded"),
        ("no", "{{tasks.a.outputs.parameters.word}} == yes", "Skipped"),
        ("no", "{{tasks.a.outputs.parameters.word}} != yes", "Succeeded"),
        ("3", "{{tasks.a.outputs.parameters.word}} == 3.0", "Succeeded"),
        ("3", '"{{tasks.a.outputs.parameters.word}}" == 3', "Skipped"),
        ("true", "{{tasks.a.outputs.parameters.word}}", "Succeeded"),
        ("x", "{{tasks.a.outputs.parameters.word}} == y || 1 == 1", "Succeeded"),
        ("x", "!(x == {{tasks.a.outputs.parameters.word}}) && 1 == 1", "Skipped"),
        ("0", "{{tasks.a.exitCode}} == 0 && {{tasks.a.status}} == Succeeded", "Succeeded"),
        ("a b", "{{tasks.a.outputs.parameters.word}} == yes", "Error"),
        ("half-way", "{{tasks.a.outputs.parameters.word}} == yes", "Error"),
        ("half-way", "'{{tasks.a.outputs.parameters.word}}' == 'half-way'", "Succeeded"),
    ],
)
def test_when_compares_what_an_earlier_step_left(walk, word, condition, phase):
    first = leaving("a", f"printf '{word}\\n' > word", {"path": "/work/word"})
    tasks = [{"name": "a", "template": "a"}, asking(condition)]
    ran = walk(spec(first, template("b", "true"), tasks=tasks))
    assert ran.phases == {"a": "Succeeded", "b": phase}
    assert ran.outcome[0] == ("Error" if phase == "Error" else "Succeeded")


def test_an_output_is_an_input_of_later_steps(walk):
    first = leaving("a", "mkdir sub; echo blue > sub/word", {"path": "/work/sub/word"})
    then = template(
        "b",
        "echo {{inputs.parameters.colour}} {{workflow.name}}",
        inputs={"parameters": [{"name": "colour"}]},
    )
    value = {"name": "colour", "value": "{{tasks.a.outputs.parameters.word}}"}
    tasks = [
        {"name": "a", "template": "a"},
        {"name": "b", "template": "b", "depends": "a", "arguments": {"parameters": [value]}},
    ]
    assert walk(spec(first, then, tasks=tasks)).log("b") == "blue w-1\n"


def test_a_missing_output_is_an_error_unless_it_has_a_default(walk):
    ran = walk(spec(leaving("a", "true", {"path": "/work/word"})))
    assert ran.outcome == ("Error", "a: left no word")
    other = walk(spec(leaving("a", "true", {"path": "/work/word", "default": "none"})))
    assert other.walk.tracks["a"].outputs == {"word": "none"}


def test_a_value_that_a_skipped_step_never_left_is_an_error(walk):
    first = leaving("a", "true", {"path": "/work/word"})
    tasks = [
        {"name": "a", "template": "a", "when": "1 == 2"},
        asking("{{tasks.a.outputs.parameters.word}} == yes"),
    ]
    ran = walk(spec(first, template("b", "true"), tasks=tasks))
    assert ran.outcome == ("Error", "b: there is no value for {{tasks.a.outputs.parameters.word}}")


def test_a_skipped_step_lets_those_after_it_run(walk):
    tasks = [
        {"name": "a", "template": "a", "when": "1 == 2"},
        {"name": "b", "template": "a", "dependencies": ["a"]},
    ]
    assert walk(spec(template("a", "true"), tasks=tasks)).phases == {
        "a": "Skipped",
        "b": "Succeeded",
    }


@pytest.mark.parametrize(
    ("depends", "phase", "whole"),
    [
        ("a", "Omitted", "Failed"),
        ("a.Failed", "Succeeded", "Succeeded"),
        ("a.Succeeded || a.Failed", "Succeeded", "Succeeded"),
        ("a.Succeeded && c", "Omitted", "Failed"),
        ("(a.Failed || a.Errored) && c.Succeeded", "Succeeded", "Succeeded"),
        ("!a.Succeeded && c", "Succeeded", "Succeeded"),
    ],
)
def test_depends_may_ask_for_a_failure(walk, depends, phase, whole):
    tasks = [
        {"name": "a", "template": "a"},
        {"name": "c", "template": "c"},
        {"name": "b", "template": "c", "depends": depends},
    ]
    templates = [template("a", "exit 3"), template("c", "true")]
    ran = walk(spec(*templates, tasks=tasks, dag={"failFast": False}))
    assert (ran.phases["b"], ran.outcome[0]) == (phase, whole)


def test_a_failure_that_may_go_on_does_not_fail_the_whole(walk):
    tasks = [
        {"name": "a", "template": "a", "continueOn": {"failed": True}},
        {"name": "b", "template": "b", "dependencies": ["a"]},
    ]
    ran = walk(spec(template("a", "exit 3"), template("b", "true"), tasks=tasks))
    assert (ran.phases, ran.outcome[0]) == ({"a": "Failed", "b": "Succeeded"}, "Succeeded")


def test_an_error_does_not_go_on_where_only_a_failure_may(walk):
    tasks = [
        {"name": "a", "template": "a", "continueOn": {"failed": True}},
        {"name": "b", "template": "b", "dependencies": ["a"]},
    ]
    ran = walk(spec(template("a", "kill -9 $$"), template("b", "true"), tasks=tasks))
    assert (ran.phases, ran.outcome[0]) == ({"a": "Error", "b": "Omitted"}, "Error")


@pytest.mark.parametrize(("fail_fast", "started"), [(True, False), (False, True)])
def test_a_failure_keeps_others_from_starting_only_when_it_fails_fast(walk, fail_fast, started):
    templates = [template("a", "exit 1"), template("b", "sleep 0.5"), template("c", "true")]
    tasks = [
        {"name": "a", "template": "a"},
        {"name": "b", "template": "b"},
        {"name": "c", "template": "c", "depends": "b"},
    ]
    ran = walk(spec(*templates, tasks=tasks, dag={"failFast": fail_fast}))
    phase = "Succeeded" if started else "Omitted"
    assert ran.phases == {"a": "Failed", "b": "Succeeded", "c": phase}
    assert ran.outcome[0] == "Failed"


@st.composite
def graphs(draw):
    names = [f"t{n}" for n in range(draw(st.integers(1, 7)))]
    edges = {
        name: draw(st.lists(st.sampled_from(names[:n]), unique=True)) if n else []
        for n, name in enumerate(names)
    }
    return draw(st.permutations(list(edges.items())))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=graphs())
def test_every_step_runs_once_and_after_all_it_depends_on(graph, tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph")
    tasks = [{"name": name, "template": name, "dependencies": before} for name, before in graph]
    templates = [
        template(name, f"echo + {name} >> ../order; echo - {name} >> ../order") for name, _ in graph
    ]
    ran = Ran(folder, spec(*templates, tasks=tasks), {})
    lines = [line.split() for line in (folder / "order").read_text().splitlines()]
    ends = {name: lines.index(["-", name]) for name, _ in graph}
    assert ran.outcome == ("Succeeded", "")
    assert sorted(name for sign, name in lines if sign == "+") == sorted(name for name, _ in graph)
    for name, before in graph:
        assert all(ends[each] < lines.index(["+", name]) for each in before)


# Refusals, before anything starts.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"onExit": "all"}, "does not run spec.onExit"),
        ({"hooks": {}}, "does not run spec.hooks"),
        ({"volumeClaimTemplates": []}, "does not run spec.volumeClaimTemplates"),
        ({"volumes": [{"name": "v", "persistentVolumeClaim": {}}]}, "spec.volumes.v.persistentV"),
        ({"synchronization": {}}, "does not run spec.synchronization"),
        ({"entrypoint": "nothing"}, "entrypoint names no template: 'nothing'"),
        ({"arguments": {"artifacts": []}}, "does not run spec.arguments.artifacts"),
    ],
)
def test_refuses_what_a_workflow_asks_for_and_it_does_not_do(change, message):
    with pytest.raises(Refused, match=re.escape(message)):
        planned(spec(template("a", "true")) | change, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sidecars": []}, "does not run a.sidecars"),
        ({"daemon": True}, "does not run a.daemon"),
        ({"parallelism": 1}, "does not run a.parallelism"),
        ({"retryStrategy": {"affinity": {}}}, "does not run a.retryStrategy.affinity"),
        ({"retryStrategy": {"backoff": {"maxDuration": "1m"}}}, "backoff.maxDuration"),
        ({"retryStrategy": {"expression": "retries < 3"}}, "cannot evaluate 'retries < 3'"),
        ({"retryStrategy": {"expression": "lastRetry.message == x"}}, "lastRetry.message"),
        ({"retryStrategy": {"retryPolicy": "OnTransientError"}}, "OnTransientError"),
        ({"timeout": "soon"}, "timeout: 'soon' is no duration"),
        ({"outputs": {"artifacts": []}}, "does not run a.outputs.artifacts"),
        (
            {"outputs": {"parameters": [{"name": "o", "valueFrom": {"expression": "1"}}]}},
            "o.valueFrom.expression",
        ),
        (
            {"outputs": {"parameters": [{"name": "o", "valueFrom": {"path": "/etc/x"}}]}},
            "/etc/x is not below",
        ),
        (
            {"outputs": {"parameters": [{"name": "o", "valueFrom": {"path": "/work/../x"}}]}},
            "not below",
        ),
        ({"container": {"lifecycle": {}}}, "does not run a.container.lifecycle"),
        ({"container": {"command": []}}, "a.container has no command"),
        ({"container": {"env": [{"name": "X", "valueFrom": {}}]}}, "a.container.env.X.valueFrom"),
        ({"container": {"args": ["{{pod.name}}"]}}, "does not run {{pod.name}} in a"),
        ({"container": {"args": ["{{=1+1}}"]}}, "does not run {{=1+1}} in a"),
        ({"container": {"args": ["{{inputs.parameters.x}}"]}}, "{{inputs.parameters.x}} in a"),
        ({"container": {"args": ["{{tasks.a.exitCode}}"]}}, "{{tasks.a.exitCode}} in a"),
    ],
)
def test_refuses_what_a_template_asks_for_and_it_does_not_do(change, message):
    changed = template("a", "true", **{k: v for k, v in change.items() if k == "container"})
    changed |= {k: v for k, v in change.items() if k != "container"}
    with pytest.raises(Refused, match=re.escape(message)):
        planned(spec(changed), {})


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"withItems": [1, 2]}, "does not run b.withItems"),
        ({"templateRef": {}}, "does not run b.templateRef"),
        ({"onExit": "a"}, "does not run b.onExit"),
        ({"template": "all"}, "does not run all: it is not a container"),
        ({"template": "other"}, "b.template names no template: 'other'"),
        ({"depends": "c"}, "b depends on c, which is no task"),
        ({"depends": "b"}, "tasks wait for each other: b"),
        ({"depends": "a.AnySucceeded"}, "does not know a.AnySucceeded"),
        ({"name": "../b"}, "a task cannot be named '../b'"),
        ({"name": "a"}, "two tasks have one name"),
        ({"when": "{{tasks.c.exitCode}} == 1"}, "{{tasks.c.exitCode}} in b"),
        ({"when": "{{tasks.a.exitCode}} == 1"}, "{{tasks.a.exitCode}} in b"),
        ({"when": "{{tasks.a.outputs.result}} == 1", "depends": "a"}, "{{tasks.a.outputs.result}}"),
        ({"arguments": {"parameters": [{"name": "x", "value": 1}]}}, "a has no input x"),
    ],
)
def test_refuses_what_a_task_asks_for_and_it_does_not_do(task, message):
    tasks = [{"name": "a", "template": "a"}, {"name": "b", "template": "a"} | task]
    with pytest.raises(Refused, match=re.escape(message)):
        planned(spec(template("a", "true"), tasks=tasks), {})


def test_refuses_parameters_it_does_not_have_or_misses():
    one = spec(template("a", "true"), arguments={"parameters": [{"name": "model"}]})
    with pytest.raises(Refused, match="the workflow's parameter model has no value"):
        planned(one, {})
    with pytest.raises(Refused, match="the workflow has no parameter colour"):
        planned(one, {"model": "m", "colour": "blue"})


def test_what_matters_in_a_cluster_only_is_ignored_on_purpose():
    cluster = {
        "ttlStrategy": {"secondsAfterCompletion": 1},
        "podGC": {"strategy": "OnPodSuccess"},
        "serviceAccountName": "x",
        "securityContext": {"runAsNonRoot": True},
        "volumes": [{"name": "work", "emptyDir": {}}],
    }
    only = template(
        "a",
        "true",
        initContainers=[{"name": "clone"}],
        nodeSelector={"gpu": "yes"},
        container={"image": "x", "resources": {}, "volumeMounts": [], "envFrom": []},
    )
    assert planned(spec(only, **cluster), {}) == planned(spec(template("a", "true")), {})


# Processes.


def test_a_workflow_runs_on_its_own_and_every_change_is_told(workflows, checkout):
    gate = "while [ ! -e ../../../../go ]; do sleep 0.02; done"
    put(checkout, "two", spec(template("a", gate), template("b", "echo done; exit 3")))
    workflows.submit("w-1", template="two", parameters={})
    assert eventually(lambda: workflows.status("w-1").phase is Phase.RUNNING)
    (checkout / "go").touch()
    told: list[WorkflowStatus] = []
    status = workflows.wait("w-1", progress=told.append)
    assert status == WorkflowStatus(
        name="w-1",
        phase=Phase.FAILED,
        message="b: exit code 3: done",
        steps={"a": Phase.SUCCEEDED, "b": Phase.FAILED},
    )
    assert told[-1] == status
    assert workflows.status("w-1") == status
    folder = checkout / ".modelyard/workflows/w-1"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "workflow.yaml",
        "status.json",
        ".lock",
        "_runner.log",
        "a",
        "a.log",
        "b",
        "b.log",
    }
    assert (folder / "_runner.log").read_text() == "w-1: Failed: b: exit code 3: done\n"


def test_the_same_name_is_started_only_once(workflows, checkout):
    put(checkout, "count", spec(template("a", "echo ran >> ../../../../ran; sleep 0.3")))
    for _ in range(3):
        workflows.submit("w-1", template="count", parameters={})
    workflows.wait("w-1", progress=lambda _: None)
    workflows.submit("w-1", template="count", parameters={})
    time.sleep(0.5)
    assert (checkout / "ran").read_text() == "ran\n"


def test_two_processes_that_submit_the_same_name_start_it_once(workflows, checkout):
    put(checkout, "count", spec(template("a", "echo ran >> ../../../../ran; sleep 0.3")))
    code = (
        "import sys; from pathlib import Path;"
        "from modelyard.adapters.workflows.local import LocalWorkflows;"
        "from modelyard.domain.specs.repository import Repository;"
        "LocalWorkflows(Path(sys.argv[1]), Repository())"
        ".submit('w-1', template='count', parameters={})"
    )
    command = [sys.executable, "-c", code, str(checkout)]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [one.wait(20) for one in both] == [0, 0]
    assert workflows.wait("w-1", progress=lambda _: None).phase is Phase.SUCCEEDED
    time.sleep(0.5)
    assert (checkout / "ran").read_text() == "ran\n"


def test_a_killed_runner_is_an_error_and_its_steps_end(workflows, checkout):
    put(checkout, "slow", spec(template("a", "echo $$ > pid; sleep 60"), template("b", "true")))
    workflows.submit("w-1", template="slow", parameters={})
    folder = checkout / ".modelyard/workflows/w-1"
    assert eventually(lambda: (folder / "a/pid").exists() and (folder / "a/pid").read_text())
    assert eventually(lambda: json.loads((folder / "status.json").read_text())["running"])
    os.kill(json.loads((folder / "status.json").read_text())["runner"]["pid"], signal.SIGKILL)
    lost = WorkflowStatus(
        name="w-1",
        phase=Phase.ERROR,
        message="lost: its process is gone",
        steps={"a": Phase.ERROR, "b": Phase.ERROR},
    )
    assert eventually(lambda: workflows.status("w-1").phase.is_over)
    assert workflows.status("w-1") == lost
    assert eventually(lambda: is_gone((folder / "a/pid").read_text()))
    workflows.submit("w-1", template="slow", parameters={})
    assert workflows.wait("w-1", progress=lambda _: None) == lost


def test_a_stopped_runner_ends_its_steps_first(workflows, checkout):
    put(checkout, "slow", spec(template("a", "echo $$ > pid; sleep 60")))
    workflows.submit("w-1", template="slow", parameters={})
    folder = checkout / ".modelyard/workflows/w-1"
    assert eventually(lambda: (folder / "a/pid").exists() and (folder / "a/pid").read_text())
    os.kill(json.loads((folder / "status.json").read_text())["runner"]["pid"], signal.SIGTERM)
    status = workflows.wait("w-1", progress=lambda _: None)
    assert (status.phase, status.message) == (Phase.ERROR, "a: interrupted")
    assert eventually(lambda: is_gone((folder / "a/pid").read_text()))


def test_forked_runners_and_steps_do_what_plain_ones_do(workflows, checkout, tmp_path, monkeypatch):
    version = template("v", "", container={"command": ["modelyard"], "args": ["--version"]})
    wrong = template("w", "", container={"command": ["modelyard"], "args": ["no-such-command"]})
    put(checkout, "two", spec(version, wrong))
    with preloaded_process(tmp_path / "socket", ["modelyard.cli"]) as preloaded:
        assert preloaded.stdout.readline() == b"ready\n"
        monkeypatch.setenv(PRELOADED, str(tmp_path / "socket"))
        for name in ("w-1", "w-2"):
            workflows.submit(name, template="two", parameters={})
            status = workflows.wait(name, progress=lambda _: None)
            assert status.steps == {"v": Phase.SUCCEEDED, "w": Phase.FAILED}
            assert status.message.startswith("w: exit code 2: ")
        assert preloaded.poll() is None


def test_a_submission_that_died_half_way_is_started_by_the_next_one(
    workflows, checkout, monkeypatch
):
    put(checkout, "one", spec(template("a", "true")))
    with monkeypatch.context() as patch:
        patch.setattr("modelyard.adapters.workflows.local.start_modelyard", lambda *_, **__: None)
        workflows.submit("w-1", template="one", parameters={})
    assert workflows.status("w-1").phase is Phase.PENDING
    workflows.submit("w-1", template="one", parameters={})
    assert workflows.wait("w-1", progress=lambda _: None).phase is Phase.SUCCEEDED


def test_what_was_submitted_and_never_started_is_lost_after_a_minute(
    workflows, checkout, monkeypatch
):
    put(checkout, "one", spec(template("a", "true")))
    with monkeypatch.context() as patch:
        patch.setattr("modelyard.adapters.workflows.local.start_modelyard", lambda *_, **__: None)
        workflows.submit("w-1", template="one", parameters={})
    status = checkout / ".modelyard/workflows/w-1/status.json"
    os.utime(status, (time.time() - 61, time.time() - 61))
    assert workflows.status("w-1") == WorkflowStatus(
        name="w-1", phase=Phase.ERROR, message="lost: its process is gone"
    )


def test_the_workflow_that_runs_is_the_one_that_was_submitted(workflows, checkout):
    arguments = {"parameters": [{"name": "colour"}]}
    show = {"args": ['printf %s "$1"', "sh", "{{workflow.parameters.colour}}"]}
    put(checkout, "one", spec(template("a", "", container=show), arguments=arguments))
    awkward = "007: 'blue' # no\n- $(yes) \"1e3\""
    workflows.submit("w-1", template="one", parameters={"colour": awkward})
    put(checkout, "one", spec(template("a", "exit 1"), arguments=arguments))
    assert workflows.wait("w-1", progress=lambda _: None).phase is Phase.SUCCEEDED
    assert (checkout / ".modelyard/workflows/w-1/a.log").read_text() == awkward
    document = yaml.safe_load((checkout / ".modelyard/workflows/w-1/workflow.yaml").read_text())
    assert document["kind"] == "Workflow"
    assert document["spec"]["arguments"] == {"parameters": [{"name": "colour", "value": awkward}]}


def test_refused_workflows_leave_nothing_behind(workflows, checkout):
    put(checkout, "bad", spec(template("a", "true", daemon=True)))
    with pytest.raises(
        Refused, match=r"workflows/bad\.yaml: the local orchestrator does not run a\.daemon"
    ):
        workflows.submit("w-1", template="bad", parameters={})
    with pytest.raises(Refused, match=r"workflows/other\.yaml: No such file"):
        workflows.submit("w-1", template="other", parameters={})
    (checkout / WORKFLOW_TEMPLATES / "no.yaml").write_text("kind: ConfigMap\n")
    with pytest.raises(Refused, match=r"no\.yaml is no WorkflowTemplate"):
        workflows.submit("w-1", template="no", parameters={})
    with pytest.raises(Refused, match="cannot name a workflow"):
        workflows.submit("../w-1", template="bad", parameters={})
    assert workflows.status("w-1") is None
    assert list((checkout / ".modelyard").glob("**/*")) == []
    with pytest.raises(CannotAnswer, match="there is no workflow w-1"):
        workflows.wait("w-1", progress=lambda _: None)
