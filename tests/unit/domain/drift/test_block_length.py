import json
from dataclasses import replace

import pytest

from modelyard.domain.drift.profile import Profile
from modelyard.domain.drift.watched.block_length import (
    describe_other_length,
    find_window_days,
    fit_to_windows,
)

WEEKS = Profile(rows=2100, blocks=3, columns=(), block_rows=(700, 707, 693), block_days=7)
OF_AN_EARLIER_VERSION = replace(WEEKS, block_days=None)


@pytest.mark.parametrize(("asked", "days"), [(1, 7), (6, 7), (7, 7), (8, 8), (28, 28)])
def test_windows_are_as_long_as_asked_for_and_no_shorter_than_blocks(asked, days):
    assert find_window_days(WEEKS, asked) == days
    assert find_window_days(OF_AN_EARLIER_VERSION, asked) == asked


@pytest.mark.parametrize(
    ("days", "rows"), [(7, (700, 707, 693)), (14, (1400, 1414, 1386)), (10, (1000, 1010, 990))]
)
def test_a_longer_window_has_as_many_more_rows(days, rows):
    assert fit_to_windows(WEEKS, days).block_rows == rows
    assert fit_to_windows(OF_AN_EARLIER_VERSION, days) == OF_AN_EARLIER_VERSION


def test_another_length_is_said_and_the_same_is_not():
    assert describe_other_length(WEEKS, 7, version="v2") is None
    assert describe_other_length(OF_AN_EARLIER_VERSION, 14, version="v2") is None
    assert "windows have 7 days until" in (describe_other_length(WEEKS, 3, version="v2") or "")
    assert "14 days are compared by what 7" in (
        describe_other_length(WEEKS, 14, version="v2") or ""
    )


@pytest.mark.parametrize("profile", [WEEKS, OF_AN_EARLIER_VERSION])
def test_the_length_is_kept_with_the_profile(profile):
    document = json.loads(json.dumps(profile.to_document()))
    assert Profile.from_document(document) == profile
    assert ("block_days" in document) == (profile is WEEKS)
