"""Cuts the operations that modelyard calls out of Airflow's own OpenAPI documents.

    python tests/fakes/airflow/reslice.py [--check]

They are in the packages of `.venv-airflow`, so this runs after `make airflow` has made it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
SLICE = Path(__file__).with_name("openapi.json")
RUNS = "/api/v2/dags/{dag_id}/dagRuns"
TASKS = f"{RUNS}/{{dag_run_id}}/taskInstances"
OPERATIONS = {
    "core_api/openapi/v2-rest-api-generated.yaml": (
        (RUNS, "post"),
        (f"{RUNS}/{{dag_run_id}}", "get"),
        (TASKS, "get"),
        (f"{TASKS}/{{task_id}}/xcomEntries/{{xcom_key}}", "get"),
        (f"{TASKS}/{{task_id}}/logs/{{try_number}}", "get"),
        ("/api/v2/dags/{dag_id}", "get"),
        ("/api/v2/importErrors", "get"),
        ("/api/v2/monitor/health", "get"),
        ("/api/v2/version", "get"),
    ),
    "auth/managers/simple/openapi/v2-simple-auth-manager-generated.yaml": (
        ("/auth/token", "post"),
    ),
}


def cut() -> dict[str, Any]:
    """The operations, with the schemas that they name."""
    (packages,) = (ROOT / ".venv-airflow/lib").glob("python3.*/site-packages/airflow/api_fastapi")
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = {}
    for file, operations in OPERATIONS.items():
        document = yaml.load((packages / file).read_text(), Loader=yaml.CSafeLoader)
        for path, method in operations:
            paths.setdefault(path, {})[method] = document["paths"][path][method]
            wanted = set(_named(document["paths"][path][method]))
            while missing := wanted - schemas.keys():
                for name in missing:
                    schemas[name] = document["components"]["schemas"][name]
                    wanted |= set(_named(schemas[name]))
    return {"paths": paths, "components": {"schemas": schemas}}


def _named(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str):
            yield reference.rpartition("/")[2]
        for each in value.values():
            yield from _named(each)
    elif isinstance(value, list):
        for each in value:
            yield from _named(each)


if __name__ == "__main__":
    text = json.dumps(cut(), indent=1, sort_keys=True) + "\n"
    if "--check" in sys.argv:
        sys.exit(0 if SLICE.read_text() == text else "openapi.json is not that of .venv-airflow")
    SLICE.write_text(text)
