from __future__ import annotations

import gc
import os
import shutil
import ssl
from collections import Counter
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from built_once import PLACE, built_once, share_what_is_built
from modelyard.adapters.store.registry import Registry
from modelyard.serving.formats import skops_file

if TYPE_CHECKING:
    from fakes.github import FakeGitHub

# A client of gRPC in this process must not start its threads in what other tests fork of it.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci")

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada Example",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada Example",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_CONFIG_NOSYSTEM": "1",
}

# A yard of a test outlives no power failure, and no repository of a test lives long enough for
# Git to tidy it up. A remote asks the objects that were just pushed for refs of their own, with a
# process; there are none. Samples of hooks are copied into each new repository; nobody reads them.
GIT_SETTINGS = """\
[core]
	fsync = none
	alternateRefsCommand = true
[init]
	templateDir =
[gc]
	auto = 0
[receive]
	autoGC = false
"""


def pytest_configure(config: pytest.Config) -> None:
    gc.disable()
    if not hasattr(config, "workerinput"):
        config.add_cleanup(share_what_is_built())


def pytest_collection_finish() -> None:
    """Walk what the collection made no more: it stays, and each walk of it costs a second."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 50)


@pytest.hookimpl(tryfirst=True)  # before those that are `long` are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave all but the first cases of each test with a `sample` to `make test-long`."""
    counts: Counter[str] = Counter()
    for item in items:
        if (sample := item.get_closest_marker("sample")) is not None:
            test = item.nodeid.partition("[")[0]
            counts[test] += 1
            if counts[test] > sample.args[0]:
                item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting of the developer's shell reaches a test, and Git needs no setup.

    But for those that are made for tests on a cluster.
    """
    settings = tmp_path_factory.mktemp("git") / "config"
    settings.write_text(GIT_SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("MODELYARD_", "GIT_")) and not name.startswith("MODELYARD_E2E_"):
                patch.delenv(name)
        for name, value in IDENTITY.items():
            patch.setenv(name, value)
        patch.setenv("GIT_CONFIG_GLOBAL", str(settings))
        patch.setenv("MODELYARD_RUNTIMES", str(Path(os.environ[PLACE]) / "runtimes"))
        yield


@pytest.fixture(scope="session", autouse=True)
def complete_registries() -> Iterator[None]:
    """A new database of MLflow is a copy of one: to create it takes 1.6 s of CPU time."""
    connect = Registry._client.func

    def connect_to_complete(registry: Registry) -> object:
        file = Path(registry.uri.removeprefix("sqlite:///"))
        if registry.uri.startswith("sqlite:///") and not file.exists():
            shutil.copyfile(built_once("registry", create), file)
        return connect(registry)

    def create(folder: Path) -> Path:
        registry = Registry("sqlite:///mlflow.db", folder)
        connect(registry)
        return folder / "mlflow.db"

    client = cached_property(connect_to_complete)
    client.__set_name__(Registry, "_client")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Registry, "_client", client)
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_import_of_skops() -> Iterator[None]:
    """The thread that pytest-xdist has in each worker imports nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(skops_file, "threading", SimpleNamespace(active_count=lambda: 1))
        yield


@pytest.fixture(scope="session", autouse=True)
def authorities_read_once() -> Iterator[None]:
    """Each client of httpx reads all authorities, in 25 ms, for servers that have no TLS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
        yield


@pytest.fixture
def fake_github(tmp_path: Path) -> Iterator[FakeGitHub]:
    """A GitHub with an empty repository; a request or answer that is none of GitHub's fails."""
    from fakes.github import FakeGitHub

    fake = FakeGitHub(tmp_path / "github")
    yield fake
    fake.close()
    fake.verify()
