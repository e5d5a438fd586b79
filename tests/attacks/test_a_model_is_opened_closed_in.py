"""A model may run code when it is opened: what that reaches of the step that scores with it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow.sklearn
import pytest

from modelyard.adapters.cluster.local_servers import free_port
from modelyard.adapters.isolation.confinement import Reach, find_means
from modelyard.adapters.isolation.run import ClosedCommand, run_closed_in, start_closed_in
from modelyard.artifact_digest import artifact_digest
from modelyard.domain.isolation import Isolation, Unisolated
from modelyard.domain.specs.model import ArtifactPolicy, Model, Trusted
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.runtimes.closed_in import (
    limits_of_model,
    model_environment,
    reach_of_model,
    refuse_unisolated_model,
)
from modelyard.operations.runtimes.scoring import Artifact, Scored, measured_alone, score_tables
from modelyard.serving.documents import write_serving
from runtimes import own_runtime
from serving.artifacts import MODEL, flights
from serving.running import preloaded_socket, until

SECRET = "a-token-of-the-forge"
WAYS = {
    "both": ("namespaces", "landlock"),
    "landlock": ("landlock",),
    "namespaces": ("namespaces",),
}
POLICY = ArtifactPolicy(formats=("cloudpickle",), trusted=Trusted(reason="an attack"))


class RunsCode:
    """Runs code when it is unpickled."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (self.code, {})


def make_artifact(folder: Path, code: str) -> Artifact:
    """An artifact that runs code when it is opened."""
    from sklearn.linear_model import LogisticRegression

    frame = flights().dropna()
    fitted = LogisticRegression().fit(frame[["minute", "dep_delay"]], frame["arr_delay"] > 15)
    mlflow.sklearn.save_model(
        fitted, folder / "model", serialization_format="cloudpickle", pip_requirements=[],
        input_example=None,
    )  # fmt: skip
    import cloudpickle

    (folder / "model" / "model.pkl").write_bytes(cloudpickle.dumps(RunsCode(code)))
    write_serving(folder, model=MODEL, inputs=("minute", "dep_delay"), training=[frame])
    return Artifact(folder=folder, digest=artifact_digest(folder))


def score(artifact: Artifact, *, way: str = "both", model: Model | None = None) -> Scored:
    rows: list[dict[str, object]] = [{"minute": 1.0, "dep_delay": 2.0}]
    asked = model or replace(MODEL, artifact=POLICY)
    return score_tables(own_runtime(), [artifact], [rows], asked, ways=WAYS[way])


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    means = find_means(Reach(readable=(), writable=()), tmp_path, WAYS[request.param])
    if means.isolation is Isolation.NONE:
        pytest.skip(f"this machine offers no {request.param}")
    return str(request.param)


@pytest.fixture
def preloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))


@pytest.mark.sample(1)
@pytest.mark.usefixtures("preloaded")
def test_what_it_runs_reaches_no_secret_no_file_of_others_and_no_network(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", SECRET)
    outside = tmp_path / "outside"
    outside.write_text("of others")
    with (
        subprocess.Popen(["sleep", "60"], env={**os.environ, "TOKEN": SECRET}) as platform,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        artifact = make_artifact(
            tmp_path / "artifact",
            f"""
import os, socket, sys
done = []
def attempt(name, act):
    try:
        act()
        done.append(name)
    except OSError:
        pass
def forge():
    if not {SECRET!r} in str(os.environ):
        raise OSError
attempt("own variables", forge)
attempt("environ", lambda: open("/proc/{platform.pid}/environ").read())
attempt("read", lambda: open({str(outside)!r}).read())
attempt("write", lambda: open({str(outside)!r}, "w"))
attempt("unlink", lambda: os.unlink({str(outside)!r}))
attempt("checkout", lambda: open({str(Path.cwd() / "modelyard.yaml")!r}).read())
attempt("artifact", lambda: open({str(tmp_path / "artifact/serving.json")!r}, "a").write("x"))
attempt("order", lambda: open("../order.json", "a").write("x"))
attempt("forks", lambda: socket.socket(socket.AF_UNIX).connect({str(preloaded_socket())!r}))
attempt("network", lambda: socket.create_connection(("127.0.0.1", {server.getsockname()[1]})))
attempt("signal", lambda: os.kill({platform.pid}, 9))
raise RuntimeError("it could " + " and ".join(done))
""",
        )
        with pytest.raises(Exception, match="it could") as caught:
            score(artifact, way=way).scores(0, 0, what="the model")
        assert platform.poll() is None
        platform.kill()

    assert str(caught.value).endswith("it could ")
    assert outside.read_text() == "of others"
    assert artifact_digest(artifact.folder) == artifact.digest


CONNECTS = """
import os, socket, sys
given = socket.socket(fileno=int(os.environ["MODELYARD_LISTENING"]))
for prepare in (lambda: None, given.listen, lambda: given.shutdown(socket.SHUT_RDWR)):
    prepare()
    try:
        given.connect(("127.0.0.1", int(sys.argv[1])))
        print("connected")
    except PermissionError:
        pass
"""


def test_the_socket_that_a_server_answers_on_connects_to_nothing(way: str, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as other:
        command = ClosedCommand(
            command=["python", "-c", CONNECTS, str(other.getsockname()[1])],
            cwd=own,
            environment=model_environment(own),
            log=tmp_path / "log",
            folder=tmp_path / "supervisor",
            reach=reach_of_model(own_runtime(), readable=(), writable=own),
            limits=limits_of_model(MODEL, 60),
            port=free_port("a model"),
            ways=WAYS[way],
        )
        ended = run_closed_in(command)

    assert (ended.exit_code, command.log.read_text()) == (0, "")


def test_nobody_else_can_take_the_port_while_a_server_loads_its_model(tmp_path: Path) -> None:
    own, port = tmp_path / "own", free_port(f"{tmp_path}")
    own.mkdir()
    command = ClosedCommand(
        command=["python", "-c", "import time; print('loads', flush=True); time.sleep(60)"],
        cwd=own,
        environment=model_environment(own),
        log=tmp_path / "log",
        folder=tmp_path / "supervisor",
        reach=reach_of_model(own_runtime(), readable=(), writable=own),
        limits=limits_of_model(MODEL, 60),
        port=port,
    )
    with start_closed_in(command), socket.socket() as other:
        until(lambda: command.log.exists() and "loads" in command.log.read_text())
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="Address already in use"):
            other.bind(("127.0.0.1", port))


ANSWERS = """
import json, numpy, os
scores = "scores-0-0.npy"
def answer(failures):
    runtime = {"lock": "of its own", "python": "4", "distributions": {}}
    with open("result.json", "w") as file:
        json.dump({"runtime": runtime, "failures": failures}, file)
"""


@pytest.mark.usefixtures("preloaded")
def test_the_runtime_is_measured_where_no_model_runs_code(tmp_path: Path) -> None:
    code = f"{ANSWERS}\nanswer({{}}); numpy.save(scores, numpy.zeros(1)); os._exit(0)"
    scored = score(make_artifact(tmp_path / "a", code))

    asked = replace(MODEL, artifact=POLICY)
    assert scored.measured.lock == "of its own"
    assert measured_alone(own_runtime(), scored, asked).lock == own_runtime().lock


@pytest.mark.usefixtures("preloaded")
def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    mark = f"{os.getpid()}.{tmp_path.name[-1]}7"
    code = f"import subprocess; subprocess.Popen(['setsid', 'sleep', '{mark}']); raise ValueError"
    with pytest.raises(Exception, match="ValueError"):
        score(make_artifact(tmp_path / "a", code)).scores(0, 0, what="the model")

    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert f"sleep {mark}" not in listed.stdout


@pytest.mark.usefixtures("preloaded")
@pytest.mark.parametrize(
    "leave",
    [
        "os.symlink('/etc/passwd', 'result.json')",
        "os.mkfifo('result.json')",
        "open('result.json', 'w').write('{{')",
        "open('result.json', 'w').write('[]')",
        "open('result.json', 'w').write('{\"runtime\": {}, \"failures\": 1}')",
        "answer({'0-0': {'kind': [], 'message': 1}})",
        "open('result.json', 'w'); os.truncate('result.json', 8 << 30)",
        "answer({}); open(scores, 'w'); os.truncate(scores, 8 << 30)",
        "answer({}); numpy.save(scores, numpy.zeros((1, 10**6)))",
        "answer({}); numpy.savez(open(scores, 'wb'), numpy.zeros(1))",
        "answer({}); numpy.save(scores, 0.5)",
        "answer({}); numpy.save(scores, numpy.zeros(2))",
        "answer({}); numpy.save(scores, numpy.zeros(1, int))",
        "answer({}); numpy.save(scores, numpy.ones(1) * 2)",
    ],
)
@pytest.mark.sample(1)
def test_what_it_leaves_for_an_answer_is_not_believed(tmp_path: Path, leave: str) -> None:
    artifact = make_artifact(tmp_path / "a", f"{ANSWERS}\n{leave}; os._exit(0)")
    with pytest.raises(Refused, match="left no answer"):
        score(artifact)


@pytest.mark.usefixtures("preloaded")
def test_its_memory_is_limited_by_what_its_server_may_use(tmp_path: Path) -> None:
    artifact = make_artifact(
        tmp_path / "a", "x = bytearray(1_500_000_000); import time; time.sleep(9)"
    )
    resources = replace(MODEL.server.resources, memory="64Mi")
    small = replace(MODEL, artifact=POLICY, server=replace(MODEL.server, resources=resources))
    with pytest.raises(Refused, match=r"more than 1088 MiB; raise server\.resources\.memory"):
        score(artifact, model=small)


@pytest.mark.parametrize(
    ("unisolated", "formats", "refused"),
    [
        (Unisolated.REFUSED, ("cloudpickle",), True),
        (Unisolated.WITHOUT_CREDENTIALS, ("skops", "code"), True),
        (Unisolated.ACCEPTED, ("cloudpickle",), False),
        (Unisolated.REFUSED, ("skops",), False),
    ],
)
def test_a_pod_that_closes_nothing_in_opens_no_model_that_runs_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unisolated: Unisolated,
    formats: tuple[str, ...],
    *,
    refused: bool,
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("STORE_SECRET_KEY", SECRET)
    asked = replace(MODEL, artifact=replace(POLICY, formats=formats))
    if not refused:
        return refuse_unisolated_model(asked, unisolated, tmp_path, ())
    with pytest.raises(CannotAnswer, match="neither Landlock nor namespaces to close a model"):
        score_tables(own_runtime(), [], [], asked, unisolated=unisolated, ways=())
    return None


@pytest.mark.long
def test_a_process_that_is_not_forked_is_closed_in_too(tmp_path: Path) -> None:
    code = f"open({str(tmp_path / 'outside')!r}, 'w')"
    with pytest.raises(Exception, match=r"PermissionError|Read-only|No such file"):
        score(make_artifact(tmp_path / "a", code)).scores(0, 0, what="the model")
    assert "modelyard" in sys.modules
