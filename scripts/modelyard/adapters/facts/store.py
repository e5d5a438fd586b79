"""Facts in Git: one document a path on a branch, changed by compare-and-swap of each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import fields
from functools import partial
from typing import TypeAlias, TypeVar, cast

from modelyard.adapters.facts.audit import append_lines, read_lines
from modelyard.adapters.facts.documents import (
    Fact,
    FactsSnapshot,
    commands_path,
    freeze_path,
    glass_path,
    image_path,
    kind_of,
    model_path,
    parse_path,
    release_path,
    run_path,
    site_path,
)
from modelyard.adapters.facts.history import Values, read_histories
from modelyard.adapters.facts.old_refs import carry_over, left_over
from modelyard.adapters.facts.reader import FactReader
from modelyard.adapters.facts.run_logs import surplus_logs
from modelyard.adapters.forge.github.credentials import require_credentials
from modelyard.adapters.forge.local.room import make_room
from modelyard.adapters.git.commit_stream import NewCommit
from modelyard.adapters.git.names import safe_line
from modelyard.adapters.git.remote_refs import RemoteRefs, one_snapshot, retry_on_conflict
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.json_documents import Unreadable, dump_json
from modelyard.domain.audit import AuditLine, Topic, find_decisions
from modelyard.domain.chatops.log import CommandLog
from modelyard.domain.promotion.facts import BuiltImage, Freeze, ModelFacts, ReleaseFacts
from modelyard.domain.promotion.pulls import BrokenGlass
from modelyard.domain.sites import Owner, Site, describe_owner
from modelyard.domain.specs.repository import Repository
from modelyard.errors import Refused, YardError
from modelyard.ports import Clock

_NOTHING = Topic()

EVERY = "*"
"""No environment's name."""

logger = logging.getLogger(__name__)

Token: TypeAlias = str | None
"""The object of a document that was read, or None when there was none."""

_F = TypeVar(
    "_F",
    ReleaseFacts,
    ModelFacts,
    Freeze | None,
    Owner | None,
    CommandLog,
    BrokenGlass | None,
    BuiltImage | None,
)


class FactStore:
    """Reads and writes facts on the branch `modelyard/state` of the remote.

    An `update_...` reads, asks `change` for the new value and writes it, on top of whatever changed
    in other documents meanwhile. It asks again after another writer changed this one, and writes
    nothing when the value stays equal. So `change` may run several times. `by` is the commit's
    author, the bot by default.

    Whatever writes raises `NoCredentials` where a hosted forge is set and nothing to sign in to it
    with: git alone could push, but in the tool's name. It raises what `check_writer` raises, too.

    The facts of version 0.1, which were refs, are read as they are until `carry_over` or the first
    write moves them to the branch.

    Args:
        git: The checkout.
        repository: Names the remote, its forge, and the bot the commits are written by.
        clock: Dates the commits.
        check_writer: Raises if facts may not be written with these credentials; called before each
            write.
    """

    def __init__(
        self,
        git: Git,
        repository: Repository,
        clock: Clock,
        *,
        check_writer: Callable[[], None] = lambda: None,
    ) -> None:
        self._refs = RemoteRefs(git, repository.remote)
        self._reader = FactReader(self._refs, clock)
        self._documents = self._reader.documents
        self._repository = repository
        self._author = repository.bot
        self._clock = clock
        self._check = check_writer

    def check_writer(self) -> None:
        """Raise if facts may not be written with these credentials, as every write does."""
        require_credentials(self._repository)
        self._check()

    def read_release(self, environment: str, model: str) -> ReleaseFacts:
        """The facts of a model in an environment."""
        return self._read(release_path(environment, model), ReleaseFacts())

    def update_release(
        self,
        environment: str,
        model: str,
        change: Callable[[ReleaseFacts], ReleaseFacts],
        *,
        by: str | None = None,
    ) -> ReleaseFacts:
        """Change a model's facts in an environment; returns what they are now."""
        return self._update(release_path(environment, model), ReleaseFacts(), change, by)

    def observe_release(
        self,
        environment: str,
        model: str,
        change: Callable[[ReleaseFacts], ReleaseFacts],
        *,
        site: Site | None,
    ) -> ReleaseFacts:
        """Write down what a site saw there, if it runs the environment at that very moment.

        Raises:
            Refused: Another site runs it by now.
        """
        path, owner = release_path(environment, model), partial(self._owned_by, environment, site)
        return self._update(path, ReleaseFacts(), change, None, owner)

    def read_model(self, model: str) -> ModelFacts:
        """The facts of a model."""
        return self._read(model_path(model), ModelFacts())

    def update_model(
        self, model: str, change: Callable[[ModelFacts], ModelFacts], *, by: str | None = None
    ) -> ModelFacts:
        """Change a model's facts; returns what they are now."""
        return self._update(model_path(model), ModelFacts(), change, by)

    def list_documents(self) -> tuple[tuple[str, str], ...]:
        """The path and object of every fact, each after its model's name; empty for freezes."""

        def attempt() -> tuple[tuple[str, str], ...]:
            return self._reader.index_of(self._reader.listing()).names

        return retry_on_conflict(attempt)

    def read_freeze(self, environment: str) -> Freeze | None:
        """An environment's freeze, or None when it is open."""
        return self._read(freeze_path(environment), cast("Freeze | None", None))

    def update_freeze(
        self,
        environment: str,
        change: Callable[[Freeze | None], Freeze | None],
        *,
        by: str | None = None,
    ) -> Freeze | None:
        """Change an environment's freeze; returns what it is now."""
        return self._update(freeze_path(environment), cast("Freeze | None", None), change, by)

    def read_commands(self, number: int) -> CommandLog:
        """The log of commands below a pull request."""
        return self._read(commands_path(number), CommandLog())

    def update_commands(
        self, number: int, change: Callable[[CommandLog], CommandLog], *, topic: Topic = _NOTHING
    ) -> CommandLog:
        """Change the log of commands below a pull request; returns what it is now."""
        return self._update(commands_path(number), CommandLog(), change, None, topic=topic)

    def read_run(self, run: int) -> CommandLog:
        """The log of the command that a run of a workflow was started with."""
        return self._read(run_path(run), CommandLog())

    def update_run(
        self, run: int, change: Callable[[CommandLog], CommandLog], *, topic: Topic
    ) -> CommandLog:
        """Change the log of the command of a run; returns what it is now."""
        return self._update(run_path(run), CommandLog(), change, None, topic=topic)

    def read_audit(self, model: str) -> tuple[AuditLine, ...]:
        """The decisions about a model, oldest first."""
        return retry_on_conflict(
            lambda: read_lines(self._refs.git, self._reader.listing_of(model), model)
        )

    def read_glass(self, number: int) -> BrokenGlass | None:
        """The admin's word to merge a pull request without approvals, if there is one."""
        return self._read(glass_path(number), cast("BrokenGlass | None", None))

    def write_glass(self, number: int, glass: BrokenGlass | None, *, by: str | None = None) -> None:
        """Record an admin's word to merge a pull request without approvals; None takes it back."""
        path = glass_path(number)
        self._update(path, cast("BrokenGlass | None", None), lambda _: glass, by)

    def read_image(self, lock: str) -> BuiltImage | None:
        """The image that was last built of the lock of this SHA-256; None if there is none."""
        return self._read(image_path(lock), cast("BuiltImage | None", None))

    def write_image(self, lock: str, built: BuiltImage) -> None:
        """Record the image that was built of a lock."""
        self._update(image_path(lock), cast("BuiltImage | None", None), lambda _: built, None)

    def glass_paths(self, model: str) -> tuple[str, ...]:
        """The documents of all that was merged without approvals, as read with a model's facts."""
        return retry_on_conflict(
            lambda: self._reader.index_of(self._reader.listing_of(model)).glass
        )

    def log_objects(self) -> Mapping[str, str]:
        """The objects of the audit log and of the words without approvals, by path."""
        files = retry_on_conflict(self._reader.listing).files
        return {path: each for path, each in files.items() if path.startswith(("audit/", "glass/"))}

    def read_owners(self) -> Mapping[str, Owner | None]:
        """The site that runs each environment; None for one that cannot be read.

        The environment `*` stands for all of them, when no owner can be read.
        """

        def attempt() -> Mapping[str, Owner | None]:
            index = self._reader.index_of(self._reader.listing())
            values = self._reader.values(index.listing, index.sites)
            owners = {
                _environment(path): owner if isinstance(owner, Owner) else None
                for path, owner in values.items()
            }
            return {**owners, EVERY: None} if "sites" in index.closed else owners

        return retry_on_conflict(attempt)

    def update_owners(
        self, change: Callable[[Mapping[str, Owner]], Mapping[str, Owner]]
    ) -> Mapping[str, Owner]:
        """Change the sites that run environments, all with one commit; returns what they are now.

        Owners that cannot be read are not among those that `change` is given. To name one replaces
        it.
        """

        def attempt() -> Mapping[str, Owner]:
            listing = self._reader.listing()
            values = self._reader.values(listing, self._reader.index_of(listing).sites)
            before = {
                _environment(p): owner for p, owner in values.items() if isinstance(owner, Owner)
            }
            after = change(before)
            changed = {site_path(n): o for n, o in sorted(after.items()) if before.get(n) != o}
            for path in changed:
                self._reader.raise_obstacle(listing, path)
            if changed:
                self._push(changed, {path: listing.files.get(path) for path in changed})
            return after

        return retry_on_conflict(attempt)

    def carry_over(self) -> bool:
        """Move the facts of version 0.1 to the branch; True if there was something to do."""
        self.check_writer()
        return retry_on_conflict(
            lambda: carry_over(
                self._refs, self._documents, author=self._author, at=self._clock.now()
            )
        )

    def make_room(self) -> bool:
        """Move aside the branches that keep the branch of the facts from existing; True if any.

        Only where it does not exist: something else under its own name may have facts in its past.
        """
        if self._documents.read().commit is not None:
            return False
        branches = self._refs.read_refs("refs/heads/*")
        if not (moves := make_room(branches, self._documents.ref)):
            return False
        self.check_writer()
        self._refs.push_refs(moves)
        names = (ref.removeprefix("refs/heads/") for ref, (_, new) in moves.items() if not new)
        logger.warning("moved aside: %s", safe_line(", ".join(names)))
        return True

    def left_over(self) -> tuple[str, ...]:
        """Refs where facts used to be and that nobody reads any more, in sentences."""
        return left_over(self._refs, self._documents)

    def read_history(self, path: str) -> Values:
        """Every value a document ever had, oldest first, with the time it was written at."""
        return self.read_histories([path])[path]

    def read_histories(self, paths: Collection[str], model: str | None = None) -> dict[str, Values]:
        """Every value that each of these documents ever had; see `read_history`.

        Args:
            paths: The documents.
            model: The model that they are about, if about one.
        """
        return retry_on_conflict(
            lambda: read_histories(self._refs.git, self._reader.listing_of(model), paths)
        )

    def read_tip(self) -> str | None:
        """The commit of the branch that holds the facts; None while there is no such branch."""
        return retry_on_conflict(self._documents.read_tip)

    def read_snapshot(
        self, model: str | None = None, *, missed: Callable[[YardError], None] | None = None
    ) -> FactsSnapshot:
        """Every fact, or those that one model depends on; see `FactReader.read_snapshot`."""
        return self._reader.read_snapshot(model, missed=missed)

    def _read(self, path: str, empty: _F) -> _F:
        return retry_on_conflict(lambda: self._read_once(path, empty)[0])

    def _read_once(self, path: str, empty: _F) -> tuple[_F, Token]:
        listing = self._reader.listing()
        values = self._reader.values(listing, [path])
        value = values.get(path, empty)
        if isinstance(value, Unreadable):
            raise value
        return cast("_F", value), listing.files.get(path)

    def _write(
        self,
        path: str,
        value: _F,
        expected: Token,
        *,
        before: Fact = None,
        by: str | None = None,
        owner: Mapping[str, Token] | None = None,
        topic: Topic = _NOTHING,
    ) -> None:
        guarded = {path: expected, **(owner or {})}
        self._push({path: value}, guarded, before=before, by=by, topic=topic)

    def _push(
        self,
        values: Mapping[str, Fact],
        expected: Mapping[str, Token],
        *,
        before: Fact = None,
        by: str | None = None,
        topic: Topic = _NOTHING,
    ) -> None:
        self.check_writer()
        if self._documents.read().commit is None and self._reader.listing().files:
            self.carry_over()  # a branch with these documents alone would hide the old refs
        names = ", ".join(path.removesuffix(".json") for path in values)
        documents = {path: dump_json(value, kind_of(path)) for path, value in values.items()}
        listing = self._reader.listing()
        # In the same commit: what was decided and the line about it are there, or neither is.
        decided = self._decisions(values, before, by, topic)
        lines = append_lines(self._refs.git, listing, decided)
        now = self._clock.now()
        read = partial(self._reader.values, listing)
        new = NewCommit(
            documents={**surplus_logs(values, listing.files, read, now), **documents, **lines},
            # For people who read the branch's log.
            message=f"{names}: {_changed(before, next(iter(values.values())))}",
            author=by or self._author,
            at=now,
        )
        log = {path: listing.files.get(path) for path in lines}
        self._documents.write(new, expected={**expected, **log})

    def _decisions(
        self, values: Mapping[str, Fact], before: Fact, by: str | None, topic: Topic
    ) -> Iterator[AuditLine]:
        line = AuditLine(at=self._clock.now(), who=by or self._author, reason="", what="")
        for path, value in values.items():
            _, names = parse_path(path) or ("", ())
            yield from find_decisions(names, before, value, line=line, topic=topic)

    def _update(
        self,
        path: str,
        empty: _F,
        change: Callable[[_F], _F],
        by: str | None,
        owner: Callable[[], Mapping[str, Token]] = dict,
        *,
        topic: Topic = _NOTHING,
    ) -> _F:
        @one_snapshot()
        def attempt() -> _F:
            guard = owner()
            before, token = self._read_once(path, empty)
            after = change(before)
            # Level-triggered callers repeat themselves; equal values would fill the history.
            if after != before:
                self._write(path, after, token, before=before, by=by, owner=guard, topic=topic)
            return after

        return retry_on_conflict(attempt)

    def _owned_by(self, environment: str, site: Site | None) -> Mapping[str, Token]:
        """The token of an environment's owner; `Refused` if that is another site."""
        path = site_path(environment)
        owner, token = self._read_once(path, cast("Owner | None", None))
        if owner is not None and (site is None or owner.site != site.id):
            raise Refused(
                f"{environment} is run by {describe_owner(owner)}: what is seen here is no fact",
                hint=f"modelyard adopt {environment}",
            )
        return {path: token}


def _environment(path: str) -> str:
    return path.removeprefix("sites/").removesuffix(".json")


def _changed(before: Fact, after: Fact) -> str:
    """The changed fields, for the log of the branch."""
    if after is None:
        return "lifted"
    return ", ".join(
        f.name
        for f in fields(after)
        if before is None or getattr(before, f.name) != getattr(after, f.name)
    )
