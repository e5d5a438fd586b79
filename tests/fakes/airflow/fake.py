"""A small Airflow, held to Airflow's own OpenAPI document: runs that a test plays by hand.

It answers 400 to a query or body that the document does not have, and a test fails if an answer
of its own is not one of the document's. What Airflow does beyond that was seen in a real one:
a run whose name exists is a 409, a token that is too old a 403, an entry that is not there a 404.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import jsonschema

DOCUMENT: dict[str, Any] = json.loads(Path(__file__).with_name("openapi.json").read_text())
THEN = "2026-03-01T00:00:00Z"
LOST = 0
"""A fault: what is asked for is done, and then the connection breaks."""

_OPEN = ("/api/v2/version", "/api/v2/monitor/health")  # to whoever asks


@dataclass
class FakeRun:
    """A DAG run; a test sets its states.

    Args:
        conf: Its parameters.
        state: Airflow's word.
        tasks: State by task.
        xcoms: Value by task and key.
        logs: Lines by task and try.
    """

    conf: dict[str, str]
    state: str = "queued"
    tasks: dict[str, str | None] = field(default_factory=dict)
    xcoms: dict[tuple[str, str], Any] = field(default_factory=dict)
    logs: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)


class FakeAirflow:
    """An Airflow with two DAGs and one user.

    Args:
        dags: The required parameters of each DAG.
    """

    def __init__(self, **dags: tuple[str, ...]) -> None:
        self.dags = dags
        self.runs: dict[tuple[str, str], FakeRun] = {}
        self.users = {"ada": "secret"}
        self.version = "3.3.2"
        self.health = {"scheduler": "healthy", "dag_processor": "healthy"}
        self.paused: set[str] = set()
        self.import_errors: dict[str, str] = {}  # stack trace by file
        self.tokens: set[str] = set()
        self.signed_in = 0
        self.asked: list[str] = []
        self.faults: list[int | None] = []  # of the next requests
        self.wrong: list[str] = []

    def answer(
        self, method: str, target: str, body: Any, token: str | None, accepts: str
    ) -> tuple[int, str | bytes]:
        address = urlsplit(target)
        self.asked.append(f"{method} {address.path}")
        fault = self.faults.pop(0) if self.faults else None
        if fault:
            return fault, b"<html>Bad Gateway</html>"
        found = _operation(method, address.path)
        if found is None:
            self.wrong.append(f"Airflow has no {method} {address.path}")
            return 404, b'{"detail": "Not Found"}'
        template, operation, values = found
        known = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
        if unknown := parse_qs(address.query).keys() - known:
            self.wrong.append(f"{template} has no {unknown}")
        if "requestBody" in operation:
            _check(operation["requestBody"]["content"]["application/json"]["schema"], body)
        status, document = self._act(template, values, body, token)
        if fault == LOST:
            return LOST, b""
        if "application/x-ndjson" in accepts:
            lines = [json.dumps(each) for each in document.get("content", ())]
            return status, "".join(f"{line}\n" for line in lines)
        _check(
            operation["responses"][str(status)]["content"]["application/json"]["schema"], document
        )
        return status, json.dumps(document)

    def _act(
        self, template: str, values: dict[str, str], body: Any, token: str | None
    ) -> tuple[int, Any]:
        if template == "/auth/token":
            return self._sign_in(body)
        if template in _OPEN:
            return 200, self._about(template)
        if token not in self.tokens:
            return (401 if token is None else 403), {"detail": "Forbidden"}
        if template == "/api/v2/importErrors":
            return 200, _import_errors(self.import_errors)
        return self._of_dag(template, values, body)

    def _about(self, template: str) -> Any:
        if template == "/api/v2/version":
            return {"version": self.version, "git_version": None}
        return _health(self.health)

    def _of_dag(self, template: str, values: dict[str, str], body: Any) -> tuple[int, Any]:
        dag, name = values["dag_id"], values.get("dag_run_id")
        if dag not in self.dags:
            return 404, {"detail": f"DAG with dag_id: '{dag}' not found"}
        if template == "/api/v2/dags/{dag_id}":
            return 200, _dag(dag, is_paused=dag in self.paused)
        if name is None:
            return self._start(dag, body)
        run = self.runs.get((dag, name))
        found = None if run is None else _shown(dag, name, run, template, values)
        return (404, {"detail": "not found"}) if found is None else (200, found)

    def _sign_in(self, body: Any) -> tuple[int, Any]:
        if self.users.get(body["username"]) != body["password"]:
            return 401, {"detail": "Invalid credentials"}
        self.signed_in += 1
        self.tokens.add(f"token-{self.signed_in}")
        return 201, {"access_token": f"token-{self.signed_in}"}

    def _start(self, dag: str, body: Any) -> tuple[int, Any]:
        if missing := [name for name in self.dags[dag] if name not in (body.get("conf") or {})]:
            return 400, {"detail": f"Invalid input for param {missing[0]}"}
        key = (dag, body["dag_run_id"])
        if key in self.runs:
            return 409, {"detail": "Unique constraint violation"}
        self.runs[key] = FakeRun(body["conf"])
        return 200, _run(*key, self.runs[key])


@contextmanager
def serving(fake: FakeAirflow) -> Iterator[str]:
    """The address at which it answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
            try:
                status, said = fake.answer(
                    self.command, self.path, body, token, self.headers.get("Accept") or ""
                )
            except jsonschema.ValidationError as error:
                fake.wrong.append(error.message)
                status, said = 422, "{}"
            if status == LOST:
                self.close_connection = True
                return
            data = said.encode() if isinstance(said, str) else said
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert fake.wrong == []


def _shown(
    dag: str, name: str, run: FakeRun, template: str, values: dict[str, str]
) -> dict[str, Any] | None:
    """What is at a path below a run."""
    if template.endswith("/taskInstances"):
        tasks = [_task(dag, name, task, state, run) for task, state in run.tasks.items()]
        return {"task_instances": tasks, "total_entries": len(tasks)}
    if "xcom_key" in values:
        key = (values["task_id"], values["xcom_key"])
        return _xcom(dag, values, run.xcoms[key]) if key in run.xcoms else None
    if "try_number" in values:
        lines = run.logs.get((values["task_id"], int(values["try_number"])))
        events = [{"event": line, "timestamp": THEN, "level": "info"} for line in lines or ()]
        return None if lines is None else {"content": events, "continuation_token": None}
    return _run(dag, name, run)


def _operation(method: str, path: str) -> tuple[str, Any, dict[str, str]] | None:
    for template, methods in DOCUMENT["paths"].items():
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)
        if method.lower() in methods and (match := re.fullmatch(pattern, path)):
            values = {name: unquote(value) for name, value in match.groupdict().items()}
            return template, methods[method.lower()], values
    return None


def _check(schema: Any, document: Any) -> None:
    whole = {"components": DOCUMENT["components"], **schema}
    jsonschema.Draft202012Validator(whole).validate(document)


def _health(parts: dict[str, str]) -> dict[str, Any]:
    shown = {
        part: {"status": status, f"latest_{part}_heartbeat": THEN} for part, status in parts.items()
    }
    triggerer = {"status": None, "latest_triggerer_heartbeat": None}
    return {"metadatabase": {"status": "healthy"}, "triggerer": triggerer, **shown}


def _import_errors(errors: dict[str, str]) -> dict[str, Any]:
    found = [
        {"import_error_id": number, "timestamp": THEN, "filename": file,
         "bundle_name": "dags-folder", "stack_trace": trace}
        for number, (file, trace) in enumerate(errors.items())
    ]  # fmt: skip
    return {"import_errors": found, "total_entries": len(found)}


def _dag(name: str, *, is_paused: bool) -> dict[str, Any]:
    schema = DOCUMENT["components"]["schemas"]["DAGResponse"]
    return dict.fromkeys(schema["required"]) | {
        "dag_id": name,
        "dag_display_name": name,
        "is_paused": is_paused,
        "is_stale": False,
        "fileloc": "modelyard_dags.py",
        "tags": [],
        "max_active_tasks": 16,
        "max_consecutive_failed_dag_runs": 0,
        "has_task_concurrency_limits": False,
        "has_import_errors": False,
        "owners": ["airflow"],
        "is_backfillable": False,
        "timetable_partitioned": False,
        "timetable_periodic": False,
        "file_token": "x",
    }


def _run(dag: str, name: str, run: FakeRun) -> dict[str, Any]:
    empty = ("logical_date", "queued_at", "start_date", "end_date", "duration", "note")
    more = ("data_interval_start", "data_interval_end", "last_scheduling_decision", "triggered_by")
    rest = ("triggering_user_name", "bundle_version", "partition_key", "partition_date")
    return dict.fromkeys((*empty, *more, *rest)) | {
        "dag_run_id": name,
        "dag_id": dag,
        "dag_display_name": dag,
        "run_after": THEN,
        "run_type": "manual",
        "state": run.state,
        "conf": run.conf,
        "dag_versions": [],
    }


def _task(dag: str, name: str, task: str, state: str | None, run: FakeRun) -> dict[str, Any]:
    schema = DOCUMENT["components"]["schemas"]["TaskInstanceResponse"]
    return dict.fromkeys(schema["required"]) | {
        "id": "0196d0f0-0000-7000-8000-000000000000",
        "task_id": task,
        "dag_id": dag,
        "dag_run_id": name,
        "map_index": -1,
        "run_after": THEN,
        "state": state,
        "try_number": run.tries.get(task, 1),
        "max_tries": 4,
        "task_display_name": task,
        "dag_display_name": dag,
        "pool": "default_pool",
        "pool_slots": 1,
        "executor_config": "{}",
        "rendered_fields": {},
    }


def _xcom(dag: str, values: dict[str, str], value: Any) -> dict[str, Any]:
    return {
        "key": values["xcom_key"],
        "timestamp": THEN,
        "logical_date": None,
        "map_index": -1,
        "task_id": values["task_id"],
        "dag_id": dag,
        "run_id": values["dag_run_id"],
        "dag_display_name": dag,
        "task_display_name": values["task_id"],
        "run_after": THEN,
        "value": value,
    }
