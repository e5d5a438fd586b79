"""Issues; a pull request is one too."""

from __future__ import annotations

from typing import Any

from fakes.github.events import emit
from fakes.github.routes.labels import put_on_labels
from fakes.github.routing import Answer, Call, route
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
