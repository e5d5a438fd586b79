"""Commit statuses and check runs."""

from __future__ import annotations

from typing import Any

from fakes.github.events import emit
from fakes.github.routes.commits import known_commit
from fakes.github.routing import Answer, Call, Refused, not_valid, route
from fakes.github.shapes import fill
from fakes.github.state import Json

LONGEST_TEXT = 65535


@route("POST", "~/statuses/{sha}")
def set_status(call: Call) -> Answer:
    """Set a status: whoever may write may set any, under any name."""
    repository = call.need("write", "statuses")
    sha = call.names["sha"]
    commit = repository.git.objects.commit(sha) if len(sha) == 40 else None
    if commit is None:
        raise Refused(422, f"No commit found for SHA: {sha}")
    if len(call.body.get("description") or "") > 140:
        raise not_valid(
            "Status",
            field="description",
            code="custom",
            message="description is too long (maximum is 140 characters)",
        )
    now, app = call.fake.clock.now(), call.who.app
    status = {
        "id": call.fake.new_id(),
        "sha": commit.sha,
        "state": call.body["state"],
        "context": call.body.get("context", "default"),
        "description": call.body.get("description"),
        "target_url": call.body.get("target_url"),
        "at": now,
        "user": call.who.user,
        "app": app.id if app else None,
    }
    repository.statuses.append(status)
    document = _status(call, status)
    payload = {"sha": commit.sha, **{key: document[key] for key in ("state", "context")}}
    emit(call.fake, repository, "status", payload, call.who)
    return Answer(status=201, body=document)


def _status(call: Call, status: Json, schema: str = "status") -> Json:
    url = f"{call.shapes.api}/repos/{call.repository.full_name}/statuses/{status['sha']}"
    known = {
        "id": status["id"],
        "node_id": f"SC_{status['id']}",
        "url": url,
        **{key: status[key] for key in ("state", "context", "description", "target_url")},
        "created_at": call.shapes.time(status["at"]),
        "updated_at": call.shapes.time(status["at"]),
        "creator": call.shapes.user(status["user"]),
        "avatar_url": f"{call.shapes.html}/avatars/{status['user'].id}",
    }
    if schema == "simple-commit-status":
        del known["creator"]  # GitHub does not say there who set it
    return fill(schema, known)


def _newest_first(call: Call, sha: str) -> list[Json]:
    return [status for status in reversed(call.repository.statuses) if status["sha"] == sha]


@route("GET", "~/commits/{ref}/statuses")
def statuses(call: Call) -> Answer:
    """Return every status that was set, the newest first."""
    sha = known_commit(call, call.names["ref"], status=404).sha
    return call.page(_status(call, status) for status in _newest_first(call, sha))


@route("GET", "~/commits/{ref}/status")
def combined_status(call: Call) -> Answer:
    """Return the newest status of each name, and one word for all; check runs are not in it."""
    sha = known_commit(call, call.names["ref"], status=404).sha
    newest: dict[str, Json] = {}
    for status in _newest_first(call, sha):
        newest.setdefault(status["context"], status)
    states = {status["state"] for status in newest.values()}
    bad = states & {"failure", "error"}
    word = "failure" if bad else "success" if states == {"success"} else "pending"
    repository = call.shapes.repository(call.repository, "minimal-repository")

    def wrapped(shown: list[Any]) -> Json:
        known = {
            "state": word,
            "sha": sha,
            "statuses": shown,
            "total_count": len(newest),
            "repository": repository,
        }
        return fill("combined-commit-status", known)

    listed = [_status(call, one, "simple-commit-status") for one in newest.values()]
    return call.page(listed, wrap=wrapped)


@route("POST", "~/check-runs")
def create_check_run(call: Call) -> Answer:
    """Create a check run, which only an App may."""
    repository = call.need("write", "checks")
    app = call.who.app
    if app is None and call.who.kind != "actions":
        raise Refused(403, "You must authenticate via a GitHub App.")
    body = call.body
    if known_commit(call, body["head_sha"]).sha != body["head_sha"]:
        raise Refused(422, f"No commit found for SHA: {body['head_sha']}")
    run: Json = {
        "id": call.fake.new_id(),
        "name": body["name"],
        "head_sha": body["head_sha"],
        "status": "queued",
        "conclusion": None,
        "details_url": None,
        "external_id": "",
        "started_at": call.shapes.time(call.fake.clock.now()),
        "completed_at": None,
        "output": {},
        "app": call.fake.app_document(app),
    }
    repository.check_runs[run["id"]] = run
    repository.annotations[run["id"]] = []
    return Answer(status=201, body=_update_run(call, run, "created"))


def _update_run(call: Call, run: Json, action: str) -> Json:
    body = call.body
    output = body.get("output", {})
    for field in ("summary", "text"):
        if len(output.get(field, "")) > LONGEST_TEXT:
            raise not_valid("CheckRun", field=field, code="too_long")
    kept = (
        "name",
        "status",
        "conclusion",
        "details_url",
        "external_id",
        "started_at",
        "completed_at",
    )
    run |= {key: body[key] for key in kept if key in body}
    if body.get("conclusion") or run["status"] == "completed":
        if not run["conclusion"]:
            raise not_valid("CheckRun", field="conclusion", code="missing_field")
        run["status"] = "completed"
        run["completed_at"] = run["completed_at"] or call.shapes.time(call.fake.clock.now())
    run["output"] |= {key: output[key] for key in ("title", "summary", "text") if key in output}
    # Annotations are added to those that are there.
    call.repository.annotations[run["id"]] += output.get("annotations", [])
    document = _run(call, run)
    emit(
        call.fake, call.repository, "check_run", {"action": action, "check_run": document}, call.who
    )
    return document


def _run(call: Call, run: Json) -> Json:
    url = f"{call.shapes.api}/repos/{call.repository.full_name}/check-runs/{run['id']}"
    output = {
        "title": None,
        "summary": None,
        "text": None,
        **run["output"],
        "annotations_count": len(call.repository.annotations[run["id"]]),
        "annotations_url": f"{url}/annotations",
    }
    html = f"{call.shapes.html}/{call.repository.full_name}/runs/{run['id']}"
    known = {**run, "output": output, "url": url, "html_url": html, "node_id": f"CR_{run['id']}"}
    return fill("check-run", known)


def _known_run(call: Call) -> Json:
    run = call.repository.check_runs.get(call.number("check_run_id"))
    if run is None:
        raise Refused(404, "Not Found")
    return run


@route("GET", "~/check-runs/{check_run_id}")
def check_run(call: Call) -> Answer:
    """Return a check run."""
    return Answer(body=_run(call, _known_run(call)))


@route("PATCH", "~/check-runs/{check_run_id}")
def edit_check_run(call: Call) -> Answer:
    """Change a check run, which only the App may that created it."""
    call.need("write", "checks")
    run = _known_run(call)
    if call.fake.app_document(call.who.app)["id"] != run["app"]["id"]:
        raise Refused(403, "Invalid app_id")
    return Answer(body=_update_run(call, run, "completed"))


@route("GET", "~/check-runs/{check_run_id}/annotations")
def annotations(call: Call) -> Answer:
    """Return the annotations of a check run."""
    listed = call.repository.annotations[_known_run(call)["id"]]
    return call.page(fill("check-annotation", one) for one in listed)


@route("GET", "~/commits/{ref}/check-runs")
def check_runs(call: Call) -> Answer:
    """Return the check runs of a commit: the newest of each name and App, unless all are asked."""
    sha = known_commit(call, call.names["ref"], status=422).sha
    query = call.query
    found = [
        run
        for run in reversed(call.repository.check_runs.values())
        if run["head_sha"] == sha
        and query.get("check_name", run["name"]) == run["name"]
        and query.get("status", run["status"]) == run["status"]
        and query.get("app_id", str(run["app"]["id"])) == str(run["app"]["id"])
    ]
    if query.get("filter", "latest") == "latest":
        newest: dict[tuple[str, int], Json] = {}
        for run in found:
            newest.setdefault((run["name"], run["app"]["id"]), run)
        found = list(newest.values())
    return call.page(
        (_run(call, run) for run in found),
        wrap=lambda shown: {"total_count": len(found), "check_runs": shown},
    )
