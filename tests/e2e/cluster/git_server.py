"""A Git server over HTTP, pushes included: `git http-backend` behind a few lines of Python."""

import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BACKEND = ["git", "http-backend"]
# What CGI hands on besides method, path and query.
HEADERS = {
    "Content-Type": "CONTENT_TYPE",
    "Content-Length": "CONTENT_LENGTH",
    "Content-Encoding": "HTTP_CONTENT_ENCODING",
    "Git-Protocol": "GIT_PROTOCOL",
}


class GitHandler(BaseHTTPRequestHandler):
    """One request is one `git http-backend`; whoever asks may read and push."""

    root = "."

    def do_GET(self) -> None:
        self._serve(iter(()))

    def do_POST(self) -> None:
        self._serve(self._body())

    def _serve(self, body: Iterator[bytes]) -> None:
        path, _, query = self.path.partition("?")
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": self.root,
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REMOTE_USER": "e2e",
            "REMOTE_ADDR": self.client_address[0],
        }
        env |= {name: self.headers[key] for key, name in HEADERS.items() if key in self.headers}
        pipe = subprocess.PIPE
        with subprocess.Popen(BACKEND, env=env, stdin=pipe, stdout=pipe) as backend:
            try:
                for chunk in body:
                    backend.stdin.write(chunk)
                backend.stdin.close()
            except BrokenPipeError:
                self.close_connection = True
            self._answer(backend.stdout)

    def _answer(self, output) -> None:
        status, headers = "200 OK", []
        while line := output.readline().decode("latin-1").rstrip("\r\n"):
            name, _, value = line.partition(": ")
            if name == "Status":
                status = value
            else:
                headers.append((name, value))
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        for name, value in headers:
            self.send_header(name, value)
        # The length is not known before the end, so the end of the connection says it.
        self.send_header("Connection", "close")
        self.end_headers()
        while chunk := output.read1(65536):
            self.wfile.write(chunk)

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left > 0 and (chunk := self.rfile.read1(min(left, 65536))):
            left -= len(chunk)
            yield chunk


def main(address: str, port: str, root: str) -> None:
    """Serve the bare repositories of a folder until ended."""
    GitHandler.root = root
    GitHandler.protocol_version = "HTTP/1.1"
    ThreadingHTTPServer.request_queue_size = 64
    ThreadingHTTPServer((address, int(port)), GitHandler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
