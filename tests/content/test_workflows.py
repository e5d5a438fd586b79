from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.trees import WorkingTree
from modelyard.adapters.specs.reader import read_valid_catalog
from modelyard.adapters.workflows.fields import PASSED_ON
from modelyard.adapters.workflows.local_runner import Walk
from modelyard.adapters.workflows.plan import MOST_ITEMS, Plan, Retry
from modelyard.adapters.workflows.template import read_plan
from modelyard.cli import load_command, main
from modelyard.domain.drift.profiling.shards import MOST_SHARDS, shard_names
from modelyard.operations.training.older_images.specs import READABLE
from modelyard.render.resources import PROFILE_POD, SCORING_POD, TRAINER_POD
from unit.render.pairs import real_share

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / "environments/platform/manifests/workflows"
TRAINING = {"model": "flight-delay", "version": "v2", "attempt": "1", "commit": "c0ffee"}


def document(name: str) -> dict[str, Any]:
    return yaml.safe_load((WORKFLOWS / f"{name}.yaml").read_text())


def plan(name: str, **parameters: str) -> Plan:
    return read_plan(document(name)["spec"], parameters)


def parsed(arguments: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """The command that `modelyard ARGUMENTS` runs, and what it is given."""
    name, *rest = arguments
    command = load_command(name)
    if isinstance(command, click.Group):
        sub, rest = rest[0], rest[1:]
        name, command = f"{name} {sub}", command.commands[sub]
    return name, command.make_context(name, rest).params


@pytest.mark.long
def test_the_committed_workflows_are_what_their_files_say():
    assert main(["--root", str(ROOT), "render", "--platform", "--check"]) == 0


def test_the_committed_releases_are_rendered():
    assert main(["--root", str(ROOT), "render", "--check"]) == 0


def test_training_is_seven_steps_one_after_the_other_two_of_which_only_some_models_need():
    steps = plan("train-and-evaluate", **TRAINING).steps
    only_after_success = frozenset({"Succeeded", "Skipped"})
    assert [(step.name, step.runs_after) for step in steps] == [
        ("fetch", frozenset()),
        ("train", only_after_success),
        ("profile", only_after_success),
        ("champion", only_after_success),
        ("evaluate", only_after_success),
        ("verify", only_after_success),
        ("record", only_after_success),
    ]


def test_each_step_of_training_is_a_command_that_knows_its_arguments(monkeypatch):
    passed_on = {"inputs": "{{tasks.fetch.outputs.parameters.inputs}}"}
    more = {
        "fetch": {"left": Path("inputs")},
        **dict.fromkeys(("evaluate", "record"), passed_on),
        "train": {**passed_on, "shards": Path("shards")},
        "profile": {**passed_on, "shard": "{{item}}"},
    }
    pinned = {"commit": READABLE, "submitted": "{{workflow.parameters.commit}}"}
    for step in plan("train-and-evaluate", **TRAINING).steps:
        scope = {f"workflow.parameters.{key}": value for key, value in TRAINING.items()}
        words = [word.replace("{{workflow.name}}", "w-1") for word in step.command]
        for tag, value in scope.items():
            words = [word.replace(f"{{{{{tag}}}}}", value) for word in words]
        assert words[0] == "modelyard"
        for variable in PASSED_ON:
            monkeypatch.delenv(variable, raising=False)
        for variable, text in step.environment.items():
            monkeypatch.setenv(variable, text)
        assert parsed(tuple(words[1:])) == (
            f"step {step.name}",
            {
                "model": "flight-delay",
                "version": "v2",
                "attempt": 1,
                "commit": "c0ffee",
                "workflow": "w-1",
                "submitted": "",
                **({} if step.name in {"fetch", "record"} else pinned),
                **more.get(step.name, {}),
            },
        )


def test_an_image_from_before_the_digest_of_inputs_runs_each_step_of_training():
    known = {f"--{each}" for each in (*TRAINING, "run")}
    for each in document("train-and-evaluate")["spec"]["templates"]:
        if each["name"] == "profile":
            continue
        pod = [
            *each.get("initContainers", ()),
            *([each["container"]] if "container" in each else []),
        ]
        pinned = [one for one in pod if one.get("name") != "specs"]
        for words in (one["args"] for one in pinned if "step" in one["args"][:1]):
            assert {word.partition("=")[0] for word in words[2:]} <= known
    fetch = plan("train-and-evaluate", **TRAINING).steps[0]
    assert fetch.outputs["inputs"].default == ""  # such a `fetch` leaves none


def test_a_pod_of_a_pinned_image_reads_the_specs_that_the_platform_left_for_it():
    spec = document("train-and-evaluate")["spec"]
    steps = {each["name"]: each for each in spec["templates"] if "container" in each}
    platform = steps["fetch"]["container"]["image"]
    for name, each in steps.items():
        words = [
            one["args"]
            for one in (*each["initContainers"], each["container"])
            if one["args"][:1] == ["step"] and one.get("name") not in {"specs", "trainer"}
        ]
        if each["container"]["image"] == platform:
            assert [one["name"] for one in each["initContainers"]] == ["checkout"]
            assert all("--commit={{workflow.parameters.commit}}" in args for args in words)
            continue
        clone, specs = each["initContainers"][:2]
        assert clone["image"] == each["container"]["image"]
        assert (specs["name"], specs["image"]) == ("specs", platform)
        assert "--commit={{workflow.parameters.commit}}" in specs["args"]
        assert f"--step={name}" in specs["args"]
        folder = specs["args"][-1].removeprefix("--schemas=")
        assert f'"{folder}"' in clone["args"][-1]
        assert "$(" not in clone["args"][-1]
        assert all(f"--commit={READABLE}" in args for args in words)


def test_an_image_leaves_the_schemas_that_it_has_beside_its_clone(tmp_path):
    """The script of the pod, with its folder instead of /checkout."""
    (train,) = (
        each
        for each in document("train-and-evaluate")["spec"]["templates"]
        if each["name"] == "train"
    )
    clone = train["initContainers"][0]
    package = tmp_path / "image" / "modelyard"
    (package / "schemas").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "schemas" / "model.schema.json").write_text("{}")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    Git(tmp_path).run("init", "--quiet", "origin")
    for known in (True, False):
        if not known:
            shutil.rmtree(package / "schemas")
        folder = tmp_path / f"checkout-{known}"
        folder.mkdir()
        script = clone["args"][-1].replace("/checkout", str(folder))
        done = subprocess.run(
            [*clone["command"], script],
            check=False,
            env={
                "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
                "PYTHONPATH": str(tmp_path / "image"),
                "REPOSITORY": str(tmp_path / "origin"),
            },
        )
        assert done.returncode == 0
        assert (folder / "repository" / ".git").is_dir()
        assert (folder / "schemas" / "model.schema.json").is_file() is known


def test_the_profile_is_split_by_a_train_that_was_asked_and_built_by_pods_of_its_image():
    """An older `train` is asked by a variable, leaves no list, and then no pod runs."""
    spec = document("train-and-evaluate")["spec"]
    named = {each["name"]: each for each in spec["templates"]}
    (task,) = [each for each in named["train-and-evaluate"]["dag"]["tasks"] if "withParam" in each]
    assert task == {
        "name": "profile",
        "template": "profile",
        "depends": "train",
        "withParam": "{{tasks.train.outputs.parameters.shards}}",
        "arguments": {
            "parameters": [
                {"name": "inputs", "value": "{{tasks.fetch.outputs.parameters.inputs}}"},
                {"name": "shard", "value": "{{item}}"},
            ]
        },
    }
    train, profile = named["train"], named["profile"]
    assert train["outputs"]["parameters"] == [
        {"name": "shards", "valueFrom": {"path": "/work/shards", "default": "[]"}}
    ]
    assert {"name": "MODELYARD_SHARDS", "value": "shards"} in train["container"]["env"]
    assert profile["container"]["image"] == train["container"]["image"]
    assert profile["container"]["envFrom"] == named["evaluate"]["container"]["envFrom"]
    mounted = {each["mountPath"] for each in profile["container"]["volumeMounts"]}
    assert mounted == {"/checkout", "/tmp", "/work"}  # and no key that signs
    assert profile["podSpecPatch"] != train["podSpecPatch"]  # no GPU and no node of a class


def test_the_list_of_most_shards_fits_into_a_termination_message():
    assert len(json.dumps(shard_names(MOST_SHARDS))) < 4096
    assert MOST_SHARDS == MOST_ITEMS
    schema = json.loads((ROOT / "schemas/model.schema.json").read_text())
    asked = schema["properties"]["drift"]["properties"]["profile_shards"]
    assert (asked["minimum"], asked["maximum"]) == (1, MOST_SHARDS)


def test_steps_that_were_given_no_digest_say_so_and_go_on(capsys, monkeypatch):
    monkeypatch.setenv("MODELYARD_INPUTS", "")
    job = [f"--{name}={value}" for name, value in TRAINING.items()]
    for name, is_told in [("evaluate", True), ("verify", False)]:
        assert main(["--root", str(ROOT), "step", name, *job, "--run=w-1"]) == 1  # no such commit
        told = capsys.readouterr().err
        assert ("no SHA-256 of what fetch left was passed on" in told) is is_told
        assert "c0ffee" in told


@pytest.mark.parametrize("name", ["train-and-evaluate", "detect-drift"])
def test_steps_are_tried_again_when_they_could_not_answer_and_never_after_a_no(name):
    parameters = TRAINING if name == "train-and-evaluate" else {"model": "flight-delay"}
    for step in plan(name, **parameters).steps:
        assert step.deadline_seconds is not None
        retry = step.retry
        assert retry == Retry(
            limit=1 if step.name == "train" else 2,
            wait_seconds=5,
            factor=3,
            longest_wait_seconds=60,
            after_kill=step.name == "profile",
        )
        assert retry.is_wanted(tries=1, exit_code=1)
        assert not retry.is_wanted(tries=1, exit_code=3)
        assert not retry.is_wanted(tries=1, exit_code=None)
        assert not retry.is_wanted(tries=3, exit_code=1)
        assert retry.is_wanted(tries=1, exit_code=137) is (step.name == "profile")


@pytest.mark.parametrize("name", ["train-and-evaluate", "detect-drift"])
def test_a_workflow_ends_even_if_no_node_ever_takes_its_pods_and_is_forgotten_later(name):
    spec = document(name)["spec"]
    slowest = sum(
        template["activeDeadlineSeconds"]
        for template in spec["templates"]
        if "container" in template
    )
    assert spec["activeDeadlineSeconds"] > slowest
    assert spec["ttlStrategy"].keys() == {"secondsAfterFailure", "secondsAfterSuccess"}
    assert spec["podGC"] == {"strategy": "OnWorkflowSuccess"}


def test_steps_run_without_rights():
    for name in ("train-and-evaluate", "detect-drift"):
        spec = document(name)["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        for template in spec["templates"]:
            containers = [template["container"]] if "container" in template else []
            for container in (*containers, *template.get("initContainers", ())):
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                }
                assert container["resources"].keys() == {"limits", "requests"}


def test_the_container_of_the_trainer_has_no_credentials_and_cannot_change_its_inputs():
    spec = document("train-and-evaluate")["spec"]
    (train,) = [each for each in spec["templates"] if each["name"] == "train"]
    names = [each["name"] for each in train["initContainers"]]
    trainer = train["initContainers"][-1]
    assert names == ["checkout", "specs", "bring", "trainer"]
    assert "envFrom" not in trainer
    assert {each["name"]: each["value"] for each in trainer["env"]} == {
        "HOME": "/apart/trained",
        "TMPDIR": "/apart/trained",
        "MODELYARD_APART": "/apart",
    }
    assert {each["mountPath"]: each.get("readOnly", False) for each in trainer["volumeMounts"]} == {
        "/apart/inputs": True,
        "/apart/trained": False,
        # Where something is mounted, Kubernetes mounts no token of the pod's account.
        "/var/run/secrets/kubernetes.io/serviceaccount": True,
    }
    assert train["metadata"]["annotations"] == {"eks.amazonaws.com/skip-containers": "trainer"}
    assert trainer["resources"] == train["container"]["resources"]
    assert trainer["args"] == ["step", "trainer"]


def test_looking_for_drift_is_a_command_that_leaves_its_decision_where_it_is_read():
    compare, retrain = plan("detect-drift", model="flight-delay").steps
    model = ("flight-delay" if "{{" in word else word for word in retrain.command[1:])
    name, params = parsed(tuple(model))
    assert (name, params["model"]) == ("retrain", "flight-delay")
    name, params = parsed(compare.command[1:])
    assert (name, params["output"]) == ("drift", "json")
    assert {params["decision"]} == {Path(output.path) for output in compare.outputs.values()}


@pytest.mark.parametrize(
    ("said", "code", "retrain", "whole"),
    [
        ("confirmed", 3, "Succeeded", "Succeeded"),
        ("none", 0, "Succeeded", "Succeeded"),
        ("breached", 3, "Skipped", "Failed"),
        ("", 3, "Skipped", "Failed"),
    ],
)
def test_a_version_is_asked_for_or_taken_back_but_never_on_broken_or_unknown_data(
    tmp_path, said, code, retrain, whole
):
    spec = document("detect-drift")["spec"]
    for template in spec["templates"]:
        if "container" in template:
            leave = f"[ -z '{said}' ] || printf '{said}' > decision; exit {code}"
            script = leave if template["name"] == "compare" else "true"
            template["container"] |= {"command": ["sh", "-c"], "args": [script]}
    walk = Walk(
        read_plan(spec, {"model": "m"}),
        name="w",
        folder=tmp_path,
        root=tmp_path,
        report=lambda: None,
    )
    walk.run()
    assert (walk.tracks["retrain"].phase, walk.phase) == (retrain, whole)


def test_every_model_with_a_feed_is_looked_at_daily():
    models = read_valid_catalog(WorkingTree(ROOT)).models
    crons = {path.stem: document(path.stem)["spec"] for path in WORKFLOWS.glob("detect-drift-*")}
    assert {name: spec["workflowSpec"]["arguments"] for name, spec in crons.items()} == {
        f"detect-drift-{name}": {"parameters": [{"name": "model", "value": name}]}
        for name, model in models.items()
        if model.data.feed
    }


# The environments.


def test_an_environment_that_joins_another_gets_the_share_its_pods_give_it():
    environments = read_valid_catalog(WorkingTree(ROOT)).environments
    joining = [each for each in environments.values() if each.joins]
    assert [each.name for each in joining] == ["canary"]
    for each in joining:
        joined = environments[each.joins]
        assert each.rollout.steps[0].share == pytest.approx(real_share(each, joined))
        assert (each.cluster, each.namespace) == (joined.cluster, joined.namespace)


def test_the_pods_that_a_model_may_change_are_parameters_of_the_workflow():
    spec = document("train-and-evaluate")["spec"]
    patched = {
        each["name"]: each["podSpecPatch"] for each in spec["templates"] if "podSpecPatch" in each
    }
    assert patched == {
        "train": f"{{{{workflow.parameters.{TRAINER_POD}}}}}",
        "profile": f"{{{{workflow.parameters.{PROFILE_POD}}}}}",
        "champion": f"{{{{workflow.parameters.{SCORING_POD}}}}}",
        "evaluate": f"{{{{workflow.parameters.{SCORING_POD}}}}}",
        "verify": f"{{{{workflow.parameters.{SCORING_POD}}}}}",
    }
    defaults = {each["name"]: each.get("value") for each in spec["arguments"]["parameters"]}
    assert {defaults[each] for each in (TRAINER_POD, PROFILE_POD, SCORING_POD)} == {"{}"}
