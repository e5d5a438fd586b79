"""Merges in a fleet: real ones through the local forge, and many more written at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from fleet_yard import (
    PULLS,
    Pattern,
    add_pulls,
    commit_of,
    document_of,
    files_of,
    import_commits,
    name_of,
)

from modelyard.adapters.git.names import message_of
from modelyard.adapters.git.repository import Git
from modelyard.domain.people import Person
from modelyard.domain.promotion.change import PULL, Branch, Change, Purpose, version_trailers
from modelyard.domain.promotion.facts import ReleaseFacts
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, PullRequest, PullState, Status
from modelyard.domain.promotion.pulls import StatusState as State
from modelyard.domain.specs.release import Release
from modelyard.operations.workspace import Workspace
from operations.yard import AT, BOT


def play_release(workspace: Workspace, copies: Sequence[Pattern], number: int) -> int:
    """Release one model anew to each environment; returns how many pull requests were merged.

    Each is proposed, checked, approved and merged on the local forge. Then its facts are written
    in two steps, as a watcher does: its servers are ready, and it is verified.
    """
    for each in copies:
        release = replace(each.release, model=name_of(number))
        _merge(workspace, release, dict(files_of(each, number)))
        for is_verified in (False, True):
            seen = partial(_seen, each.facts, release, is_verified=is_verified)
            workspace.facts.update_release(release.environment, release.model, seen)
    return len(copies)


def _merge(workspace: Workspace, release: Release, documents: dict[str, bytes | None]) -> None:
    pulls, desk = workspace.services.pulls, workspace.services.desk
    branch = Branch(purpose=Purpose.PROMOTE, subject=release.environment, model=release.model)
    title = f"Release {release.model} {release.version} to {release.environment} once more"
    trailers = version_trailers(release.model, release.version, release.environment)
    change = Change(
        purpose=Purpose.PROMOTE,
        branch=str(branch),
        title=title,
        body=title,
        documents=documents,
        trailers=trailers,
    )
    pull = pulls.propose(change)
    for check in (CHECKS, PROMOTE):
        pulls.set_status(pull, Status(context=check, state=State.SUCCESS, description="played"))
    for person in ("ada", "bob"):
        desk.review(pull.number, sha=pull.head, by=person, approved=True)
    pulls.merge(pull.number, sha=pull.head)


def _seen(
    pattern: ReleaseFacts, release: Release, before: ReleaseFacts, *, is_verified: bool
) -> ReleaseFacts:
    verified = tuple(dict.fromkeys((*before.verified, release.identity)))
    return replace(
        pattern,
        release=release.identity,
        verified=verified if is_verified else before.verified,
        judged_at=pattern.judged_at if is_verified else None,
    )


def write_merges(remote: Path, *, models: int, merges: int, marks: Path) -> None:
    """Write so many merged pull requests that changed nothing, and two facts changed for each.

    They are what is left of merges that later ones have overwritten: a commit and its head, a ref
    and its document, and commits of facts. What the files of each take is measured elsewhere.
    """
    git = Git(remote)
    first = 1 + max(
        int(ref.rpartition("/")[2])
        for ref in git.run("for-each-ref", "--format=%(refname)", PULLS).stdout.decode().split()
    )
    tip = git.rev_parse("refs/heads/main")
    names = import_commits(remote, _empty_merges(first, models, merges, tip), marks)
    import_commits(remote, _changed_facts(git, merges), marks)
    documents = import_commits(remote, _documents(names, first, models, merges), marks)
    add_pulls(remote, {first - 1 + int(mark): name for mark, name in documents.items()})


def _branch_of(number: int, models: int) -> str:
    environments = ("dev", "staging", "canary", "production")
    return f"modelyard/promote/{environments[number % 4]}/{name_of(number // 4 % models)}"


def _empty_merges(first: int, models: int, merges: int, tip: str) -> Iterator[bytes]:
    yield f"reset refs/heads/main\nfrom {tip}\n\n".encode()
    for mark in range(1, merges + 1):
        number = first - 1 + mark
        branch = _branch_of(number, models)
        _, _, environment, model = branch.split("/")
        said = {**version_trailers(model, "v2", environment), PULL: str(number)}
        title = f"Merge pull request #{number} from {branch}"
        yield commit_of("main", mark, {}, message_of(title, said))


def _changed_facts(git: Git, merges: int) -> Iterator[bytes]:
    ref = "refs/heads/modelyard/state"
    yield f"reset {ref}\nfrom {git.rev_parse(ref)}\n\n".encode()
    facts = {path: blob for path, blob in _listed(git, ref) if path.startswith("facts/")}
    paths = sorted(facts, key=lambda path: (path.rpartition("/")[2], path))
    contents = git.read_many(facts.values())
    for number in range(merges):
        path = paths[number % len(paths)]
        before = contents[facts[path]] or b""
        for mark, text in ((2 * number + 1, b" " + before), (2 * number + 2, before)):
            yield commit_of("modelyard/state", mark, {path: text}, path.removesuffix(".json"))


def _listed(git: Git, ref: str) -> Iterator[tuple[str, str]]:
    for entry in git.ls_tree(ref):
        yield entry.path, entry.blob


def _documents(names: dict[str, str], first: int, models: int, merges: int) -> Iterator[bytes]:
    for mark in range(1, merges + 1):
        number, commit = first - 1 + mark, names[str(mark)]
        pull = PullRequest(
            number=number,
            branch=_branch_of(number, models),
            title=_branch_of(number, models),
            body="",
            author=Person.named(BOT),
            base=commit,
            head=commit,
            state=PullState.MERGED,
            opened_at=AT,
            merged_as=commit,
            closed_at=AT,
            closed_by=Person.named(BOT),
        )
        yield document_of(mark, pull)
