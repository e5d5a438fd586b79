"""What becomes of the rendered workflows in Airflow, as far as it needs no Airflow to say so."""

from __future__ import annotations

import copy
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from modelyard.adapters.workflows import fields
from modelyard.adapters.workflows.template import read_plan

ROOT = Path(__file__).parents[2]
RENDERED = {
    path.stem: yaml.safe_load(path.read_text())
    for path in (ROOT / "environments/platform/manifests/workflows").glob("*.yaml")
}
TEMPLATES = [name for name, each in RENDERED.items() if each["kind"] == "WorkflowTemplate"]


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The DAG file, imported without Airflow and in a checkout without workflows."""
    named = {
        "airflow": (),
        "airflow.sdk": ("DAG", "BaseOperator", "CronTriggerTimetable", "Param", "TriggerRule"),
        "airflow.sdk.exceptions": tuple(f"Airflow{kind}Exception" for kind in ("", "Fail", "Skip")),
        "airflow.providers.cncf.kubernetes.operators.pod": ("KubernetesPodOperator",),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELYARD_ROOT", str(tmp_path_factory.mktemp("empty")))
        patch.setattr(sys, "path", list(sys.path))
        for name, members in named.items():
            module = ModuleType(name)
            for member in members:
                base = Exception if member.endswith("Exception") else object
                setattr(module, member, type(member, (base,), {}))
            patch.setitem(sys.modules, name, module)
        file = ROOT / "workflows/airflow/modelyard_dags.py"
        spec = importlib.util.spec_from_file_location("modelyard_dags", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
        for name in ("fields", "pods", "steps"):
            sys.modules.pop(f"modelyard_{name}", None)


@pytest.fixture(scope="module")
def pods(dags: ModuleType) -> ModuleType:
    del dags  # which lets Airflow's modules be imported
    return importlib.import_module("modelyard_pods")


def followed(value: Any, table: Any) -> Iterator[dict[str, Any]]:
    """Every mapping of a document whose fields are looked at one by one."""
    if isinstance(value, list):
        for each in value:
            yield from followed(each, table)
    elif isinstance(value, dict) and isinstance(table, dict):
        yield value
        for key, each in value.items():
            yield from followed(each, table[key])


@pytest.mark.parametrize("name", RENDERED)
def test_every_field_of_the_rendered_workflows_is_followed_or_on_the_list(dags, name):
    document = RENDERED[name]
    dags.refuse_other_fields(document["spec"], dags.FIELDS[document["kind"]], name)


@pytest.mark.parametrize("name", RENDERED)
def test_any_other_field_is_refused_by_its_place(dags, name):
    document = copy.deepcopy(RENDERED[name])
    table = dags.FIELDS[document["kind"]]
    places = list(followed(document["spec"], table))
    assert len(places) >= 4
    for place in places:
        place["suspend"] = True
        with pytest.raises(dags.NotTranslatedError, match=r"\.suspend is not translated"):
            dags.refuse_other_fields(document["spec"], table, name)
        del place["suspend"]


def keys(table: Any) -> Any:
    """The nested names of a JSON Schema's properties; None for a leaf."""
    if "items" in table:
        return keys(table["items"])
    found = table.get("properties")
    return None if found is None else {name: keys(each) for name, each in found.items()}


def test_the_local_runner_and_airflow_have_one_list_of_fields(dags):
    def compare(local: Mapping[str, Any], here: Any, path: str) -> None:
        assert local.keys() == here.keys(), path
        for name, each in local.items():
            if each is not None and isinstance(here[name], dict):
                compare(each, here[name], f"{path}.{name}")

    # Airflow only removes pods as Argo is told to here; the local runner has none.
    compare(keys(fields.SPEC), dags.FIELDS["WorkflowTemplate"], "spec")


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_steps_are_those_of_the_local_runner(dags, name):
    spec = RENDERED[name]["spec"]
    declared = spec["arguments"]["parameters"]
    plan = read_plan(spec, {each["name"]: "x" for each in declared if "value" not in each})
    found = list(dags.steps_of(spec, name))
    steps = [step for step in plan.steps if not step.items]
    assert [each.name for each in found] == [each.name for each in steps]
    for here, local in zip(found, steps, strict=True):
        assert tuple(here.command) == local.command
        told = {name: text for name, text in local.environment.items() if name != dags.NOT_TOLD}
        assert here.environment == told
        assert here.when == local.when
        assert here.limit == local.retry.limit
        assert here.template["activeDeadlineSeconds"] == local.deadline_seconds
        assert not local.runs_after or here.runs_after == local.runs_after
        assert {n: each.get("default") for n, each in here.outputs.items()} == {
            n: each.default for n, each in local.outputs.items()
        }


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_pod_is_that_of_the_yaml(dags, pods, name):
    spec = RENDERED[name]["spec"]
    for step in dags.steps_of(spec, name):
        pod = pods.pod_of(spec, step)
        main = pod["spec"].pop("containers")[0]
        paths = [each["path"] for each in step.outputs.values()]
        assert main.pop("terminationMessagePath", None) == (paths or [None])[0]
        assert main == {"name": "main", **step.template["container"]}
        assert pod == {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": "modelyard", **step.template.get("metadata", {})},
            "spec": {
                "serviceAccountName": spec["serviceAccountName"],
                "securityContext": spec["securityContext"],
                "volumes": [*spec["volumes"], *step.template.get("volumes", ())],
                "initContainers": step.template["initContainers"],
                "activeDeadlineSeconds": step.template["activeDeadlineSeconds"],
                "restartPolicy": "Never",
            },
        }


def test_what_a_model_asks_for_is_merged_into_the_container_of_its_pod(pods):
    pod = {"containers": [{"name": "main", "image": "i", "resources": {"limits": {"cpu": "1"}}}]}
    asked = {
        "nodeSelector": {"gpu": "yes"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "containers": [{"name": "main", "resources": {"limits": {"memory": "6Gi"}}}],
    }
    limits = {"cpu": "1", "memory": "6Gi"}
    assert pods.merge(pod, asked) == {
        "nodeSelector": {"gpu": "yes"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "containers": [{"name": "main", "image": "i", "resources": {"limits": limits}}],
    }
    assert pods.merge(pod, {}) == pod


def test_only_places_and_resources_may_be_asked_for_by_a_parameter(pods):
    asked = {"nodeSelector": {}, "tolerations": [], "containers": [{"name": "main"}]}
    assert pods.refused_in(asked) is None
    assert pods.refused_in({"serviceAccountName": "admin"}) == "serviceAccountName"
    assert pods.refused_in({"containers": [{"name": "main", "image": "i"}]}) == "containers: image"


def test_the_images_of_a_version_are_those_that_git_pins_for_its_model(pods, monkeypatch, tmp_path):
    monkeypatch.setattr(pods, "ROOT", tmp_path)
    files = {
        "models/wine/versions/v7.yaml": "runtime: {lock: l, image: own}",
        "models/wine/versions/v8.yaml": "runtime: {lock: l}",
        "models/other/versions/v7.yaml": "runtime: {lock: l, image: others}",
        "environments/dev/releases/wine.yaml": "server_image: serves",
        "environments/dev/releases/other.yaml": "server_image: serves-another",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert pods.pinned_images("wine", "v7") == {"own", "serves"}
    assert pods.pinned_images("wine", "v8") == {"serves"}
    assert pods.pinned_images("*", "v7") == pods.pinned_images("../other", "v7") == set()


def test_a_tag_is_filled_in_one_pass_and_a_missing_value_is_named(dags):
    steps = sys.modules["modelyard_steps"]
    scope = {"workflow.name": "{{workflow.parameters.a}}", "workflow.parameters.a": "1"}
    assert steps.fill_tags({"args": ["--run={{workflow.name}}", 3]}, scope) == {
        "args": ["--run={{workflow.parameters.a}}", 3]
    }
    with pytest.raises(Exception, match=re.escape("no value for {{workflow.parameters.b}}")):
        steps.fill_tags("{{workflow.parameters.b}}", scope)


def test_a_step_finds_what_another_one_left_wherever_its_template_asks(dags):
    steps = sys.modules["modelyard_steps"]
    train = next(
        e for e in dags.steps_of(RENDERED["train-and-evaluate"]["spec"], "") if e.name == "train"
    )
    ti = type("TI", (), {"xcom_pull": lambda _, task_ids, key: f"{task_ids} {key}"})()
    params = dict.fromkeys(("model", "version", "attempt", "commit", "image", "trainer-pod"), "x")
    rules = steps.StepRules()
    rules.step = train
    scope = rules.scope({"ti": ti, "run_id": "r", "params": params})
    filled = steps.fill_tags(train.template, scope)
    given = {"name": "MODELYARD_INPUTS", "value": "fetch outputs.inputs"}
    assert given in filled["container"]["env"]
    (bring,) = [each for each in filled["initContainers"] if each["name"] == "bring"]
    assert given in bring["env"]
    as_process = {name: steps.fill_tags(text, scope) for name, text in train.environment.items()}
    assert as_process == {"MODELYARD_INPUTS": "fetch outputs.inputs", "MODELYARD_SUBMITTED": "x"}


def test_a_task_of_a_list_is_left_out_and_no_step_is_asked_for_one(dags, pods):
    spec = RENDERED["train-and-evaluate"]["spec"]
    assert any(task.get("withParam") for task in spec["templates"][-1]["dag"]["tasks"])
    steps = {step.name: step for step in dags.steps_of(spec, "train-and-evaluate")}
    assert "profile" not in steps
    assert (steps["champion"].before, steps["champion"].runs_after) == (
        "train",
        {"Succeeded", "Skipped"},
    )
    assert dags.NOT_TOLD == "MODELYARD_SHARDS"
    assert dags.NOT_TOLD in str(spec)
    assert dags.NOT_TOLD not in str([pods.pod_of(spec, step) for step in steps.values()])


def changed(name: str, change: Any) -> dict[str, Any]:
    spec: dict[str, Any] = copy.deepcopy(RENDERED[name]["spec"])
    change(spec)
    return spec


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda spec: spec["templates"][-1]["dag"]["tasks"][3].update(depends="fetch"),
            "task champion must depend on train",
        ),
        (
            lambda spec: spec["templates"][0]["container"]["args"].append("{{pod.name}}"),
            "no value for {{pod.name}}",
        ),
        (
            lambda spec: spec["templates"][0]["container"]["env"].append(
                {"name": "MODELYARD_INPUTS", "value": "{{pod.name}}"}
            ),
            "no value for {{pod.name}}",
        ),
        (
            lambda spec: spec["templates"][-1]["dag"]["tasks"][1].pop("arguments"),
            "task train gives no inputs",
        ),
        (
            lambda spec: spec["templates"][-1]["dag"]["tasks"][2].update(
                withParam="{{tasks.fetch.outputs.parameters.inputs}}"
            ),
            "task profile: its list must be one of train, with default []",
        ),
        (
            lambda spec: spec["templates"][1]["outputs"]["parameters"][0]["valueFrom"].pop(
                "default"
            ),
            "task profile: its list must be one of train, with default []",
        ),
    ],
)
def test_an_order_or_a_value_that_is_not_there_is_refused(dags, change, told):
    spec = changed("train-and-evaluate", change)
    with pytest.raises(dags.NotTranslatedError, match=re.escape(told)):
        list(dags.steps_of(spec, "train-and-evaluate.yaml"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s["templates"][0]["retryStrategy"].update(expression="true"), "'true'"),
        (lambda s: s["templates"][0]["retryStrategy"]["backoff"].update(cap="1 h"), "'1 h'"),
        (lambda s: s["templates"][-1]["dag"]["tasks"][1].update(depends="fetch && x"), "fetch &&"),
        (lambda s: s["podGC"].update(strategy="OnPodCompletion"), "'OnPodCompletion'"),
    ],
)
def test_a_value_of_another_form_is_refused(dags, change, told):
    spec = changed("train-and-evaluate", change)
    with pytest.raises(dags.NotTranslatedError, match=re.escape(told)):
        dags.refuse_other_fields(spec, dags.FIELDS["WorkflowTemplate"], "spec")


def test_a_pod_with_two_outputs_is_refused(dags, pods):
    spec = RENDERED["detect-drift"]["spec"]
    step = next(dags.steps_of(spec, "detect-drift"))
    two = type(step)(**{**vars(step), "outputs": {**step.outputs, "b": {"path": "/work/b"}}})
    with pytest.raises(dags.NotTranslatedError, match="compare: a pod hands over one output"):
        pods.pod_of(spec, two)
