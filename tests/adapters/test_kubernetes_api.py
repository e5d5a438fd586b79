from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from modelyard.adapters.kubernetes_api import ROLLOUTS, KubernetesApi
from modelyard.errors import CannotAnswer


class Front(ThreadingHTTPServer):
    """What stands where an API server should, and answers everything the same."""

    body = b"{}"


class _Answer(BaseHTTPRequestHandler):
    server: Front

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

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
        yield server
        server.shutdown()


def test_an_object_is_what_the_cluster_says(front):
    front.body = b'{"kind": "Rollout"}'

    assert KubernetesApi().get(ROLLOUTS, "models", "m") == {"kind": "Rollout"}


def test_a_page_of_somebody_between_us_and_the_cluster_is_no_answer(front):
    front.body = b"<html>sign in</html>"

    with pytest.raises(CannotAnswer, match="no JSON in the answer to GET"):
        KubernetesApi().get(ROLLOUTS, "models", "m")


def test_a_token_that_cannot_be_read_is_no_answer(front):
    from kubernetes.config import ConfigException

    api = KubernetesApi()

    def unreadable(_: object) -> None:
        raise ConfigException("Token file exists but empty.")

    api._client.configuration.refresh_api_key_hook = unreadable

    with pytest.raises(CannotAnswer, match="Token file exists but empty"):
        api.get(ROLLOUTS, "models", "m")
