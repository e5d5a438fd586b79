"""The restore drill of environments/platform/aws/README.md: what a bucket and Git bring back."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.aws import running_aws
from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs.reader import read_specs
from modelyard.adapters.store.artifacts import Store
from modelyard.adapters.store.registry import Registry
from modelyard.errors import CannotAnswer
from modelyard.operations.gate import check_record
from modelyard.operations.reconcile.loop import reconcile_model
from modelyard.operations.workspace import Workspace
from operations.yard import MODEL, Yard, clone
from operations.yard_with_history import in_production

pytestmark = pytest.mark.slow  # importing MLflow alone takes seconds

BUCKET = "models-to-restore"
STORE = f"s3://{BUCKET}/artifacts"


def postgres_program(name: str) -> str | None:
    found = [shutil.which(name), *map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))]
    return next((each for each in found if each), None)


class Sqlite:
    """MLflow's database as a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.uri = f"sqlite:///{folder}/mlflow.db"

    def lose(self) -> None:
        (self._folder / "mlflow.db").unlink()
        self.uri = f"sqlite:///{self._folder}/new.db"  # MLflow keeps the old one open

    def stop(self) -> None:
        """Nothing runs."""


class Postgres:
    """A PostgreSQL of its own, on a free port of loopback."""

    def __init__(self, folder: Path) -> None:
        self._user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
        # Not below the folder of the tests, which root alone may enter.
        self._home = Path(f"/tmp/modelyard-restore-{os.getpid()}")
        self._home.mkdir()
        if self._user:
            shutil.chown(self._home, self._user)
        data = self._home / "data"
        self._run("initdb", "-D", str(data), "--auth=trust", "-U", "mlflow", "--no-sync")
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self._port = found.getsockname()[1]
        settings = f"-h 127.0.0.1 -p {self._port} -k {self._home} -F"
        program = [postgres_program("postgres"), "-D", str(data), *settings.split()]
        self._server = subprocess.Popen(
            program, user=self._user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._create("mlflow")

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run(
            [postgres_program(name), *arguments],
            user=self._user,
            check=True,
            capture_output=True,
            cwd="/",
        )

    def _create(self, name: str) -> None:
        import psycopg

        address = f"postgresql://mlflow@127.0.0.1:{self._port}/postgres"
        for _ in range(300):
            try:
                connection = psycopg.connect(address, autocommit=True)
            except psycopg.OperationalError:
                time.sleep(0.1)
                continue
            with connection:
                connection.execute("DROP DATABASE IF EXISTS mlflow WITH (FORCE)")
                connection.execute(f"CREATE DATABASE {name}")
            self.uri = f"postgresql://mlflow@127.0.0.1:{self._port}/{name}"
            return
        raise TimeoutError("PostgreSQL did not start")

    def lose(self) -> None:
        self._create("new")

    def stop(self) -> None:
        self._server.send_signal(signal.SIGINT)  # else it waits for connections to end
        self._server.wait(timeout=30)
        shutil.rmtree(self._home)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def database(request, tmp_path):
    if request.param == "postgresql" and postgres_program("initdb") is None:
        pytest.skip("PostgreSQL is not installed")
    made = Sqlite(tmp_path) if request.param == "sqlite" else Postgres(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def s3():
    """A bucket that keeps versions."""
    import boto3

    with running_aws("us-east-1"):
        client = boto3.Session().client("s3")
        client.create_bucket(Bucket=BUCKET)
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield client


def restored(yard: Yard, database: Sqlite | Postgres, name: str) -> Workspace:
    """What a new machine has: a clone, the bucket, and a database."""
    clone(yard, name)
    root = yard.folder / name
    made = yard.workspace(name)
    made = replace(made, store=Store(STORE, root))
    made.__dict__["registry"] = Registry(database.uri, root)
    return made


def restore_object(s3, key: str) -> None:
    """Copy the oldest version over what is there, as an operator does."""
    versions = s3.list_object_versions(Bucket=BUCKET, Prefix=key)["Versions"]
    first = min(versions, key=lambda each: (each["LastModified"], each["IsLatest"]))
    source = {"Bucket": BUCKET, "Key": key, "VersionId": first["VersionId"]}
    s3.copy_object(Bucket=BUCKET, Key=key, CopySource=source)


def test_a_registry_that_is_gone_is_rebuilt_and_objects_come_back(tmp_path, database, s3):
    yard = in_production(tmp_path / "yard")
    for file in sorted(path for path in (yard.folder / "store").rglob("*") if path.is_file()):
        key = f"artifacts/{file.relative_to(yard.folder / 'store').as_posix()}"
        s3.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes())
    lived = restored(yard, database, "lived")
    reconcile_model(lived, MODEL, wait=False, report=print)
    aliases = lived.registry.read_aliases(MODEL)
    assert set(aliases.values()) == {"v1"}
    assert "production" in " ".join(aliases)

    # The database with every backup, and the machine.
    del lived
    database.lose()
    machine = restored(yard, database, "machine")
    assert machine.registry.read_aliases(MODEL) == {}
    said: list[str] = []
    reconcile_model(machine, MODEL, wait=False, report=said.append)
    assert machine.registry.read_aliases(MODEL) == aliases
    assert f"registered {MODEL} v1 again: it was gone from the registry" in said
    (known,) = machine.registry._client.search_model_versions(f"name = '{MODEL}'")
    specs = read_specs(GitTree(machine.git, machine.main()))
    record = specs.catalog.records[MODEL, "v1"]
    digest = record.artifact.digest
    assert known.source == f"{STORE}/models/{digest.removeprefix('sha256:')}/model"
    assert known.tags["modelyard.artifact"] == digest

    # An object that was deleted, and one that was overwritten.
    scores = record.held_out[0].scores.removeprefix("sha256:")
    key = f"artifacts/evidence/{scores}"
    s3.delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(CannotAnswer, match="the store does not have it"):
        machine.store.read_evidence(f"sha256:{scores}")
    restore_object(s3, key)
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"of somebody")
    with pytest.raises(Exception, match="does not match its digest"):
        machine.store.read_evidence(f"sha256:{scores}")
    restore_object(s3, key)
    checked = check_record(machine.store, specs.catalog, record, check=True)
    assert checked.verdict == record.verdict
