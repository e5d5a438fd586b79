"""Training: the rows that a version may train on, and the sets that it is judged on."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from modelyard.domain.problem import Path, Problem
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.heldout import HeldOut, Role
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.paths import held_out_file, model_file, version_file
from modelyard.domain.specs.version import ModelVersion

Key = tuple[str, str]


def held_out_sets_exist(catalog: Catalog) -> Iterator[Problem]:
    """The held-out sets of a version exist; those of a version without a record are in use."""
    for key, version in catalog.versions.items():
        for index, name in enumerate(version.held_out):
            held_out = catalog.held_out.get((key[0], name))
            if held_out is None:
                missing = held_out_file(key[0], name)
                message = f"there is no held-out set {name}: {missing} is missing"
                yield _problem(key, ("held_out", index), message, missing)
            elif held_out.retired and key not in catalog.records:
                message = f"held-out set {name} is retired: use another one"
                yield _problem(key, ("held_out", index), message, held_out_file(key[0], name))


def better_on_is_held_out(catalog: Catalog) -> Iterator[Problem]:
    """The sets on which a version must be better are among those that it is judged on."""
    for key, version in catalog.versions.items():
        for index, name in enumerate(version.better_on):
            if name not in version.held_out:
                message = f"{name} is not in held_out, so the version is not judged on it: add it"
                yield _problem(key, ("better_on", index), message)


def held_out_sets_have_looks_left(catalog: Catalog) -> Iterator[Problem]:
    """A held-out set is used for at most `max_looks` versions."""
    # Each version judged on a set makes choices that fit its rows, so later verdicts flatter.
    for key, version in _pending(catalog):
        for index, name in enumerate(version.held_out):
            held_out = catalog.held_out.get((key[0], name))
            looks = len(catalog.judged_versions.get((key[0], name), ()))
            if held_out is not None and not held_out.retired and looks >= held_out.max_looks:
                message = (
                    f"held-out set {name} has been used for {held_out.max_looks} versions "
                    f"(max_looks): add a new set of newer rows, and retire this one"
                )
                yield _problem(key, ("held_out", index), message, held_out_file(key[0], name))


def clusters_are_columns(catalog: Catalog) -> Iterator[Problem]:
    """The cluster of a held-out set is a declared column, or `row`."""
    for (name, which), held_out in catalog.held_out.items():
        model = catalog.models.get(name)
        if model is None or held_out.cluster == "row":
            continue
        if held_out.cluster not in {column.name for column in model.data.columns}:
            yield Problem(
                file=held_out_file(name, which),
                path=("cluster",),
                message=f"cluster {held_out.cluster} is no column of {name}, and not `row`",
                involves=(model_file(name),),
            )


def windows_are_in_order(catalog: Catalog) -> Iterator[Problem]:
    """A window ends after it starts."""
    for file, path, window in _windows(catalog):
        if window.since >= window.until:
            message = f"until {window.until} is not after since {window.since}"
            yield Problem(file=file, path=(*path, "until"), message=message)


def windows_go_with_timestamps(catalog: Catalog) -> Iterator[Problem]:
    """Training and held-out data have a window if and only if the model has a timestamp."""
    for (name, _), file, path, window in _window_places(catalog):
        model = catalog.models.get(name)
        if model is None or (window is None) == (model.data.timestamp is None):
            continue
        message = (
            "window is missing: the rows have a timestamp, so give its first day (since) and the "
            "day after its last (until)"
            if window is None
            else f"window given, but {model_file(name)} has no data.timestamp to read days from"
        )
        yield Problem(file=file, path=path, message=message, involves=(model_file(name),))


def some_days_are_left_to_train(catalog: Catalog) -> Iterator[Problem]:
    """The excluded days are not the whole training window."""
    for key, version in catalog.versions.items():
        window = version.data.window
        if window is not None and window.since < window.until and not version.data.spans:
            message = "data.excludes covers the whole window: nothing is left to train on"
            yield _problem(key, ("data", "excludes"), message)


def held_out_days_do_not_train(catalog: Catalog) -> Iterator[Problem]:
    """No version trains on held-out days: a recorded one on its own, others on any of the model."""
    # A recorded version may be older than a set and have trained on its rows. That cannot be
    # changed any more; the gate refuses to compare it on that set.
    calendars = _held_out_days(catalog)
    for key, version in catalog.versions.items():
        for held_out in _kept_out(catalog, calendars, key, version):
            for span in version.data.spans:
                if held_out.window is not None and held_out.window.overlaps(span):
                    yield _trains_on(key, span, held_out, held_out.window)


def held_out_files_do_not_train(catalog: Catalog) -> Iterator[Problem]:
    """Without days, no version trains on a file with the content of a held-out one."""
    held: dict[Key, str] = {}
    for (model, name), held_out in catalog.held_out.items():
        if held_out.window is None and not held_out.retired:
            held.update({(model, pin.sha256): name for pin in held_out.files})
    for key, version in _pending(catalog):
        for index, pin in enumerate(version.data.files):
            holder = held.get((key[0], pin.sha256))
            if holder is not None:
                message = f"{pin.uri} is held out by {holder}, so it must not train"
                place = ("data", "files", index)
                yield _problem(key, place, message, held_out_file(key[0], holder))


def held_out_days_follow_training(catalog: Catalog) -> Iterator[Problem]:
    """A held-out set starts after the last training label is known, or is `old` and ends before."""
    # A `recent` set that begins earlier flatters: its first rows belong to a time in which the
    # training labels were still unknown.
    for key, version in _pending(catalog):
        model, spans = catalog.models.get(key[0]), version.data.spans
        if model is None or not spans:
            continue
        end = spans[-1].until
        ready = end + timedelta(days=model.target.delay_days)
        for index, name in enumerate(version.held_out):
            held_out = catalog.held_out.get((key[0], name))
            if held_out is None or held_out.window is None or held_out.window.since >= ready:
                continue
            if held_out.role is Role.OLD and held_out.window.until <= end:
                continue
            delay = model.target.delay_days
            message = (
                f"{held_out.role} held-out set {name} starts on {held_out.window.since}; training "
                f"ends before {end} and its labels need {delay} days, so it must start on {ready} "
                f"or later, or training end with --until "
                f"{held_out.window.since - timedelta(days=delay)}"
            )
            yield _problem(key, ("held_out", index), message, held_out_file(key[0], name))


def features_are_columns(catalog: Catalog) -> Iterator[Problem]:
    """Each of `parameters.features` is a declared column, and not the target."""
    columns = {
        (name, column.name)
        for name, model in catalog.models.items()
        for column in model.data.columns
    }
    for key, index, feature in _features(catalog):
        if (key[0], feature) not in columns:
            message = f"feature {feature} is no column of {key[0]}: declare it in data.columns"
        elif feature == catalog.models[key[0]].target.column:
            message = f"feature {feature} is the target: the model would know the answer"
        else:
            continue
        yield _problem(key, ("parameters", "features", index), message, model_file(key[0]))


def features_are_known_at_request(catalog: Catalog) -> Iterator[Problem]:
    """A feature is known when a request is made, not only later."""
    later = {
        (name, column.name)
        for name, model in catalog.models.items()
        for column in model.data.columns
        if column.available_at == "later" and column.name != model.target.column
    }
    for key, index, feature in _features(catalog):
        if (key[0], feature) in later:
            message = (
                f"feature {feature} is known only later (available_at): offline comparisons have "
                f"it and requests do not, so the gate would pass a version that does worse in "
                f"production; leave it out"
            )
            yield _problem(key, ("parameters", "features", index), message, model_file(key[0]))


@dataclass(frozen=True, kw_only=True)
class _HeldOutDays:
    """The held-out days of one model.

    Args:
        held_out: The held-out sets.
        merged: Their days as intervals without overlap, in order.
    """

    held_out: tuple[HeldOut, ...]
    merged: tuple[Interval, ...]

    def touches(self, span: Interval) -> bool:
        """Whether any day of the span is held out."""
        # The intervals are in order and apart, so only the last one that starts before the span's
        # end can overlap it.
        before = bisect_left(self.merged, span.until, key=lambda days: days.since)
        return before > 0 and self.merged[before - 1].overlaps(span)


def _kept_out(
    catalog: Catalog, calendars: Mapping[str, _HeldOutDays], key: Key, version: ModelVersion
) -> Iterable[HeldOut]:
    """The held-out sets that the version must not train on, if it trains on any held-out day."""
    if key in catalog.records:
        named = (catalog.held_out.get((key[0], name)) for name in version.held_out)
        return [held_out for held_out in named if held_out is not None]
    # One lookup for all sets: most versions train on no held-out day, and then no set matters.
    calendar = calendars.get(key[0])
    if calendar is None or not any(calendar.touches(span) for span in version.data.spans):
        return ()
    return calendar.held_out


def _held_out_days(catalog: Catalog) -> dict[str, _HeldOutDays]:
    sets: dict[str, list[HeldOut]] = {}
    for (model, _), held_out in sorted(catalog.held_out.items()):
        if held_out.retired or held_out.window is None:
            continue  # the rows of a retired set train again
        if held_out.window.since < held_out.window.until:
            sets.setdefault(model, []).append(held_out)
    return {
        model: _HeldOutDays(held_out=tuple(found), merged=_merged(found))
        for model, found in sets.items()
    }


def _merged(held_out: list[HeldOut]) -> tuple[Interval, ...]:
    merged: list[Interval] = []
    for days in sorted(found.window for found in held_out if found.window is not None):
        if merged and days.since <= merged[-1].until:
            until = max(merged[-1].until, days.until)
            merged[-1] = Interval(since=merged[-1].since, until=until)
        else:
            merged.append(days)
    return tuple(merged)


def _trains_on(key: Key, span: Interval, held_out: HeldOut, window: Interval) -> Problem:
    since, until = max(span.since, window.since), min(span.until, window.until)
    message = (
        f"trains on {since} to {until}, which held-out set {held_out.name} holds out: add "
        f"{{since: {window.since}, until: {window.until}}} to data.excludes"
    )
    file = held_out_file(key[0], held_out.name)
    return _problem(key, ("data", "window"), message, file)


def _pending(catalog: Catalog) -> Iterator[tuple[Key, ModelVersion]]:
    """The versions without a record; specs with a record cannot change any more."""
    for key, version in catalog.versions.items():
        if key not in catalog.records:
            yield key, version


def _features(catalog: Catalog) -> Iterator[tuple[Key, int, str]]:
    for key, version in _pending(catalog):
        features = version.parameters.get("features")
        if isinstance(features, list | tuple) and key[0] in catalog.models:
            for index, feature in enumerate(features):
                if isinstance(feature, str):
                    yield key, index, feature


def _window_places(
    catalog: Catalog,
) -> Iterator[tuple[Key, str, Path, Interval | None]]:
    for key, version in _pending(catalog):
        yield key, version_file(*key), ("data", "window"), version.data.window
    for key, held_out in catalog.held_out.items():
        yield key, held_out_file(*key), ("window",), held_out.window


def _windows(catalog: Catalog) -> Iterator[tuple[str, Path, Interval]]:
    for key, version in catalog.versions.items():
        if version.data.window is not None:
            yield version_file(*key), ("data", "window"), version.data.window
        for index, excluded in enumerate(version.data.excludes):
            yield version_file(*key), ("data", "excludes", index), excluded
    for key, held_out in catalog.held_out.items():
        if held_out.window is not None:
            yield held_out_file(*key), ("window",), held_out.window


def _problem(key: Key, path: Path, message: str, *involved: str) -> Problem:
    return Problem(file=version_file(*key), path=path, message=message, involves=involved)
