"""Pods for Prometheus over HTTP: Debian builds it without discovery in Kubernetes."""

import json
import ssl
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

SLICES = "/apis/discovery.k8s.io/v1/endpointslices?"
SELECTORS = (
    "modelyard.dev/traffic=own",
    "app.kubernetes.io/name in (modelyard-watch,modelyard-judge)",
)
"""Model servers; the platform's own, as its ServiceMonitors select them."""

PORTS = ("http", "metrics")


class Slices:
    """The endpoints behind every Service that a ServiceMonitor selects."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        [cluster], [user] = config["clusters"], config["users"]
        self._url = f"{cluster['cluster']['server']}{SLICES}"
        self._headers = {"Authorization": f"Bearer {user['user']['token']}"}
        authority = cluster["cluster"]["certificate-authority"]
        self._context = ssl.create_default_context(cafile=authority)

    def targets(self) -> list[dict]:
        """One target a pod, with its namespace and name, as discovery in Kubernetes has them."""
        return [
            {
                "targets": [f"{address}:{port['port']}"],
                "labels": {
                    "namespace": item["metadata"]["namespace"],
                    "pod": endpoint["targetRef"]["name"],
                },
            }
            for item in self._items()
            for port in item["ports"] or ()
            if port["name"] in PORTS
            for endpoint in item["endpoints"] or ()
            if "targetRef" in endpoint
            for address in endpoint["addresses"]
        ]

    def _items(self) -> Iterator[dict]:
        for selector in SELECTORS:
            url = self._url + urllib.parse.urlencode({"labelSelector": selector})
            request = urllib.request.Request(url, headers=self._headers)  # noqa: S310 (our own)
            with urllib.request.urlopen(request, context=self._context, timeout=5) as answer:  # noqa: S310
                yield from json.load(answer)["items"]


class Handler(BaseHTTPRequestHandler):
    """Asks the API server each time Prometheus asks."""

    slices: Slices

    def do_GET(self) -> None:
        try:
            status, body = 200, json.dumps(self.slices.targets()).encode()
        except OSError as error:
            status, body = 502, str(error).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *_: object) -> None:
        """Every two seconds is too much to write down."""


def main(port: str, kubeconfig: str) -> None:
    """Answer on loopback until ended."""
    Handler.slices = Slices(Path(kubeconfig))
    ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
