from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from modelyard.adapters.store.registry import Registry, TrainingRun
from modelyard.errors import CannotAnswer

pytestmark = pytest.mark.slow  # importing MLflow alone takes seconds

RUN = TrainingRun(
    workflow="m-v1-0123456789",
    params={"seed": "0", "depth": "3"},
    metrics={"recent.auc": 0.75},
    tags={"modelyard.version": "v1"},
    datasets={"data/train.parquet": "b" * 64},
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def registry(root):
    return Registry("sqlite:///.modelyard/mlflow.db", root)


def runs(registry, model):
    client = registry._client
    experiment = client.get_experiment_by_name(model)
    return client.search_runs([experiment.experiment_id])


def registered(registry, model, version, artifact="sha256:a"):
    run = TrainingRun(workflow=f"{model}-{version}", params={}, metrics={}, tags={}, datasets={})
    run_id = registry.log_run(model, run)
    return registry.register_version(
        model, version=version, artifact=artifact, source="/store/model", run_id=run_id
    )


def test_a_relative_address_is_below_the_checkout(root, registry):
    assert registry.uri == f"sqlite:///{root}/.modelyard/mlflow.db"
    assert Registry("sqlite:////srv/mlflow.db".replace("/srv", str(root)), root).uri == (
        f"sqlite:///{root}/mlflow.db"
    )
    assert Registry("http://mlflow:5000", root).uri == "http://mlflow:5000"


def test_a_training_is_logged_once(registry):
    run_id = registry.log_run("logged", RUN)

    assert registry.log_run("logged", RUN) == run_id
    (run,) = runs(registry, "logged")
    assert run.info.status == "FINISHED"
    assert run.data.params == {"seed": "0", "depth": "3"}
    assert run.data.metrics == {"recent.auc": 0.75}
    assert run.data.tags["modelyard.version"] == "v1"
    assert run.data.tags["modelyard.workflow"] == "m-v1-0123456789"
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("train.parquet", "b" * 32)


@pytest.mark.sample(2)
@pytest.mark.parametrize("call", ["log_batch", "log_inputs", "set_terminated"])
def test_a_killed_log_is_repeated_and_counts_once(registry, call):
    model = f"killed-in-{call.replace('_', '-')}"
    child = os.fork()
    if child == 0:
        try:
            other = Registry(registry.uri, None)
            setattr(other._client, call, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
            other.log_run(model, RUN)
        finally:
            os._exit(0)  # whatever failed: a fork that went on would run the other tests
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL

    run_id = registry.log_run(model, RUN)

    assert registry.log_run(model, RUN) == run_id
    finished = [run for run in runs(registry, model) if run.info.status == "FINISHED"]
    assert [run.info.run_id for run in finished] == [run_id]
    assert finished[0].data.metrics == {"recent.auc": 0.75}


def test_a_version_is_registered_once(registry):
    number = registered(registry, "once", "v1")

    assert registered(registry, "once", "v1") == number == "1"
    assert registered(registry, "once", "v2") == "2"


def test_another_artifact_of_a_version_is_another_number(registry):
    assert registered(registry, "again", "v1", "sha256:a") == "1"
    assert registered(registry, "again", "v1", "sha256:b") == "2"

    registry.set_alias("again", alias="dev", version="v1")

    assert registry._client.get_model_version_by_alias("again", "dev").version in {2, "2"}


def test_an_alias_points_at_one_version_and_moves(registry):
    registered(registry, "moving", "v1")
    registered(registry, "moving", "v2")
    registry.set_alias("moving", alias="dev", version="v2")
    registry.set_alias("moving", alias="production", version="v2")

    registry.set_alias("moving", alias="production", version="v1")
    registry.set_alias("moving", alias="production", version="v1")

    assert registry.read_aliases("moving") == {"dev": "v2", "production": "v1"}


def test_an_unregistered_model_has_no_aliases(registry):
    assert registry.read_aliases("nobody") == {}


def test_an_alias_of_what_was_never_registered_is_no_answer(registry):
    with pytest.raises(CannotAnswer, match="no registered version for nobody v1") as caught:
        registry.set_alias("nobody", alias="dev", version="v1")

    assert caught.value.hint == "modelyard retrain nobody v1"


def test_an_address_is_shown_without_its_credentials(tmp_path):
    private = Registry("postgresql://ada:secret@db:5432/mlflow", tmp_path)

    assert private._shown == "postgresql://db:5432/mlflow"


def test_a_broken_database_cannot_answer(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"not a database at all, but long enough to be one" * 100)
    broken = Registry("sqlite:///mlflow.db", tmp_path)

    for ask in (
        lambda: broken.read_aliases("m"),
        lambda: broken.set_alias("m", alias="dev", version="v1"),
        lambda: broken.log_run("m", RUN),
        lambda: broken.register_version("m", version="v1", artifact="a", source="s", run_id="r"),
    ):
        with pytest.raises(CannotAnswer, match=f"^MLflow at {broken.uri}: "):
            ask()


class Page(BaseHTTPRequestHandler):
    """What a proxy answers in MLflow's place."""

    def do_GET(self) -> None:
        """Answer 200, with a page."""
        page = b"<html>Please sign in</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    do_POST = do_GET  # noqa: N815 - of the standard library

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_page_in_mlflows_place_is_no_answer(tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        proxied = Registry(f"http://127.0.0.1:{server.server_port}", tmp_path)
        for ask in (
            lambda: proxied.read_aliases("m"),
            lambda: proxied.log_run("m", RUN),
            lambda: proxied.register_version(
                "m", version="v1", artifact="a", source="s", run_id="r"
            ),
        ):
            with pytest.raises(CannotAnswer, match=f"^MLflow at {proxied.uri}: "):
                ask()
        server.shutdown()


def test_a_version_that_was_deleted_is_registered_again_and_takes_its_alias(registry):
    number = registered(registry, "deleted", "v1")
    assert registry.has_version("deleted", "v1")
    registry._client.delete_model_version("deleted", number)
    assert not registry.has_version("deleted", "v1")
    with pytest.raises(CannotAnswer, match="no registered version for deleted v1"):
        registry.set_alias("deleted", alias="production", version="v1")

    registry.register_again("deleted", version="v1", artifact="sha256:a", source="/store/model")

    registry.set_alias("deleted", alias="production", version="v1")
    assert registry.read_aliases("deleted") == {"production": "v1"}


def test_a_model_that_was_deleted_whole_is_registered_again(registry):
    registered(registry, "gone", "v1")
    registry._client.delete_registered_model("gone")
    assert not registry.has_version("gone", "v1")

    registry.register_again("gone", version="v1", artifact="sha256:a", source="/store/model")

    assert registry.has_version("gone", "v1")


def test_a_database_that_cannot_be_written_is_one_error_and_no_traceback(tmp_path, capfd):
    registry = Registry("sqlite:///mlflow.db", tmp_path)
    registered(registry, "full", "v1")
    capfd.readouterr()
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("DROP TABLE registered_model_aliases")

    with pytest.raises(CannotAnswer, match="no such table"):
        registry.set_alias("full", alias="dev", version="v1")

    assert capfd.readouterr() == ("", "")
