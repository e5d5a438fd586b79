"""Workflows: which there are, starting one, and its run; nothing is carried out."""

from __future__ import annotations

import json
import re
import zlib
from urllib.parse import quote

from fakes.github.events import emit
from fakes.github.routes.commits import find_commit, known_commit
from fakes.github.routing import Answer, Call, Refused, route
from fakes.github.shapes import fill
from fakes.github.state import Json

WORKFLOW = "~/actions/workflows/{workflow_id}"
FOLDER = ".github/workflows"


def _workflow_files(call: Call, name: str = "main") -> dict[str, str]:
    """Return the text of the workflows of a commit by path."""
    objects = call.repository.git.objects
    commit = find_commit(call.repository, name)
    folder = commit.tree if commit else None
    for part in FOLDER.split("/"):
        folder = objects.entries(folder).get(part, ("", None))[1] if folder else None
    texts = {}
    for file, (_, sha) in (objects.entries(folder) if folder else {}).items():
        found = objects.read(sha)
        if file.endswith((".yml", ".yaml")) and found:
            texts[f"{FOLDER}/{file}"] = found[2].decode(errors="replace")
    return texts


def _workflow(call: Call, path: str) -> Json:
    number = zlib.crc32(path.encode())
    url = f"{call.shapes.api}/repos/{call.repository.full_name}/actions/workflows/{number}"
    known = {
        "id": number,
        "node_id": f"W_{number}",
        "name": path.rpartition("/")[2],
        "path": path,
        "state": "disabled_manually" if path in call.repository.disabled_workflows else "active",
        "url": url,
        "html_url": f"{call.shapes.html}/{call.repository.full_name}/blob/main/{quote(path)}",
    }
    return fill("workflow", known)


def _known_path(call: Call) -> str:
    wanted = call.names["workflow_id"]
    for path in _workflow_files(call):
        if wanted in {path.rpartition("/")[2], str(zlib.crc32(path.encode()))}:
            return path
    raise Refused(404, "Not Found")


@route("GET", "~/actions/workflows")
def workflows(call: Call) -> Answer:
    """Return the workflows of main."""
    call.need("read", "actions", level="read")
    paths = list(_workflow_files(call))
    return call.page(
        (_workflow(call, path) for path in paths),
        wrap=lambda shown: {"total_count": len(paths), "workflows": shown},
    )


@route("GET", WORKFLOW)
def workflow(call: Call) -> Answer:
    """Return a workflow by id or by the name of its file."""
    call.need("read", "actions", level="read")
    return Answer(body=_workflow(call, _known_path(call)))


@route("PUT", f"{WORKFLOW}/enable")
def enable_workflow(call: Call) -> Answer:
    """Let a workflow run again that somebody stopped."""
    repository = call.need("write", "actions")
    repository.disabled_workflows.discard(_known_path(call))
    return Answer(status=204)


@route("GET", "~/actions/permissions")
def permissions(call: Call) -> Answer:
    """Return whether workflows run, and which actions they may use."""
    repository = call.need("admin", "administration", level="read")
    return Answer(body=repository.actions)


@route("PUT", "~/actions/permissions")
def set_permissions(call: Call) -> Answer:
    """Set whether workflows run, and which actions they may use."""
    repository = call.need("admin", "administration")
    repository.actions |= call.body
    return Answer(status=204)


@route("POST", f"{WORKFLOW}/dispatches")
def dispatch_workflow(call: Call) -> Answer:
    """Start a workflow: its run is queued until the test finishes it."""
    repository = call.need("write", "actions")
    path, ref = _known_path(call), call.body["ref"]
    if find_commit(repository, ref.removeprefix("refs/heads/")) is None:
        raise Refused(422, f"No ref found for: {ref}")
    branch = ref.removeprefix("refs/heads/")
    text = _workflow_files(call, branch).get(path, "")
    if "workflow_dispatch" not in text:
        raise Refused(422, "Workflow does not have 'workflow_dispatch' trigger")
    known = re.search(r"^    inputs:\n((?: {6,}.*\n)*)", text, re.MULTILINE)
    names = re.findall(r"^      (\w+):", known[1], re.MULTILINE) if known else []
    if strange := sorted(call.body.get("inputs", {}).keys() - set(names)):
        raise Refused(422, f"Unexpected inputs provided: {json.dumps(strange)}")
    run = _new_run(call, path, branch)
    payload = {"ref": f"refs/heads/{branch}", "workflow": path,
               "inputs": call.body.get("inputs", {})}  # fmt: skip
    emit(call.fake, repository, "workflow_dispatch", payload, call.who)
    if not call.body.get("return_run_details"):
        return Answer(status=204)
    details = {
        "workflow_run_id": run["id"],
        "run_url": run["url"],
        "html_url": run["html_url"],
    }
    return Answer(body=fill("workflow-dispatch-response", details))


def _new_run(call: Call, path: str, branch: str) -> Json:
    repository, number = call.repository, call.fake.new_id()
    now = call.shapes.time(call.fake.clock.now())
    commit = known_commit(call, branch)
    url = f"{call.shapes.api}/repos/{repository.full_name}/actions/runs/{number}"
    known = {
        "id": number,
        "node_id": f"WFR_{number}",
        "name": path.rpartition("/")[2],
        "path": path,
        "workflow_id": zlib.crc32(path.encode()),
        "head_branch": branch,
        "head_sha": commit.sha,
        "event": "workflow_dispatch",
        "status": "queued",
        "conclusion": None,
        "run_number": len(repository.runs) + 1,
        "display_title": path.rpartition("/")[2],
        "url": url,
        "html_url": f"{call.shapes.html}/{repository.full_name}/actions/runs/{number}",
        "created_at": now,
        "updated_at": now,
        "actor": call.shapes.user(call.who.user),
        "triggering_actor": call.shapes.user(call.who.user),
        "repository": call.shapes.repository(repository, "minimal-repository"),
        "head_repository": call.shapes.repository(repository, "minimal-repository"),
        "pull_requests": [],
    }
    repository.runs[number] = fill("workflow-run", known)
    return repository.runs[number]


@route("GET", "~/actions/runs")
def runs(call: Call) -> Answer:
    """Return runs, the newest first."""
    call.need("read", "actions", level="read")
    keys = {"branch": "head_branch", "event": "event", "head_sha": "head_sha", "status": "status"}
    wanted = {keys[key]: call.query[key] for key in keys if key in call.query}
    found = [
        run
        for run in reversed(call.repository.runs.values())
        if all(run[key] == value for key, value in wanted.items())
    ]
    return call.page(found, wrap=lambda shown: {"total_count": len(found), "workflow_runs": shown})


@route("GET", "~/actions/runs/{run_id}")
def run(call: Call) -> Answer:
    """Return a run."""
    repository = call.need("read", "actions", level="read")
    found = repository.runs.get(call.number("run_id"))
    if found is None:
        raise Refused(404, "Not Found")
    return Answer(body=found)


@route("POST", "~/dispatches")
def dispatch_event(call: Call) -> Answer:
    """Send an event of the caller's own naming to the workflows."""
    repository = call.need("write", "contents")
    payload = {"action": call.body["event_type"],
               "client_payload": call.body.get("client_payload", {})}  # fmt: skip
    emit(call.fake, repository, "repository_dispatch", payload, call.who)
    return Answer(status=204)
