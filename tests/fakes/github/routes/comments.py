"""Comments on issues and pull requests, and reactions to them."""

from __future__ import annotations

from collections.abc import Iterable

from fakes.github.events import emit
from fakes.github.routes.issues import issue_document
from fakes.github.routing import Answer, Call, Refused, not_valid, route
from fakes.github.shapes import fill
from fakes.github.state import Comment, Json, Pull

ISSUE = "~/issues/{issue_number}"
COMMENT = "~/issues/comments/{comment_id}"
LONGEST_BODY = 65536


def _comment(call: Call, comment: Comment) -> Json:
    url = f"{call.shapes.api}/repos/{call.repository.full_name}/issues"
    kind = "pull" if comment.issue in call.repository.pulls else "issues"
    html = f"{call.shapes.html}/{call.repository.full_name}/{kind}/{comment.issue}"
    known = {
        "id": comment.id,
        "node_id": f"IC_{comment.id}",
        "url": f"{url}/comments/{comment.id}",
        "html_url": f"{html}#issuecomment-{comment.id}",
        "issue_url": f"{url}/{comment.issue}",
        "body": comment.body,
        "user": call.shapes.user(comment.user),
        "created_at": call.shapes.time(comment.created),
        "updated_at": call.shapes.time(comment.updated),
        "author_association": call.fake.association(call.repository, comment.user),
        "performed_via_github_app": call.fake.app_document(comment.app) if comment.app else None,
    }
    return fill("issue-comment", known)


def _since(call: Call, comments: Iterable[Comment]) -> list[Comment]:
    since = call.query.get("since", "")
    return [one for one in comments if call.fake.clock.text(one.updated) >= since]


@route("GET", f"{ISSUE}/comments")
def comments_of_issue(call: Call) -> Answer:
    """Return the comments on an issue, the oldest first."""
    number = call.issue.number
    found = [one for one in call.repository.comments.values() if one.issue == number]
    return call.page(_comment(call, one) for one in _since(call, found))


@route("GET", "~/issues/comments")
def comments(call: Call) -> Answer:
    """Return the comments of the repository, by id unless it is said."""
    found = _since(call, call.repository.comments.values())
    if "sort" in call.query:
        found.sort(key=lambda one: getattr(one, call.query["sort"]))
        if call.query.get("direction", "desc") == "desc":
            found.reverse()
    return call.page(_comment(call, one) for one in found)


@route("POST", f"{ISSUE}/comments")
def add_comment(call: Call) -> Answer:
    """Comment on an issue or a pull request."""
    issue = call.issue
    call.need("read", "pull_requests" if isinstance(issue, Pull) else "issues")
    now = call.fake.clock.now()
    comment = Comment(
        id=call.fake.new_id(),
        issue=issue.number,
        user=call.who.user,
        body=_body(call),
        created=now,
        updated=now,
        app=call.who.app,
    )
    call.repository.comments[comment.id] = comment
    issue.updated = now
    return _told(call, comment, "created", status=201)


def _body(call: Call) -> str:
    body = str(call.body["body"])
    if not body.strip():
        raise not_valid("IssueComment", field="body", code="missing_field")
    if len(body) > LONGEST_BODY:
        raise not_valid(
            "IssueComment",
            field="body",
            code="custom",
            message="body is too long (maximum is 65536 characters)",
        )
    return body


def _told(call: Call, comment: Comment, action: str, *, status: int = 200, **more: Json) -> Answer:
    document = _comment(call, comment)
    issue = issue_document(call, call.repository.issues[comment.issue])
    payload = {"action": action, "issue": issue, "comment": document, **more}
    emit(call.fake, call.repository, "issue_comment", payload, call.who)
    return Answer(status=status, body=document)


def _known_comment(call: Call) -> Comment:
    comment = call.repository.comments.get(call.number("comment_id"))
    if comment is None:
        raise Refused(404, "Not Found")
    return comment


def _own_comment(call: Call) -> Comment:
    """Return a comment that the caller may change: their own, or any for who may triage."""
    comment = _known_comment(call)
    if call.who.permissions is not None or call.who.user.id != comment.user.id:
        is_pull = isinstance(call.repository.issues[comment.issue], Pull)
        call.need("triage", "pull_requests" if is_pull else "issues")
    return comment


@route("GET", COMMENT)
def comment(call: Call) -> Answer:
    """Return a comment."""
    return Answer(body=_comment(call, _known_comment(call)))


@route("PATCH", COMMENT)
def edit_comment(call: Call) -> Answer:
    """Edit a comment; who may triage edits those of others, and their names stay on them."""
    comment = _own_comment(call)
    changes = {"body": {"from": comment.body}}
    comment.body, comment.updated = _body(call), call.fake.clock.now()
    return _told(call, comment, "edited", changes=changes)


@route("DELETE", COMMENT)
def delete_comment(call: Call) -> Answer:
    """Delete a comment."""
    comment = _own_comment(call)
    _told(call, comment, "deleted")
    del call.repository.comments[comment.id]
    return Answer(status=204)


@route("GET", f"{COMMENT}/reactions")
def reactions(call: Call) -> Answer:
    """Return the reactions to a comment."""
    wanted = call.query.get("content")
    listed = _known_comment(call).reactions
    return call.page(one for one in listed if wanted in {None, one["content"]})


@route("POST", f"{COMMENT}/reactions")
def react(call: Call) -> Answer:
    """React to a comment; the same reaction again is 200 and changes nothing."""
    comment = _known_comment(call)
    is_pull = isinstance(call.repository.issues[comment.issue], Pull)
    call.need("read", "pull_requests" if is_pull else "issues")
    for one in comment.reactions:
        if (one["user"]["id"], one["content"]) == (call.who.user.id, call.body["content"]):
            return Answer(body=one)
    known = {
        "id": call.fake.new_id(),
        "content": call.body["content"],
        "user": call.shapes.user(call.who.user),
        "created_at": call.shapes.time(call.fake.clock.now()),
    }
    comment.reactions.append(fill("reaction", known))
    return Answer(status=201, body=comment.reactions[-1])


@route("DELETE", f"{COMMENT}/reactions/{{reaction_id}}")
def take_back_reaction(call: Call) -> Answer:
    """Take a reaction back."""
    comment, number = _known_comment(call), call.number("reaction_id")
    for one in comment.reactions:
        if one["id"] == number and one["user"]["id"] == call.who.user.id:
            comment.reactions.remove(one)
            return Answer(status=204)
    raise Refused(404, "Not Found")
