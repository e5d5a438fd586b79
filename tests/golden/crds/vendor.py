"""Writes the schemas beside this file from the CustomResourceDefinitions in Go's module cache.

go mod download github.com/argoproj/argo-rollouts@v1.9.2 ... (the modules below)
python tests/golden/crds/vendor.py "$(go env GOMODCACHE)"
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
_ARGO = "github.com/argoproj"
SOURCES = {
    f"{_ARGO}/argo-rollouts@v1.9.2/manifests/crds/{name}-crd.yaml": kind
    for name, kind in (("rollout", "Rollout"), ("analysis-template", "AnalysisTemplate"))
}
_WORKFLOWS = f"{_ARGO}/argo-workflows/v3@v3.7.3/manifests/base/crds/full"
SOURCES |= {
    f"{_WORKFLOWS}/argoproj.io_{kind.lower()}s.yaml": kind
    for kind in ("WorkflowTemplate", "CronWorkflow")
}
SOURCES |= {
    f"{_ARGO}/argo-cd/v3@v3.2.6/manifests/crds/{kind.lower()}-crd.yaml": kind
    for kind in ("Application", "ApplicationSet", "AppProject")
}
_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.83.0/example"
SOURCES |= {
    f"{_OPERATOR}/prometheus-operator-crd/monitoring.coreos.com_{kind.lower()}s.yaml": kind
    for kind in ("PrometheusRule", "ServiceMonitor")
}
SOURCES["sigs.k8s.io/gateway-api@v1.4.0/config/crd/standard/"
        "gateway.networking.k8s.io_httproutes.yaml"] = "HTTPRoute"  # fmt: skip
# What the API server fills in or writes itself; the product never renders it.
_NEVER_WRITTEN = {"status"}
_WORTH_SHARING = 300  # characters; shorter parts are repeated


def strict(schema: dict[str, Any], *, top: bool = False) -> Any:
    """The same rules as JSON Schema, and a field that the API server would drop is refused."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    kept = {
        key: value
        for key, value in schema.items()
        if key in {"type", "enum", "required", "pattern", "minimum", "maximum", "minLength"}
        or key in {"maxLength", "minItems", "maxItems", "format", "minProperties", "maxProperties"}
    }
    if properties := schema.get("properties"):
        kept["properties"] = {
            name: strict(each)
            for name, each in properties.items()
            if not (top and name in _NEVER_WRITTEN)
        }
        if top:
            kept["properties"]["metadata"] = {"type": "object"}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            kept["additionalProperties"] = False
    if isinstance(schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = strict(schema["additionalProperties"])
    if "items" in schema:
        kept["items"] = strict(schema["items"])
    return kept


def shared(schema: Any) -> dict[str, Any]:
    """The schema with repeated parts written once, under $defs."""
    seen: Counter[str] = Counter()

    def count(part: Any) -> None:
        if isinstance(part, dict):
            text = json.dumps(part, sort_keys=True)
            seen[text] += 1
            if seen[text] > 1:
                return
            for each in part.values():
                count(each)

    definitions: dict[str, Any] = {}

    def fold(part: Any, *, whole: bool = False) -> Any:
        if not isinstance(part, dict):
            return part
        text = json.dumps(part, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:8]
        repeated = seen[text] > 1 and len(text) > _WORTH_SHARING and "type" in part and not whole
        if repeated and name in definitions:
            return {"$ref": f"#/$defs/{name}"}
        folded = {key: fold(value) for key, value in part.items()}
        if not repeated:
            return folded
        definitions[name] = folded
        return {"$ref": f"#/$defs/{name}"}

    count(schema)
    folded = fold(schema, whole=True)
    return {**folded, "$defs": dict(sorted(definitions.items()))}


def main(cache: Path) -> None:
    """Write one schema a kind."""
    for source, kind in SOURCES.items():
        definition = yaml.load((cache / source).read_text(), Loader=yaml.CSafeLoader)
        version = next(each for each in definition["spec"]["versions"] if each["served"])
        schema = shared(strict(version["schema"]["openAPIV3Schema"], top=True))
        document = {"$comment": f"From {source}; see NOTICE.", **schema}
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        (FOLDER / f"{kind}.schema.json").write_text(text + "\n")
        print(f"{kind}: {len(text):,} characters")  # noqa: T201 - a script for people


if __name__ == "__main__":
    main(Path(sys.argv[1]))
