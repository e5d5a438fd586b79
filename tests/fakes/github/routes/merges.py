"""Merging, at once (`merge`) or in the background (`merge-async`)."""

from __future__ import annotations

import uuid

from fakes.github.faults import AsyncMerge
from fakes.github.merging import merge_pull, merge_refusals
from fakes.github.routing import Answer, Call, Refused, route
from fakes.github.state import Json, MergeRequest, Pull

MERGE = "~/pulls/{pull_number}/merge"
ASYNC = "~/pulls/{pull_number}/merge-async"

KEPT = 24 * 3600.0


@route("GET", MERGE)
def is_merged(call: Call) -> Answer:
    """Return 204 if the pull request was merged, else 404."""
    if call.pull.merged is None:
        raise Refused(404, "Not Found")
    return Answer(status=204)


@route("PUT", MERGE)
def merge(call: Call) -> Answer:
    """Merge at once."""
    repository = call.need("write", "contents")
    pull, body = call.pull, call.body
    if pull.state != "open" or pull.draft:
        raise Refused(405, "Pull Request is not mergeable")
    if body.get("sha") not in {None, pull.head}:
        raise Refused(409, "Head branch was modified. Review and try the merge again.")
    refusals = merge_refusals(call.fake, repository, pull, call.who)
    if refusals:
        raise Refused(405, "Repository rule violations found\n\n" + "\n\n".join(refusals))
    sha = merge_pull(
        call.fake,
        repository,
        pull,
        call.who,
        method=body.get("merge_method", "merge"),
        title=body.get("commit_title"),
        message=body.get("commit_message"),
    )
    if sha is None:
        raise Refused(405, "Pull Request is not mergeable")
    answer = {"sha": sha, "merged": True, "message": "Pull Request successfully merged"}
    return Answer(body=answer)


@route("PUT", ASYNC)
def ask_to_merge(call: Call) -> Answer:
    """Ask for a merge; the rules are looked at later."""
    repository = call.need("write", "contents")
    pull, body = call.pull, call.body
    if pull.merged is not None:
        details = {"message": "Pull request is already merged", "sha": pull.merge_commit}
        return Answer(body={"status": "merged", "details": details})
    if pull.state != "open" or pull.draft:
        message = "Pull request is a draft" if pull.draft else "Pull request is closed"
        return Answer(status=400, body={"status": "failed", "details": {"message": message}})
    plan = call.fake.merge_outcomes[0] if call.fake.merge_outcomes else AsyncMerge()
    if plan.other is not None:
        call.fake.merge_outcomes.pop(0)
        other = _request(call, pull, sha=plan.other)
        repository.merge_requests[other.uuid] = other
        return Answer(status=409, body=_pending(other, "Another merge is under way"))
    for asked in repository.merge_requests.values():
        if asked.number == pull.number and asked.status in {"pending", "enqueued"}:
            return Answer(status=409, body=_pending(asked, "A merge is already under way"))
    request = _request(call, pull, sha=body.get("sha") or pull.head)
    repository.merge_requests[request.uuid] = request
    if call.fake.merge_outcomes:
        call.fake.merge_outcomes.pop(0)
        request.plan = plan
    return Answer(status=202, body=_pending(request, "Merge request accepted"))


def _request(call: Call, pull: Pull, *, sha: str) -> MergeRequest:
    return MergeRequest(
        uuid=str(uuid.uuid4()),
        number=pull.number,
        sha=sha,
        method=call.body.get("merge_method", "merge"),
        action=call.body.get("merge_action", "default"),
        token=call.who,
        title=call.body.get("commit_title"),
        message=call.body.get("commit_message"),
        asked=call.fake.clock.now(),
        plan=AsyncMerge(),
    )


def _pending(request: MergeRequest, message: str) -> Json:
    details = {
        "message": message,
        "uuid": request.uuid,
        "merge_method": request.method,
        "merge_action": request.action,
        "expected_head_sha": request.sha,
    }
    return {"status": "pending", "details": details}


@route("GET", f"{ASYNC}/{{uuid}}")
def merge_result(call: Call) -> Answer:
    """Return what became of a merge that was asked for; asking carries nothing out."""
    call.need("read", "contents", level="read")
    request = call.repository.merge_requests.get(call.names["uuid"])
    gone = request is not None and call.fake.clock.now() > request.asked + KEPT
    if request is None or request.number != call.pull.number or gone:
        raise Refused(404, "Not Found")
    if request.plan.outcome == "expired":
        raise Refused(404, "Not Found")
    if request.status == "pending":
        request.reads += 1
        return Answer(body=_pending(request, "Merge is pending"))
    return Answer(body={"status": request.status, "details": request.detail})
