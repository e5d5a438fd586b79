"""Whether drift is answered already: by a version made for it, or by a person's refusal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.domain.people import is_same_person
from modelyard.domain.promotion.change import Branch, Purpose
from modelyard.domain.promotion.facts import Hold
from modelyard.domain.promotion.pulls import PullState, PullSummary
from modelyard.domain.promotion.training_workflows import version_order
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.interval import count_days, subtract_intervals
from modelyard.domain.specs.version import ModelVersion
from modelyard.domain.verdict import Outcome

GROWTH = 2.0
"""Drift is another one if it is so many times as large; days are worth another trial likewise."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class DriftShown:
    """What one evidence of drift shows.

    Args:
        version: The version whose training data it was compared with.
        sizes: The largest effect of each confirmed column, in units of its floor; of the target,
            the recent loss in units of the held-out loss.
    """

    version: str
    sizes: Mapping[str, float]

    def repeats(self, *earlier: DriftShown) -> bool:
        """Whether it shows no column beyond those of the earlier ones, and none much further."""
        same = [each.sizes for each in earlier if each.version == self.version]
        known = {
            column: max(sizes.get(column, 0.0) for sizes in same) for column in set().union(*same)
        }
        return bool(same) and all(
            column in known and size < GROWTH * max(1.0, known[column])
            for column, size in self.sizes.items()
        )


def drift_shown(evidence: Mapping[str, Any]) -> DriftShown:
    """What an evidence document shows; documents of earlier versions are read as well."""
    names = {each["column"] for each in evidence["confirmed"]}
    sizes: dict[str, float] = {}
    for check in evidence["windows"][-1]["columns"]:
        # The share of rows outside the range goes from its floor to 1 while little moves.
        if check["column"] in names and check["reason"] != "range":
            size = check["effect"] / check["floor"]
            sizes[check["column"]] = max(size, sizes.get(check["column"], 0.0))
    # Labels have no profile, and so no check in a window: their size is how much worse the loss is.
    worse = [each["column"] for each in evidence["confirmed"] if each.get("reason") == "quality"]
    quality = evidence.get("quality", {})
    if quality.get("watched"):
        sizes |= dict.fromkeys(worse, quality["recent"] / quality["held_out"])
    return DriftShown(version=evidence["version"], sizes=dict.fromkeys(names, 0.0) | sizes)


def existing_answer(
    catalog: Catalog,
    parent: ModelVersion,
    *,
    holds: Mapping[str, Hold],
    repeats: Callable[..., bool],
    new_days: int | None,
) -> str | None:
    """Why this drift needs no new version: an earlier one answers it. None if it needs one.

    Args:
        catalog: The specs.
        parent: The version that production runs.
        holds: The model's holds.
        repeats: Whether the drift is what some earlier evidences, by their digests, show together.
        new_days: The days that a new version would train on and its parent did not; None before
            they are known.
    """
    made = [v for v in catalog.versions_of(parent.model) if v.evidence and v != parent]
    made = [v for v in made if version_order(v.version) >= version_order(parent.version)]
    made.sort(key=lambda v: version_order(v.version), reverse=True)
    if made and (waiting := _on_its_way(catalog, made[0], holds)):
        return waiting
    # Not the newest alone: drift that goes back and forth would be proposed without end.
    failed = [each for each in made if _outcome(catalog, each, holds) is Outcome.FAIL]
    if failed and repeats(*(each.evidence or "" for each in failed)):
        same = [each for each in failed if repeats(each.evidence or "")][:1] or failed
        names = " and ".join(each.version for each in same)
        return f"{names} {'was' if len(same) == 1 else 'were'} made for the same drift and failed"
    trials = (_trial(catalog, each, parent, holds, repeats, new_days) for each in made)
    return next((answer for answer in trials if answer), None)


def _outcome(catalog: Catalog, version: ModelVersion, holds: Mapping[str, Hold]) -> Outcome | None:
    """The verdict of a version; None without one, and of a version on hold."""
    record = catalog.records.get((version.model, version.version))
    return None if record is None or version.version in holds else record.verdict.outcome


def _on_its_way(catalog: Catalog, version: ModelVersion, holds: Mapping[str, Hold]) -> str | None:
    if version.version in holds:
        return None
    outcome = _outcome(catalog, version, holds)
    if outcome is None:
        return f"{version.version} was made for drift and has no verdict yet"
    if outcome is Outcome.PASS:
        return f"{version.version} was made for drift, passed, and is on its way to production"
    return None


def _trial(
    catalog: Catalog,
    version: ModelVersion,
    parent: ModelVersion,
    holds: Mapping[str, Hold],
    repeats: Callable[..., bool],
    new_days: int | None,
) -> str | None:
    if version.version in holds:
        return _after_trial(version, parent, "is on hold", repeats, new_days)
    if _outcome(catalog, version, holds) is Outcome.INCONCLUSIVE:
        return _after_trial(version, parent, "was inconclusive", repeats, new_days)
    return None


def _after_trial(
    tried: ModelVersion,
    parent: ModelVersion,
    what: str,
    repeats: Callable[..., bool],
    new_days: int | None,
) -> str | None:
    """That the trial of a version counts, until there are many more days than it had."""
    days = _days_beyond(tried, parent)
    needed = int(GROWTH * days)
    if new_days is None or new_days >= needed or not repeats(tried.evidence or ""):
        return None
    return (
        f"{tried.version} was made for the same drift and {what}: it had {days} new days, and "
        f"{needed} are worth another version"
    )


def declined_by(
    pulls: Iterable[PullSummary], model: str, *, bot: str, repeats: Callable[[str], bool]
) -> str | None:
    """That a person closed the pull request for this drift; None if nobody did."""
    branch = str(Branch(purpose=Purpose.RETRAIN, model=model))
    for pull in pulls:
        # The bot closes its own pull requests when drift is gone, which declines nothing.
        closed = pull.branch == branch and pull.state is PullState.CLOSED
        is_bot = pull.closed_by is not None and is_same_person(pull.closed_by, bot)
        if closed and not is_bot and any(map(repeats, _DIGEST.findall(pull.body))):
            who = pull.closed_by or "somebody"
            return f"{who} closed pull request {pull.number} for the same drift"
    return None


def _days_beyond(version: ModelVersion, parent: ModelVersion) -> int:
    return sum(
        count_days(subtract_intervals(span, parent.data.spans)) for span in version.data.spans
    )
