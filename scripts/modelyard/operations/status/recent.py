"""Tells what happened to all models since a moment, reading only what was written since."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from modelyard.adapters.facts.audit import is_audit_file, parse_lines
from modelyard.adapters.facts.documents import parse_path
from modelyard.adapters.facts.recent import (
    FactChange,
    Written,
    list_written,
    read_fact_changes,
)
from modelyard.adapters.git.names import revision_of, safe_line, since_option
from modelyard.adapters.git.objects import LogEntry
from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.trees import GitTree
from modelyard.domain.audit import AuditLine
from modelyard.domain.promotion.change import Purpose, parse_branch
from modelyard.domain.promotion.facts import ModelFacts, ReleaseFacts
from modelyard.domain.promotion.pulls import BrokenGlass, PullState, PullSummary
from modelyard.domain.promotion.timeline import (
    Event,
    Kind,
    decision_events,
    glass_events,
    landing_events,
    merge_timelines,
    observation_events,
)
from modelyard.domain.specs.catalog import Catalog
from modelyard.errors import YardError
from modelyard.operations.forge.merges import read_merges
from modelyard.operations.history import (
    ModelChanges,
    command_events,
    find_beginning,
    make_landing,
    read_model_changes,
    refuse_shallow,
)
from modelyard.operations.reconcile.ahead import TOGETHER
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)

_FREEZES = {"frozen": Kind.FROZEN, "unfrozen": Kind.UNFROZEN}
"""The reasons of lines of the audit log that are about an environment."""

_EPOCH = datetime.fromtimestamp(0, UTC)
"""No commit is older, and a year before it less some minutes may be none."""

_SLACK = timedelta(minutes=10)
"""Commits so much older are read, too: Git dates to the second, and clocks differ."""


@one_snapshot()
def read_recent(workspace: Workspace, since: datetime) -> tuple[Event, ...]:
    """What happened to all models and to the repository, newest first.

    Raises:
        CannotAnswer: The clone is shallow.
    """
    main, since = workspace.main(), max(since, _EPOCH)
    refuse_shallow(workspace)
    with workspace.services.pulls.one_listing():
        found = [*_landed(workspace, main, since), *_of_pulls(workspace, since)]
    tip = workspace.facts.read_tip()
    if tip is not None:
        written = list_written(workspace.git, tip, since - _SLACK)
        found += [*_observed(workspace.git, written), *_logged(workspace.git, written)]
    of_models = defaultdict[str | None, list[tuple[Event, ...]]](list)
    for source in found:
        if source:
            of_models[source[0].model].append(source)
    told = [each for sources in of_models.values() for each in merge_timelines(*sources)]
    recent = [each for each in told if each.at >= since]
    # A stable order: within one second, what led to something stays before it.
    return tuple(sorted(recent, key=lambda each: each.at.replace(microsecond=0)))[::-1]


def _of(model: str | None, events: Iterable[Event]) -> tuple[Event, ...]:
    """The events of one source, as the model's."""
    return tuple(replace(each, model=model) for each in events)


def _landed(workspace: Workspace, main: str, since: datetime) -> Iterator[tuple[Event, ...]]:
    """The commits of the main branch: by the models that each is about, or by itself."""
    git, merges, began = workspace.git, read_merges(workspace), find_beginning(workspace)
    listed = git.log_of(_list_commits(git, main, since - _SLACK))
    entries = [entry for entry in listed if entry.at >= since]
    changes = read_model_changes(git, [entry.sha for entry in entries])
    by_model = defaultdict[str, list[tuple[LogEntry, ModelChanges]]](list)
    others: list[Event] = []
    for entry in entries:
        pull = merges.get(entry.sha)
        branch = parse_branch(pull.branch) if pull is not None else None
        found: Mapping[str, ModelChanges] = changes.get(entry.sha, {})
        about = dict.fromkeys([*found, *([branch.model] if branch else [])])
        for model in about:
            by_model[model].append((entry, found.get(model, ModelChanges())))
        # What is older than the first pull request came with the history of another repository.
        if not about and began is not None and entry.at > began:
            others.append(_other_commit(entry, pull))
    yield tuple(others)
    catalogs = _catalogs(workspace, main, by_model)
    for model, landed in by_model.items():
        landings = [
            make_landing(workspace, entry, merges.get(entry.sha), found, model)
            for entry, found in landed
        ]
        yield _of(model, landing_events(model, landings, catalogs.get(model, Catalog())))


def _catalogs(
    workspace: Workspace,
    main: str,
    landed: Mapping[str, Sequence[tuple[LogEntry, ModelChanges]]],
) -> dict[str, Catalog]:
    """The specs of the models of which a version or a record came, some at once."""
    names = [
        model for model, found in landed.items() if any(e.specs or e.records for _, e in found)
    ]
    catalogs: dict[str, Catalog] = {}
    for first in range(0, len(names), TOGETHER):
        some = names[first : first + TOGETHER]
        if len(some) > 1:
            try:
                workspace.read_ahead(some, GitTree(workspace.git, main))
            except YardError as error:  # whatever it is, the model's own look says so
                logger.info("%d models are read one by one: %s", len(some), error.message)
        catalogs |= {name: workspace.specs_of(main, name).catalog for name in some}
    return catalogs


def _list_commits(git: Git, main: str, since: datetime) -> tuple[str, ...]:
    """The commits of the main branch's own history since then, oldest first."""
    words = ("rev-list", "--first-parent", "--reverse", since_option(since))
    return tuple(git.run(*words, revision_of(main)).stdout.decode().split())


def _other_commit(entry: LogEntry, pull: PullSummary | None) -> Event:
    """A commit that is about no model: a rule, a document, or a person's code."""
    if pull is None:
        kind, what = Kind.PUSHED, f"{safe_line(entry.subject)}, by {safe_line(entry.author)}"
    else:
        kind, what = Kind.MERGED, f"{safe_line(pull.title)}, by {safe_line(str(pull.author))}"
    number = pull.number if pull is not None else None
    return Event(at=entry.at, kind=kind, what=what, commit=entry.sha, pull=number)


def _of_pulls(workspace: Workspace, since: datetime) -> Iterator[tuple[Event, ...]]:
    """The retrainings that drift, or a person, proposed, and what was closed without a merge."""
    pulls = workspace.services.pulls
    for pull in (*pulls.closed(), *pulls.open()):
        branch, title = parse_branch(pull.branch), safe_line(pull.title)
        model = branch.model if branch is not None else None
        is_drift = branch is not None and branch.purpose is Purpose.RETRAIN
        if is_drift and pull.opened_at >= since:
            event = Event(at=pull.opened_at, kind=Kind.PROPOSED, what=title, pull=pull.number)
            yield _of(model, [event])
        ended = pull.closed_at
        if pull.state is PullState.CLOSED and ended is not None and ended >= since:
            by = f", by {safe_line(str(pull.closed_by))}" if pull.closed_by is not None else ""
            event = Event(at=ended, kind=Kind.CLOSED, what=f"{title}{by}", pull=pull.number)
            yield _of(model, [event])


def _observed(git: Git, written: tuple[Written, ...]) -> Iterator[tuple[Event, ...]]:
    """What the watcher saw and people decided, by the fact that holds it."""
    by_path = defaultdict[str, list[FactChange]](list)
    for change in read_fact_changes(git, written):
        by_path[change.path].append(change)
    for path, changes in by_path.items():
        _, names = parse_path(path) or ("", ("",))
        first, values = changes[0].before, [(each.at, each.after) for each in changes]
        seen = [(at, value) for at, value in values if isinstance(value, ReleaseFacts)]
        decided = [(at, value) for at, value in values if isinstance(value, ModelFacts)]
        glass = [value for _, value in values if isinstance(value, BrokenGlass)]
        if seen:
            before = first if isinstance(first, ReleaseFacts) else None
            yield _of(names[-1], observation_events(names[0], seen, before))
        if decided:
            known = first if isinstance(first, ModelFacts) else None
            yield _of(names[-1], decision_events(decided, known))
        for word in glass[-1:]:
            yield _of(word.model or None, glass_events(word.model, [word]))


def _logged(git: Git, written: tuple[Written, ...]) -> Iterator[tuple[Event, ...]]:
    """What people commanded, and freezes, as the audit log has them."""
    newest = {each.path: each.after for each in written if is_audit_file(each.path)}
    files = {path: name for path, name in newest.items() if name is not None}
    contents = git.read_many(files.values()) if files else {}
    for path, name in files.items():
        by_model = defaultdict[str, list[Event]](list)
        for line in parse_lines(path, contents[name] or b""):
            by_model[line.model] += (*command_events(line), *_freeze(line))
        for model, events in by_model.items():
            yield _of(model or None, events)


def _freeze(line: AuditLine) -> Iterator[Event]:
    kind = _FREEZES.get(line.reason)
    if kind is not None and not line.command:
        what = f"{line.who}: {line.what}"
        yield Event(at=line.at, kind=kind, what=what, environment=line.environment or None)
