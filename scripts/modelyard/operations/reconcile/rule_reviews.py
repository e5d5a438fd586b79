"""Finds the rules of the main branch that a push changed, by the forge's merged pull requests."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from modelyard.adapters.forge.rules import (
    missing_rule_approvals,
    read_environments,
    read_rule_changes,
    read_rule_file,
)
from modelyard.adapters.git.first_parents import (
    ChangedFiles,
    first_with,
    list_changes,
    read_changed,
    read_order,
)
from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.kept_file import read_kept, write_kept
from modelyard.adapters.specs.documents import read_spec
from modelyard.adapters.specs.reader import list_places, read_specs
from modelyard.domain.harmless_text import harmless_line
from modelyard.domain.promotion.change import parse_branch
from modelyard.domain.promotion.pulls import (
    REQUIRED,
    PullRequest,
    Pulls,
    PullState,
    PullSummary,
    StatusState,
)
from modelyard.domain.review.kept_rules import KeptRules, digest_merges
from modelyard.domain.review.pushed_rules import (
    Content,
    Pair,
    PushedFile,
    PushedRule,
    Step,
    Way,
    find_pushed_files,
    shortened,
)
from modelyard.domain.review.rule_changes import find_rule_changes, may_hold_rules
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import SETTINGS, parse_spec_path
from modelyard.domain.specs.repository import Repository
from modelyard.errors import YardError
from modelyard.operations.reconcile.landings import landing
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)

_LONG_AGO = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, kw_only=True)
class _Merges:
    """The merges that pull requests stand behind, by commit."""

    by_forge: Mapping[str, PullSummary]
    by_hand: Mapping[str, PullSummary]
    commits: int = 0
    """What tells these commits from others in this process."""

    @property
    def by_way(self) -> Mapping[str, Mapping[str, str]]:
        """What identifies the pull requests of both."""
        return {
            way: {c: f"{pull.number} {pull.head} {pull.on_page}" for c, pull in found.items()}
            for way, found in (("forge", self.by_forge), ("hand", self.by_hand))
        }


def find_pushed_rules(workspace: Workspace, pulls: Pulls) -> tuple[PushedRule, ...]:
    """The rules in force that came by a push, one for each file.

    Until the forge merged its first pull request, a yard is being set up and nobody reviews it.

    Args:
        workspace: What to read with.
        pulls: All pull requests, people's included.
    """
    main = workspace.main()
    merges = _merges(workspace, pulls)
    if not merges.by_forge:
        return ()
    asked = f"{merges.commits} {hash(frozenset(merges.by_hand))}"
    return workspace.once("pushed rules", main, lambda: _find(workspace, main, merges), asked)


def _merges(workspace: Workspace, pulls: Pulls) -> _Merges:
    # What was merged stays so, and each model of a fleet asks for it.
    found, others = workspace.derive("merges", pulls, lambda: _merges_by_forge(workspace, pulls))
    by_hand: dict[str, PullSummary] = {}
    for pull in others:
        if _is_complete(workspace, pull):
            is_merged = pull.state is PullState.MERGED
            commit = pull.merged_as if is_merged else landing(workspace, pull)
            if commit is not None:
                by_hand[commit] = pull
    return replace(found, by_hand=by_hand)


def _merges_by_forge(workspace: Workspace, pulls: Pulls) -> tuple[_Merges, tuple[PullSummary, ...]]:
    """The merges of the forge, and people's pull requests that it did not merge."""
    by_forge: dict[str, PullSummary] = {}
    others = []
    for pull in pulls.every:
        if pull.state is PullState.MERGED and pull.merged_as and not pull.by_hand:
            # A forge also calls those merged whose commits came with another pull request.
            if pull.merged_as not in by_forge or _is_head_of(workspace, pull):
                by_forge[pull.merged_as] = pull
        elif parse_branch(pull.branch) is None:
            others.append(pull)
    commits = hash(frozenset(by_forge))
    return _Merges(by_forge=by_forge, by_hand={}, commits=commits), tuple(others)


def _is_head_of(workspace: Workspace, pull: PullSummary) -> bool:
    """Whether the commit that a pull request was merged as is its head, or a merge of that."""
    done = workspace.git.run("rev-parse", f"{pull.merged_as}^@", f"{pull.merged_as}")
    return pull.head in done.stdout.decode().split()


def _is_complete(workspace: Workspace, pull: PullSummary) -> bool:
    """Whether a person's pull request only lacked its merge when they pushed its changes."""
    if pull.state is not PullState.OPEN and not pull.by_hand and pull.closed_at is not None:
        return False
    full = pull if isinstance(pull, PullRequest) else workspace.services.pulls.get(pull.number)
    both = (full.statuses.get(context) for context in REQUIRED)
    return all(s is not None and s.state is StatusState.SUCCESS for s in both)


def _find(workspace: Workspace, main: str, merges: _Merges) -> tuple[PushedRule, ...]:
    git = workspace.git
    order = read_order(git, main)
    lost = _newest_lost(workspace, merges, order)
    kept = None if lost is not None else _read_kept(workspace, merges, order)
    steps = (
        _steps(workspace, main, merges, lost)
        if kept is None
        else (_step(workspace, each, merges) for each in list_changes(git, kept.commit, main))
    )
    pushed = find_pushed_files(
        steps, partial(_changes_rules, workspace), order, kept.files if kept else None
    )
    if lost is None and (kept is None or kept.commit != main):
        digest = digest_merges(merges.by_way, order, order[main])
        found = KeptRules(commit=main, merges=digest, files=pushed)
        if found.may_be_kept:
            write_kept(_kept_file(workspace), found.to_document())
    if not pushed:
        return ()
    catalog = read_specs(GitTree(git, main)).catalog
    return shortened(_rules(workspace, main, pushed, catalog))


def _rules(
    workspace: Workspace, main: str, pushed: Mapping[str, PushedFile], catalog: Catalog
) -> Iterator[PushedRule]:
    git = workspace.git
    changes = find_rule_changes(
        {path: read_rule_file(git, path, each.before) for path, each in pushed.items()},
        {path: read_rule_file(git, path, _content(workspace, main, path)) for path in pushed},
        read_environments(git, main, catalog),
        # Whether a new model brings its own rules was asked at the push.
        used_models=[
            key[0] for path in pushed for _, key in [parse_spec_path(path) or ("", ("",))]
        ],
    )
    for change in changes:
        push = pushed[change.file]
        yield PushedRule(
            file=change.file,
            what=change.what,
            commit=push.commit,
            author=harmless_line(push.author),
            environments=change.environments,
            pull=push.pull,
        )


def _changes_rules(
    workspace: Workspace, path: str, before: Content, after: Content, commit: str
) -> bool:
    kind, key = parse_spec_path(path) or ("", ())
    is_new = kind == "Model" and before is None
    used = key[:1] if is_new and _is_used(workspace, f"{commit}^1", key[0]) else ()
    git = workspace.git
    one, other = (read_rule_file(git, path, content) for content in (before, after))
    return bool(find_rule_changes({path: one}, {path: other}, {}, used_models=used))


def _is_used(workspace: Workspace, commit: str, model: str) -> bool:
    """Whether something of the model's name was released or recorded."""
    tree = GitTree(workspace.git, workspace.git.rev_parse(commit))
    paths = tree.part(list_places(tree, [model])).paths()
    found = (parse_spec_path(path) for path in paths)
    places = {"Release": 1, "Record": 0}
    return any(each and each[0] in places and each[1][places[each[0]]] == model for each in found)


def _kept_file(workspace: Workspace) -> Path:
    # Another form of it, or another way to find it, gets another name.
    return workspace.git.kept_folder / "pushed-rules-2.json"


def _read_kept(workspace: Workspace, merges: _Merges, order: Mapping[str, int]) -> KeptRules | None:
    """What was found last, if it still holds."""
    kept = KeptRules.from_document(read_kept(_kept_file(workspace)))
    return kept if kept is not None and kept.holds_for(order, merges.by_way) else None


def _steps(workspace: Workspace, main: str, merges: _Merges, lost: str | None) -> Iterator[Step]:
    order = read_order(workspace.git, main)
    known = [order[commit] for commit in merges.by_forge if commit in order]
    enters = None
    if lost is not None:
        is_inside = workspace.git.is_ancestor(lost, main)
        enters = first_with(workspace.git, main, lost) if is_inside else main
    if not known:
        yield from [_push_since(workspace, str(lost), str(enters))] if lost else []
        return
    since = next(commit for commit, place in order.items() if place == min(known))
    for each in list_changes(workspace.git, since, main):
        if each.commit == enters and lost is not None:
            yield _push_since(workspace, lost, each.commit)
        else:
            yield _step(workspace, each, merges)


def _newest_lost(workspace: Workspace, merges: _Merges, order: Mapping[str, int]) -> str | None:
    """The newest reviewed commit that a rewritten or exchanged history hides, if there is one."""
    lost = [pull for commit, pull in merges.by_forge.items() if commit not in order]
    if not lost:
        return None
    newest = max(lost, key=lambda pull: (pull.closed_at or _LONG_AGO, pull.number))
    # The forge keeps the head of a pull request, whatever becomes of its merge.
    commit = str(newest.merged_as)
    return newest.head if workspace.git.missing_objects([commit]) else commit


def _push_since(workspace: Workspace, before: str, commit: str) -> Step:
    (entry,) = workspace.git.log(commit, first_parent=True, limit=1)
    changed = read_changed(workspace.git, before, commit)
    return Step(
        commit=commit, author=entry.author, way=Way.PUSH, files=_of_rules(changed), reviewed={}
    )


def _step(workspace: Workspace, each: ChangedFiles, merges: _Merges) -> Step:
    files = _of_rules(each.files)
    reviewed: dict[str, Pair] = {}
    way, accepts = Way.PUSH, None
    lacking: int | None = None
    if merged := merges.by_forge.get(each.commit):
        if files and not _was_approved(workspace, merged, each.commit):
            lacking = merged.number
        else:
            way = Way.MERGE
            accepts = _accepted(workspace, files[SETTINGS]) if SETTINGS in files else None
    elif each.commit in merges.by_hand:
        way, pull = Way.BY_HAND, merges.by_hand[each.commit]
        base = workspace.git.merge_base(pull.base, pull.head)
        reviewed = _of_rules(read_changed(workspace.git, base, pull.head))
        # Moving main to the head of a branch brings all of its commits, each with a part of it.
        for path in reviewed.keys() - files.keys():
            files[path] = (_content(workspace, each.commit, path),) * 2
    return Step(
        commit=each.commit,
        author=each.author,
        way=way,
        files=files,
        reviewed=reviewed,
        accepts=accepts,
        pull=lacking,
    )


def _was_approved(workspace: Workspace, pull: PullSummary, commit: str) -> bool:
    """Whether what the merge changed of the rules had the approvals that it needed."""
    return not pull.on_page or workspace.once(
        "approved merge", commit, lambda: _had_approvals(workspace, pull, commit)
    )


def _had_approvals(workspace: Workspace, pull: PullSummary, commit: str) -> bool:
    git, pulls = workspace.git, workspace.services.pulls
    before = git.rev_parse(f"{commit}^1")
    changes = read_rule_changes(git, main=before, after=commit)
    if not missing_rule_approvals(git, _without_reviews(pull), changes, main=before):
        return True
    # One request instead of seven; and who has left since may have approved it then.
    if pulls.was_allowed(pull):
        return True
    full = pulls.get(pull.number)
    until = full.closed_at
    in_time = (each for each in full.reviews if until is not None and each.at <= until)
    glass = full.glass if full.glass and until is not None and full.glass.at <= until else None
    then = replace(full, reviews=tuple(in_time), glass=glass)
    return not missing_rule_approvals(git, then, changes, main=before)


def _without_reviews(pull: PullSummary) -> PullRequest:
    return PullRequest(**{each.name: getattr(pull, each.name) for each in fields(PullSummary)})


def _of_rules(changed: Mapping[str, Pair]) -> dict[str, Pair]:
    return {path: pair for path, pair in changed.items() if may_hold_rules(path)}


def _content(workspace: Workspace, commit: str, path: str) -> Content:
    (entry, *_) = workspace.git.ls_tree(commit, path) or (None,)
    return None if entry is None or entry.path != path else f"{entry.mode} {entry.blob}"


def _accepted(workspace: Workspace, pair: Pair) -> str | None:
    """The commit that a change of the settings accepts, if it names another one than before."""
    before, after = (_reviewed_rules(workspace, content) for content in pair)
    return after if after != before else None


def _reviewed_rules(workspace: Workspace, content: Content) -> str | None:
    blob = content.partition(" ")[2] if content else None
    document = workspace.git.read_many([blob])[blob] if blob else None
    try:
        return read_spec(Repository, document or b"", name=SETTINGS).reviewed_rules
    except YardError:  # `modelyard validate` reports it
        return None
