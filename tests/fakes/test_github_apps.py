from __future__ import annotations

import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import jwt
import pytest


def signed(fake, app, *, key: str = "", **claims: int) -> str:
    now = int(fake.clock.now())
    whole = {"iss": str(app.id), "iat": now - 30, "exp": now + 500, **claims}
    return jwt.encode(whole, key or app.key, algorithm="RS256")


def test_an_app_trades_its_key_for_a_token_that_ends(fake_github, api):
    app = fake_github.add_app(contents="write", pull_requests="write")
    fake_github.seed({"a.txt": "one\n"})
    as_app = api(signed(fake_github, app))
    assert as_app.get("/app")["slug"] == "modelyard"
    number = as_app.get("~/installation")["id"]
    answer = as_app("POST", f"/app/installations/{number}/access_tokens", {})
    assert answer.status_code == 201
    bot = api(answer.json()["token"])
    assert bot.get("~/pulls") == []
    assert bot("GET", "/user").status_code == 403
    fake_github.clock.advance(3601)
    assert bot("GET", "~/pulls").status_code == 401


def test_a_token_of_an_app_does_no_more_than_it_may(fake_github, api):
    app = fake_github.add_app(contents="read", statuses="write")
    head = fake_github.seed({"a.txt": "one\n"})
    as_app = api(signed(fake_github, app))
    url = f"/app/installations/{app.installation}/access_tokens"
    assert as_app("POST", url, {"permissions": {"contents": "write"}}).status_code == 422
    token = as_app("POST", url, {"permissions": {"contents": "read"}}).json()["token"]
    refused = api(token)("POST", f"~/statuses/{head}", {"state": "success"})
    assert (refused.status_code, refused.json()["message"]) == (
        403,
        "Resource not accessible by integration",
    )
    assert api(token)("DELETE", "/installation/token").status_code == 204
    assert api(token)("GET", "~/pulls").status_code == 401


@pytest.mark.parametrize("claims", [{"exp": 0}, {"exp": 4_000_000_000}, {"iat": 4_000_000_000}])
def test_a_signature_that_is_over_or_too_long_is_refused(fake_github, api, claims):
    app = fake_github.add_app()
    assert api(signed(fake_github, app, **claims))("GET", "/app").status_code == 401
    assert api("a.b.c")("GET", "/app").status_code == 401
    assert api(fake_github.installation_token(app))("GET", "/app").status_code == 401


def test_a_check_run_belongs_to_its_app_and_keeps_its_annotations(fake_github, api):
    bot = api(fake_github.installation_token(fake_github.add_app(checks="write")))
    other = api(fake_github.installation_token(fake_github.add_app("other", checks="write")))
    ada = api(fake_github.add_person("ada", "admin"))
    head = fake_github.seed({"a.txt": "one\n"})
    body = {"name": "modelyard/checks", "head_sha": head, "status": "in_progress"}
    assert ada("POST", "~/check-runs", body).status_code == 403
    number = bot("POST", "~/check-runs", body).json()["id"]
    line = {"path": "a.txt", "start_line": 1, "end_line": 1, "annotation_level": "failure"}
    output = {"title": "No", "summary": "no", "annotations": [{**line, "message": "wrong"}]}
    done = {"conclusion": "failure", "output": output}
    assert other("PATCH", f"~/check-runs/{number}", done).status_code == 403
    assert bot("PATCH", f"~/check-runs/{number}", done).json()["status"] == "completed"
    many = {"title": "No", "summary": "no", "annotations": [{**line, "message": "x"}] * 51}
    assert bot("PATCH", f"~/check-runs/{number}", {"output": many}).status_code == 422
    assert "has more than 50 items" in fake_github.problems.pop()
    assert len(ada.get(f"~/check-runs/{number}/annotations")) == 1
    assert ada.get(f"~/commits/{head}/check-runs")["check_runs"][0]["conclusion"] == "failure"


def test_a_required_status_counts_from_its_app_alone(fake_github, api):
    app = fake_github.add_app(statuses="write")
    ada, bot = api(fake_github.add_person("ada")), api(fake_github.installation_token(app))
    fake_github.seed({"a.txt": "one\n"})
    head = fake_github.seed({"a.txt": "ONE\n"}, branch="change")
    fake_github.protect(checks={"modelyard/promote": app.id})
    ada("POST", "~/pulls", {"title": "Change", "head": "change", "base": "main"})
    status = {"state": "success", "context": "modelyard/promote"}
    ada("POST", f"~/statuses/{head}", status)
    assert ada.get(f"~/commits/{head}/status")["state"] == "success"
    assert ada("PUT", "~/pulls/1/merge").status_code == 405
    bot("POST", f"~/statuses/{head}", status)
    assert ada("PUT", "~/pulls/1/merge").status_code == 200


def test_a_workflows_token_starts_no_workflow(fake_github, api):
    ada = api(fake_github.add_person("ada"))
    workflow = api(fake_github.actions_token(issues="write", contents="write"))
    fake_github.seed({"a.txt": "one\n"})
    ada("POST", "~/issues", {"title": "Look"})
    for one in (ada, workflow):
        assert one("POST", "~/issues/1/comments", {"body": "/why"}).status_code == 201
    workflow("POST", "~/dispatches", {"event_type": "wake"})
    seen = [(event.name, event.starts_workflows) for event in fake_github.events]
    assert seen[-3:] == [
        ("issue_comment", True),
        ("issue_comment", False),
        ("repository_dispatch", True),
    ]


def test_a_webhook_is_signed_and_its_secret_is_never_given_back(fake_github, api):
    came = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            came.append((dict(self.headers), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        admin = api(fake_github.add_person("ada", "admin"))
        url = f"http://127.0.0.1:{server.server_address[1]}/hook"
        body = {"config": {"url": url, "secret": "s", "content_type": "json"},
                "events": ["issue_comment", "ping"]}  # fmt: skip
        made = admin("POST", "~/hooks", body)
        assert made.json()["config"]["secret"] == "********"
        admin("POST", "~/issues", {"title": "Look"})
        admin("POST", "~/issues/1/comments", {"body": "/why"})
        fake_github.deliveries.wait()
        server.shutdown()
        thread.join()
    assert [one.status for one in fake_github.deliveries.done] == [204, 204]
    headers, content = came[1]
    digest = hmac.new(b"s", content, hashlib.sha256).hexdigest()
    assert headers["X-GitHub-Event"] == "issue_comment"
    assert headers["X-Hub-Signature-256"] == f"sha256={digest}"
    assert json.loads(content)["comment"]["body"] == "/why"


def test_a_started_workflow_has_a_run(fake_github, api):
    ada = api(fake_github.add_person("ada"))
    fake_github.seed({
        ".github/workflows/chatops.yml": "on:\n  workflow_dispatch:\n    inputs:\n      command:\n",
        ".github/workflows/content.yml": "on: [pull_request]\n",
    })  # fmt: skip
    names = [one["name"] for one in ada.get("~/actions/workflows")["workflows"]]
    assert names == ["chatops.yml", "content.yml"]
    body = {"ref": "main", "inputs": {"command": "/hold"}, "return_run_details": True}
    url = "~/actions/workflows/{}/dispatches"
    assert ada("POST", url.format("content.yml"), body).status_code == 422
    assert ada("POST", url.format("none.yml"), body).status_code == 404
    strange = ada("POST", url.format("chatops.yml"), body | {"inputs": {"model": "wine"}})
    assert strange.json()["message"] == 'Unexpected inputs provided: ["model"]'
    number = ada("POST", url.format("chatops.yml"), body).json()["workflow_run_id"]
    assert fake_github.events[-1].payload["inputs"] == {"command": "/hold"}
    assert ada.get(f"~/actions/runs/{number}")["status"] == "queued"
    fake_github.finish_run(number)
    assert ada.get(f"~/actions/runs/{number}")["conclusion"] == "success"
