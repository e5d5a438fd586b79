from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import CollectorRegistry

from modelyard.domain.specs.model import Output, OutputKind, Task
from modelyard.operations.judge.http import JudgeMetrics
from modelyard.operations.watch.health import WatchHealth
from modelyard.render.dashboard import dashboard, dashboard_manifest
from modelyard.serving.counters import LABELS, Counters
from modelyard.serving.documents import Serving, Training

ALERTS = Path(__file__).parents[3] / "environments/platform/manifests/alerts.yaml"
PROBABILITY = Output(name="p", kind=OutputKind.PROBABILITY)
NAME = re.compile(r"\bmodelyard_\w+")
OF_PROMETHEUS = {"le", "namespace"}


def read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(dashboard()))
    return found


def queries() -> Iterator[str]:
    for panel in read()["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """The labels of each series that a server, a watcher and a judge export, by its name."""
    registry = CollectorRegistry()
    training = Training(null={}, levels={})
    serving = Serving(model="m", task=Task.BINARY, inputs=(), output=PROBABILITY, training=training)
    Counters(dict.fromkeys(LABELS, "x"), serving, registry)
    found: dict[str, set[str]] = {}
    for each in (registry, WatchHealth(30).registry, JudgeMetrics()._registry):
        for metric in each._collector_to_names:
            labels = getattr(metric, "counter", metric)._labelnames
            for name in each._collector_to_names[metric]:
                found.setdefault(name, set()).update(labels)
    return found


def lost(here: Any, there: Any, place: str = "") -> Iterator[str]:
    """Where the second of two documents has not what the first one has."""
    if isinstance(here, dict) and isinstance(there, dict):
        for key, value in here.items():
            yield from lost(value, there.get(key), f"{place}.{key}")
    elif isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        for number, (one, other) in enumerate(zip(here, there, strict=True)):
            yield from lost(one, other, f"{place}[{number}]")
    elif here != there:
        yield f"{place}: {here!r} became {there!r}"


def through_grafana(document: dict[str, Any]) -> Any:
    return json.loads(JSONEncoder().encode(Dashboard.from_json(document)))


def test_grafanas_own_types_know_every_key_and_every_value():
    assert list(lost(read(), through_grafana(read()))) == []


@pytest.mark.parametrize("key", ["templateing", "refreshes", "gridpos"])
def test_a_key_that_grafana_does_not_know_is_found(key):
    document = read()
    document["panels"][1][key] = {}
    document[key] = {}
    assert len(list(lost(document, through_grafana(document)))) == 2


def test_every_metric_and_every_label_of_the_dashboard_exists(exported):
    names = {name for query in queries() for name in NAME.findall(query)}
    assert len(names) > 12
    assert names <= exported.keys()
    for query in queries():
        named = NAME.findall(query)
        known = set().union(*(exported[name] for name in named)) | OF_PROMETHEUS
        by = {
            label.strip()
            for labels in re.findall(r"\bby \(([^)]*)\)", query)
            for label in labels.split(",")
        }
        matched = set(re.findall(r"(\w+)=~?\"", query))
        assert by | matched <= known, query


def test_every_metric_of_an_alert_exists(exported):
    alerts = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    rules = [rule for group in alerts["spec"]["groups"] for rule in group["rules"]]
    names = {name for rule in rules for name in NAME.findall(rule["expr"])}
    assert len(names) > 8
    assert names <= exported.keys()


def test_panels_neither_overlap_nor_leave_the_grid():
    taken: set[tuple[int, int]] = set()
    for panel in read()["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells
    ids = [panel["id"] for panel in read()["panels"]]
    assert len(set(ids)) == len(ids)


def test_the_config_map_holds_the_dashboard_and_is_found_by_its_label():
    manifest: dict[str, Any] = json.loads(json.dumps(dashboard_manifest()))
    assert manifest["metadata"]["labels"] == {"grafana_dashboard": "1"}
    (text,) = manifest["data"].values()
    assert json.loads(text) == read()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Prometheus")
def test_prometheus_reads_every_query(tmp_path):
    rules = [
        {
            "record": f"panel:{number}",
            "expr": query.replace("$__rate_interval", "5m").replace("$__range", "6h"),
        }
        for number, query in enumerate(queries())
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    ran = subprocess.run(
        ["promtool", "check", "rules", file], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
