"""Every format that model.yaml may list passes `verify`, with a real server process."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import threading
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow.pyfunc
import mlflow.sklearn
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

from modelyard.adapters.cluster.local_servers import free_port
from modelyard.adapters.isolation.task import Limits
from modelyard.artifact_digest import artifact_digest
from modelyard.domain.artifact_formats import FORMATS
from modelyard.domain.isolation import Unisolated
from modelyard.domain.server_arguments import RELEASE_HEADER, server_arguments
from modelyard.domain.specs.model import ArtifactPolicy, Trusted
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.runtimes.closed_in import limits_of_model
from modelyard.operations.training import verify
from modelyard.operations.training.verify import verify_server
from modelyard.serving.artifact import describe_artifact
from modelyard.serving.documents import write_golden, write_serving
from modelyard.serving.predictor import load_predictor
from modelyard.serving.probe import Probe
from runtimes import own_runtime
from serving.artifacts import MODEL, TRUSTED, flights, shared_artifact
from serving.running import preloaded_socket

INPUTS = ("minute", "dep_delay")
MODULE = """
import mlflow.pyfunc
import pandas as pd

class Late(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        return (model_input["dep_delay"].fillna(0) > 5).to_numpy(dtype="float64")
"""


def artifact_of(folder: Path, formats: tuple[str, ...], tmp_path: Path) -> str:
    """An artifact of the last of these formats."""
    signature = ModelSignature(
        Schema([ColSpec("double", name) for name in INPUTS]), Schema([ColSpec("double", "p")])
    )
    kind, model = formats[-1], folder / "model"
    if kind == "skops":
        shutil.copytree(shared_artifact()[0], folder)
        return artifact_digest(folder)
    if kind in {"pickle", "cloudpickle"} and len(formats) == 1:
        from sklearn.linear_model import LogisticRegression

        frame = flights()
        fitted = LogisticRegression().fit(frame[list(INPUTS)], frame["arr_delay"] > 15)
        mlflow.sklearn.save_model(
            fitted, model, serialization_format=kind, signature=signature,
            pip_requirements=["scikit-learn"], pyfunc_predict_fn="predict_proba",
        )  # fmt: skip
    else:
        code = tmp_path / "late_model.py"
        code.write_text(MODULE)
        sys.path.insert(0, str(tmp_path))
        import late_model  # type: ignore[import-not-found]

        try:
            if kind != "code":
                import cloudpickle

                cloudpickle.register_pickle_by_value(late_model)
            mlflow.pyfunc.save_model(
                model, python_model=late_model.Late(), signature=signature, pip_requirements=[],
                code_paths=[str(code)] if kind == "code" else None,
            )  # fmt: skip
        finally:
            sys.path.remove(str(tmp_path))
            del sys.modules["late_model"]
    write_serving(
        folder,
        model=MODEL,
        inputs=tuple(describe_artifact(folder).inputs),
        training=[flights()],
    )
    loaded = load_predictor(folder, artifact_digest(folder), TRUSTED, formats=formats)
    write_golden(folder, loaded.golden_of(flights().dropna().head(5)))
    sys.modules.pop("late_model", None)
    return artifact_digest(folder)


def job(folder: Path, digest: str, formats: tuple[str, ...]) -> Any:
    """As much of a job as the step asks for."""
    written: dict[str, object] = {}
    policy = ArtifactPolicy(
        trusted_types=TRUSTED,
        formats=formats,
        trusted=Trusted(reason="It was made by this test."),
        max_p95_ms=10_000,
    )
    return SimpleNamespace(
        model=replace(MODEL, artifact=policy),
        model_name=MODEL.name,
        version="v1",
        unisolated=Unisolated.REFUSED,
        store=SimpleNamespace(fetch_model=lambda _, to: shutil.copytree(folder, to)),
        asked_signature=lambda: None,
        read_document=lambda _: {"digest": digest},
        find_runtime=own_runtime,
        put_document=written.__setitem__,
        refuse=lambda why, **_: Refused(why),
        written=written,
    )


CASES = [
    ("skops",),
    ("pickle",),
    ("cloudpickle",),
    ("skops", "cloudpickle"),
    ("cloudpickle", "code"),
]


@pytest.mark.sample(2)
@pytest.mark.parametrize("formats", CASES, ids="+".join)
def test_a_model_of_every_format_that_may_be_listed_passes(
    formats: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))
    folder = tmp_path / "artifact"
    digest = artifact_of(folder, formats, tmp_path)
    asked = job(folder, digest, formats)

    verify_server(asked)

    assert asked.written["server.json"]["golden"] >= 5


def shared_job() -> Any:
    folder, digest = shared_artifact()
    return job(folder, digest, ("skops",))


def test_a_fault_of_the_machine_is_no_answer_about_the_version(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(verify, "free_port", lambda _: taken.getsockname()[1])

        with pytest.raises(CannotAnswer, match="Address already in use"):
            verify_server(shared_job())


class _Other(BaseHTTPRequestHandler):
    """What another yard of this machine verifies: ready, and quick to answer."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(HTTPStatus.OK)
        self.send_header(RELEASE_HEADER, "verify")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET  # noqa: N815 - named by the standard library

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_no_other_server_is_believed_and_each_verification_has_a_port_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
):
    asked = shared_job()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        names: list[str] = []
        monkeypatch.setattr(
            verify, "free_port", lambda name: names.append(name) or other.server_port
        )
        for _ in range(2):
            with pytest.raises(CannotAnswer, match=r"another server|Address already in use"):
                verify_server(asked)
        other.shutdown()
    assert (len(set(names)), asked.written) == (2, {})


@pytest.mark.parametrize("port", ["taken", "free"])
def test_a_server_that_ends_is_not_blamed_for_a_port_that_somebody_took(
    port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1] if port == "taken" else free_port(str(tmp_path))
        command = SimpleNamespace(port=number, log=tmp_path / "log")
        ended: Any = SimpleNamespace(poll=lambda: 1)
        monkeypatch.setattr(verify, "_exceeded", lambda *_: None)
        with pytest.raises(CannotAnswer if port == "taken" else Refused):
            verify._wait_until_ready(shared_job(), Probe("", "m", "r"), ended, command)


def test_a_server_that_exceeds_a_limit_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch):
    def small(*arguments: Any) -> Limits:
        return replace(limits_of_model(*arguments), memory=1 << 20)

    monkeypatch.setattr(verify, "limits_of_model", small)

    with pytest.raises(Refused, match=r"the server ran out of memory: it used more than 1 MiB"):
        verify_server(shared_job())


def test_the_schema_lists_the_formats_that_the_server_knows():
    schema = json.loads(Path("schemas/model.schema.json").read_text())

    listed = schema["properties"]["artifact"]["properties"]["formats"]["items"]["enum"]
    assert tuple(listed) == FORMATS


@pytest.mark.parametrize("name", ["pickle", "cloudpickle", "joblib"])
def test_a_hint_names_only_formats_that_may_be_listed(name: str, tmp_path: Path):
    folder = tmp_path / "artifact"
    shutil.copytree(shared_artifact()[0], folder)
    path = folder / "model" / "MLmodel"
    new = f"serialization_format: {name}"
    path.write_text(path.read_text().replace("serialization_format: skops", new))

    with pytest.raises(Refused) as caught:
        load_predictor(folder, artifact_digest(folder), TRUSTED)

    named = {each for each in (*FORMATS, name) if f"`{each}`" in str(caught.value.hint)}
    assert named == ({name} if name in FORMATS else set())


def test_the_arguments_of_a_server_are_options_of_the_command():
    from modelyard.commands.serve import serve

    given = server_arguments(
        model="m", version="v", release="r", artifact="a", folder="f",
        formats=("skops", "code"), trusted_types=("x.Y",), queue=7, workers=2, port="8080",
        closing_file="/tmp/c",
    )  # fmt: skip

    found = serve.make_context("serve", given[1:]).params
    assert (found["formats"], found["trusted_types"]) == (("skops", "code"), ("x.Y",))
    assert (found["closing"], found["queue"], found["workers"]) == (Path("/tmp/c"), 7, 2)
