"""Reads facts, one or all at one moment, from the branch or from the refs of version 0.1."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from modelyard.adapters.facts.documents import (
    KINDS,
    Fact,
    FactsSnapshot,
    Index,
    kind_of,
    parse_path,
)
from modelyard.adapters.facts.old_refs import old_ref, read_old_facts
from modelyard.adapters.facts.part import list_part
from modelyard.adapters.git.documents import (
    BranchDocuments,
    Listing,
    check_no_branch_in_the_way,
)
from modelyard.adapters.git.names import safe_line
from modelyard.adapters.git.objects import AnswerCache
from modelyard.adapters.git.remote_refs import RemoteRefs, retry_on_conflict
from modelyard.adapters.specs.json_documents import (
    Unreadable,
    parse_json,
    warn_left_out,
)
from modelyard.domain.promotion.change import STATE_BRANCH
from modelyard.domain.promotion.facts import Freeze, ModelFacts, ReleaseFacts
from modelyard.domain.sites import Owner
from modelyard.errors import CannotAnswer, YardError
from modelyard.ports import Clock

Values: TypeAlias = "dict[str, Fact | Unreadable]"
"""By path, the value of a document, or why it cannot be read."""

HINT = (
    "a newer modelyard may have written it: upgrade, or restore what it was; its history: "
    f"git log origin/{STATE_BRANCH}"
)

# A value never changes for an object, and parsing is what a pass would spend its time with.
_VALUES = AnswerCache(100_000)


class FactReader:
    """Reads the facts that the branch `modelyard/state` of a remote holds.

    Args:
        refs: The remote.
        clock: Dates the freezes that cannot be read.
    """

    def __init__(self, refs: RemoteRefs, clock: Clock) -> None:
        self.documents = BranchDocuments(refs, STATE_BRANCH)
        self._refs = refs
        self._clock = clock
        self._index = Index(Listing(commit=None))
        self._part = "", Listing(commit=None)

    def read_snapshot(
        self, model: str | None = None, *, missed: Callable[[YardError], None] | None = None
    ) -> FactsSnapshot:
        """Every fact, or those that one model depends on, at one moment.

        Args:
            model: The model whose facts to read; None for all. Freezes and owners are always read.
            missed: Called for each unreadable fact, which is left out; None raises instead. An
                unreadable freeze counts as a freeze, and an unreadable owner as another site;
                neither ever raises.
        """
        return retry_on_conflict(lambda: self._snapshot(model, missed))

    def _snapshot(
        self, model: str | None, missed: Callable[[YardError], None] | None
    ) -> FactsSnapshot:
        index = self.index_of(self.listing_of(model))
        paths = index.of_model(model) if model is not None else sorted(index.documents)
        values = self.values(index.listing, paths)
        unreadable = {p: v for p, v in values.items() if isinstance(v, Unreadable)}
        for path, error in unreadable.items():
            # These fail closed by themselves.
            if missed is None and not path.startswith(("freezes/", "sites/")):
                raise error
            (missed or warn_left_out)(error)
        if missed is not None and model is None:
            for path in (*sorted(index.closed), *index.junk):
                missed(self._unreadable(index.listing, path, "holds no facts"))
        return self._snapshot_of(values, unreadable, index.closed)

    def _snapshot_of(
        self,
        values: Mapping[str, Fact | Unreadable],
        unreadable: Mapping[str, Unreadable],
        closed: frozenset[str],
    ) -> FactsSnapshot:
        names = {path: parsed[1] for path in values if (parsed := parse_path(path))}
        frozen = {
            names[path][-1]: self._unreadable_freeze(error)
            for path, error in unreadable.items()
            if path.startswith("freezes/")
        }
        missing = {path: names[path] for path in unreadable}
        return FactsSnapshot(
            releases={_pair(names[p]): v for p, v in values.items() if isinstance(v, ReleaseFacts)},
            models={names[p][-1]: v for p, v in values.items() if isinstance(v, ModelFacts)},
            freezes={
                **{names[p][-1]: v for p, v in values.items() if isinstance(v, Freeze)},
                **frozen,
            },
            owners={names[p][-1]: v for p, v in values.items() if isinstance(v, Owner)},
            unknown=frozenset(_pair(n) for p, n in missing.items() if p.startswith("facts/")),
            unknown_models=frozenset(n[-1] for p, n in missing.items() if p.startswith("models/")),
            unknown_owners=frozenset(n[-1] for p, n in missing.items() if p.startswith("sites/")),
            closed=closed,
        )

    def _unreadable_freeze(self, error: CannotAnswer) -> Freeze:
        """An unreadable freeze counts as one; rollbacks ignore freezes anyway."""
        why = f"its freeze cannot be read, {error.message}"
        return Freeze(reason=why, by=STATE_BRANCH, since=self._clock.now())

    def listing(self) -> Listing:
        """What there is, of one moment.

        Raises:
            CannotAnswer: Another branch stands in the way, or there is something else on this one.
        """
        listing = self.documents.read()
        if listing.commit is None:
            check_no_branch_in_the_way(self._refs, STATE_BRANCH)
            return read_old_facts(self._refs)
        if not any(map(parse_path, listing.files)) and not self.index_of(listing).documents:
            raise CannotAnswer(
                f"the branch {STATE_BRANCH} of {self._refs.remote} holds no facts: somebody "
                "pushed something else under its name",
                hint=self._way_back(str(listing.commit)),
            )
        return listing

    def listing_of(self, model: str | None) -> Listing:
        """What there is of one model and of all of them at once, of the same moment; None for all.

        Whoever asks for another model, too, gets the listing of all.
        """
        commit = self.documents.read_tip()
        if model is None or commit is None or self.documents.is_listed(commit):
            return self.listing()
        known, part = self._part
        if part.commit != commit:
            found = list_part(self._refs.git, commit, model)
            if found is None:
                return self.listing()
            self._part = known, part = model, found
        return part if known == model else self.listing()

    def _way_back(self, commit: str) -> str:
        """The command that keeps what is there under another name, and restores the facts."""
        remote, ref = self._refs.remote, f"refs/heads/{STATE_BRANCH}"
        keep = f"{commit}:refs/heads/aside/{STATE_BRANCH}-{commit[:12]}"
        push = f"git push --atomic --force-with-lease={ref}:{commit} {remote} {keep}"
        last = self._last_with_facts(commit)
        if last is not None:
            return f"{push} +{last}:{ref}"
        return (
            f"{push} +COMMIT:{ref}, where COMMIT is its last one with facts, as another clone has "
            f"it: git log --all -1 -- {' '.join(KINDS)}"
        )

    def _last_with_facts(self, commit: str) -> str | None:
        words = ("log", "--first-parent", "--format=%H %P", commit, "--", *KINDS)
        for row in self._refs.git.run(*words).stdout.decode().splitlines():
            for each in row.split()[:2]:
                if any(parse_path(entry.path) for entry in self._refs.git.ls_tree(each)):
                    return each
        return None

    def index_of(self, listing: Listing) -> Index:
        """The documents of a listing by what they are about."""
        if self._index.listing is not listing:
            self._index = Index(listing)
        return self._index

    def raise_obstacle(self, listing: Listing, path: str) -> None:
        """Raise `Unreadable` if something else stands in a document's place."""
        if (obstacle := listing.obstacle(path)) is not None:
            raise self._unreadable(listing, path, obstacle)

    def values(self, listing: Listing, paths: Iterable[str]) -> Values:
        """The value of each document, or why it cannot be read, without those there are not."""
        values: Values = {}
        unparsed: dict[str, str] = {}
        for path in paths:
            name, obstacle = listing.files.get(path), listing.obstacle(path)
            if obstacle is not None:
                values[path] = self._unreadable(listing, path, obstacle)
            elif name is not None:
                known = _VALUES.get((path.partition("/")[0], name))
                if known is None:
                    unparsed[path] = name
                else:
                    (values[path],) = known
        contents = self._refs.git.read_many(unparsed.values()) if unparsed else {}
        for path, name in unparsed.items():
            try:
                value: Fact = parse_json(
                    contents[name], kind_of(path), self.label(listing, path), hint=HINT
                )
            except Unreadable as error:
                values[path] = error
            else:
                values[path] = value
                _VALUES.remember((path.partition("/")[0], name), (value,))
        return values

    def label(self, listing: Listing, path: str) -> str:
        """The document's name, as `git show` takes it."""
        return f"{STATE_BRANCH}:{safe_line(path)}" if listing.commit else old_ref(path)

    def _unreadable(self, listing: Listing, path: str, why: str) -> Unreadable:
        return Unreadable(f"{self.label(listing, path)}: {why}", hint=HINT)


def _pair(names: tuple[str, ...]) -> tuple[str, str]:
    environment, model = names
    return environment, model
