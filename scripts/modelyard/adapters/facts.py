"""Facts in Git: one document per ref with its history, changed by compare-and-swap."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TypeAlias, TypeVar, cast

from modelyard.adapters.git.remote_refs import RemoteRefs, retry_on_conflict
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.json_documents import dump_json, parse_json, warn_left_out
from modelyard.domain.promotion.facts import Freeze, ModelFacts, ReleaseFacts
from modelyard.domain.specs.names import NAME, is_name
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer, Refused, YardError
from modelyard.ports import Clock

Token: TypeAlias = str | None
"""The commit of a ref that was read, or None when there was no ref."""

Fact: TypeAlias = ReleaseFacts | ModelFacts | Freeze | None

_F = TypeVar("_F", ReleaseFacts, ModelFacts, Freeze | None)

_ROOT = "refs/modelyard/"
_SPACES: Mapping[str, object] = {
    "facts": ReleaseFacts,
    "models": ModelFacts,
    "freezes": Freeze | None,
}
_FREEZES = f"{_ROOT}freezes/"
_PATTERNS = tuple(f"{_ROOT}{space}/*" for space in _SPACES)


@dataclass(frozen=True, kw_only=True)
class FactsSnapshot:
    """Every fact at one moment.

    Args:
        releases: By (environment, model).
        models: By model.
        freezes: By environment, those that are frozen.
        unknown: The (environment, model) pairs of unreadable facts.
        unknown_models: Models of which holds and incidents are unreadable.
    """

    releases: Mapping[tuple[str, str], ReleaseFacts] = field(default_factory=dict)
    models: Mapping[str, ModelFacts] = field(default_factory=dict)
    freezes: Mapping[str, Freeze] = field(default_factory=dict)
    unknown: frozenset[tuple[str, str]] = frozenset()
    unknown_models: frozenset[str] = frozenset()

    def release_facts(self, environment: str, model: str) -> ReleaseFacts:
        """The facts of a model in an environment; empty if there are none yet."""
        return self.releases.get((environment, model), ReleaseFacts())

    def model_facts(self, model: str) -> ModelFacts:
        """The facts of a model; empty if there are none yet."""
        return self.models.get(model, ModelFacts())


def release_ref(environment: str, model: str) -> str:
    """The ref of a model's facts in an environment; `Refused` for what cannot be a name."""
    return f"{_ROOT}facts/{_checked(environment)}/{_checked(model)}"


def model_ref(model: str) -> str:
    """The ref of a model's own facts; `Refused` for what cannot be a name."""
    return f"{_ROOT}models/{_checked(model)}"


def freeze_ref(environment: str) -> str:
    """The ref of an environment's freeze; `Refused` for what cannot be a name."""
    return f"{_ROOT}freezes/{_checked(environment)}"


class FactStore:
    """Reads and writes facts at `refs/modelyard/{facts,models,freezes}/...` of the remote.

    An `update_...` reads, asks `change` for the new value and writes it by compare-and-swap, again
    after every conflict; it writes nothing when the value stays equal. `change` may run several
    times. `by` is the commit's author, the bot by default.

    Args:
        git: The checkout.
        repository: Names the remote, and the bot the commits are written by.
        clock: Dates the commits.
    """

    def __init__(self, git: Git, repository: Repository, clock: Clock) -> None:
        self._refs = RemoteRefs(git, repository.remote)
        self._author = repository.bot
        self._clock = clock

    def read_release(self, environment: str, model: str) -> ReleaseFacts:
        """The facts of a model in an environment."""
        return self._read(release_ref(environment, model), ReleaseFacts())

    def update_release(
        self,
        environment: str,
        model: str,
        change: Callable[[ReleaseFacts], ReleaseFacts],
        *,
        by: str | None = None,
    ) -> ReleaseFacts:
        """Change a model's facts in an environment; returns what they are now."""
        return self._update(release_ref(environment, model), ReleaseFacts(), change, by)

    def read_model(self, model: str) -> ModelFacts:
        """The facts of a model."""
        return self._read(model_ref(model), ModelFacts())

    def update_model(
        self, model: str, change: Callable[[ModelFacts], ModelFacts], *, by: str | None = None
    ) -> ModelFacts:
        """Change a model's facts; returns what they are now."""
        return self._update(model_ref(model), ModelFacts(), change, by)

    def read_freeze(self, environment: str) -> Freeze | None:
        """An environment's freeze, or None when it is open."""
        return self._read(freeze_ref(environment), cast("Freeze | None", None))

    def update_freeze(
        self,
        environment: str,
        change: Callable[[Freeze | None], Freeze | None],
        *,
        by: str | None = None,
    ) -> Freeze | None:
        """Change an environment's freeze; returns what it is now."""
        return self._update(freeze_ref(environment), cast("Freeze | None", None), change, by)

    def read_history(self, ref: str) -> list[tuple[datetime, Fact]]:
        """Every value a ref ever had, oldest first, with the time it was written at."""
        kind = _kind(ref)
        tip = self._refs.read_refs(ref).get(ref)
        if tip is None:
            return []
        self._refs.ensure_commits([tip])
        entries = self._refs.git.log(tip, first_parent=True)[::-1]
        documents = self._refs.read_documents([entry.sha for entry in entries])
        pairs = zip(entries, documents, strict=True)
        return [
            (entry.at, parse_json(found, kind, f"{ref} at {entry.sha}")) for entry, found in pairs
        ]

    def read_snapshot(
        self, model: str | None = None, *, missed: Callable[[YardError], None] | None = None
    ) -> FactsSnapshot:
        """Every fact, or those that one model depends on, at one moment.

        Args:
            model: The model whose facts to read; None for all. Freezes are always read.
            missed: Called for each unreadable fact, which is left out; None raises instead. An
                unreadable freeze counts as a freeze and never raises.
        """
        of_model = (f"{_ROOT}facts/*/{model}", f"{_ROOT}models/{model}", f"{_ROOT}freezes/*")
        patterns = _PATTERNS if model is None else of_model
        return retry_on_conflict(lambda: self._snapshot(patterns, missed))

    def _snapshot(
        self, patterns: Sequence[str], missed: Callable[[YardError], None] | None
    ) -> FactsSnapshot:
        refs = self._refs.read_refs(*patterns)
        documents = self._refs.read_documents(list(refs.values()))
        values: dict[str, Fact] = {}
        unknown: set[tuple[str, str]] = set()
        unknown_models: set[str] = set()
        for ref, document in zip(refs, documents, strict=True):
            try:
                values[ref] = parse_json(document, _kind(ref), ref)
            except CannotAnswer as error:
                # Fail closed: an unreadable freeze may be a real one.
                if ref.startswith(_FREEZES):
                    (missed or warn_left_out)(error)
                    values[ref] = self._unreadable_freeze(error)
                elif missed is None:
                    raise
                else:
                    missed(error)
                    if _kind(ref) is ReleaseFacts:
                        unknown.add(_names(ref))
                    else:
                        unknown_models.add(_names(ref)[-1])
        return FactsSnapshot(
            releases={_names(r): v for r, v in values.items() if isinstance(v, ReleaseFacts)},
            models={_names(r)[-1]: v for r, v in values.items() if isinstance(v, ModelFacts)},
            freezes={_names(r)[-1]: v for r, v in values.items() if isinstance(v, Freeze)},
            unknown=frozenset(unknown),
            unknown_models=frozenset(unknown_models),
        )

    def _unreadable_freeze(self, error: CannotAnswer) -> Freeze:
        """An unreadable freeze counts as one; rollbacks ignore freezes anyway."""
        why = f"its freeze cannot be read, {error.message}"
        return Freeze(reason=why, by=self._author, since=self._clock.now())

    def _read(self, ref: str, empty: _F) -> _F:
        return retry_on_conflict(lambda: self._read_once(ref, empty)[0])

    def _read_once(self, ref: str, empty: _F) -> tuple[_F, Token]:
        token = self._refs.read_refs(ref).get(ref)
        if token is None:
            return empty, None
        return parse_json(self._refs.read_documents([token])[0], _kind(ref), ref), token

    def _write(
        self,
        ref: str,
        value: _F,
        expected: Token,
        *,
        before: Fact = None,
        by: str | None = None,
    ) -> Token:
        # The subject of the commit, for people who read the ref's log.
        what = ref.removeprefix(_ROOT).partition("/")[2]
        commit = self._refs.write_document(
            dump_json(value, _kind(ref)),
            parents=[expected] if expected else [],
            message=f"{what}: {_changed(before, value)}",
            author=by or self._author,
            at=self._clock.now(),
        )
        self._refs.push_refs({ref: (expected, commit)})
        return commit

    def _update(self, ref: str, empty: _F, change: Callable[[_F], _F], by: str | None) -> _F:
        def attempt() -> _F:
            before, token = self._read_once(ref, empty)
            after = change(before)
            # Level-triggered callers repeat themselves; equal values would fill the history.
            if after != before:
                self._write(ref, after, token, before=before, by=by)
            return after

        return retry_on_conflict(attempt)


def _checked(name: str) -> str:
    if not is_name(name):
        raise Refused(f"{name!r} is not a name: it must match {NAME.pattern}")
    return name


def _kind(ref: str) -> object:
    match = re.match(rf"^{_ROOT}([a-z]+)/", ref)
    if match is None or match[1] not in _SPACES:
        raise Refused(f"{ref!r} holds no facts: those are below {', '.join(_PATTERNS)}")
    return _SPACES[match[1]]


def _names(ref: str) -> tuple[str, str]:
    *_, environment, name = ref.split("/")
    return environment, name


def _changed(before: Fact, after: Fact) -> str:
    """The changed fields, for the log of the ref."""
    if after is None:
        return "lifted"
    return ", ".join(
        f.name
        for f in fields(after)
        if before is None or getattr(before, f.name) != getattr(after, f.name)
    )
