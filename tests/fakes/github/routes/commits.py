"""The repository, its branches, refs, commits and contents, all read from Git."""

from __future__ import annotations

import base64
from urllib.parse import quote

from fakes.github.git.objects import Commit
from fakes.github.routing import Answer, Call, Refused, route
from fakes.github.rules import rules_of
from fakes.github.shapes import fill
from fakes.github.shapes.pulls import file_document, pull_summary
from fakes.github.state import Activity, Json, RepositoryState


@route("GET", "~")
def repository(call: Call) -> Answer:
    """Return the repository."""
    return Answer(body=call.shapes.repository(call.repository, "full-repository"))


def find_commit(repository: RepositoryState, name: str) -> Commit | None:
    """Return the commit of a branch, a tag, a ref or an id."""
    git = repository.git
    if "\0" in name or ".." in name:
        return None
    for ref in (f"refs/heads/{name}", f"refs/tags/{name}", f"refs/{name}", name):
        sha = git.ref(ref) if ref.startswith("refs/") else None
        if sha:
            return git.objects.commit(sha)
    is_id = 4 <= len(name) <= 40 and not set(name) - set("0123456789abcdef")
    return git.objects.commit(name) if is_id else None


def known_commit(call: Call, name: str, *, status: int = 422) -> Commit:
    """Return the commit that a call names."""
    commit = find_commit(call.repository, name)
    if commit is None:
        message = "Not Found" if status == 404 else f"No commit found for SHA: {name}"
        raise Refused(status, message)
    return commit


@route("GET", "~/branches")
def branches(call: Call) -> Answer:
    """Return every branch with its head."""
    heads = {
        name.removeprefix("refs/heads/"): sha
        for name, sha in call.repository.git.refs().items()
        if name.startswith("refs/heads/")
    }
    return call.page(_branch(call, name, sha) for name, sha in heads.items())


def _branch(call: Call, name: str, sha: str) -> Json:
    protected = any(rules_of(call.repository, f"refs/heads/{name}"))
    commit = {"sha": sha, "url": f"{call.shapes.api}/repos/{call.repository.full_name}/commits"}
    return fill("short-branch", {"name": name, "commit": commit, "protected": protected})


@route("GET", "~/activity")
def activity(call: Call) -> Answer:
    """Return the pushes to a branch, or to all of them, the newest first."""
    call.need("read", "contents", level="read")
    wanted = call.query.get("ref", "").removeprefix("refs/heads/")
    found = [each for each in call.repository.activity if wanted in {"", each.branch}]
    return call.page(_activity(call, each) for each in reversed(found))


def _activity(call: Call, each: Activity) -> Json:
    zero = set(each.before) == {"0"}
    kind = "branch_creation" if zero else "branch_deletion" if set(each.after) == {"0"} else "push"
    return {
        "id": each.id,
        "node_id": f"PSH_{each.id}",
        "before": each.before,
        "after": each.after,
        "ref": f"refs/heads/{each.branch}",
        "timestamp": call.shapes.time(each.at),
        "activity_type": kind,
        "actor": call.shapes.user(each.user),
    }


@route("GET", "~/branches/{branch}")
def branch(call: Call) -> Answer:
    """Return a branch."""
    name = call.names["branch"]
    sha = call.repository.git.branch(name)
    if sha is None:
        raise Refused(404, "Branch not found")
    head = call.repository.git.objects.commit(sha)
    assert head is not None
    known = {**_branch(call, name, sha), "commit": call.shapes.commit(head, call.repository)}
    return Answer(body=fill("branch-with-protection", known))


@route("GET", "~/git/ref/{ref}")
def ref(call: Call) -> Answer:
    """Return one ref."""
    name = f"refs/{call.names['ref']}"
    sha = call.repository.git.ref(name)
    if sha is None:
        raise Refused(404, "Not Found")
    return Answer(body=_ref(call, name, sha))


@route("GET", "~/git/matching-refs/{ref}")
def matching_refs(call: Call) -> Answer:
    """Return the refs that begin with a text."""
    start = f"refs/{call.names['ref']}"
    refs = call.repository.git.refs().items()
    return Answer(body=[_ref(call, name, sha) for name, sha in refs if name.startswith(start)])


def _ref(call: Call, name: str, sha: str) -> Json:
    url = f"{call.shapes.api}/repos/{call.repository.full_name}/git"
    known = {
        "ref": name,
        "node_id": f"REF_{name}",
        "url": f"{url}/{quote(name)}",
        "object": {"type": "commit", "sha": sha, "url": f"{url}/commits/{sha}"},
    }
    return fill("git-ref", known)


@route("GET", "~/commits")
def commits(call: Call) -> Answer:
    """Return the history of a commit, the newest first, of one path if it is asked for."""
    git = call.repository.git
    if not git.branch("main"):
        raise Refused(409, "Git Repository is empty.")
    start = known_commit(call, call.query.get("sha", "main"), status=404)
    dates = [f"--{key}={call.query[key]}" for key in ("since", "until") if key in call.query]
    paths = [call.query["path"]] if call.query.get("path") else []
    listed = git.text("--literal-pathspecs", "rev-list", *dates, start.sha, "--", *paths).split()
    return call.page((lambda sha=sha: _commit(call, sha)) for sha in listed)


def _commit(call: Call, sha: str) -> Json:
    commit = call.repository.git.objects.commit(sha)
    assert commit is not None
    return call.shapes.commit(commit, call.repository)


@route("GET", "~/commits/{ref}")
def commit(call: Call) -> Answer:
    """Return a commit with the files that it changes."""
    found = known_commit(call, call.names["ref"])
    git = call.repository.git
    base = found.parents[0] if found.parents else git.text("mktree")
    files = git.changed_files(base, found.sha)
    more = {
        "files": [file_document(call.fake, call.repository, file) for file in files],
        "stats": _stats(files),
    }
    return Answer(body=call.shapes.commit(found, call.repository, **more))


def _stats(files: tuple[object, ...]) -> Json:
    added = sum(file.additions for file in files)  # type: ignore[attr-defined]
    deleted = sum(file.deletions for file in files)  # type: ignore[attr-defined]
    return {"additions": added, "deletions": deleted, "total": added + deleted}


@route("GET", "~/commits/{commit_sha}/pulls")
def pulls_of_commit(call: Call) -> Answer:
    """Return the pull requests that a commit is in, or that it is the merge of."""
    repository, sha = call.repository, known_commit(call, call.names["commit_sha"]).sha
    found = [
        pull
        for pull in repository.pulls.values()
        if sha in {pull.merge_commit, pull.head}
        or any(one.sha == sha for one in repository.git.commits_between(pull.base_sha, pull.head))
    ]
    return call.page(pull_summary(call.fake, repository, pull) for pull in found)


@route("GET", "~/compare/{basehead}")
def compare(call: Call) -> Answer:
    """Return what one commit has that another has not."""
    repository = call.repository
    one, dots, other = call.names["basehead"].partition("...")
    if not dots:
        raise Refused(404, "Not Found")
    base, head = known_commit(call, one, status=404), known_commit(call, other, status=404)
    git = repository.git
    parted = git.merge_base(base.sha, head.sha)
    if parted is None:
        raise Refused(404, f"No common ancestor between {one} and {other}.")
    ahead = git.commits_between(base.sha, head.sha)
    behind = git.commits_between(head.sha, base.sha)
    words = {(True, True): "diverged", (True, False): "ahead", (False, True): "behind"}
    url = f"{call.shapes.html}/{repository.full_name}/compare/{quote(one)}...{quote(other)}"
    common = git.objects.commit(parted)
    assert common is not None
    known = {
        "url": url,
        "html_url": url,
        "permalink_url": url,
        "diff_url": url,
        "patch_url": url,
        "base_commit": call.shapes.commit(base, repository),
        "merge_base_commit": call.shapes.commit(common, repository),
        "status": words.get((bool(ahead), bool(behind)), "identical"),
        "ahead_by": len(ahead),
        "behind_by": len(behind),
        "total_commits": len(ahead),
        "commits": [call.shapes.commit(commit, repository) for commit in ahead],
        "files": [
            file_document(call.fake, repository, file)
            for file in git.files_between(base.sha, head.sha)
        ],
    }
    return Answer(body=fill("commit-comparison", known))


@route("GET", "~/contents/{path}")
def contents(call: Call) -> Answer:
    """Return a file of a commit, or what a folder holds."""
    repository, path = call.repository, call.names["path"].strip("/")
    start = known_commit(call, call.query.get("ref") or "main", status=404)
    objects = repository.git.objects
    parts = [part for part in path.split("/") if part]
    mode, sha = "040000", start.tree
    for part in parts:
        entries = objects.entries(sha) if mode in {"40000", "040000"} else {}
        if part not in entries:
            raise Refused(404, "Not Found")
        mode, sha = entries[part]
    if mode in {"40000", "040000"}:
        listed = objects.entries(sha).items()
        return Answer(
            body=[_entry(call, "/".join([*parts, name]), kind, one) for name, (kind, one) in listed]
        )
    found = objects.read(sha)
    assert found is not None
    more = {
        "encoding": "base64",
        "content": base64.encodebytes(found[2]).decode(),
        "size": len(found[2]),
    }
    return Answer(body=fill("content-file", {**_entry(call, path, mode, sha), **more}))


def _entry(call: Call, path: str, mode: str, sha: str) -> Json:
    url = f"{call.shapes.api}/repos/{call.repository.full_name}/contents/{quote(path)}"
    return {
        "type": "dir" if mode in {"40000", "040000"} else "file",
        "name": path.rpartition("/")[2],
        "path": path,
        "sha": sha,
        "size": 0,
        "url": url,
        "html_url": url,
        "git_url": url,
        "download_url": url,
        "_links": {"self": url, "git": url, "html": url},
    }
