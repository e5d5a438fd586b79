"""MLflow's server as the platform starts it, with the keys that AWS gives its pod."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
import requests
import yaml
from mlflow import MlflowClient

from fakes.aws import REGION, Account, running_aws

pytestmark = pytest.mark.long  # a server of MLflow takes ten seconds of CPU time to start

MANIFEST = Path(__file__).parents[2] / "environments/platform/manifests/mlflow.yaml"


@pytest.fixture
def account() -> Iterator[Account]:
    with running_aws(REGION) as patch:
        yield Account(patch, "models")


@contextmanager
def running_mlflow(account: Account, folder: Path) -> Iterator[str]:
    """MLflow's server with the keys of this process, and the command of the manifest."""
    [deployment] = [
        each for each in yaml.safe_load_all(MANIFEST.read_text()) if each["kind"] == "Deployment"
    ]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = {"0.0.0.0": "127.0.0.1", "5000": str(port)}  # noqa: S104 - it is replaced
    arguments = [
        f"{name}={address.get(value, value)}"
        for name, _, value in (each.partition("=") for each in container["args"][1:])
    ]
    environment = {
        **os.environ,
        **{each["name"]: each["value"] for each in container["env"] if "value" in each},
        "HOME": str(folder),
        "MLFLOW_ARTIFACTS_DESTINATION": account.uri("mlflow"),
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder}/mlflow.db",
    }
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *container["command"], container["args"][0], *arguments],
            cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        wait_until_healthy(server, f"http://127.0.0.1:{port}", folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def wait_until_healthy(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text()
        try:
            if requests.get(f"{address}/health", timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


def test_its_files_are_written_and_read_and_never_deleted(account: Account, tmp_path: Path):
    page = tmp_path / "page.html"
    page.write_text("a plot")
    account.become("mlflow")
    with running_mlflow(account, tmp_path) as address:
        client = MlflowClient(address)
        run = client.create_run(client.create_experiment("wine")).info
        client.log_artifact(run.run_id, str(page))

        assert run.artifact_uri.startswith("mlflow-artifacts:/")
        [found] = client.list_artifacts(run.run_id)
        assert (found.path, found.file_size) == ("page.html", len("a plot"))
        # A client would ask for a presigned URL first; see the last test.
        path = run.artifact_uri.removeprefix("mlflow-artifacts:/")
        file = f"{address}/api/2.0/mlflow-artifacts/artifacts/{path}/page.html"
        assert requests.get(file, timeout=60).text == "a plot"
        kept = account.versions()
        assert [key.rpartition("/")[2] for key, _ in kept] == ["page.html"]
        assert all(key.startswith("mlflow/") for key, _ in kept)

        requests.delete(file, timeout=60)  # MLflow says yes, whatever S3 answered
    assert account.versions() == kept


def test_with_the_keys_of_another_pod_it_writes_nothing(account: Account, tmp_path: Path):
    account.become("steps")
    with running_mlflow(account, tmp_path) as address:
        file = f"{address}/api/2.0/mlflow-artifacts/artifacts/1/run/artifacts/page.html"
        assert requests.put(file, data=b"a plot", timeout=60).status_code == 500
    assert account.versions() == set()


def test_this_s3_knows_no_url_that_carries_its_signature(account: Account):
    """MLflow's client tries such a URL again and again: docs/aws.md names the gap."""
    account.become("mlflow")
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    key = {"Bucket": "models", "Key": "mlflow/page.html"}
    client.put_object(**key, Body=b"a plot")
    assert client.get_object(**key)["Body"].read() == b"a plot"

    found = requests.get(client.generate_presigned_url("get_object", Params=key), timeout=60)
    assert found.status_code == 500, "moto can do it now: let the client download in the test above"
