from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from modelyard.cli import main
from modelyard.domain.specs.release import RENDERER

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CASES = sorted(path.parent for path in HERE.glob("*/modelyard.yaml"))
CORE = {
    "ConfigMap": "V1ConfigMap",
    "Deployment": "V1Deployment",
    "Namespace": "V1Namespace",
    "NetworkPolicy": "V1NetworkPolicy",
    "PodDisruptionBudget": "V1PodDisruptionBudget",
    "PodTemplate": "V1PodTemplate",
    "Role": "V1Role",
    "RoleBinding": "V1RoleBinding",
    "Service": "V1Service",
    "ServiceAccount": "V1ServiceAccount",
}
RENDERED = sorted(
    path
    for path in (
        *HERE.glob("*/environments/*/manifests/**/*.yaml"),
        *ROOT.glob("environments/**/manifests/**/*.yaml"),
        ROOT / "environments/argocd.yaml",
        ROOT / "environments/platform/controllers.yaml",
    )
    if "another_renderer" not in path.parts
)


def files(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def forget(root: Path) -> None:
    """Take away what the current renderer wrote: manifests, and the digest in the pin."""
    for pin in root.glob("environments/*/releases/*.yaml"):
        text = pin.read_text()
        if f"\nrenderer: {RENDERER}\n" in text:
            pin.write_text(re.sub(r"\nmanifests: \w+", f"\nmanifests: {'0' * 64}", text))
            shutil.rmtree(pin.parents[1] / "manifests" / pin.stem, ignore_errors=True)


def unknown_or_mistyped(document: dict[str, Any]) -> list[str]:
    """What the Kubernetes client's models lose or change of a document."""
    from kubernetes import client

    api = client.ApiClient(client.Configuration())
    text = json.dumps(document)
    model = api.deserialize(text, CORE[document["kind"]], "application/json")
    known = api.sanitize_for_serialization(model)
    return differences(document, known)


def differences(wanted: Any, found: Any, path: str = "") -> list[str]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [
            each
            for key in wanted
            for each in differences(wanted[key], found.get(key), f"{path}.{key}")
        ]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = zip(wanted, found, strict=True)
        return [
            each for n, (w, f) in enumerate(pairs) for each in differences(w, f, f"{path}[{n}]")
        ]
    return [] if wanted == found else [f"{path}: {wanted!r} became {found!r}"]


def invalid(document: dict[str, Any]) -> list[str]:
    schema = HERE / "crds" / f"{document['kind']}.schema.json"
    if document["kind"] in CORE:
        return unknown_or_mistyped(document)
    if not schema.exists():
        return [f"no schema of {document['kind']} is here: add it to crds/vendor.py or to CORE"]
    errors = Draft202012Validator(json.loads(schema.read_text())).iter_errors(document)
    return [f"{error.json_path}: {error.message}" for error in errors]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_renderer_writes_the_golden_tree(case, tmp_path, request, monkeypatch):
    root = tmp_path / case.name
    shutil.copytree(case, root)
    forget(root)
    assert main(["--root", str(root), "render"]) == 0
    if request.config.getoption("--update-golden", default=False):
        shutil.rmtree(case / "environments")
        shutil.copytree(root / "environments", case / "environments")
    assert files(root) == files(case)
    assert main(["--root", str(root), "render", "--check"]) == 0


@pytest.mark.sample(3)
@pytest.mark.parametrize("path", RENDERED, ids=lambda path: str(path.relative_to(ROOT)))
def test_rendered_documents_are_what_their_kinds_allow(path):
    documents = [each for each in yaml.safe_load_all(path.read_text()) if each]
    assert documents
    names = [(d["kind"], d["metadata"]["name"]) for d in documents]
    found = zip(names, map(invalid, documents), strict=True)
    assert [(name, problems) for name, problems in found if problems] == []
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "path",
    [p for p in RENDERED if p.name == "rollout.yaml"],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_pod_templates_are_what_kubernetes_allows(path):
    rollout = yaml.safe_load(path.read_text())
    template = {"kind": "PodTemplate", "template": rollout["spec"]["template"]}
    assert unknown_or_mistyped(template) == []


def test_the_validity_test_finds_what_is_wrong():
    rollout = yaml.safe_load(next(p for p in RENDERED if p.name == "rollout.yaml").read_text())
    rollout["spec"]["stratgy"] = rollout["spec"].pop("strategy")
    rollout["spec"]["replicas"] = "two"
    assert invalid(rollout) == [
        "$.spec: Additional properties are not allowed ('stratgy' was unexpected)",
        "$.spec.replicas: 'two' is not of type 'integer'",
    ]
    service = {"kind": "Service", "spec": {"ports": [{"prt": 80, "port": 80}], "selectr": {}}}
    assert invalid(service) == [
        ".spec.ports[0].prt: 80 became None",
        ".spec.selectr: {} became None",
    ]
    assert invalid({"kind": "Widget"}) == [
        "no schema of Widget is here: add it to crds/vendor.py or to CORE"
    ]
