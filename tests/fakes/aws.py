"""An AWS on loopback (moto), which leaves nothing behind in the process of the tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

POLICIES = Path(__file__).parents[2] / "environments/platform/aws/policies"
REGION = "eu-central-1"
ROLES = ("steps", "watch", "judge", "server", "mlflow", "evidence")
_TRUST = {"Effect": "Allow", "Principal": {"Service": "eks"}, "Action": "sts:AssumeRole"}


@contextmanager
def running_aws(region: str) -> Iterator[pytest.MonkeyPatch]:
    """Start an AWS without a bucket, with the environment of an operator who may do everything.

    moto keeps buckets, keys and whether it enforces policies for the whole process, and clients of
    S3 are cached by address: all of it is forgotten before and after.
    """
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_DEFAULT_REGION", region)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.delenv("AWS_SESSION_TOKEN", raising=False)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "operator")
        forget()
        try:
            yield patch
        finally:
            forget()
            server.stop()


def forget() -> None:
    from moto import settings
    from moto.core.authorization import ActionAuthenticatorMixin
    from moto.moto_api._internal import moto_api_backend

    forget_clients()
    moto_api_backend.reset()
    settings.INITIAL_NO_AUTH_ACTION_COUNT = float("inf")
    ActionAuthenticatorMixin.request_count = 0


def forget_clients() -> None:
    """Clients of S3 keep the keys that they were made with."""
    import boto3
    from mlflow.store.artifact import s3_artifact_repo
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
    s3_artifact_repo._cached_get_s3_client.cache_clear()
    boto3.setup_default_session()


class Account:
    """A bucket that keeps versions, and the roles that environments/platform/aws gives pods.

    Whoever made it may do everything, until it becomes a role: then every request needs a right.

    Args:
        patch: That of `running_aws`.
        bucket: The bucket's name.
    """

    def __init__(self, patch: pytest.MonkeyPatch, bucket: str) -> None:
        self.bucket, self._patch = bucket, patch
        # A client costs 0.2 s of CPU time, and keeps the keys that it was made with.
        self._clients: dict[str, Any] = {}
        self._operator = self._clients
        self._keys: dict[str, dict[str, str]] = {}
        where = {"LocationConstraint": REGION}
        s3 = self.client("s3")
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        for role in ROLES:
            self._keys[role] = self._assume(role)
        _enforce_prefixes(patch)

    def client(self, service: str) -> Any:
        """A client of whoever this process is now."""
        import boto3

        if service not in self._clients:
            # A session of its own, as the default one remembers whom it was made for.
            self._clients[service] = boto3.Session().client(service)
        return self._clients[service]

    def become(self, role: str) -> None:
        """From here on this process has the temporary keys of a role."""
        from moto import settings

        for name, value in self._keys[role].items():
            self._patch.setenv(name, value)
        forget_clients()
        self._clients = {}
        settings.INITIAL_NO_AUTH_ACTION_COUNT = 0.0

    @contextmanager
    def as_operator(self) -> Iterator[Any]:
        """For a while, the client of somebody who may do everything."""
        from moto import settings

        before = settings.INITIAL_NO_AUTH_ACTION_COUNT
        settings.INITIAL_NO_AUTH_ACTION_COUNT = float("inf")
        yield self._operator["s3"]
        settings.INITIAL_NO_AUTH_ACTION_COUNT = before

    def copy(self, folder: Path, prefix: str) -> None:
        """Put the files of a folder into the bucket, as an operator."""
        with self.as_operator() as s3:
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                key = f"{prefix}/{file.relative_to(folder).as_posix()}"
                s3.put_object(Bucket=self.bucket, Key=key, Body=file.read_bytes())

    def uri(self, folder: str) -> str:
        return f"s3://{self.bucket}/{folder}"

    def versions(self) -> set[tuple[str, str]]:
        """Every version of every object, and every mark of a deletion."""
        with self.as_operator() as s3:
            pages = list(s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket))
        found = [
            each for page in pages for kind in ("Versions", "DeleteMarkers")
            for each in page.get(kind, ())
        ]  # fmt: skip
        return {(each["Key"], each["VersionId"]) for each in found}

    def _assume(self, role: str) -> dict[str, str]:
        values = {
            "bucket": f"arn:aws:s3:::{self.bucket}",
            "key": f"arn:aws:kms:{REGION}:123456789012:key/one",
            "region": REGION,
        }
        policy = Template((POLICIES / f"{role}.json").read_text()).substitute(values)
        trust = json.dumps({"Version": "2012-10-17", "Statement": [_TRUST]})
        iam = self.client("iam")
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust)
        iam.put_role_policy(RoleName=role, PolicyName=role, PolicyDocument=policy)
        arn = f"arn:aws:iam::123456789012:role/{role}"
        keys = self.client("sts").assume_role(RoleArn=arn, RoleSessionName="pod")["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
            "AWS_SESSION_TOKEN": keys["SessionToken"],
        }


def _enforce_prefixes(patch: pytest.MonkeyPatch) -> None:
    """Let moto know the one condition of listings, `s3:prefix`, which it takes for fulfilled."""
    from moto.iam.access_control import IAMPolicyStatement, S3IAMRequest

    asked = threading.local()
    check, meets = S3IAMRequest.check_action_permitted, IAMPolicyStatement._check_conditions

    def check_permitted(request: S3IAMRequest, resource: str) -> None:
        query = parse_qs(urlsplit(request._path).query)
        asked.prefix = query.get("prefix", [None])[0]
        check(request, resource)

    def meets_conditions(statement: IAMPolicyStatement, incoming: Any) -> bool:
        wanted = statement._statement.get("Condition", {}).get("StringLike", {})
        patterns = wanted.get("s3:prefix")
        if patterns is None:
            return bool(meets(statement, incoming))
        prefix = asked.prefix
        return prefix is not None and any(fnmatchcase(prefix, each) for each in patterns)

    patch.setattr(S3IAMRequest, "check_action_permitted", check_permitted)
    patch.setattr(IAMPolicyStatement, "_check_conditions", meets_conditions)
