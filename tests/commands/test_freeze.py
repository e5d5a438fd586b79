from __future__ import annotations

from datetime import timedelta

import pytest

from modelyard.domain.promotion.facts import Freeze
from operations.yard import AT, MODEL
from operations.yard_with_history import in_production, recorded, run, watched

END = AT + timedelta(days=9)
UNTIL = END.isoformat()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """v1 everywhere; v2 verified in dev, and nowhere else yet."""
    yard = in_production(tmp_path_factory.mktemp("freeze") / "yard")
    recorded(yard, "v2", 5, champion="v1")
    watched(yard, "dev", verified=True)
    return yard


@pytest.fixture
def yard(made, tmp_path):
    return made.copy(tmp_path / "yard")


def freeze(yard, *more):
    return run(yard, "freeze", "staging", "--reason", "holidays", "--as", "Bo", *more)


@pytest.mark.long
def test_a_freeze_ends_by_itself(yard):
    said = freeze(yard, "--until", UNTIL)
    assert (said.code, said.lines) == (0, [f"staging is frozen until {UNTIL}: holidays"])

    refused = run(yard, "promote", "staging", MODEL)
    assert refused.code == 3
    assert f"staging is frozen by Bo until {UNTIL}: holidays" in refused.err

    yard.clock.at = END
    assert run(yard, "promote", "staging", MODEL).code == 0
    assert run(yard, "unfreeze", "staging").code == 3
    # A new one is not the old one's.
    freeze(yard)
    assert yard.workspace().facts.read_freeze("staging") == Freeze(
        reason="holidays", by="Bo", since=END
    )


def test_status_shows_when_a_freeze_ends(yard):
    freeze(yard, "--until", UNTIL)

    assert "2026-03-10" in run(yard, "status").out

    yard.clock.at = END
    assert "holidays" not in run(yard, "status").out


@pytest.mark.parametrize(
    ("until", "code", "message"),
    [
        ("tomorrow", 2, "'tomorrow' is no time with an offset, such as 2027-01-04T08:00Z"),
        ("2026-03-10", 2, "is no time with an offset"),
        ("2026-03-10T12:00", 2, "is no time with an offset"),
        ("2026-13-10T12:00Z", 2, "month must be in 1..12"),
        ("0001-01-01T00:00+14:00", 2, "is not of the years 1 to 9999"),
        ("2026-03-01T12:00Z", 3, "2026-03-01T12:00:00+00:00 has passed"),
    ],
)
def test_a_freeze_needs_a_time_to_come(yard, until, code, message):
    said = freeze(yard, "--until", until)

    assert said.code == code
    assert message in said.err
    assert yard.workspace().facts.read_freeze("staging") is None
