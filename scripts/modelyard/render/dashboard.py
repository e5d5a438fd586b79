"""Renders the Grafana dashboard of the fleet's traffic, watchers and judges."""

from __future__ import annotations

import json
from collections.abc import Mapping

from modelyard.render.dashboard_panels import ROWS, Panel

Document = Mapping[str, object]

TITLE = "modelyard"
UID = "modelyard-fleet"
SCHEMA_VERSION = 39
"""Grafana's, of the version 11 that the keys below are of; a newer Grafana migrates it."""

COLUMNS = 24
HEIGHT = 8

_SOURCE = {"type": "prometheus", "uid": "${source}"}


def dashboard() -> Document:
    """Return the dashboard as Grafana reads it."""
    return {
        "uid": UID,
        "title": TITLE,
        "description": "Rendered by `modelyard render --platform`; changes made here are lost.",
        "tags": ["modelyard"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_source(), _choice("model"), _choice("namespace")]},
        "panels": _panels(),
    }


def dashboard_manifest() -> Document:
    """Return the ConfigMap that the sidecar of Grafana's chart finds by its label."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "modelyard-dashboard",
            "labels": {"grafana_dashboard": "1"},
        },
        "data": {"modelyard.json": json.dumps(dashboard(), indent=1) + "\n"},
    }


def _source() -> Document:
    return {
        "name": "source",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
    }


def _choice(label: str) -> Document:
    return {
        "name": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": f"label_values(modelyard_requests_total, {label})",
        "refresh": 2,  # whenever the time that is shown changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
    }


def _panels() -> list[Document]:
    found: list[Document] = []
    top = 0
    for title, panels in ROWS.items():
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        found.append(
            {
                "id": len(found) + 1,
                "type": "row",
                "title": title,
                "gridPos": place,
                "collapsed": False,
            }
        )
        top += 1
        width = COLUMNS // (3 if len(panels) % 3 == 0 else 2)
        for number, panel in enumerate(panels):
            line, column = divmod(number, COLUMNS // width)
            place = {"x": column * width, "y": top + line * HEIGHT, "w": width, "h": HEIGHT}
            found.append(_panel(panel, len(found) + 1, place))
        top += -(-len(panels) // (COLUMNS // width)) * HEIGHT
    return found


def _panel(panel: Panel, number: int, place: Mapping[str, int]) -> Document:
    targets = [
        {"refId": chr(ord("A") + at), "datasource": _SOURCE, "expr": query, "legendFormat": legend}
        for at, (query, legend) in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "gridPos": place,
        "datasource": _SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
    }
