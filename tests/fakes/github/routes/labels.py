"""Labels of the repository, and of its issues and pull requests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fakes.github.routing import Answer, Call, Refused, not_valid, route
from fakes.github.state import Issue, Json, Pull

ISSUE = "~/issues/{issue_number}"


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
