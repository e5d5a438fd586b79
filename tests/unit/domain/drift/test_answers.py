from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from modelyard.domain.drift.answers import DriftShown, declined_by, drift_shown, existing_answer
from modelyard.domain.people import Person
from modelyard.domain.promotion.facts import Hold
from modelyard.domain.promotion.pulls import PullRequest, PullState
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.record import Record
from modelyard.domain.specs.version import Code, DataFile, ModelVersion, Runtime, TrainingData
from modelyard.domain.verdict import Outcome, Verdict

EARLIER = "sha256:" + "f" * 64
BOT = "modelyard[bot]"
NOW = datetime(2026, 7, 1, tzinfo=UTC)
V2 = ModelVersion(
    model="m",
    version="v2",
    reason="More",
    data=TrainingData(
        files=(DataFile(uri="2026", sha256="a" * 64),),
        window=Interval(since=date(2026, 1, 1), until=date(2026, 4, 1)),
    ),
    held_out=("april",),
    code=Code(tree="0" * 40),
    runtime=Runtime(lock="0" * 64),
)
V3 = replace(
    V2,
    version="v3",
    evidence=EARLIER,
    data=replace(V2.data, window=Interval(since=date(2026, 1, 1), until=date(2026, 5, 11))),
)
RECORD = Record(
    model="m",
    version="v3",
    spec="0" * 64,
    workflow="m-v3",
    attempt=1,
    seed=7,
    lock="0" * 64,
    threads=1,
    verdict=Verdict(outcome=Outcome.PASS, reason="better"),
)
HELD = {"v3": Hold(reason="worse", by="ada", since=NOW)}


def catalog_of(*versions: ModelVersion, outcome: Outcome | None = None) -> Catalog:
    verdict = Verdict(outcome=outcome or Outcome.PASS, reason="so")
    return Catalog(
        versions={("m", each.version): each for each in versions},
        records={("m", "v3"): replace(RECORD, verdict=verdict)} if outcome else {},
    )


def said(
    catalog: Catalog,
    *,
    parent: ModelVersion = V2,
    holds: dict[str, Hold] | None = None,
    repeats: bool = True,
    new_days: int | None = None,
) -> str | None:
    return existing_answer(
        catalog, parent, holds=holds or {}, repeats=lambda *_: repeats, new_days=new_days
    )


def test_a_version_is_owed_when_none_was_made_for_drift():
    assert said(catalog_of(V2)) is None
    assert said(catalog_of(V2, replace(V3, evidence=None))) is None


def test_nothing_is_owed_while_a_version_made_for_drift_has_no_verdict():
    for repeats in (True, False):
        answer = said(catalog_of(V2, V3), repeats=repeats)
        assert answer == "v3 was made for drift and has no verdict yet"


def test_nothing_is_owed_while_a_version_that_passed_is_on_its_way():
    passed = catalog_of(V2, V3, outcome=Outcome.PASS)
    assert said(passed) == "v3 was made for drift, passed, and is on its way to production"


def test_after_a_failed_version_only_other_drift_asks_again():
    failed = catalog_of(V2, V3, outcome=Outcome.FAIL)
    for new_days in (None, 1000):
        assert said(failed, new_days=new_days) == "v3 was made for the same drift and failed"
    assert said(failed, repeats=False) is None


@pytest.mark.parametrize(
    ("outcome", "holds", "what"),
    [(Outcome.INCONCLUSIVE, {}, "was inconclusive"), (Outcome.PASS, HELD, "is on hold")],
)
def test_an_inconclusive_or_held_version_is_tried_again_with_twice_its_new_days(
    outcome, holds, what
):
    catalog = catalog_of(V2, V3, outcome=outcome)
    assert said(catalog, holds=holds, new_days=79) == (
        f"v3 was made for the same drift and {what}: it had 40 new days, and 80 are worth another "
        f"version"
    )
    assert said(catalog, holds=holds, new_days=80) is None
    assert said(catalog, holds=holds, new_days=41, repeats=False) is None
    assert said(catalog, holds=holds, new_days=None) is None


def test_a_failed_version_that_is_on_hold_is_tried_again_with_twice_its_new_days():
    failed = catalog_of(V2, V3, outcome=Outcome.FAIL)
    assert said(failed, holds=HELD, new_days=80) is None
    assert "is on hold: it had 40 new days" in (said(failed, holds=HELD, new_days=79) or "")


def test_a_version_that_a_person_adds_does_not_hide_the_one_that_failed():
    by_hand = replace(V3, version="v4", evidence=None)
    failed = catalog_of(V2, V3, by_hand, outcome=Outcome.FAIL)
    assert said(failed) == "v3 was made for the same drift and failed"


def test_a_version_older_than_what_production_runs_is_no_answer():
    v4 = replace(V2, version="v4")
    assert said(catalog_of(V2, V3, v4), parent=v4) is None


def evidence(*checks: tuple[str, str, float], version: str = "v2") -> DriftShown:
    """What an evidence document shows that has these columns, reasons and effects per floor."""
    columns = [
        {"column": column, "reason": reason, "effect": size * 0.2, "floor": 0.2}
        for column, reason, size in checks
    ]
    confirmed = [{"column": column, "reason": reason} for column, reason, _ in checks]
    document = {"version": version, "windows": [{"columns": columns}], "confirmed": confirmed}
    return drift_shown(document)


@pytest.mark.parametrize(
    ("now", "same"),
    [
        (evidence(("temp", "shape", 1.4)), True),
        (evidence(("temp", "shape", 2.9)), True),
        (evidence(("temp", "shape", 3.1)), False),  # twice as far as 1.5 floors
        (evidence(("temp", "shape", 1.4), ("temp", "range", 60.0)), True),
        (evidence(("temp", "null", 1.1)), True),
        (evidence(("temp", "shape", 1.4), ("airline", "new", 1.1)), False),
        (evidence(("temp", "shape", 1.4), version="v3"), False),  # compared with other training
    ],
)
def test_drift_is_the_same_until_another_column_moves_or_one_moves_twice_as_far(now, same):
    assert now.repeats(evidence(("temp", "shape", 1.5), ("temp", "range", 2.0))) is same


OF = {
    name: evidence(*((column, "shape", size) for column, size in sizes.items()))
    for name, sizes in {
        "sha256:a": {"a": 1.5},
        "sha256:b": {"b": 1.5},
        "sha256:ab": {"a": 1.5, "b": 1.5},
        "sha256:far": {"a": 4.0},
        "sha256:c": {"c": 1.5},
    }.items()
}


@pytest.mark.parametrize(
    ("made", "now", "answer"),
    [
        ("a b", "sha256:a", "v3 was made for the same drift and failed"),
        ("a b", "sha256:b", "v4 was made for the same drift and failed"),
        ("a b", "sha256:ab", "v4 and v3 were made for the same drift and failed"),
        ("a b", "sha256:c", None),
        ("a b", "sha256:far", None),
        ("far b", "sha256:ab", "v4 and v3 were made for the same drift and failed"),
        ("a b c", "sha256:a", "v3 was made for the same drift and failed"),
        ("ab c", "sha256:b", "v3 was made for the same drift and failed"),
    ],
)
def test_drift_that_goes_back_and_forth_is_answered_by_every_version_that_failed(made, now, answer):
    names = made.split()
    versions = [
        replace(V3, version=f"v{number}", evidence=f"sha256:{name}")
        for number, name in enumerate(names, start=3)
    ]
    failed = replace(RECORD, verdict=Verdict(outcome=Outcome.FAIL, reason="so"))
    catalog = replace(
        catalog_of(V2, *versions),
        records={("m", each.version): replace(failed, version=each.version) for each in versions},
    )

    def repeats(*digests: str) -> bool:
        return OF[now].repeats(*(OF[digest] for digest in digests))

    assert existing_answer(catalog, V2, holds={}, repeats=repeats, new_days=500) == answer


def test_an_inconclusive_version_answers_its_drift_after_another_version_failed_for_other_drift():
    v4 = replace(V3, version="v4", evidence="sha256:b")
    tried = replace(RECORD, verdict=Verdict(outcome=Outcome.INCONCLUSIVE, reason="so"))
    failed = replace(RECORD, version="v4", verdict=Verdict(outcome=Outcome.FAIL, reason="so"))
    catalog = replace(
        catalog_of(V2, replace(V3, evidence="sha256:a"), v4),
        records={("m", "v3"): tried, ("m", "v4"): failed},
    )

    def repeats(*digests: str) -> bool:
        return OF["sha256:a"].repeats(*(OF[digest] for digest in digests))

    def answered(new_days: int) -> str | None:
        return existing_answer(catalog, V2, holds={}, repeats=repeats, new_days=new_days)

    assert answered(80) is None
    assert answered(79) == (
        "v3 was made for the same drift and was inconclusive: it had 40 new days, and 80 are worth "
        "another version"
    )


def worse_by(recent: float, *also: str, held_out: float = 10.0) -> DriftShown:
    """What an evidence document shows in which the loss rose, and other columns were confirmed."""
    columns = [{"column": each, "reason": "shape", "effect": 0.3, "floor": 0.2} for each in also]
    confirmed = [{"column": "y", "reason": "quality"}]
    confirmed += [{"column": each, "reason": "shape"} for each in also]
    quality = {"watched": True, "drifted": True, "recent": recent, "held_out": held_out}
    return drift_shown(
        {
            "version": "v2",
            "windows": [{"columns": columns}],
            "confirmed": confirmed,
            "quality": quality,
        }
    )


@pytest.mark.parametrize(
    ("now", "before", "same"),
    [
        (worse_by(13.0), worse_by(13.0), True),
        (worse_by(25.0), worse_by(13.0), True),
        (worse_by(27.0), worse_by(13.0), False),  # more than twice 1.3 times the held-out loss
        (worse_by(0.27, held_out=0.1), worse_by(0.13, held_out=0.1), False),
        (worse_by(13.0), worse_by(27.0), True),
        (worse_by(13.0), worse_by(13.0, "temp"), True),
        (worse_by(13.0, "temp"), worse_by(13.0), False),
        (worse_by(13.0), evidence(("temp", "shape", 1.5)), False),
    ],
)
def test_a_loss_that_is_twice_as_large_as_when_it_was_answered_is_other_drift(now, before, same):
    assert now.repeats(before) is same


def test_quality_of_an_evidence_without_losses_has_no_size():
    document = {
        "version": "v2",
        "windows": [{"columns": []}],
        "confirmed": [{"column": "y", "reason": "quality"}],
        "quality": {"watched": False, "why": "no labels"},
    }
    assert drift_shown(document) == DriftShown(version="v2", sizes={"y": 0.0})
    del document["quality"]
    assert drift_shown(document) == DriftShown(version="v2", sizes={"y": 0.0})


def pull(**fields: object) -> PullRequest:
    base = PullRequest(
        number=4,
        branch="modelyard/retrain/m",
        title="Retrain",
        body=f"Evidence `{EARLIER}`.",
        author=Person.named(BOT),
        base="0" * 40,
        head="1" * 40,
        state=PullState.CLOSED,
        opened_at=NOW,
        closed_by=Person.named("ada"),
    )
    return replace(base, **fields)


def test_what_a_person_closed_is_declined_for_its_drift_alone():
    def declined(each: PullRequest) -> str | None:
        return declined_by([each], "m", bot=BOT, repeats=lambda digest: digest == EARLIER)

    assert declined(pull()) == "ada closed pull request 4 for the same drift"
    for other in (
        pull(body=f"Evidence `sha256:{'0' * 64}`."),
        pull(body="Evidence `sha256:0`."),
        pull(closed_by=Person.named(BOT)),
        pull(state=PullState.OPEN),
        pull(state=PullState.MERGED),
        pull(branch="modelyard/retrain/other"),
    ):
        assert declined(other) is None
    assert declined(pull(closed_by=None)) == "somebody closed pull request 4 for the same drift"
