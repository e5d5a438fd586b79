"""The orchestrator role on Airflow: starts runs of the rendered workflows' DAGs and follows them.

The DAGs are those of `workflows/airflow/modelyard_dags.py`, and so are the XComs read here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from modelyard.adapters.workflows.airflow_api import AirflowApi
from modelyard.adapters.workflows.patience import (
    NoWorkflow,
    follow,
    last_error_line,
    shorten_reason,
)
from modelyard.domain.specs.paths import WORKFLOW_TEMPLATES
from modelyard.errors import CannotAnswer
from modelyard.ports import Phase, WorkflowStatus

logger = logging.getLogger(__name__)

_POLL_SECONDS = 2.0
# The task after the last step; it leaves the run's phase, and the step that decided it.
_OUTCOME = "outcome"
# What a step says begins so, as in the log of a pod; the rest of the log is Airflow's.
_SAID = "[main] "
_RUN_PHASES = {
    "queued": Phase.PENDING,
    "running": Phase.RUNNING,
    "success": Phase.SUCCEEDED,
    "failed": Phase.ERROR,
}
_STEP_PHASES = {
    "scheduled": Phase.PENDING,
    "queued": Phase.PENDING,
    "running": Phase.RUNNING,
    "restarting": Phase.RUNNING,
    "up_for_retry": Phase.RUNNING,
    "success": Phase.SUCCEEDED,
    "failed": Phase.ERROR,
}
"""States of Airflow's tasks; one that is not here never ran."""

_MOST_STEPS = 100


class AirflowWorkflows:
    """Runs workflows in Airflow; implements `ports.Orchestrator`.

    Args:
        api: Airflow.
        root: The checkout, whose workflows Airflow makes DAGs of.
    """

    def __init__(self, api: AirflowApi, root: Path) -> None:
        self._api = api
        self._root = root

    def submit(self, name: str, *, template: str, parameters: Mapping[str, str]) -> None:
        """Start the workflow `name`, unless one of that name exists already.

        Raises:
            Refused: A parameter is missing.
            CannotAnswer: Airflow is out of reach, or has no DAG of that template.
        """
        # Without a logical date any number of runs may start at the same time.
        body = {"dag_run_id": name, "logical_date": None, "conf": dict(parameters)}
        self._api.post(f"/dags/{quote(template, safe='')}/dagRuns", body)

    def status(self, name: str) -> WorkflowStatus | None:
        """The workflow's status, or None when there is none of that name.

        The message of a failed one ends with the last error line of the failing step.
        """
        found = self._find(name)
        return None if found is None else self._status_of(name, *found)

    def pulse(self) -> str:
        """Nothing: Airflow is asked in each pass."""
        return ""

    def wait(self, name: str, *, progress: Callable[[WorkflowStatus], None]) -> WorkflowStatus:
        """Follow until it is over, and report every change of a step.

        Raises:
            NoWorkflow: There is no workflow of that name.
            CannotAnswer: Airflow was out of reach for two minutes.
        """
        return follow(lambda: self._watch(name), progress)

    def _watch(self, name: str) -> Iterator[WorkflowStatus]:
        while True:
            status = self.status(name)
            if status is None:
                raise NoWorkflow(name)
            yield status
            time.sleep(_POLL_SECONDS)

    def _find(self, name: str) -> tuple[str, Mapping[str, Any]] | None:
        """A run and its path; Airflow must be told the DAG, which whoever asks does not know."""
        for file in sorted((self._root / WORKFLOW_TEMPLATES).glob("*.yaml")):
            path = f"/dags/{quote(file.stem, safe='')}/dagRuns/{quote(name, safe='')}"
            if (run := self._api.get(path)) is not None:
                return path, run
        return None

    def _status_of(self, name: str, path: str, run: Mapping[str, Any]) -> WorkflowStatus:
        listed = self._api.get(f"{path}/taskInstances", limit=_MOST_STEPS) or {}
        tasks = {task["task_id"]: task for task in listed.get("task_instances", ())}
        steps = {
            task: _STEP_PHASES[found["state"]]
            for task, found in tasks.items()
            if task != _OUTCOME and found["state"] in _STEP_PHASES
        }
        for step, phase in steps.items():
            if phase is Phase.ERROR and self._xcom(path, step, "exit_code") is not None:
                steps[step] = Phase.FAILED
        phase, message = _RUN_PHASES[run["state"]], ""
        if phase is Phase.ERROR:
            step = self._xcom(path, _OUTCOME, "step")
            if step in steps:
                phase, message = steps[step], self._reason(path, tasks[step])
            else:
                message = "no step failed: it was out of time, or somebody ended it"
        return WorkflowStatus(name=name, phase=phase, message=message, steps=steps)

    def _reason(self, path: str, task: Mapping[str, Any]) -> str:
        """The step that failed, how, and the last error line of its log."""
        step = task["task_id"]
        code = self._xcom(path, step, "exit_code")
        if code is None:
            reason = self._xcom(path, step, "reason")
            return f"{step}: {reason or 'lost: its task left no exit code'}"
        said = f"{path}/taskInstances/{quote(step, safe='')}/logs/{task['try_number']}"
        try:
            why = self._last_words(said)
        except CannotAnswer as error:
            logger.info("%s", error.message)
            why = ""
        return shorten_reason(f"{step}: exit code {code}", why)

    def _last_words(self, path: str) -> str:
        lines = [""]
        for each in self._api.read_lines(path):
            line = str(each.get("event") or "")
            if line.startswith(_SAID):
                # What follows an error is only a hint; a log may be longer than memory.
                said = line.removeprefix(_SAID)
                lines = [said] if said.startswith("error: ") else [lines[0], said]
        return last_error_line("\n".join(lines))

    def _xcom(self, path: str, task: str, key: str) -> Any:
        entry = f"{path}/taskInstances/{quote(task, safe='')}/xcomEntries/{key}"
        found = self._api.get(entry, deserialize="false")
        return None if found is None else found["value"]
