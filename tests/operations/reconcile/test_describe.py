from __future__ import annotations

from types import SimpleNamespace
from typing import get_args

import pytest

from modelyard.domain.promotion.actions import (
    Action,
    ClosePull,
    GiveUpTraining,
    Merge,
    PlaceHold,
    ProposeRecord,
    ProposeRelease,
    RaiseIncident,
    RemoveAlias,
    RetryTraining,
    RollBack,
    SetAlias,
    SetStatus,
    StartTraining,
)
from modelyard.domain.promotion.pulls import StatusState
from modelyard.operations.reconcile.describe import describe_action

V1 = SimpleNamespace(version="v1")
SAID = [
    (StartTraining(version="v1", attempt=1), "train v1, attempt 1"),
    (
        RetryTraining(version="v1", attempt=2),
        "train v1 again, as attempt 2: the last was lost",
    ),
    (
        GiveUpTraining(version="v1", reason="no data"),
        "record that training v1 failed for good: no data",
    ),
    (ProposeRecord(record=V1, environment=None), "propose the record of v1"),
    (
        ProposeRecord(record=V1, environment="dev"),
        "propose the record of v1 and its release to dev",
    ),
    (
        ProposeRelease(environment="staging", version="v1", attempt=1),
        "propose the release of v1 to staging",
    ),
    (ClosePull(number=3, reason="v1 is on hold"), "close #3: v1 is on hold"),
    (
        SetStatus(number=3, sha="a" * 40, state=StatusState.PENDING, description="soak"),
        "set modelyard/promote of #3 to pending: soak",
    ),
    (Merge(number=3, sha="a" * 40), "merge #3 at aaaaaaaaaa"),
    (PlaceHold(version="v2", reason="bad"), "put v2 on hold: bad"),
    (
        RollBack(
            environment="canary", version="v2", target=SimpleNamespace(release=V1), reason="bad"
        ),
        "roll canary back from v2 to v1: bad",
    ),
    (SetAlias(alias="dev", version="v1"), "point alias dev at v1"),
    (
        RemoveAlias(alias="canary", version="v2"),
        "remove alias canary, which points at v2",
    ),
    (RaiseIncident(what="no way back", key="k"), "raise an incident: no way back"),
]


@pytest.mark.parametrize(("action", "sentence"), SAID)
def test_an_action_is_told_in_words(action, sentence):
    assert describe_action(action) == sentence


def test_every_action_has_words():
    assert {type(action) for action, _ in SAID} == set(get_args(Action))
