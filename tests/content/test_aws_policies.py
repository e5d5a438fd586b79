"""The policies of environments/platform/aws, enforced: who may do what with the bucket."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache, partialmethod
from pathlib import Path

import pytest
import yaml

from fakes.aws import REGION, ROLES, running_aws
from fakes.aws import Account as BucketAccount
from modelyard.adapters.store.artifacts import Store
from modelyard.adapters.tables.data_files import read_uri
from modelyard.artifact_digest import artifact_digest
from modelyard.errors import CannotAnswer

ROOT = Path(__file__).parents[2]
AWS = ROOT / "environments/platform/aws"
PLATFORM = ROOT / "environments/platform/manifests"
BUCKET = "models-of-a-test"
EVIDENCE = b"scores of every row"


class Account(BucketAccount):
    """Its bucket has one of everything, and there is a folder for what is fetched."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        super().__init__(patch, BUCKET)
        self._folder = folder
        model = folder / "model"
        model.mkdir()
        (model / "model.skops").write_bytes(b"weights")
        (model / "serving.json").write_bytes(b"{}")
        self.digest = artifact_digest(model)
        self.store.put_model(model, self.digest)
        self.evidence = self.store.put_evidence(EVIDENCE)
        self.store.put_signature(self.digest, "m@v0", b"{}")
        self.store.put_run_file("wine-v1", "outcome.json", b"{}")
        for key in ("data/wine.csv", "mlflow/1/kept.txt"):
            self.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"a row")

    @property
    def store(self) -> Store:
        return Store(self.uri("artifacts"), self._folder)

    @property
    def fresh(self) -> Path:
        """A folder that is not there yet."""
        return self._folder / f"fetched-{len(list(self._folder.iterdir()))}"


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    with running_aws(REGION) as patch:
        yield Account(patch, tmp_path_factory.mktemp("aws"))


def mlflow_files():
    from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

    return S3ArtifactRepository(f"s3://{BUCKET}/mlflow/1")


def put_mlflow_file(account: Account) -> None:
    page = account.fresh
    page.write_text("a plot")
    mlflow_files().log_artifact(str(page))


def read_mlflow_file(account: Account) -> None:
    assert Path(mlflow_files().download_artifacts("kept.txt")).read_bytes() == b"a row"


def put_model(account: Account) -> None:
    folder = account.fresh
    folder.mkdir()
    (folder / "model.skops").write_text(folder.name)
    account.store.put_model(folder, artifact_digest(folder))


def put_object(key: str) -> Callable[[Account], None]:
    return lambda account: account.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"new")


def delete_object(key: str) -> Callable[[Account], None]:
    return lambda account: account.client("s3").delete_object(Bucket=BUCKET, Key=key)


def list_objects(**prefix: str) -> Callable[[Account], None]:
    return lambda account: account.client("s3").list_objects_v2(Bucket=BUCKET, **prefix)


OPERATIONS: dict[str, Callable[[Account], object]] = {
    "put evidence": lambda account: account.store.put_evidence(account.fresh.name.encode()),
    "read evidence": lambda account: account.store.read_evidence(account.evidence),
    "put a model": put_model,
    "fetch a model": lambda account: account.store.fetch_model(account.digest, account.fresh),
    "put a signature": lambda account: account.store.put_signature(account.digest, "m@v1", b"{}"),
    "read a signature": lambda account: account.store.read_signature(account.digest, "m@v0"),
    "read what a model is served with": lambda account: account.store.read_model_file(
        account.digest, "serving.json"
    ),
    "put a file of a run": lambda account: account.store.put_run_file("wine-v1", "rows", b"1"),
    "read a file of a run": lambda account: account.store.read_run_file("wine-v1", "outcome.json"),
    "read data": lambda account: read_uri(
        "wine.csv", base=f"s3://{BUCKET}/data", root=account.fresh
    ),
    "put MLflow's files": put_mlflow_file,
    "read MLflow's files": read_mlflow_file,
    "change data": put_object("data/wine.csv"),
    "put a file elsewhere": put_object("elsewhere"),
    "delete an artifact": lambda account: delete_object(
        f"artifacts/models/{account.digest.removeprefix('sha256:')}/model.skops"
    )(account),
    "delete evidence": lambda account: delete_object(
        f"artifacts/evidence/{account.evidence.removeprefix('sha256:')}"
    )(account),
    "delete MLflow's files": delete_object("mlflow/1/kept.txt"),
    "delete a version for good": lambda account: account.client("s3").delete_object(
        Bucket=BUCKET, Key="data/wine.csv", VersionId="null"
    ),
    "stop versioning": lambda account: account.client("s3").put_bucket_versioning(
        Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"}
    ),
    "list data": list_objects(Prefix="data/"),
    "list every run": list_objects(Prefix="artifacts/runs/"),
    "list the bucket": list_objects(),
    "list as if by a prefix": list_objects(Prefix=""),
    "take another role": lambda account: account.client("sts").assume_role(
        RoleArn="arn:aws:iam::123456789012:role/steps", RoleSessionName="more"
    ),
}
SIGNED = ("read a signature", "read what a model is served with")
ALLOWED = {
    "steps": {
        "put evidence", "read evidence", "put a model", "fetch a model", "put a file of a run",
        "read a file of a run", "read data", "list data", "list every run", *SIGNED,
        "put a signature",
    },
    "watch": {"read evidence", "fetch a model", "read a file of a run", "list every run", *SIGNED},
    "judge": {"read evidence", "fetch a model", *SIGNED},
    "server": {"fetch a model", *SIGNED},
    "mlflow": {"put MLflow's files", "read MLflow's files"},
    "evidence": {"read evidence", *SIGNED},
}  # fmt: skip


def refused(operation: Callable[[Account], object], account: Account) -> str:
    """Why the operation was refused, or nothing."""
    from botocore.exceptions import ClientError

    try:
        operation(account)
    except (CannotAnswer, ClientError) as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - MLflow has errors of its own
        return str(error)
    return ""


@pytest.fixture
def damaged(account, tmp_path):
    """A model, and a function that damages the bucket's copy of it."""
    folder = tmp_path / "a-damaged-model"
    folder.mkdir()
    (folder / "model.skops").write_bytes(b"other weights")
    digest = artifact_digest(folder)
    account.become("steps")
    account.store.put_model(folder, digest)

    def damage(name: str) -> None:
        key = f"artifacts/models/{digest.removeprefix('sha256:')}/{name}"
        with account.as_operator() as s3:
            s3.put_object(Bucket=BUCKET, Key=key, Body=b"other")

    return folder, digest, damage


def test_training_again_replaces_damaged_bytes_though_no_role_deletes(account, damaged, tmp_path):
    folder, digest, damage = damaged
    damage("model.skops")
    with pytest.raises(CannotAnswer, match="do not have the digest"):
        account.store.fetch_model(digest, tmp_path / "before")

    account.store.put_model(folder, digest)

    assert artifact_digest(account.store.fetch_model(digest, tmp_path / "after")) == digest


def test_a_file_too_many_is_named_where_nobody_may_delete(account, damaged):
    folder, digest, damage = damaged
    damage("more.py")

    with pytest.raises(CannotAnswer, match=r"more\.py: is none of the artifact's files") as caught:
        account.store.put_model(folder, digest)

    assert "somebody who may delete" in caught.value.hint


@pytest.mark.long
@pytest.mark.parametrize("role", ROLES)
def test_a_role_does_its_work_and_nothing_else(account, role):
    account.become(role)
    answers = {name: refused(each, account) for name, each in OPERATIONS.items()}
    assert {name for name, why in answers.items() if not why} == ALLOWED[role]
    others = [why for name, why in answers.items() if name not in ALLOWED[role]]
    wrong = [
        why for why in others if not re.search(r"Forbidden|Access ?Denied|not authorized", why)
    ]
    assert wrong == []


@pytest.mark.long
def test_a_large_model_is_stored_in_parts_with_the_same_rights(account, monkeypatch):
    from s3fs import S3FileSystem

    # S3 takes parts of 5 MiB; the product makes them of 50 MiB, of files from 100 MiB on.
    small = partialmethod(S3FileSystem._pipe_file, chunksize=5 * 2**20)
    monkeypatch.setattr(S3FileSystem, "_pipe_file", small)
    account.become("steps")
    folder = account.fresh
    folder.mkdir()
    (folder / "model.skops").write_bytes(bytes(11 * 2**20))
    digest = artifact_digest(folder)
    account.store.put_model(folder, digest)
    account.become("server")
    assert artifact_digest(account.store.fetch_model(digest, account.fresh)) == digest
    with account.as_operator() as s3:
        key = f"artifacts/models/{digest.removeprefix('sha256:')}/model.skops"
        assert s3.head_object(Bucket=BUCKET, Key=key)["ETag"].endswith('-3"')


# Who has a role.


@cache
def documents() -> tuple[dict, ...]:
    paths = sorted(PLATFORM.rglob("*.yaml"))
    texts = (path.read_text() for path in paths)
    return tuple(
        each for text in texts for each in yaml.load_all(text, Loader=yaml.CSafeLoader) if each
    )


def pods(document: dict) -> list[tuple[str, list[dict]]]:
    """The account and the containers of each pod that a document starts."""
    spec = document["spec"]
    if document["kind"] == "Deployment":
        pod = spec["template"]["spec"]
        return [(pod["serviceAccountName"], [*pod["containers"], *pod.get("initContainers", ())])]
    workflow = spec.get("workflowSpec", spec)
    return [
        (
            each.get("serviceAccountName", workflow["serviceAccountName"]),
            [each["container"], *each.get("initContainers", ())],
        )
        for each in workflow.get("templates", ())
        if "container" in each
    ]


def accounts_that_take_keys() -> set[str]:
    """Accounts whose pods take S3 keys from a Secret where there is no pod identity."""
    found = set()
    for document in documents():
        if document["kind"] not in {"Deployment", "WorkflowTemplate", "CronWorkflow"}:
            continue
        for account, containers in pods(document):
            if any(
                "secretRef" in source for each in containers for source in each.get("envFrom", ())
            ):
                found.add(f"modelyard/{account}")
    return found


@pytest.mark.long
def test_every_account_that_reads_the_bucket_has_a_role_and_no_other_has_one():
    from modelyard.render.pod import SERVICE_ACCOUNT

    written = {
        f"{each['metadata'].get('namespace', 'modelyard')}/{each['metadata']['name']}"
        for each in documents()
        if each["kind"] == "ServiceAccount"
    }
    servers = {each for each in written if each.endswith(f"/{SERVICE_ACCOUNT}")}
    text = (AWS / "identity.tf").read_text()
    given = dict(re.findall(r'^ +"(modelyard/[\w-]+)" += "(\w+)"$', text, re.MULTILINE))
    assert given.keys() == accounts_that_take_keys() <= written
    assert set(given.values()) | {"server", "evidence"} == set(ROLES)
    namespaces = re.search(
        r'"model_namespaces" \{.*?default += (\[.*?\])',
        (AWS / "variables.tf").read_text(),
        re.DOTALL,
    )
    assert {f"{each}/{SERVICE_ACCOUNT}" for each in json.loads(namespaces[1])} == servers
    assert f'"${{each}}/{SERVICE_ACCOUNT}" => "server"' in text


def test_listing_is_limited_to_the_folders_that_a_role_reads():
    # With one that is narrower, S3 calls an object that is missing forbidden.
    for role in ROLES:
        policy = json.loads((AWS / f"policies/{role}.json").read_text())
        by_name = {each["Sid"]: each for each in policy["Statement"]}
        listed = by_name.pop("List")
        del by_name["Key"]
        read = {each for rule in by_name.values() for each in rule["Resource"]}
        prefixes = listed["Condition"]["StringLike"]["s3:prefix"]
        assert {f"${{bucket}}/{each}" for each in prefixes} == read
