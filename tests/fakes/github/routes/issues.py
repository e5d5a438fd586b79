"""Issues, which pull requests are too, and labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fakes.github.events import emit
from fakes.github.routing import Answer, Call, Refused, not_valid, route
from fakes.github.shapes import fill
from fakes.github.state import Issue, Json, Pull

ISSUE = "~/issues/{issue_number}"


def issue_document(call: Call, issue: Issue) -> Json:
    """Return an issue, or a pull request as the issue that it also is."""
    repository = call.repository
    url = f"{call.shapes.api}/repos/{repository.full_name}"
    html = f"{call.shapes.html}/{repository.full_name}"
    kind = "pull" if isinstance(issue, Pull) else "issues"
    known: dict[str, Any] = {
        "id": issue.id,
        "node_id": f"I_{issue.id}",
        "number": issue.number,
        "url": f"{url}/issues/{issue.number}",
        "repository_url": url,
        "comments_url": f"{url}/issues/{issue.number}/comments",
        "html_url": f"{html}/{kind}/{issue.number}",
        "title": issue.title,
        "body": issue.body,
        "user": call.shapes.user(issue.user),
        "state": issue.state,
        "labels": [
            call.shapes.label(repository.labels[name.lower()], repository) for name in issue.labels
        ],
        "created_at": call.shapes.time(issue.created),
        "updated_at": call.shapes.time(issue.updated),
        "closed_at": call.shapes.time(issue.closed),
        "closed_by": call.shapes.user(issue.closed_by) if issue.closed_by else None,
        "comments": sum(one.issue == issue.number for one in repository.comments.values()),
        "author_association": call.fake.association(repository, issue.user),
    }
    if isinstance(issue, Pull):
        pull = f"{url}/pulls/{issue.number}"
        page = known["html_url"]
        known["pull_request"] = {
            "url": pull,
            "html_url": page,
            "diff_url": page,
            "patch_url": page,
            "merged_at": call.shapes.time(issue.merged),
        }
    return fill("issue", known)


@route("GET", "~/issues")
def issues(call: Call) -> Answer:
    """Return issues and pull requests, the newest first."""
    state = call.query.get("state", "open")
    wanted = {name.lower() for name in call.query.get("labels", "").split(",") if name}
    creator = call.query.get("creator", "").lower()
    found = [
        issue
        for issue in call.repository.issues.values()
        if state in {"all", issue.state}
        and wanted <= {name.lower() for name in issue.labels}
        and creator in {"", issue.user.login.lower()}
    ]
    found.reverse()
    return call.page((lambda issue=issue: issue_document(call, issue)) for issue in found)


@route("POST", "~/issues")
def openissue_document(call: Call) -> Answer:
    """Open an issue."""
    repository = call.need("read", "issues")
    now = call.fake.clock.now()
    issue = Issue(
        id=call.fake.new_id(),
        number=len(repository.issues) + 1,
        title=str(call.body["title"]),
        body=call.body.get("body"),
        user=call.who.user,
        created=now,
        updated=now,
    )
    repository.issues[issue.number] = issue
    put_on_labels(call, issue, call.body.get("labels", ()))
    emit(
        call.fake,
        repository,
        "issues",
        {"action": "opened", "issue": issue_document(call, issue)},
        call.who,
    )
    return Answer(status=201, body=issue_document(call, issue))


@route("GET", ISSUE)
def issue(call: Call) -> Answer:
    """Return an issue or a pull request."""
    return Answer(body=issue_document(call, call.issue))


@route("GET", f"{ISSUE}/events")
def events(call: Call) -> Answer:
    """Return what happened to an issue, the oldest first; the fake keeps changed bases alone."""
    issue = call.issue
    changes = issue.base_changes if isinstance(issue, Pull) else []
    # A change of the base is in this list, and not in the timeline; no schema bears its name.
    return call.page(
        fill(
            "added-to-project-issue-event",
            {
                "id": each.id,
                "event": "base_ref_changed",
                "actor": call.shapes.user(each.user),
                "created_at": call.shapes.time(each.at),
            },
        )
        for each in changes
    )


@route("PATCH", ISSUE)
def editissue_document(call: Call) -> Answer:
    """Change title, body, labels, or open and close an issue."""
    issue, body = call.issue, call.body
    if call.who.permissions is not None or call.who.user.id != issue.user.id:
        call.need("triage", "issues")
    now = call.fake.clock.now()
    for key in ("title", "body"):
        if key in body:
            setattr(issue, key, body[key])
    if "state" in body and not isinstance(issue, Pull) and issue.state != body["state"]:
        closes = body["state"] == "closed"
        issue.state = body["state"]
        issue.closed, issue.closed_by = (now, call.who.user) if closes else (None, None)
    if "labels" in body:
        issue.labels = []
        put_on_labels(call, issue, body["labels"])
    issue.updated = now
    return Answer(body=issue_document(call, issue))


# Labels.


def put_on_labels(call: Call, issue: Issue, asked: Iterable[Any]) -> None:
    """Add labels to an issue; GitHub makes those that do not exist yet."""
    for one in asked:
        name = str(one["name"] if isinstance(one, dict) else one)
        known = call.repository.labels.setdefault(
            name.lower(), _new_label(call, name, "ededed", None)
        )
        if known["name"] not in issue.labels:
            issue.labels.append(known["name"])
    issue.updated = call.fake.clock.now()


def _new_label(call: Call, name: str, color: str, description: str | None) -> Json:
    number = call.fake.new_id()
    return {
        "id": number,
        "node_id": f"LA_{number}",
        "name": name,
        "color": color,
        "description": description,
    }


def _asked_labels(call: Call) -> list[Any]:
    body = call.body
    return list(body.get("labels", ()) if isinstance(body, dict) else body)


def _labels(call: Call, issue: Issue) -> Answer:
    repository = call.repository
    return call.page(
        call.shapes.label(repository.labels[name.lower()], repository) for name in issue.labels
    )


@route("GET", f"{ISSUE}/labels")
def labels_of_issue(call: Call) -> Answer:
    """Return the labels of an issue."""
    return _labels(call, call.issue)


@route("POST", f"{ISSUE}/labels")
def add_labels(call: Call) -> Answer:
    """Add labels to an issue."""
    call.need("triage", "pull_requests" if isinstance(call.issue, Pull) else "issues")
    put_on_labels(call, call.issue, _asked_labels(call))
    return _labels(call, call.issue)


@route("PUT", f"{ISSUE}/labels")
def set_labels(call: Call) -> Answer:
    """Set the labels of an issue."""
    call.need("triage", "pull_requests" if isinstance(call.issue, Pull) else "issues")
    call.issue.labels = []
    put_on_labels(call, call.issue, _asked_labels(call))
    return _labels(call, call.issue)


@route("DELETE", f"{ISSUE}/labels")
def clear_labels(call: Call) -> Answer:
    """Take all labels off an issue."""
    call.need("triage", "pull_requests" if isinstance(call.issue, Pull) else "issues")
    call.issue.labels = []
    return Answer(status=204)


@route("DELETE", f"{ISSUE}/labels/{{name}}")
def take_off_label(call: Call) -> Answer:
    """Take one label off an issue."""
    call.need("triage", "pull_requests" if isinstance(call.issue, Pull) else "issues")
    kept = [one for one in call.issue.labels if one.lower() != call.names["name"].lower()]
    if len(kept) == len(call.issue.labels):
        raise Refused(404, "Label does not exist")
    call.issue.labels = kept
    return _labels(call, call.issue)


@route("GET", "~/labels")
def labels(call: Call) -> Answer:
    """Return the labels of the repository."""
    repository = call.repository
    return call.page(call.shapes.label(one, repository) for one in repository.labels.values())


@route("POST", "~/labels")
def create_label(call: Call) -> Answer:
    """Create a label."""
    repository = call.need("write", "issues")
    name = call.body["name"]
    if name.lower() in repository.labels:
        raise not_valid("Label", field="name", code="already_exists")
    label = _new_label(call, name, call.body.get("color", "ededed"), call.body.get("description"))
    repository.labels[name.lower()] = label
    return Answer(status=201, body=call.shapes.label(label, repository))


def _known_label(call: Call) -> Json:
    label = call.repository.labels.get(call.names["name"].lower())
    if label is None:
        raise Refused(404, "Not Found")
    return label


@route("GET", "~/labels/{name}")
def label(call: Call) -> Answer:
    """Return a label."""
    return Answer(body=call.shapes.label(_known_label(call), call.repository))


@route("PATCH", "~/labels/{name}")
def edit_label(call: Call) -> Answer:
    """Change a label's colour or description."""
    repository = call.need("write", "issues")
    label = _known_label(call)
    label |= {key: call.body[key] for key in ("color", "description") if key in call.body}
    return Answer(body=call.shapes.label(label, repository))
