from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.specs.interval import Interval, subtract_intervals

FIRST = date(2013, 1, 1)


def days(since, until):
    return Interval(since=FIRST + timedelta(days=since), until=FIRST + timedelta(days=until))


def listed(spans):
    return [day for span in spans for day in range(span.since.toordinal(), span.until.toordinal())]


intervals = st.builds(
    lambda since, length: days(since, since + length), st.integers(0, 40), st.integers(1, 15)
)


def test_the_end_is_not_part_of_an_interval():
    assert not days(0, 10).overlaps(days(10, 20))
    assert days(0, 11).overlaps(days(10, 20))


def test_a_hole_in_the_middle_leaves_two_parts():
    assert subtract_intervals(days(0, 30), (days(10, 20),)) == (days(0, 10), days(20, 30))


def test_holes_may_overlap_touch_and_stick_out():
    holes = (days(25, 99), days(4, 8), days(6, 10), days(10, 12), days(-9, 1))
    assert subtract_intervals(days(0, 30), holes) == (days(1, 4), days(12, 25))


def test_a_hole_that_covers_all_leaves_nothing():
    assert subtract_intervals(days(3, 5), (days(0, 9),)) == ()


@given(one=intervals, other=intervals)
def test_two_intervals_overlap_when_they_share_a_day(one, other):
    shared = set(listed([one])) & set(listed([other]))
    assert one.overlaps(other) == other.overlaps(one) == bool(shared)


@given(span=intervals, holes=st.lists(intervals, max_size=5))
def test_what_is_left_is_every_day_outside_the_holes_once_and_in_order(span, holes):
    left = subtract_intervals(span, tuple(holes))
    assert listed(left) == [day for day in listed([span]) if day not in set(listed(holes))]
    assert all(part.since < part.until for part in left)
