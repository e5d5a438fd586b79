"""Reviews of pull requests."""

from __future__ import annotations

from fakes.github.events import emit
from fakes.github.routing import Answer, Call, Refused, route
from fakes.github.shapes.pulls import base_of, pull_document, review_document
from fakes.github.state import Review

REVIEWS = "~/pulls/{pull_number}/reviews"

STATES = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}


@route("GET", REVIEWS)
def reviews(call: Call) -> Answer:
    """Return the reviews, the oldest first."""
    pull, repository = call.pull, call.repository
    return call.page(review_document(call.fake, repository, pull, one) for one in pull.reviews)


@route("POST", REVIEWS)
def review_pull(call: Call) -> Answer:
    """Submit a review of a commit, which is the head unless it is said."""
    repository = call.need("read", "pull_requests")
    pull, who = call.pull, call.who.user
    if "event" not in call.body:
        raise Refused(422, "The fake plays no pending reviews: say the event.")
    state = STATES[call.body["event"]]
    if state != "COMMENTED" and who.id == pull.user.id:
        word = "approve" if state == "APPROVED" else "request changes on"
        raise _unprocessable(f"Can not {word} your own pull request")
    if state != "APPROVED" and not call.body.get("body"):
        raise _unprocessable("Body can't be blank")
    commit = call.body.get("commit_id") or pull.head
    if commit != pull.head and commit not in {
        one.sha for one in repository.git.commits_between(base_of(repository, pull), pull.head)
    }:
        raise _unprocessable("The commit_id is not part of the pull request")
    review = Review(
        id=call.fake.new_id(),
        user=who,
        state=state,
        body=call.body.get("body", ""),
        commit=commit,
        submitted=call.fake.clock.now(),
    )
    pull.reviews.append(review)
    pull.updated = review.submitted
    return _told(call, review, "submitted")


def _unprocessable(message: str) -> Refused:
    return Refused(422, "Unprocessable Entity", errors=[message])


@route("GET", f"{REVIEWS}/{{review_id}}")
def review(call: Call) -> Answer:
    """Return a review."""
    found = _review(call)
    return Answer(body=review_document(call.fake, call.repository, call.pull, found))


@route("PUT", f"{REVIEWS}/{{review_id}}/dismissals")
def dismiss(call: Call) -> Answer:
    """Dismiss a review that approves or asks for changes."""
    call.need("write", "pull_requests")
    found = _review(call)
    now = call.fake.clock.now()
    if found.state_at(now) not in {"APPROVED", "CHANGES_REQUESTED"}:
        raise _unprocessable("Can not dismiss a commented pull request review")
    found.dismissed_at, found.dismissal = now, call.body["message"]
    return _told(call, found, "dismissed")


def _review(call: Call) -> Review:
    number = call.number("review_id")
    for one in call.pull.reviews:
        if one.id == number:
            return one
    raise Refused(404, "Not Found")


def _told(call: Call, review: Review, action: str) -> Answer:
    repository, pull = call.repository, call.pull
    body = review_document(call.fake, repository, pull, review)
    payload = {
        "action": action,
        "review": {**body, "state": body["state"].lower()},  # in events it is lower case
        "pull_request": pull_document(call.fake, repository, pull),
    }
    emit(call.fake, repository, "pull_request_review", payload, call.who)
    return Answer(body=body)
