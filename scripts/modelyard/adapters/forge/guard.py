"""The branch guard: what the merge of a pull request may change, read from Git alone.

Whatever the statuses say, and whoever set them, the guard is computed again: by
`modelyard check-pull` in every CI, by the watcher, and at the moment of the merge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from modelyard.adapters.forge.makers import Deeds, deeds_by_name, find_version_makers
from modelyard.adapters.forge.rules import missing_rule_approvals, read_rule_changes
from modelyard.adapters.git.first_parents import read_main_history
from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs.documents import read_spec
from modelyard.adapters.specs.reader import read_specs
from modelyard.domain.checks.branches import find_strays
from modelyard.domain.people import Person
from modelyard.domain.promotion.approvals import missing_approvals
from modelyard.domain.promotion.change import Branch, Purpose, parse_branch, refusal_of_author
from modelyard.domain.promotion.pulls import PullRequest
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.paths import (
    environment_file,
    is_written_by_tool,
    manifests_folder,
    parse_manifests_path,
    parse_spec_path,
    release_file,
)
from modelyard.domain.specs.release import RENDERER, Release
from modelyard.errors import CannotAnswer


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """What the guard judges.

    Args:
        branch: The head branch.
        author: Who opened the pull request.
        head: Its commit.
        main: The commit of the main branch it would be merged into.
        bot: The tool's own name.
    """

    branch: str
    author: str
    head: str
    main: str
    bot: str


def find_guard_problems(git: Git, pull: Proposed) -> list[str]:
    """Why the pull request may not be merged, one sentence each; the paths first."""
    merged = git.merge_tree(pull.main, pull.head)
    changed = git.diff_names(pull.main, merged.tree)
    branch = parse_branch(pull.branch)
    if branch is None:
        touched = find_touched(git, before=pull.main, after=merged.tree)
        return [refusal_of_touched(path) for path in touched[:1]]
    specs = read_specs(GitTree(git, merged.tree), models={branch.model})
    strays = find_strays(branch, specs.catalog, changed)
    found = [f"{pull.branch} may not change {path}" for path in strays]
    if branch.purpose is Purpose.ROLLBACK and not _restores_past(
        git, pull.main, branch, merged.tree
    ):
        found.append(f"{pull.branch} restores no release that {branch.subject} had, byte for byte")
    refusal = refusal_of_author(pull.branch, pull.author, bot=pull.bot)
    return found + ([refusal] if refusal else [])


def find_touched(git: Git, *, before: str, after: str) -> list[str]:
    """The tool's paths that a person's change touches, releases rendered again left out.

    Args:
        git: The repository.
        before: A commit or tree.
        after: The same, with the change.
    """
    owned = filter(is_written_by_tool, git.diff_names(before, after))
    return [path for path in owned if not _is_rendered_again(git, path, before, after)]


def refusal_of_touched(path: str) -> str:
    """Why a person may not change a path of the tool's, and what to do instead."""
    kind, key = parse_spec_path(path) or ("", ())
    if kind == "Record":
        use = f"records stay; to retire, modelyard rollback ENVIRONMENT {key[0]} --remove"
    else:
        use = "use modelyard promote or modelyard rollback"
    return f"only the tool writes {path}: {use}"


def find_missing_approvals(git: Git, pull: PullRequest, main: str) -> list[str]:
    """What the environments still ask of a pull request, by the rules on main.

    A rollback needs nobody's approval.
    """
    branch = parse_branch(pull.branch)
    if branch is not None and branch.purpose is Purpose.ROLLBACK:
        return []
    merged = git.merge_tree(main, pull.head)
    if branch is None:
        changes = read_rule_changes(git, main=main, after=merged.tree)
        return list(missing_rule_approvals(git, pull, changes, main=main))
    names = sorted(set(_released_in(git.diff_names(main, merged.tree))))
    asked = (_environment(git, main, name) for name in names)
    missing = (missing_approvals(each, pull) for each in asked if each is not None)
    return [what for what in missing if what is not None]


def makers_of_release(
    git: Git, pull: PullRequest, main: str, *, deeds: Deeds = deeds_by_name
) -> Mapping[Person, str]:
    """What people did for the version that a pull request of the tool's releases.

    Empty where its environment asks for no approvals.
    """
    where, model, version = _release_of(git, pull, main) or ("", "", "")
    if not version:
        return {}
    environment = _environment(git, main, where)
    if environment is None or not environment.approvals.needed:
        return {}
    return find_version_makers(git, main, model, version, deeds=deeds)


def _release_of(git: Git, pull: PullRequest, main: str) -> tuple[str, str, str] | None:
    """The environment, the model and the version of the release, if it is one."""
    branch = parse_branch(pull.branch)
    if branch is None:
        return None
    if branch.purpose is Purpose.PROMOTE:
        pin = release_file(branch.subject, branch.model)
        try:
            release = read_spec(Release, git.read_file(pull.head, pin), name=pin)
        except CannotAnswer:
            return None  # not a release: nothing allows its merge
        return branch.subject, branch.model, release.version
    if branch.purpose is Purpose.RECORD:
        path = read_specs(GitTree(git, main), models=()).catalog.path_to_production()
        return (path[0].name, branch.model, branch.subject) if path else None
    return None


def _released_in(changed: Iterable[str]) -> Iterator[str]:
    """The environments of the releases that these paths belong to."""
    for path in changed:
        kind, key = parse_spec_path(path) or ("", ())
        owner = key if kind == "Release" else parse_manifests_path(path)
        if owner is not None:
            yield owner[0]


def _environment(git: Git, main: str, name: str) -> Environment | None:
    """The environment on the main branch, if there is one; nothing runs in one that is not there.

    Raises:
        CannotAnswer: It cannot be read, so nobody knows what it asks for.
    """
    path = environment_file(name)
    content = git.read_many([f"{main}:{path}"])[f"{main}:{path}"]
    return None if content is None else read_spec(Environment, content, name=path)


def _is_rendered_again(git: Git, path: str, before: str, after: str) -> bool:
    """Whether the path belongs to a release that was rendered again, by `modelyard render`.

    Only the digest of the manifests may differ in its pin. `modelyard/checks` compares the
    manifests themselves with what this renderer writes.
    """
    kind, key = parse_spec_path(path) or ("", None)
    owner = key if kind == "Release" else parse_manifests_path(path)
    if owner is None:
        return False
    pin = release_file(*owner)
    pins = git.read_many([f"{before}:{pin}", f"{after}:{pin}"]).values()
    try:
        one, other = (read_spec(Release, content or b"", name=pin) for content in pins)
    except CannotAnswer:
        return False
    # Of another renderer nobody can tell what the manifests ought to be.
    same = replace(one, manifests="") == replace(other, manifests="")
    return same and other.renderer == RENDERER


def _restores_past(git: Git, main: str, branch: Branch, tree: str) -> bool:
    """Whether the environment would have what it had at some commit of main, or nothing."""
    pin = release_file(branch.subject, branch.model)
    places = (pin, manifests_folder(branch.subject, branch.model))
    wanted = [git.tree_hash(tree, place) for place in places]
    if wanted == [None, None]:
        return True
    # First parents alone: what a branch held on its way was never released.
    past = read_main_history(git, main).changes.get(places[1], ())[::-1]
    return any([git.tree_hash(each, place) for place in places] == wanted for each in past)
