from __future__ import annotations

import pytest

from modelyard.domain.review.placements import Placement, is_reviewed

ONE, TWO, NOTHING = (
    Placement(pin="1", manifests="1"),
    Placement(pin="2", manifests="2"),
    Placement(),
)


@pytest.mark.parametrize(
    ("now", "reviewed", "is_verified", "expected"),
    [
        (NOTHING, (), False, True),
        (ONE, (), True, False),
        (ONE, (ONE,), False, True),
        (ONE, (TWO, ONE), False, True),
        (ONE, (ONE, TWO), True, True),
        (ONE, (ONE, TWO), False, False),
        (NOTHING, (ONE,), False, False),
        (NOTHING, (ONE, NOTHING), False, True),
        (NOTHING, (NOTHING, ONE), True, False),
        (Placement(pin="1", manifests="2"), (ONE, TWO), True, False),
        (Placement(manifests="1"), (), False, False),
    ],
)
def test_what_the_newest_pull_request_left_is_reviewed_and_a_verified_older_one_too(
    now, reviewed, is_verified, expected
):
    assert is_reviewed(now, reviewed, is_verified=is_verified) is expected
