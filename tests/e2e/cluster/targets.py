"""Model servers for Prometheus over HTTP: Debian builds it without discovery in Kubernetes."""

import json
import ssl
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

SLICES = "/apis/discovery.k8s.io/v1/endpointslices?labelSelector=modelyard.dev/traffic%3Down"


class Slices:
    """The endpoints behind every Service labelled `modelyard.dev/traffic: own`."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        [cluster], [user] = config["clusters"], config["users"]
        self._url = f"{cluster['cluster']['server']}{SLICES}"
        self._headers = {"Authorization": f"Bearer {user['user']['token']}"}
        authority = cluster["cluster"]["certificate-authority"]
        self._context = ssl.create_default_context(cafile=authority)

    def targets(self) -> list[dict]:
        """One target a pod, with its namespace and name, as discovery in Kubernetes has them."""
        request = urllib.request.Request(self._url, headers=self._headers)  # noqa: S310 (our own)
        with urllib.request.urlopen(request, context=self._context, timeout=5) as answer:  # noqa: S310
            found = json.load(answer)["items"]
        return [
            {
                "targets": [f"{address}:{port['port']}"],
                "labels": {
                    "namespace": item["metadata"]["namespace"],
                    "pod": endpoint["targetRef"]["name"],
                },
            }
            for item in found
            for port in item["ports"] or ()
            if port["name"] == "http"
            for endpoint in item["endpoints"] or ()
            if "targetRef" in endpoint
            for address in endpoint["addresses"]
        ]


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
