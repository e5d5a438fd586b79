"""Pull requests: lists, pages, opening, editing, closing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakes.github.events import emit_pull
from fakes.github.merging import merge_base_into
from fakes.github.pushes import close_pull, keep_head
from fakes.github.routing import Answer, Call, Refused, not_valid, route
from fakes.github.shapes.pulls import base_of, file_document, pull_document, pull_summary
from fakes.github.state import BaseChange, Pull, RepositoryState

if TYPE_CHECKING:
    from collections.abc import Callable

PULL = "~/pulls/{pull_number}"


@route("GET", "~/pulls")
def pulls(call: Call) -> Answer:
    """Return pull requests: the open ones, the newest first, unless others are asked for."""
    repository, query = call.repository, call.query
    state = query.get("state", "open")
    found = [
        pull
        for pull in repository.pulls.values()
        if state in {"all", pull.state}
        and query.get("base", pull.base) == pull.base
        and _head_matches(pull, query.get("head", ""))
    ]
    order: dict[str, Callable[[Pull], object]] = {
        "created": lambda pull: (pull.created, pull.number),
        "updated": lambda pull: (pull.updated, pull.number),
    }
    sort = query.get("sort", "created")
    descending = query.get("direction", "asc" if "sort" in query else "desc") == "desc"
    found.sort(key=order.get(sort, order["created"]), reverse=descending)  # type: ignore[arg-type]
    return call.page(
        (lambda pull=pull: pull_summary(call.fake, repository, pull)) for pull in found
    )


def _head_matches(pull: Pull, head: str) -> bool:
    # Without `owner:` GitHub takes no notice of the filter.
    owner, colon, branch = head.partition(":")
    return not colon or (pull.source.owner.login.lower(), pull.branch) == (owner.lower(), branch)


@route("POST", "~/pulls")
def open_pull(call: Call) -> Answer:
    """Open a pull request of a branch, of this repository or of a fork."""
    repository = call.need("read", "pull_requests")
    body = call.body
    source, branch = _source(call, repository, str(body["head"]))
    head, base = source.git.branch(branch), repository.git.branch(body["base"])
    if head is None or source is None:
        raise not_valid("PullRequest", field="head", code="invalid")
    if base is None:
        raise not_valid("PullRequest", field="base", code="invalid")
    if "title" not in body:
        raise not_valid("PullRequest", field="title", code="missing_field")
    if source is repository and call.who.permissions is None:
        call.need("write", "pull_requests")
    _refuse_a_second(repository, source, branch, body["base"])
    if not source.git.commits_between(base, head) if source is repository else False:
        message = f"No commits between {body['base']} and {branch}"
        raise not_valid("PullRequest", code="custom", message=message)
    now = call.fake.clock.now()
    pull = Pull(
        id=call.fake.new_id(),
        number=len(repository.issues) + 1,
        title=body["title"],
        body=body.get("body"),
        user=call.who.user,
        created=now,
        updated=now,
        source=source,
        branch=branch,
        head=head,
        base=body["base"],
        base_sha=base,
        draft=bool(body.get("draft")),
        pushers=list(source.pushers.get(branch, ())),
    )
    pull.last_pusher = pull.pushers[-1] if pull.pushers else None
    repository.issues[pull.number] = pull
    keep_head(repository, pull)
    emit_pull(call.fake, repository, pull, "opened", call.who)
    return Answer(status=201, body=pull_document(call.fake, repository, pull))


def _source(call: Call, repository: RepositoryState, head: str) -> tuple[RepositoryState, str]:
    owner, colon, branch = head.rpartition(":")
    if not colon or owner.lower() == repository.owner.login.lower():
        return repository, branch
    fork = call.fake.repositories.get(f"{owner}/{repository.name}".lower())
    if fork is None or fork.parent is not repository:
        raise not_valid("PullRequest", field="head", code="invalid")
    return fork, branch


def _refuse_a_second(
    repository: RepositoryState, source: RepositoryState, branch: str, base: str
) -> None:
    for pull in repository.pulls.values():
        same = (pull.source is source, pull.branch, pull.base, pull.state)
        if same == (True, branch, base, "open"):
            name = f"{source.owner.login}:{branch}"
            raise not_valid(
                "PullRequest",
                code="custom",
                message=f"A pull request already exists for {name}.",
            )


@route("GET", PULL)
def pull(call: Call) -> Answer:
    """Return a pull request; GitHub finds out whether it can be merged when somebody asks."""
    document = pull_document(call.fake, call.repository, call.pull)
    if call.fake.unknown_mergeability and call.pull.state == "open":
        call.fake.unknown_mergeability -= 1
        document |= {"mergeable": None, "rebaseable": None, "mergeable_state": "unknown"}
    return Answer(body=document)


@route("PATCH", PULL)
def edit_pull(call: Call) -> Answer:
    """Change title, body, base, or open and close."""
    pull, repository, body = call.pull, call.repository, call.body
    if call.who.permissions is not None or call.who.user.id != pull.user.id:
        call.need("triage", "pull_requests")
    if body.get("state") == "open" and pull.state == "closed":
        _reopen(call, repository, pull)
    elif body.get("state") == "closed" and pull.state == "open":
        close_pull(call.fake, repository, pull, call.who)
    edited = {key: body[key] for key in ("title", "body", "base") if key in body}
    if "base" in edited and repository.git.branch(edited["base"]) is None:
        raise not_valid("PullRequest", field="base", code="invalid")
    changes = {
        key: {"from": getattr(pull, key)}
        for key, value in edited.items()
        if getattr(pull, key) != value
    }
    for key, value in edited.items():
        setattr(pull, key, value)
    if "base" in changes:
        now = call.fake.clock.now()
        pull.base_changes.append(BaseChange(id=call.fake.new_id(), user=call.who.user, at=now))
    if changes:
        pull.updated = call.fake.clock.now()
        emit_pull(call.fake, repository, pull, "edited", call.who, changes=changes)
    return Answer(body=pull_document(call.fake, repository, pull))


def _reopen(call: Call, repository: RepositoryState, pull: Pull) -> None:
    head = pull.source.git.branch(pull.branch)
    if pull.merged or head is None:
        raise not_valid("PullRequest", field="state", code="invalid")
    _refuse_a_second(repository, pull.source, pull.branch, pull.base)
    pull.state, pull.closed, pull.closed_by, pull.head = "open", None, None, head
    pull.updated = call.fake.clock.now()
    keep_head(repository, pull)
    emit_pull(call.fake, repository, pull, "reopened", call.who)


@route("GET", f"{PULL}/files")
def files(call: Call) -> Answer:
    """Return the files that a pull request changes."""
    pull, repository = call.pull, call.repository
    changed = repository.git.files_between(base_of(repository, pull), pull.head)
    return call.page(file_document(call.fake, repository, file) for file in changed)


@route("GET", f"{PULL}/commits")
def commits(call: Call) -> Answer:
    """Return the first 250 commits of a pull request, the oldest first."""
    pull, repository = call.pull, call.repository
    listed = repository.git.commits_between(base_of(repository, pull), pull.head)
    return call.page(call.shapes.commit(commit, repository) for commit in listed)


@route("PUT", f"{PULL}/update-branch")
def update_branch(call: Call) -> Answer:
    """Merge the base into the branch."""
    repository = call.need("write", "pull_requests")
    pull = call.pull
    if call.body.get("expected_head_sha", pull.head) != pull.head:
        raise Refused(422, "expected head sha did not match current head ref.")
    git, base = pull.source.git, base_of(repository, pull)
    if (
        pull.state != "open"
        or pull.source is not repository
        or git.merge_base(base, pull.head) == base
    ):
        raise Refused(422, "There are no new commits on the base branch.")
    merge_base_into(call.fake, pull, base, call.who)
    body = {"message": "Updating pull request branch.", "url": f"{call.shapes.api}/pull"}
    return Answer(status=202, body=body)
