"""What a waiting reconcile does when an answer of whatever runs workflows is lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fakes.airflow.fake import LOST, FakeAirflow, FakeRun, serving
from modelyard.adapters.cluster.kubernetes_api import KubernetesApi
from modelyard.adapters.workflows import airflow, patience
from modelyard.adapters.workflows.airflow import AirflowWorkflows
from modelyard.adapters.workflows.airflow_api import AirflowApi
from modelyard.adapters.workflows.argo import ArgoWorkflows
from modelyard.domain.specs.paths import WORKFLOW_TEMPLATES
from modelyard.errors import CannotAnswer
from modelyard.operations.reconcile.apply import TEMPLATE
from modelyard.operations.reconcile.loop import reconcile_model
from modelyard.operations.training.job import CRASH
from modelyard.ports import Orchestrator
from operations.yard import MODEL, Yard, new_yard

AWAY = 503


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Engine:
    """One that runs workflows, whose workflows fail at once.

    Args:
        workflows: The adapter.
        faults: Of its next requests; None for one that is answered.
        names: The workflows that were started.
    """

    def __init__(
        self,
        workflows: Orchestrator,
        faults: list[int | None],
        names: Callable[[], list[str]],
    ) -> None:
        self.workflows, self.faults, self.names = workflows, faults, names


@contextmanager
def an_airflow(folder: Path, _: pytest.MonkeyPatch) -> Iterator[Engine]:
    class Failing(FakeAirflow):
        def _start(self, dag: str, body: Any) -> tuple[int, Any]:
            answer = super()._start(dag, body)
            self.runs[dag, body["dag_run_id"]] = FakeRun(body["conf"], state="failed")
            return answer

    fake = Failing(**{TEMPLATE: ()})
    (folder / WORKFLOW_TEMPLATES).mkdir(parents=True)
    (folder / WORKFLOW_TEMPLATES / f"{TEMPLATE}.yaml").touch()
    with serving(fake) as uri:
        workflows = AirflowWorkflows(AirflowApi(uri, user="ada", password="secret"), folder)
        assert workflows.status("signed-in") is None
        yield Engine(workflows, fake.faults, lambda: [name for _, name in fake.runs])


@contextmanager
def a_cluster(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Engine]:
    faults: list[int | None] = []
    runs: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            document = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0))
                                  or b"{}")  # fmt: skip
            fault = faults.pop(0) if faults else None
            if fault == AWAY:
                return self._say(AWAY, {"message": "etcd is away"})
            if self.command == "POST":
                name = document["metadata"]["name"]
                status = 409 if name in runs else 201
                found = runs.setdefault(name, {**document, "status": {"phase": "Error"}})
            else:
                found = runs.get(self.path.rpartition("/")[2])
                status = 200 if found else 404
            return None if fault == LOST else self._say(status, found or {})

        def _say(self, status: int, document: Any) -> None:
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        config = {
            "clusters": [{"name": "c", "cluster": {"server": address}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (folder / "config").write_text(json.dumps(config))
        where = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
        patch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        patch.setattr(where, str(folder / "config"))
        yield Engine(ArgoWorkflows(KubernetesApi()), faults, lambda: list(runs))
        server.shutdown()


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Yard:
    made = new_yard(tmp_path_factory.mktemp("new") / "yard")
    made.add_version("v1")
    reason = json.dumps({"reason": "it crashed"}).encode()
    made.workspace().store.put_run_file(made.workflow("v1"), CRASH, reason)
    return made


@pytest.fixture(params=[an_airflow, a_cluster])
def engine(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    with request.param(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(patience, "time", made)
    monkeypatch.setattr(airflow, "time", made)
    return made


def reconcile(yard: Yard, engine: Engine, *, wait: bool = True) -> None:
    workspace = yard.workspace()
    services = replace(workspace.services, orchestrator=engine.workflows)
    reconcile_model(
        replace(workspace, services=services), MODEL, wait=wait, report=yard.said.append
    )


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([None, LOST], id="of a submission that was carried out"),
        pytest.param([None, AWAY], id="of a submission that was not"),
        pytest.param([AWAY], id="of the question whether it runs"),
        pytest.param([AWAY, AWAY, None, AWAY, None, LOST], id="of many"),
    ],
)
@pytest.mark.usefixtures("clock")
def test_after_a_lost_answer_it_asks_again_and_starts_one_workflow(new, tmp_path, engine, faults):
    yard = new.copy(tmp_path / "yard")
    engine.faults.extend(faults)

    reconcile(yard, engine)

    assert engine.names() == [yard.workflow("v1")]
    assert engine.faults == []
    assert yard.model_facts.training["v1"].failed == "it crashed"


@pytest.mark.sample(1)
def test_it_gives_up_after_two_minutes_without_an_answer(new, tmp_path, engine, clock):
    engine.faults.extend([None, *[AWAY] * 1000])

    with pytest.raises(CannotAnswer, match="503"):
        reconcile(new.copy(tmp_path / "yard"), engine)

    assert 120 < clock.now < 250
    assert engine.names() == []


def test_who_does_not_wait_is_told_at_once(new, tmp_path, engine, clock):
    yard = new.copy(tmp_path / "yard")
    engine.faults.extend([None, LOST])

    with pytest.raises(CannotAnswer):
        reconcile(yard, engine, wait=False)

    assert clock.now == 0
    reconcile(yard, engine, wait=False)
    assert engine.names() == [yard.workflow("v1")]
