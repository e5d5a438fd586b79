"""Runs steps as pods in Airflow's environment, as its task runner does; `test_pods.py` calls it.

    .venv-airflow/bin/python -P play_pods.py FOLDER < CASES

FOLDER has the DAG files. Reads `{"dag", "step", "run", "params", "left"}`, one JSON document a
line, and writes how each ended: `{"ended", "xcoms", "tries"}`. `left` is what the steps before it
left, by XCom's keys.
"""

from __future__ import annotations

import contextlib
import json
import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, sys.argv[1])
import modelyard_dags
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowException, AirflowFailException

ExecutorSafeguard.test_mode = True
MOST_TRIES = 9


def play(case: dict[str, Any]) -> dict[str, Any]:
    """Try a step until Airflow would not try it again."""
    xcoms: dict[str, Any] = {}
    kept: dict[str, Any] = {}
    for number in range(1, MOST_TRIES):
        # Each try is a process of its own, which reads the file again.
        dags = {dag.dag_id: dag for dag in modelyard_dags.make_dags(modelyard_dags.WORKFLOWS)}
        task = dags[case["dag"]].get_task(case["step"])
        params = dags[case["dag"]].params
        params.update(case["params"])
        task_instance = SimpleNamespace(
            dag_id=case["dag"], task_id=case["step"], run_id=case["run"], try_number=number,
            map_index=-1, max_tries=task.retries,
            xcom_push=lambda key, value: xcoms.update({key: value}),
            xcom_pull=lambda *, key, **_: case["left"].get(key),
            get_task_states=lambda run_ids, task_ids, **_: {run_ids[0]: {task_ids[0]: "success"}},
        )  # fmt: skip
        context = {
            "ti": task_instance, "task": task, "dag": dags[case["dag"]], "run_id": case["run"],
            "params": dict(params.validate()),
            "dag_run": SimpleNamespace(run_after=datetime.now(UTC)),
            "task_state_store": SimpleNamespace(get=kept.get, set=kept.__setitem__),
        }  # fmt: skip
        try:
            task.pre_execute(context)
            task.execute(context)
        except AirflowFailException as error:
            return {"ended": f"failed: {error}", "xcoms": xcoms, "tries": number}
        except AirflowException as error:
            last = str(error)
            if number > task.retries:
                break
        else:
            return {"ended": "success", "xcoms": xcoms, "tries": number}
    return {"ended": f"no more tries: {last}", "xcoms": xcoms, "tries": number}


if __name__ == "__main__":
    for line in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            found = play(json.loads(line))
        print(json.dumps(found))  # noqa: T201 - a program
