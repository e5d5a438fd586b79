"""What keeps an Airflow from running the rendered workflows, for `modelyard doctor`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from modelyard.adapters.workflows.airflow_api import AirflowApi

LEAST_VERSION = (3, 3)
"""The first with a store for the state of a task, which counts a step's tries."""

_DAG_FILE = "workflows/airflow/modelyard_dags.py"
_PARTS = {"scheduler": "airflow scheduler", "dag_processor": "airflow dag-processor"}


def list_faults(api: AirflowApi, workflows: Iterable[str]) -> Iterator[tuple[str, str]]:
    """What is wrong, and what mends it.

    Args:
        api: Airflow.
        workflows: The names of the rendered workflows.

    Raises:
        CannotAnswer: Airflow is out of reach, or refuses the credentials.
    """
    version = str((api.get("/version") or {}).get("version"))
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None or (int(match[1]), int(match[2])) < LEAST_VERSION:
        least = ".".join(map(str, LEAST_VERSION))
        yield f"Airflow is {version}, but {least} is needed", f"install Airflow {least} or newer"
    health = api.get("/monitor/health") or {}
    for part, command in _PARTS.items():
        status = (health.get(part) or {}).get("status")
        if status != "healthy":
            yield f"Airflow's {part} is {status or 'not there'}", command
    dags = {name: api.get(f"/dags/{quote(name, safe='')}") for name in workflows}
    missing = [name for name, dag in dags.items() if dag is None or dag["is_stale"]]
    if missing:
        yield from _why_missing(api, missing)
    for name, dag in dags.items():
        if name not in missing and dag["is_paused"]:
            yield f"the DAG {name} is paused, so that its runs wait", f"airflow dags unpause {name}"


def _why_missing(api: AirflowApi, missing: Iterable[str]) -> Iterator[tuple[str, str]]:
    told = f"Airflow has no DAG {', '.join(missing)}"
    found = api.get("/importErrors", filename_pattern="modelyard_dags.py") or {}
    for error in found.get("import_errors", ()):
        *_, last = error["stack_trace"].strip().splitlines() or ["no reason"]
        yield f"{told}: {error['filename']}: {last}", "airflow dags list-import-errors"
        return
    yield told, f"let Airflow read {_DAG_FILE} of this repository"
