from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import urllib3

from json_answers import answer_json
from modelyard.adapters.clock import SystemClock
from modelyard.adapters.cluster import kubernetes_lease
from modelyard.adapters.cluster.kubernetes import KubernetesCluster
from modelyard.adapters.cluster.kubernetes_api import ROLLOUTS, KubernetesApi
from modelyard.adapters.cluster.kubernetes_lease import KubernetesLease
from modelyard.domain.sites import Site
from modelyard.errors import CannotAnswer


class Front(ThreadingHTTPServer):
    """What stands where an API server should, and answers everything the same."""

    body = b"{}"
    status = 200
    hangs = False
    shut = threading.Event()


class _Answer(BaseHTTPRequestHandler):
    server: Front

    def do_GET(self) -> None:
        if self.server.hangs:
            self.server.shut.wait(30)
        answer_json(self, self.server.status, self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    with Front(("127.0.0.1", 0), _Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = {
            "clusters": [
                {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
            ],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (tmp_path / "config").write_text(json.dumps(config))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        monkeypatch.setattr(
            "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config")
        )
        server.shut = threading.Event()
        yield server
        server.shut.set()
        server.shutdown()


def test_returns_an_object_as_the_cluster_has_it(front):
    front.body = b'{"kind": "Rollout"}'

    assert KubernetesApi().get_object(ROLLOUTS, "models", "m") == {"kind": "Rollout"}


def test_a_proxys_error_page_is_no_answer_of_the_cluster(front):
    front.body = b"<html>sign in</html>"

    with pytest.raises(CannotAnswer, match="no JSON in the answer to GET"):
        KubernetesApi().get_object(ROLLOUTS, "models", "m")


def test_a_token_that_cannot_be_read_is_no_answer(front):
    from kubernetes.config import ConfigException

    api = KubernetesApi()

    def unreadable(_: object) -> None:
        raise ConfigException("Token file exists but empty.")

    api._client.configuration.refresh_api_key_hook = unreadable

    with pytest.raises(CannotAnswer, match="Token file exists but empty"):
        api.get_object(ROLLOUTS, "models", "m")


HELD = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "watch", "namespace": "modelyard"},
    "spec": {
        "holderIdentity": "somebody",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-01-01T00:00:00.000000Z",
        "renewTime": "2026-01-01T00:00:00.000000Z",
    },
}


@pytest.fixture
def lease(front: Front, monkeypatch: pytest.MonkeyPatch) -> KubernetesLease:
    """A Lease that nobody stands for by himself."""
    monkeypatch.setattr(KubernetesLease, "_run_elections", lambda *_: None)
    return KubernetesLease("modelyard", "watch", KubernetesApi())


def test_a_watcher_that_sees_another_hold_the_lease_is_a_standby(front, lease):
    front.body = json.dumps(HELD).encode()
    assert not lease.is_answered()

    lease._lock("modelyard", "watch").get("watch", "modelyard")

    assert lease.is_answered()
    assert not lease.is_held()


def test_a_watcher_that_may_not_read_the_lease_does_not_know_whether_another_acts(front, lease):
    front.body = json.dumps(HELD).encode()
    lock = lease._lock("modelyard", "watch")
    lock.get("watch", "modelyard")
    front.status, front.body = 403, b'{"code": 403, "message": "forbidden"}'

    lock.get("watch", "modelyard")

    assert not lease.is_answered()


def test_a_lease_that_is_refused_is_named_once_with_what_allows_it(front, lease, caplog):
    front.status, front.body = 403, b'{"code": 403, "message": "forbidden"}'
    lock = lease._lock("modelyard", "watch-1-of-3")

    for _ in range(3):
        lock.get("watch-1-of-3", "modelyard")

    (said,) = caplog.messages
    assert "the Lease modelyard/watch-1-of-3" in said
    assert "resourceNames" in said


def test_a_cluster_that_hangs_is_not_waited_for_with_the_lease(front, lease, monkeypatch):
    monkeypatch.setattr(kubernetes_lease, "_REQUEST_SECONDS", (0.1, 0.1))
    front.hangs = True

    with pytest.raises(urllib3.exceptions.HTTPError):
        lease._lock("modelyard", "watch").get("watch", "modelyard")


def test_a_cluster_is_known_by_the_namespace_that_each_one_has(front):
    front.body = b'{"metadata": {"name": "kube-system", "uid": "6f1c2a1e-0000"}}'

    found = KubernetesCluster(KubernetesApi(), SystemClock()).site()

    assert found == Site(id="6f1c2a1e-0000", name="the Kubernetes cluster 6f1c2a1e")


@pytest.mark.parametrize("body", [b"{}", b'{"metadata": {}}', b'{"metadata": {"uid": 7}}'])
def test_an_answer_without_an_identity_is_no_answer(front, body):
    front.body = body

    with pytest.raises(CannotAnswer, match="no UID in the answer"):
        KubernetesCluster(KubernetesApi(), SystemClock()).site()
