"""Whether the rules let a pull request be merged, and the merge itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakes.github.events import emit_pull, emit_push
from fakes.github.git.http import RefUpdate
from fakes.github.git.objects import Signature
from fakes.github.rules import bypass_mode, rules_of
from fakes.github.state import ROLES, Json, MergeRequest, Pull, RepositoryState, Token, User

if TYPE_CHECKING:
    from fakes.github.fake import FakeGitHub

# A merge in the background is carried out after so many seconds, though nobody reads of it.
PATIENCE = 60.0


def merge_refusals(
    fake: FakeGitHub,
    repository: RepositoryState,
    pull: Pull,
    token: Token | None = None,
    *,
    passing: frozenset[str] = frozenset({"always", "pull_request", "exempt"}),
) -> list[str]:
    """Return why the rules do not let a pull request be merged.

    Args:
        fake: The fake.
        repository: The repository of the pull request.
        pull: The pull request.
        token: Who merges, for whom a ruleset may be bypassed.
        passing: The modes of a bypass that count here.
    """
    refusals: list[str] = []
    for ruleset, rule in rules_of(repository, f"refs/heads/{pull.base}"):
        if bypass_mode(repository, ruleset, token) in passing:
            continue
        if rule["type"] == "pull_request":
            refusals += _review_refusals(fake, repository, pull, rule["parameters"])
        elif rule["type"] == "required_status_checks":
            refusals += _check_refusals(repository, pull, rule["parameters"])
        elif rule["type"] == "update":
            refusals.append("Cannot update this protected ref.")
    return refusals


def standing_reviews(
    fake: FakeGitHub, repository: RepositoryState, pull: Pull
) -> dict[int, tuple[User, str]]:
    """Return the last word by user id of those who may write; a mere comment is no word."""
    now = fake.clock.now()
    words: dict[int, tuple[User, str]] = {}
    for review in pull.reviews:
        state = review.state_at(now)
        rank = ROLES.index(repository.role(review.user))
        if state != "COMMENTED" and rank >= ROLES.index("write"):
            words[review.user.id] = (review.user, state)
    return words


def _review_refusals(
    fake: FakeGitHub, repository: RepositoryState, pull: Pull, parameters: Json
) -> list[str]:
    words = standing_reviews(fake, repository, pull).values()
    approvers = {user.id for user, state in words if state == "APPROVED"}
    wanted = parameters["required_approving_review_count"]
    refusals = []
    if any(state == "CHANGES_REQUESTED" for _, state in words):
        refusals.append("Changes were requested by reviewers with write access.")
    if len(approvers) < wanted:
        reviews = "review is" if wanted == 1 else "reviews are"
        refusals.append(
            f"At least {wanted} approving {reviews} required by reviewers with write access."
        )
    last = pull.last_pusher.id if pull.last_pusher else None
    if parameters.get("require_last_push_approval") and not approvers - {last}:
        refusals.append("New changes require approval from someone other than the last pusher.")
    return refusals


def _check_refusals(repository: RepositoryState, pull: Pull, parameters: Json) -> list[str]:
    words = {"pending": "is in progress", "failure": "is failing", "error": "is failing"}
    refusals = []
    for check in parameters["required_status_checks"]:
        state = check_state(
            repository, pull.head, check["context"], app=check.get("integration_id")
        )
        if state != "success":
            word = words.get(state or "", "is expected")
            refusals.append(f'Required status check "{check["context"]}" {word}.')
    return refusals


def check_state(repository: RepositoryState, sha: str, name: str, *, app: int | None) -> str | None:
    """Return the newest word of a status or a check run, or None if there is none.

    Args:
        repository: The repository.
        sha: The commit.
        name: The context of the status, or the name of the check run.
        app: The App that must have said it, if only one may.
    """
    said: list[tuple[int, str]] = [
        (status["id"], status["state"])
        for status in repository.statuses
        if status["sha"] == sha and status["context"] == name and app in {None, status["app"]}
    ]
    for run in repository.check_runs.values():
        if run["head_sha"] == sha and run["name"] == name and app in {None, run["app"]["id"]}:
            good = run["conclusion"] in {"success", "neutral", "skipped"}
            finished = "success" if good else "failure"
            said.append((run["id"], finished if run["status"] == "completed" else "pending"))
    return max(said)[1] if said else None


def merge_pull(
    fake: FakeGitHub,
    repository: RepositoryState,
    pull: Pull,
    token: Token,
    *,
    method: str = "merge",
    title: str | None = None,
    message: str | None = None,
) -> str | None:
    """Merge a pull request, and return the commit; None if it conflicts."""
    git = repository.git
    base = git.branch(pull.base)
    assert base is not None
    tree = git.merged_tree(base, pull.head)
    if tree is None:
        return None
    now = int(fake.clock.now())
    who = Signature(name=token.user.login, email=token.user.noreply, time=now)
    if method == "rebase":
        made = _rebased(repository, pull, base, now)
    else:
        source = f"{pull.source.owner.login}/{pull.branch}"
        usual = (
            f"Merge pull request #{pull.number} from {source}"
            if method == "merge"
            else f"{pull.title} (#{pull.number})"
        )
        text = f"{title or usual}\n\n{pull.title if message is None else message}".rstrip()
        parents = (base, pull.head) if method == "merge" else (base,)
        made = git.make_commit(tree, parents, text, author=who)
    git.set_ref(f"refs/heads/{pull.base}", made, old=base)
    pull.state = "closed"
    pull.closed = pull.merged = pull.updated = fake.clock.now()
    pull.closed_by = pull.merged_by = token.user
    pull.merge_commit, pull.base_sha = made, base
    update = RefUpdate(ref=f"refs/heads/{pull.base}", old=base, new=made)
    emit_push(fake, repository, update, token)
    emit_pull(fake, repository, pull, "closed", token)
    return made


def _rebased(repository: RepositoryState, pull: Pull, base: str, now: int) -> str:
    """Return the last of the pull request's commits, each made again on the base."""
    git = repository.git
    tip = base
    for commit in git.commits_between(base, pull.head):
        # Git makes a tree of `tip` and the commit as if they parted at the commit's parent.
        parted = git.make_commit(
            git.objects.commit(commit.parents[0]).tree,  # type: ignore[union-attr]
            (),
            "parted",
            author=commit.author,
        )
        ours, theirs = (
            git.make_commit(tree, (parted,), "side", author=commit.author)
            for tree in (git.objects.commit(tip).tree, commit.tree)  # type: ignore[union-attr]
        )
        tree = git.merged_tree(ours, theirs)
        assert tree is not None, f"{commit.sha} does not apply to {tip}"
        committer = Signature(name="GitHub", email="noreply@github.com", time=now)
        tip = git.make_commit(
            tree, (tip,), commit.message, author=commit.author, committer=committer
        )
    return tip


def merge_base_into(fake: FakeGitHub, pull: Pull, base: str, token: Token) -> str | None:
    """Merge the base into the branch of a pull request, and return the commit."""
    git = pull.source.git
    tree = git.merged_tree(pull.head, base)
    if tree is None:
        return None
    who = Signature(name=token.user.login, email=token.user.noreply, time=int(fake.clock.now()))
    message = f"Merge branch '{pull.base}' into {pull.branch}"
    made = git.make_commit(tree, (pull.head, base), message, author=who)
    git.set_ref(f"refs/heads/{pull.branch}", made, old=pull.head)
    return made


def settle_merges(fake: FakeGitHub) -> None:
    """Carry out the merges that were asked for and are due, whether somebody reads or not."""
    for repository in fake.repositories.values():
        for request in repository.merge_requests.values():
            read = request.reads >= request.plan.reads
            late = fake.clock.now() >= request.asked + PATIENCE
            if request.status == "pending" and (read or late) and request.plan.other is None:
                _settle(fake, repository, request)


def _settle(fake: FakeGitHub, repository: RepositoryState, request: MergeRequest) -> None:
    pull = repository.pulls[request.number]
    if request.plan.outcome in {"failed", "expired"}:
        _finish(request, "failed", request.plan.message)
        return
    if request.plan.outcome == "enqueued" or request.action == "merge_queue":
        _finish(request, "enqueued", "Added to the merge queue")
        return
    # Only this mode of a bypass passes the rules here.
    passing = frozenset({"exempt"})
    refusals = merge_refusals(fake, repository, pull, request.token, passing=passing)
    if pull.state != "open":
        _finish(request, "failed", "Pull request is closed")
    elif pull.head != request.sha:
        _finish(request, "failed", "Head branch was modified.")
    elif refusals:
        _finish(request, "failed", " ".join(refusals))
    else:
        sha = merge_pull(
            fake,
            repository,
            pull,
            request.token,
            method=request.method,
            title=request.title,
            message=request.message,
        )
        if sha is None:
            _finish(request, "failed", "Pull Request is not mergeable")
        else:
            _finish(request, "merged", "Pull Request successfully merged", sha=sha)


def _finish(request: MergeRequest, status: str, message: str, **more: str) -> None:
    request.status, request.detail = status, {"message": message, **more}
