"""An AWS on loopback (moto), which leaves nothing behind in the process of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


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


def enforce_policies() -> None:
    """From here on every request needs a right."""
    from moto import settings

    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0.0


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
