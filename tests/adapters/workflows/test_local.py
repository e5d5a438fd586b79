from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
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
from modelyard.adapters.workflows import local_runner
from modelyard.adapters.workflows.local import LocalWorkflows
from modelyard.adapters.workflows.local_runner import Walk
from modelyard.adapters.workflows.plan import Plan
from modelyard.adapters.workflows.template import read_plan
from modelyard.domain.specs.paths import WORKFLOW_TEMPLATES
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer, Refused
from modelyard.ports import Phase, WorkflowStatus


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
        self.reported: list[dict[str, str]] = []
        self.walk = Walk(
            read_plan(spec, parameters),
            name="w-1",
            folder=folder,
            root=folder,
            report=lambda: self.reported.append(self.phases),
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


def eventually(condition, seconds: float = 30.0) -> bool:
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
        "",
        container={
            "args": [
                'echo "$MODELYARD_ROOT|$HOME|$PWD|$0|$1"',
                "{{workflow.name}}",
                "dark {{workflow.parameters.tone}}",
            ],
            "env": [
                {"name": "MODELYARD_ROOT", "value": "/checkout"},
                {"name": "HOME", "value": "/work"},
            ],
        },
    )
    arguments = {"parameters": [{"name": "tone", "value": "red"}]}
    ran = walk(spec(show, arguments=arguments), tone="blue")
    assert ran.outcome == ("Succeeded", "")
    home = os.environ["HOME"]
    assert ran.log("show") == f"{tmp_path}|{home}|{tmp_path}/show|w-1|dark blue\n"


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


BACKOFF = {"duration": "0s", "factor": 3, "cap": "1m"}
ONLY_COULD_NOT_ANSWER = {"expression": "asInt(lastRetry.exitCode) == 1", "backoff": BACKOFF}


def retrying(script: str, limit: int) -> dict[str, Any]:
    strategy = {"limit": limit, **ONLY_COULD_NOT_ANSWER}
    return template("a", f"echo try >> ../tries; {script}", retryStrategy=strategy)


def tries(tmp_path: Path) -> int:
    return len((tmp_path / "tries").read_text().splitlines())


@pytest.mark.parametrize(
    ("limit", "code", "expected"), [(2, 1, 3), (2, 3, 1), (2, 137, 1), (1, 1, 2), (0, 1, 1)]
)
def test_tries_again_as_often_and_as_long_as_the_strategy_says(
    walk, tmp_path, limit, code, expected
):
    assert walk(spec(retrying(f"exit {code}", limit))).outcome[0] != "Succeeded"
    assert tries(tmp_path) == expected


def test_the_next_try_starts_in_an_empty_folder_and_its_log_goes_on(walk):
    script = (
        "[ -e seen ] && exit 5; touch seen; [ $(wc -l < ../tries) -ge 2 ] || { echo no; exit 1; }"
    )
    ran = walk(spec(retrying(script, 2)))
    assert ran.outcome == ("Succeeded", "")
    assert ran.log("a") == "no\n"


def test_waits_longer_before_each_further_try_but_never_longer_than_the_cap(tmp_path, monkeypatch):
    backoff = {"duration": "5s", "factor": 3, "cap": "1m"}
    strategy = {"limit": 5, **ONLY_COULD_NOT_ANSWER, "backoff": backoff}
    (step,) = read_plan(spec(template("a", "exit 1", retryStrategy=strategy)), {}).steps
    assert [step.retry.wait(tries=n) for n in (1, 2, 3, 4, 5)] == [5, 15, 45, 60, 60]
    retry = replace(step.retry, limit=3, wait_seconds=0.1, longest_wait_seconds=0.2)
    plan = Plan(steps=(replace(step, retry=retry),), arguments={})
    pauses: list[float] = []
    clock = SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic)
    monkeypatch.setattr(local_runner, "time", clock)
    Walk(plan, name="w-1", folder=tmp_path, root=tmp_path, report=lambda: None).run()
    assert pauses == pytest.approx([0.1, 0.2, 0.2], abs=0.02)


# Time.


def test_a_step_out_of_time_is_killed_with_all_it_started_and_not_tried_again(walk, tmp_path):
    script = "sleep 60 & echo $! > ../child; wait"
    ran = walk(spec(retrying(script, 2) | {"activeDeadlineSeconds": 1}))
    assert ran.outcome == ("Error", "a: out of time after 1 s")
    assert tries(tmp_path) == 1
    assert eventually(lambda: is_gone((tmp_path / "child").read_text()))


def test_a_workflow_out_of_time_stops_everything(walk):
    slow = [template("a", "sleep 60"), template("b", "sleep 60"), template("c", "true")]
    ran = walk(spec(*slow, activeDeadlineSeconds=1))
    assert ran.phases == {"a": "Error", "b": "Error", "c": "Error"}
    assert ran.outcome == ("Error", "a: the workflow took more than 1 s")


def test_a_workflow_out_of_time_does_not_wait_for_the_next_try(walk, tmp_path):
    strategy = {"limit": 2, **ONLY_COULD_NOT_ANSWER, "backoff": BACKOFF | {"duration": "1m"}}
    begun = time.monotonic()
    ran = walk(spec(template("a", "exit 1", retryStrategy=strategy), activeDeadlineSeconds=1))
    assert ran.outcome == ("Error", "a: the workflow took more than 1 s")
    assert time.monotonic() - begun < 30


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
        ("true", "{{tasks.a.outputs.parameters.word}} == true", "Succeeded"),
        ("x", "{{tasks.a.outputs.parameters.word}} == y || one == one", "Succeeded"),
        ("a b", "{{tasks.a.outputs.parameters.word}} == yes", "Error"),
        ("", "{{tasks.a.outputs.parameters.word}} == yes", "Error"),
        ("3", "{{tasks.a.outputs.parameters.word}} == yes", "Error"),
        ("half-way", "{{tasks.a.outputs.parameters.word}} == yes", "Error"),
        ("x == x || y", "{{tasks.a.outputs.parameters.word}} == yes", "Error"),
    ],
)
def test_when_compares_what_an_earlier_step_left(walk, word, condition, phase):
    first = leaving("a", f"printf '{word}\\n' > word", {"path": "/work/word"})
    tasks = [{"name": "a", "template": "a"}, asking(condition)]
    ran = walk(spec(first, template("b", "true"), tasks=tasks))
    assert ran.phases == {"a": "Succeeded", "b": phase}
    assert ran.outcome[0] == ("Error" if phase == "Error" else "Succeeded")


def test_a_missing_output_is_an_error_unless_it_has_a_default(walk):
    ran = walk(spec(leaving("a", "true", {"path": "/work/word"})))
    assert ran.outcome == ("Error", "a: left no word")
    other = walk(spec(leaving("a", "true", {"path": "/work/word", "default": "none"})))
    assert other.walk.tracks["a"].outputs == {"word": "none"}


A_GIVES_B = (
    {"name": "a", "template": "a"},
    {
        "name": "b",
        "template": "b",
        "depends": "a",
        "arguments": {
            "parameters": [{"name": "in", "value": "{{tasks.a.outputs.parameters.word}}"}]
        },
    },
)


@pytest.mark.parametrize("word", ["a", "a b; false", "{{workflow.name}}", '"', ""])
def test_a_task_gives_its_step_what_an_earlier_one_left_as_one_word(walk, tmp_path, word):
    (tmp_path / "given").write_text(word)
    first = leaving("a", "cat ../given > word", {"path": "/work/word"})
    second = template("b", 'printf %s "$0" > got', inputs={"parameters": [{"name": "in"}]})
    second["container"]["args"].append("{{inputs.parameters.in}}")
    ran = walk(spec(first, second, tasks=list(A_GIVES_B)))
    assert ran.outcome == ("Succeeded", "")
    assert (tmp_path / "b/got").read_text() == word


def test_a_variable_of_the_digest_of_inputs_is_passed_on_and_no_other_one(walk, tmp_path):
    first = leaving("a", "echo 12 > word", {"path": "/work/word"})
    second = template("b", "env > got", inputs={"parameters": [{"name": "in"}]})
    second["container"]["env"] = [
        {"name": "MODELYARD_INPUTS", "value": "{{inputs.parameters.in}}"},
        {"name": "MODELYARD_APART", "value": "/apart"},
    ]
    ran = walk(spec(first, second, tasks=list(A_GIVES_B)))
    assert ran.outcome == ("Succeeded", "")
    got = (tmp_path / "b/got").read_text().splitlines()
    assert "MODELYARD_INPUTS=12" in got
    assert "MODELYARD_APART=/apart" not in got


def test_refuses_a_variable_with_a_value_that_will_not_be_there():
    lost = template("a", "true")
    lost["container"]["env"] = [{"name": "MODELYARD_INPUTS", "value": "{{inputs.parameters.in}}"}]
    where = "spec.templates[0].container: there is no value for {{inputs.parameters.in}}"
    with pytest.raises(Refused, match=re.escape(where)):
        read_plan(spec(lost), {})


def test_refuses_a_task_that_gives_its_template_no_value():
    asking_one = template("a", "true", inputs={"parameters": [{"name": "in"}]})
    where = "spec.templates[0].inputs.parameters: the task a gives no in"
    with pytest.raises(Refused, match=re.escape(where)):
        read_plan(spec(asking_one), {})


def test_a_value_that_a_skipped_step_never_left_is_an_error(walk):
    first = leaving("a", "true", {"path": "/work/word"})
    tasks = [
        {"name": "a", "template": "a", "when": "one == two"},
        asking("{{tasks.a.outputs.parameters.word}} == yes"),
    ]
    ran = walk(spec(first, template("b", "true"), tasks=tasks))
    assert ran.outcome == ("Error", "b: there is no value for {{tasks.a.outputs.parameters.word}}")


def test_a_skipped_step_lets_those_after_it_run(walk):
    tasks = [
        {"name": "a", "template": "a", "when": "one == two"},
        {"name": "b", "template": "a", "depends": "a"},
    ]
    assert walk(spec(template("a", "true"), tasks=tasks)).phases == {
        "a": "Skipped",
        "b": "Succeeded",
    }


@pytest.mark.parametrize(
    ("script", "depends", "phase", "whole"),
    [
        ("exit 3", "a", "Omitted", "Failed"),
        ("exit 3", "a.Failed", "Succeeded", "Succeeded"),
        ("exit 3", "a.Succeeded || a.Failed", "Succeeded", "Succeeded"),
        ("exit 3", "a.Succeeded", "Omitted", "Failed"),
        ("true", "a.Failed", "Omitted", "Succeeded"),
        ("kill -9 $$", "a.Succeeded || a.Failed", "Omitted", "Error"),
    ],
)
def test_depends_may_ask_for_a_failure(walk, script, depends, phase, whole):
    tasks = [
        {"name": "a", "template": "a"},
        {"name": "b", "template": "c", "depends": depends},
        {"name": "c", "template": "c", "depends": "b"},
    ]
    ran = walk(spec(template("a", script), template("c", "true"), tasks=tasks))
    assert (ran.phases["b"], ran.phases["c"], ran.outcome[0]) == (phase, phase, whole)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(failing=st.lists(st.booleans(), min_size=1, max_size=7))
def test_every_step_runs_once_and_after_the_one_before_it(failing, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chain")
    names = [f"t{n}" for n in range(len(failing))]
    scripts = [
        f"echo {name} >> ../order; exit {3 * bad}" for name, bad in zip(names, failing, strict=True)
    ]
    tasks = [{"name": names[0], "template": names[0]}]
    for before, name in pairwise(names):
        depends = f"{before}.Succeeded || {before}.Failed"
        tasks.append({"name": name, "template": name, "depends": depends})
    templates = [template(name, script) for name, script in zip(names, scripts, strict=True)]
    ran = Ran(folder, spec(*templates, tasks=tasks), {})
    assert (folder / "order").read_text().split() == names
    assert ran.outcome[0] == ("Failed" if failing[-1] else "Succeeded")


# Refusals, before anything starts.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"onExit": "all"}, "spec.onExit: is not known here"),
        ({"hooks": {}}, "spec.hooks: is not known here"),
        ({"parallelism": 1}, "spec.parallelism: is not known here"),
        ({"volumeClaimTemplates": []}, "spec.volumeClaimTemplates: is not known here"),
        (
            {"volumes": [{"name": "v", "emptyDir": {}, "persistentVolumeClaim": {}}]},
            "spec.volumes[0].persistentVolumeClaim: is not known here; known are emptyDir, name",
        ),
        ({"synchronization": {}}, "spec.synchronization: is not known here"),
        ({"entrypoint": "nothing"}, "spec.entrypoint: no template is named 'nothing'"),
        ({"entrypoint": "a"}, "spec.templates[0]: a is the entry point but no dag"),
        ({"arguments": {"artifacts": []}}, "spec.arguments.artifacts: is not known here"),
        (
            {"arguments": {"parameters": [{"name": "x", "default": "1"}]}},
            "spec.arguments.parameters[0].default: is not known here; known are name, value",
        ),
    ],
)
def test_refuses_what_a_workflow_asks_for_and_it_does_not_do(change, message):
    with pytest.raises(Refused, match=re.escape(f"the local orchestrator does not run {message}")):
        read_plan(spec(template("a", "true")) | change, {})


def leaves(source: dict[str, Any]) -> dict[str, Any]:
    return {"outputs": {"parameters": [{"name": "o", "valueFrom": source}]}}


def retries(**change: Any) -> dict[str, Any]:
    return {"retryStrategy": {"limit": 2, **ONLY_COULD_NOT_ANSWER, **change}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sidecars": []}, ".sidecars: is not known here"),
        ({"daemon": True}, ".daemon: is not known here"),
        ({"parallelism": 1}, ".parallelism: is not known here"),
        ({"timeout": "5s"}, ".timeout: is not known here"),
        ({"nodeSelector": {}}, ".nodeSelector: is not known here"),
        ({"inputs": {"artifacts": []}}, ".inputs.artifacts: is not known here"),
        ({"inputs": {"parameters": [{"name": "a", "value": "b"}]}}, ".inputs.parameters[0].value"),
        (
            {"activeDeadlineSeconds": "5"},
            '.activeDeadlineSeconds: "5" is text, not a number: write 5',
        ),
        (retries(affinity={}), ".retryStrategy.affinity: is not known here"),
        (retries(retryPolicy="Always"), ".retryStrategy.retryPolicy: is not known here"),
        (retries(limit="2"), '.retryStrategy.limit: "2" is text, not a number: write 2'),
        (
            retries(backoff=BACKOFF | {"maxDuration": "1m"}),
            ".retryStrategy.backoff.maxDuration: is not known here",
        ),
        (
            retries(backoff=BACKOFF | {"cap": "soon"}),
            '.retryStrategy.backoff.cap: "soon" does not fit: a duration is written 30s, 5m or 1h',
        ),
        (
            retries(expression="retries < 3"),
            '.retryStrategy.expression: "retries < 3" is not one of asInt(lastRetry',
        ),
        ({"retryStrategy": {"limit": 2}}, ".retryStrategy: backoff is missing"),
        ({"outputs": {"artifacts": []}}, ".outputs.artifacts: is not known here"),
        (
            leaves({"path": "/work/x", "expression": "1"}),
            ".outputs.parameters[0].valueFrom.expression: is not known here",
        ),
        (
            leaves({"path": "/etc/x"}),
            ".outputs.parameters[0].valueFrom.path: /etc/x is not below the workingDir /work/",
        ),
        (
            leaves({"path": "/work/../x"}),
            ".outputs.parameters[0].valueFrom.path: /work/../x is not below",
        ),
        ({"container": {"lifecycle": {}}}, ".container.lifecycle: is not known here"),
        ({"container": {"command": []}}, ".container.command: [] has too few items; at least 1"),
        (
            {"container": {"env": [{"name": "X", "value": "1"}]}},
            '.container.env[0].name: "X" is not one of HOME, MODELYARD_APART, MODELYARD_IMAGE',
        ),
        (
            {"container": {"env": [{"name": "HOME", "valueFrom": {}}]}},
            ".container.env[0].valueFrom: is not known here",
        ),
        (
            {"container": {"args": ["{{pod.name}}"]}},
            ".container: there is no value for {{pod.name}}",
        ),
        ({"container": {"args": ["{{=1+1}}"]}}, ".container: there is no value for {{=1+1}}"),
        (
            {"container": {"args": ["{{inputs.parameters.x}}"]}},
            ".container: there is no value for {{inputs.parameters.x}}",
        ),
        (
            {"container": {"args": ["{{tasks.a.exitCode}}"]}},
            ".container: there is no value for {{tasks.a.exitCode}}",
        ),
    ],
)
def test_refuses_what_a_template_asks_for_and_it_does_not_do(change, message):
    changed = template("a", "true", **{k: v for k, v in change.items() if k == "container"})
    changed |= {k: v for k, v in change.items() if k != "container"}
    with pytest.raises(Refused, match=re.escape(f"does not run spec.templates[0]{message}")):
        read_plan(spec(changed), {})


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"withItems": [1, 2]}, ".withItems: is not known here"),
        ({"templateRef": {}}, ".templateRef: is not known here; did you mean template?"),
        ({"onExit": "a"}, ".onExit: is not known here"),
        ({"continueOn": {}}, ".continueOn: is not known here"),
        ({"dependencies": ["a"]}, ".dependencies: is not known here; did you mean depends?"),
        ({"arguments": {"artifacts": []}}, ".arguments.artifacts: is not known here"),
        (
            {"arguments": {"parameters": [{"name": "x", "valueFrom": {}}]}},
            ".arguments.parameters[0]: value is missing",
        ),
        ({"template": "other"}, ".template: no template is named 'other'"),
        ({"depends": "c"}, ".depends: b must depend on a: steps run one after the other"),
        ({"depends": "b"}, ".depends: b must depend on a: steps run one after the other"),
        ({"depends": "a.Failed || c.Failed"}, ".depends: b must depend on a: steps run one"),
        ({"depends": "a.AnySucceeded"}, '.depends: "a.AnySucceeded" does not fit: a step runs'),
        ({"depends": "a && b"}, '.depends: "a && b" does not fit: a step runs after `a`, or'),
        ({"depends": "!a.Failed"}, '.depends: "!a.Failed" does not fit: a step runs after `a`'),
        ({"name": "../b"}, '.name: "../b" does not fit: letters, digits, - and _'),
        ({"name": "a"}, ": two tasks are named a"),
        (
            {"when": "{{tasks.c.exitCode}} == x"},
            ".when: there is no value for {{tasks.c.exitCode}}",
        ),
        (
            {"when": "{{tasks.a.exitCode}} == x"},
            ".when: there is no value for {{tasks.a.exitCode}}",
        ),
        (
            {"when": "{{tasks.a.outputs.result}} == x"},
            ".when: there is no value for {{tasks.a.outputs.result}}",
        ),
        ({"when": "x != y"}, '.when: "x != y" does not fit: a condition is written `{{tasks.a'),
        ({"when": "1 == 1"}, '.when: "1 == 1" does not fit: a condition is written `{{tasks.a'),
    ],
)
def test_refuses_what_a_task_asks_for_and_it_does_not_do(task, message):
    tasks = [{"name": "a", "template": "a"}, {"name": "b", "template": "a", "depends": "a"} | task]
    where = f"the local orchestrator does not run spec.templates[1].dag.tasks[1]{message}"
    with pytest.raises(Refused, match=re.escape(where)):
        read_plan(spec(template("a", "true"), tasks=tasks), {})


def test_refuses_a_dag_that_is_no_chain_of_containers():
    tasks = [{"name": "a", "template": "a"}, {"name": "b", "template": "a"}]
    with pytest.raises(
        Refused, match=r"tasks\[1\]\.depends: b must depend on a: steps run one after"
    ):
        read_plan(spec(template("a", "true"), tasks=tasks), {})
    with pytest.raises(Refused, match=r"tasks\[0\]\.depends: b must depend on nothing: steps run"):
        read_plan(spec(template("a", "true"), tasks=[tasks[1] | {"depends": "a"}, tasks[0]]), {})
    with pytest.raises(Refused, match=r"templates\[1\]: all is a task's template but no container"):
        read_plan(spec(template("a", "true"), tasks=[{"name": "a", "template": "all"}]), {})
    with pytest.raises(Refused, match=r"templates\[1\]\.dag\.failFast: is not known here"):
        read_plan(spec(template("a", "true"), dag={"failFast": False}), {})


def test_refuses_parameters_it_does_not_have_or_misses():
    one = spec(template("a", "true"), arguments={"parameters": [{"name": "model"}]})
    with pytest.raises(Refused, match="the workflow's parameter model has no value"):
        read_plan(one, {})
    with pytest.raises(Refused, match="the workflow has no parameter colour"):
        read_plan(one, {"model": "m", "colour": "blue"})


def test_fields_that_matter_only_in_a_cluster_are_ignored():
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
        container={"image": "x", "resources": {}, "volumeMounts": [], "envFrom": []},
    )
    assert read_plan(spec(only, **cluster), {}) == read_plan(spec(template("a", "true")), {})


# Processes.


@pytest.mark.long
def test_a_workflow_runs_on_its_own_and_reports_every_change(workflows, checkout):
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


@pytest.mark.long
def test_the_same_name_is_started_only_once(workflows, checkout):
    put(checkout, "count", spec(template("a", "echo ran >> ../../../../ran; sleep 0.3")))
    for _ in range(3):
        workflows.submit("w-1", template="count", parameters={})
    workflows.wait("w-1", progress=lambda _: None)
    workflows.submit("w-1", template="count", parameters={})
    time.sleep(0.5)
    assert (checkout / "ran").read_text() == "ran\n"


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
def test_a_stopped_runner_ends_its_steps_first(workflows, checkout):
    put(checkout, "slow", spec(template("a", "echo $$ > pid; sleep 60")))
    workflows.submit("w-1", template="slow", parameters={})
    folder = checkout / ".modelyard/workflows/w-1"
    assert eventually(lambda: (folder / "a/pid").exists() and (folder / "a/pid").read_text())
    os.kill(json.loads((folder / "status.json").read_text())["runner"]["pid"], signal.SIGTERM)
    status = workflows.wait("w-1", progress=lambda _: None)
    assert (status.phase, status.message) == (Phase.ERROR, "a: interrupted")
    assert eventually(lambda: is_gone((folder / "a/pid").read_text()))


@pytest.mark.long
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


@pytest.mark.long
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


def disk_full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_submitted_workflow_that_never_started_is_lost_after_a_minute_also_on_a_full_disk(
    workflows, checkout, monkeypatch
):
    put(checkout, "one", spec(template("a", "true")))
    with monkeypatch.context() as patch:
        patch.setattr("modelyard.adapters.workflows.local.start_modelyard", lambda *_, **__: None)
        workflows.submit("w-1", template="one", parameters={})
    status = checkout / ".modelyard/workflows/w-1/status.json"
    os.utime(status, (time.time() - 61, time.time() - 61))
    lost = WorkflowStatus(name="w-1", phase=Phase.ERROR, message="lost: its process is gone")
    before = status.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("modelyard.adapters.workflows.local.replace_file", disk_full)
        assert workflows.status("w-1") == lost
        assert workflows.status("w-1") == lost
    assert status.read_bytes() == before
    assert workflows.status("w-1") == lost
    assert status.read_bytes() != before


@pytest.mark.long
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


def test_the_pulse_changes_when_a_workflow_ends_and_not_before(workflows, checkout):
    before = workflows.pulse()
    put(checkout, "one", spec(template("a", "while [ ! -e ../../../../go ]; do sleep .05; done")))
    workflows.submit("w-1", template="one", parameters={})
    assert workflows.pulse() == before
    (checkout / "go").touch()
    workflows.wait("w-1", progress=lambda _: None)
    after = workflows.pulse()
    assert after == workflows.pulse() != before
    shutil.rmtree(checkout / ".modelyard/workflows/w-1")
    assert workflows.pulse() == before


def test_one_workflow_that_ends_while_another_starts_again_changes_the_pulse(workflows, checkout):
    states = {name: checkout / f".modelyard/workflows/{name}/status.json" for name in ("a", "b")}
    over = {"phase": "Succeeded", "steps": {}, "runner": None, "running": {}, "message": ""}
    for name, phase in (("a", "Succeeded"), ("b", "Running")):
        states[name].parent.mkdir(parents=True)
        states[name].write_text(json.dumps({**over, "phase": phase}))
    before = workflows.pulse()
    for name, phase in (("a", "Running"), ("b", "Succeeded")):
        states[name].write_text(json.dumps({**over, "phase": phase}))
    assert workflows.pulse() != before


def test_refused_workflows_leave_nothing_behind(workflows, checkout):
    put(checkout, "bad", spec(template("a", "true", daemon=True)))
    with pytest.raises(
        Refused,
        match=r"workflows/bad\.yaml:15: the local orchestrator does not run"
        r" spec\.templates\[0\]\.daemon",
    ):
        workflows.submit("w-1", template="bad", parameters={})
    with pytest.raises(Refused, match=r"workflows/other\.yaml: No such file"):
        workflows.submit("w-1", template="other", parameters={})
    (checkout / WORKFLOW_TEMPLATES / "no.yaml").write_text("kind: ConfigMap\n")
    with pytest.raises(Refused, match=r"no\.yaml is not a WorkflowTemplate"):
        workflows.submit("w-1", template="no", parameters={})
    with pytest.raises(Refused, match="cannot name a workflow"):
        workflows.submit("../w-1", template="bad", parameters={})
    assert workflows.status("w-1") is None
    assert list((checkout / ".modelyard").glob("**/*")) == []
    with pytest.raises(CannotAnswer, match="there is no workflow w-1"):
        workflows.wait("w-1", progress=lambda _: None)
