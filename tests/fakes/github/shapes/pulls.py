"""Pull requests, their files, commits and reviews as documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fakes.github.git.repository import ChangedFile
from fakes.github.shapes import fill
from fakes.github.state import Json, Pull, RepositoryState, Review

if TYPE_CHECKING:
    from fakes.github.fake import FakeGitHub


def base_of(repository: RepositoryState, pull: Pull) -> str:
    """Return the commit that a pull request is to be merged into."""
    live = repository.git.branch(pull.base) if pull.state == "open" else None
    return live or pull.base_sha


def pull_document(fake: FakeGitHub, repository: RepositoryState, pull: Pull) -> Json:
    """Return a pull request as a page of its own has it."""
    base = base_of(repository, pull)
    files = repository.git.files_between(base, pull.head)
    mergeable = _mergeable(repository, pull, base)
    known = {
        **_common(fake, repository, pull, base),
        "merged": pull.merged is not None,
        "mergeable": mergeable,
        "rebaseable": mergeable,
        "mergeable_state": _state_word(fake, repository, pull, mergeable=mergeable),
        "merged_by": fake.shapes.user(pull.merged_by) if pull.merged_by else None,
        "comments": sum(one.issue == pull.number for one in repository.comments.values()),
        "review_comments": 0,
        "maintainer_can_modify": False,
        "commits": len(repository.git.commits_between(base, pull.head)),
        "additions": sum(file.additions for file in files),
        "deletions": sum(file.deletions for file in files),
        "changed_files": len(files),
    }
    return fill("pull-request", known)


def pull_summary(fake: FakeGitHub, repository: RepositoryState, pull: Pull) -> Json:
    """Return a pull request as a list has it: without counts, and not whether it was merged."""
    known = _common(fake, repository, pull, base_of(repository, pull))
    return fill("pull-request-simple", known)


def _common(fake: FakeGitHub, repository: RepositoryState, pull: Pull, base: str) -> Json:
    shapes = fake.shapes
    api = f"{shapes.api}/repos/{repository.full_name}"
    url = f"{api}/pulls/{pull.number}"
    html = f"{shapes.html}/{repository.full_name}/pull/{pull.number}"
    links = {
        "self": url,
        "html": html,
        "issue": f"{api}/issues/{pull.number}",
        "comments": f"{api}/issues/{pull.number}/comments",
        "commits": f"{url}/commits",
        "statuses": f"{api}/statuses/{pull.head}",
        "review_comments": f"{url}/comments",
        "review_comment": f"{api}/pulls/comments{{/number}}",
    }
    document = {
        "id": pull.id,
        "node_id": f"PR_{pull.id}",
        "number": pull.number,
        "url": url,
        "html_url": html,
        "issue_url": links["issue"],
        "commits_url": links["commits"],
        "comments_url": links["comments"],
        "statuses_url": links["statuses"],
        "state": pull.state,
        "draft": pull.draft,
        "locked": False,
        "title": pull.title,
        "body": pull.body,
        "user": shapes.user(pull.user),
        "labels": [
            shapes.label(repository.labels[name.lower()], repository) for name in pull.labels
        ],
        "created_at": shapes.time(pull.created),
        "updated_at": shapes.time(pull.updated),
        "closed_at": shapes.time(pull.closed),
        "merged_at": shapes.time(pull.merged),
        # Of one that is not merged this is a trial, which GitHub makes when somebody looks.
        "merge_commit_sha": pull.merge_commit or pull.trial,
        "head": _side(fake, pull.source, pull.branch, pull.head),
        "base": _side(fake, repository, pull.base, base),
        "author_association": fake.association(repository, pull.user),
        "_links": {name: {"href": target} for name, target in links.items()},
    }
    if pull.stack is not None:
        document["stack"] = pull.stack
    return document


def _side(fake: FakeGitHub, repository: RepositoryState, branch: str, sha: str) -> Json:
    return {
        "label": f"{repository.owner.login}:{branch}",
        "ref": branch,
        "sha": sha,
        "user": fake.shapes.user(repository.owner),
        "repo": fake.shapes.repository(repository),
    }


def _mergeable(repository: RepositoryState, pull: Pull, base: str) -> bool | None:
    if pull.state != "open":
        return None
    trial = repository.git.trial_merge(base, pull.head)
    if trial is not None and trial != pull.trial:
        repository.git.set_ref(f"refs/pull/{pull.number}/merge", trial)
    pull.trial = trial
    return trial is not None


def _state_word(
    fake: FakeGitHub, repository: RepositoryState, pull: Pull, *, mergeable: bool | None
) -> str:
    if mergeable is None:
        return "unknown"
    if not mergeable:
        return "dirty"
    if pull.draft:
        return "draft"
    return "blocked" if fake.merge_refusals(repository, pull) else "clean"


def review_document(
    fake: FakeGitHub, repository: RepositoryState, pull: Pull, review: Review
) -> Json:
    """Return a review; `commit_id` is what was reviewed, wherever the head is now."""
    url = f"{fake.shapes.api}/repos/{repository.full_name}/pulls/{pull.number}"
    html = f"{fake.shapes.html}/{repository.full_name}/pull/{pull.number}"
    known: dict[str, Any] = {
        "id": review.id,
        "node_id": f"PRR_{review.id}",
        "user": fake.shapes.user(review.user),
        "body": review.body,
        "state": review.state_at(fake.clock.now()),
        "commit_id": review.commit,
        "submitted_at": fake.shapes.time(review.submitted),
        "html_url": f"{html}#pullrequestreview-{review.id}",
        "pull_request_url": url,
        "author_association": fake.association(repository, review.user),
        "_links": {"html": {"href": html}, "pull_request": {"href": url}},
    }
    return fill("pull-request-review", known)


def file_document(fake: FakeGitHub, repository: RepositoryState, file: ChangedFile) -> Json:
    """Return a file that a pull request changes."""
    url = f"{fake.shapes.api}/repos/{repository.full_name}/contents/{quote(file.path)}"
    known = {
        "sha": file.sha,
        "filename": file.path,
        "status": file.status,
        "additions": file.additions,
        "deletions": file.deletions,
        "changes": file.additions + file.deletions,
        "contents_url": url,
    }
    if file.previous is not None:
        known["previous_filename"] = file.previous
    return fill("diff-entry", known)
