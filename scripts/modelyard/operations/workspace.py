"""The workspace: the checkout and the outside world, which every operation works with."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from math import inf
from typing import Any, TypeVar

from modelyard.adapters.facts.store import FactStore
from modelyard.adapters.forge.hosted.api import is_urgent
from modelyard.adapters.git.comparison import read_objects
from modelyard.adapters.git.first_parents import read_main_history
from modelyard.adapters.git.objects import AnswerCache
from modelyard.adapters.git.remote_refs import EVERYTHING, RemoteRefs, retry_on_conflict
from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.kept_room import KeptRoom
from modelyard.adapters.specs.documents import read_spec
from modelyard.adapters.specs.last_readable import with_last_readable
from modelyard.adapters.specs.reader import Specs, read_specs
from modelyard.adapters.specs.split import split_specs
from modelyard.adapters.store.artifacts import Store
from modelyard.adapters.store.registry import Registry
from modelyard.domain.promotion.world import PastRelease
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.names import is_name
from modelyard.domain.specs.paths import (
    ENVIRONMENTS,
    MODELS,
    environment_names,
    manifests_folder,
    manifests_root,
    parse_spec_path,
    release_file,
    releases_folder,
)
from modelyard.domain.specs.release import Release
from modelyard.errors import YardError
from modelyard.ports import Services

logger = logging.getLogger(__name__)

LONGEST_PAST = 30
"""Past releases to read for each environment: a rollback rarely goes back further than one."""

MOST_KNOWN = 200
"""How many answers about commits a workspace keeps; it drops what was asked for longest ago."""

ASKS_AGAIN_SECONDS = 60.0
"""How long facts are written while the forge does not say whose the credentials are."""

ASKS_FORGE_AGAIN_SECONDS = 20.0
"""How long an environment stands in, because the forge did not say who took it away, before it is
asked again: less than the watcher's interval, and once for all models."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Everything an operation works with.

    Args:
        services: The outside world.
        facts: The fact store.
        store: The artifact store.
        was_taken_away: Whether a push took away an environment that is gone; asks pull requests.
            None while nobody can say.
    """

    services: Services
    facts: FactStore
    store: Store
    was_taken_away: Callable[[Workspace, Environment], bool | None] = lambda *_: True

    @cached_property
    def git(self) -> Git:
        """The checkout's repository."""
        return Git(self.services.root)

    @cached_property
    def kept_room(self) -> KeptRoom:
        """The room on the disk that is kept for a rollback."""
        return KeptRoom(self.services.root.absolute() / self.services.repository.state)

    @cached_property
    def unrecorded_news(self) -> dict[str, tuple[str, ...]]:
        """The keys of notifications by model that were sent and could not be recorded yet."""
        return {}

    @cached_property
    def outcomes(self) -> dict[int, tuple[str, datetime | None]]:
        """What was said last of pull requests that ended, and when to look at it once more."""
        return {}

    @cached_property
    def stuck_in_traffic(self) -> dict[tuple[str, str], tuple[str, str]]:
        """A bad version that takes traffic still, and why, by environment and model."""
        return {}

    @cached_property
    def registry(self) -> Registry:
        """The model registry."""
        return Registry(self.services.repository.tracking_uri, self.services.root)

    @cached_property
    def _remote(self) -> RemoteRefs:
        return RemoteRefs(self.git, self.services.repository.remote)

    @cached_property
    def _known(self) -> AnswerCache:
        return AnswerCache(MOST_KNOWN)

    @cached_property
    def _derived(self) -> dict[str, tuple[object, Any]]:
        return {}

    @cached_property
    def _ahead(self) -> dict[tuple[str, str], Specs]:
        return {}

    @cached_property
    def _silence(self) -> _Silence:
        return _Silence()

    @cached_property
    def _said(self) -> dict[str, str | None]:
        return {}

    def remember(self, what: str, text: str | None) -> str | None:
        """Remember a text; returns the one before, None if there was none."""
        before = self._said.get(what)
        self._said[what] = text
        return before

    def main(self) -> str:
        """The commit of the remote's main branch, after fetching it."""
        return retry_on_conflict(lambda: self._remote.branch_tip(self.services.repository.main))

    def read_refs(self) -> Mapping[str, str]:
        """The remote's branches and the tool's own refs, with the objects they point at."""
        return self._remote.read_refs(*EVERYTHING)

    def ensure(self, commits: Iterable[str]) -> None:
        """Fetch these commits of the remote unless they are here; `Conflict` if one is gone."""
        self._remote.ensure_commits(commits)

    def models(self) -> tuple[str, ...]:
        """The names of all models, and of all with a release or manifests, on the main branch."""
        main = self.main()
        return self.derive("models", main, lambda: _model_names(GitTree(self.git, main)))

    def past(self, environment: str, model: str) -> tuple[PastRelease, ...]:
        """The main branch's releases of a model there, newest first, with the current one."""
        commit = self.main()
        return self.once(
            "past",
            commit,
            lambda: read_past(self.git, commit, environment, model),
            environment,
            model,
        )

    def catalog(self, commit: str) -> Catalog:
        """The specs of a commit, without those that have problems."""
        return self.once("catalog", commit, lambda: read_specs(GitTree(self.git, commit)).catalog)

    def specs_of(self, commit: str, model: str) -> Specs:
        """The specs for one model at a commit, with rules that stand in: see `watched_specs`."""
        ahead = self._ahead.get((commit, model))
        if ahead is not None and self._counts(ahead):
            return ahead
        return self._watched_once("specs", commit, lambda: self._watched(commit, {model}), model)

    def watched_specs(self, commit: str) -> Specs:
        """The specs of a commit to observe and to roll back by, without their bytes.

        Rules that cannot be read stand in as they were last, and are problems all the same: nothing
        goes forward by them. See `with_last_readable`.
        """
        return self._watched_once(
            "watched", commit, lambda: replace(self._watched(commit), files={})
        )

    def _watched_once(self, what: str, commit: str, ask: Callable[[], Specs], *names: str) -> Specs:
        """As `once`, but a guess only counts for a while."""
        question = (what, commit, *names)
        found: Specs | None = self._known.get(question)
        if found is None or not self._counts(found):
            found = ask()
            self._known.remember(question, found)
        return found

    def _counts(self, specs: Specs) -> bool:
        return not specs.is_guess or self._silence.lasts

    def _ask_taken_away(self, environment: Environment) -> bool | None:
        if self._silence.lasts:  # each model of a fleet asks
            return None
        answer = self.was_taken_away(self, environment)
        if answer is None:
            self._silence.until = time.monotonic() + ASKS_FORGE_AGAIN_SECONDS
        return answer

    def _watched(self, commit: str, models: Collection[str] | None = None) -> Specs:
        specs = read_specs(GitTree(self.git, commit), models=models)
        return with_last_readable(self.git, commit, specs, self._ask_taken_away)

    def read_ahead(self, models: Collection[str], tree: GitTree) -> None:
        """Read the specs of these models at once, and forget those that were read so before.

        Args:
            models: The models.
            tree: The main branch's commit, with all that is read for them.
        """
        commit = tree.commit
        self._ahead.clear()
        read = read_specs(tree, models=models)
        specs = with_last_readable(self.git, commit, read, self._ask_taken_away)
        found = split_specs(specs, models)
        self._ahead.update({(commit, model): specs for model, specs in found.items()})

    def environments(self, commit: str) -> Mapping[str, Environment]:
        """The environments of a commit to observe and to roll back by: see `watched_specs`."""
        return self.shared_specs(commit).catalog.environments

    def shared_specs(self, commit: str) -> Specs:
        """The specs of a commit that are about no model: see `watched_specs`."""
        return self._watched_once("shared specs", commit, lambda: self._watched(commit, ()))

    def once(self, what: str, commit: str, ask: Callable[[], T], *names: str) -> T:
        """The answer to a question about a commit or a digest, asked once: it never changes."""
        # A watcher runs for weeks, and each merge makes a new commit to ask about.
        return self._known.get_or_ask((what, commit, *names), ask)

    def derive(self, what: str, source: object, ask: Callable[[], T]) -> T:
        """What follows from a value, found once as long as it is the same; one is kept."""
        known = self._derived.get(what)
        if known is None or (known[0] is not source and known[0] != source):
            known = self._derived[what] = (source, ask())
        found: T = known[1]
        return found


def facts_of(services: Services) -> FactStore:
    """The facts, as this checkout's remote holds them."""
    check = _WriterCheck(services=services)
    return FactStore(Git(services.root), services.repository, services.clock, check_writer=check)


@dataclass(kw_only=True)
class _Silence:
    """How long the forge, which did not answer, is asked nothing about environments again."""

    until: float = 0.0

    @property
    def lasts(self) -> bool:
        """Whether it is not asked yet."""
        return time.monotonic() < self.until


@dataclass(kw_only=True)
class _WriterCheck:
    """Refuses to write facts with the credentials of another account; an answer holds for good.

    A forge that does not answer is asked again a while later, and by no rollback: that would wait
    for it at each fact.
    """

    services: Services
    _asks_at: float = 0.0

    def __call__(self) -> None:
        # It works with facts, too.
        from modelyard.operations.hosted_forges import refuse_other_account

        if time.monotonic() < self._asks_at or (self._asks_at and is_urgent()):
            return
        is_known = refuse_other_account(self.services)
        self._asks_at = inf if is_known else time.monotonic() + ASKS_AGAIN_SECONDS


def store_of(services: Services) -> Store:
    """The artifact store."""
    return Store(services.repository.artifacts, services.root)


def _model_names(tree: GitTree) -> tuple[str, ...]:
    # Not the manifests, which are most files.
    environments = environment_names(tree.folders(ENVIRONMENTS))
    folders = [releases_folder(name) for name in environments]
    paths = tree.part([MODELS, *folders]).paths()
    parsed = [found for path in paths if (found := parse_spec_path(path)) is not None]
    names = {key[-1] for kind, key in parsed if kind in {"Model", "Release"}}
    # Argo CD applies a folder of manifests whether or not there is a release or a model.
    roots = (manifests_root(name) for name in environments)
    names |= {name for root in roots for name in tree.folders(root) if is_name(name)}
    return tuple(sorted(names))


def read_past(git: Git, commit: str, environment: str, model: str) -> tuple[PastRelease, ...]:
    """The releases of a model up to a commit named in full, see `Workspace.past`."""
    path = release_file(environment, model)
    # First parents alone: a release counts from its merge, not from a commit on its branch.
    # With its manifests: somebody may have changed them alone.
    changed = read_main_history(git, commit).changes.get(manifests_folder(environment, model), ())
    commits = changed[: -LONGEST_PAST - 1 : -1]
    pins = read_objects(git, [f"{each}:{path}" for each in commits])
    contents = git.read_many(filter(None, pins.values()))
    past = []
    for each in commits:
        content = contents.get(pins[f"{each}:{path}"] or "")
        if content is not None:
            try:
                release = read_spec(Release, content, name=path)
            except YardError as error:  # not a release to restore; older ones still are
                logger.warning("%s, as of %s", error.message, each[:10])
                continue
            past.append(PastRelease(release=release, commit=each))
    return tuple(past)
