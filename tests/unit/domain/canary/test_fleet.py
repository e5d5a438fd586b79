from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.canary.arms import count_arm
from modelyard.domain.canary.fleet import (
    FRESH_SECONDS,
    ServerReading,
    advance_window,
    open_window,
    window_samples,
)
from modelyard.domain.canary.traffic import Counts, Sample

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ZERO = START.timestamp()


def said(seconds, server, ok, errors=0, *, release="v1", **rest):
    """What a server says that answered so many rows, one a request."""
    counters = {("rows", ""): ok, ("requests", "2xx"): ok, ("requests", "5xx"): errors}
    counters |= {tuple(key.split("_")): count for key, count in rest.items()}
    return ServerReading(at=ZERO + seconds, server=server, release=release, counters=counters)


def samples(readings, seconds, *, pieces=()):
    """What is told after so many seconds, having been asked at these moments before."""
    window, now = open_window(START), ZERO + seconds
    for end in (*pieces, seconds):
        new = [each for each in readings if window.until < each.at <= ZERO + end]
        window = advance_window(window, new, ZERO + end, now=ZERO + end if pieces else now)
    return window_samples(window, now)


def ok_by_second(found, release="v1"):
    return {
        (sample.at - START).total_seconds(): sample.counts[release].requests["2xx"]
        for sample in found
        if release in sample.counts
    }


def test_a_server_that_was_there_before_is_counted_from_the_opening():
    readings = [said(-2, "a", 100, 7), said(3, "a", 130, 9), said(8, "a", 150, 9)]

    assert samples(readings, 10) == (
        Sample(at=START, counts={"v1": _counts(0, 0)}),
        Sample(at=START + timedelta(seconds=5), counts={"v1": _counts(30, 2)}),
        Sample(at=START + timedelta(seconds=10), counts={"v1": _counts(50, 2)}),
    )


def _counts(ok, errors):
    return Counts(requests={"2xx": ok, "5xx": errors}, rows=ok, servers=0)


def test_every_counter_of_a_reading_is_found_by_its_name():
    counted = {"predictions_0": 1, "predictions_10": 5, "nulls_x": 2, "unseen_y": 3}
    counted["pairs_unlike"] = 8
    found = samples(
        [
            said(-1, "a", 0, **dict.fromkeys(counted, 0)),
            said(4, "a", 6, **counted),
        ],
        5,
    )

    assert found[-1].counts["v1"] == Counts(
        servers=0,
        requests={"2xx": 6, "5xx": 0},
        rows=6,
        predictions=(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5),
        nulls={"x": 2},
        unseen={"y": 3},
        pairs={"unlike": 8},
    )


def test_what_a_fresh_canary_begins_with_counts_in_full():
    stable = [said(second, "a", 1000 + second) for second in range(-2, 30, 5)]
    canary = [said(9, "b", 20, 4, release="v2"), said(14, "b", 30, 6, release="v2")]

    found = samples([*stable, *canary], 15)

    assert count_arm(found, "v2", is_new=True).answered == (0, 0, 24, 36)
    assert count_arm(found, "v1", is_new=False).answered == (0, 5, 10, 15)


def test_a_server_that_joins_counts_in_full_and_lifts_no_other():
    readings = [said(s, "a", 500 + s) for s in range(-2, 20, 5)] + [said(9, "b", 40)]
    assert ok_by_second(samples(readings, 10)) == {0: 0, 5: 5, 10: 50}


def test_a_server_that_started_again_adds_on_whatever_it_outgrew():
    readings = [
        said(-1, "a", 100, 5, predictions_0=1),
        said(4, "a", 120, 5, predictions_0=1),
        said(9, "a", 30, 6, predictions_0=8),  # two of the counters are higher than before
        said(14, "a", 50, 6, predictions_0=9),
    ]

    found = samples(readings, 15)

    assert ok_by_second(found) == {0: 0, 5: 20, 10: 50, 15: 70}
    assert [each.counts["v1"].requests["5xx"] for each in found] == [0, 0, 6, 6]
    assert [each.counts["v1"].predictions for each in found] == [(0,), (0,), (8,), (9,)]


def test_a_server_that_started_again_and_counted_more_is_told_by_its_start():
    def told(*starts):
        counted = zip((-1, 4, 9, 14), (100, 120, 150, 170), starts, strict=True)
        readings = [replace(said(at, "a", ok), started=start) for at, ok, start in counted]
        found = samples(readings, 15)
        assert samples(readings, 15, pieces=(4, 9, 12)) == found
        return [*ok_by_second(found).values()]

    assert told(1.0, 1.0, 2.0, 2.0) == [0, 20, 170, 190]
    assert told(1.0, 1.0, 1.0, 2.0) == [0, 20, 50, 220]
    # A scrape without it, or a server of an older version, says nothing of a start.
    assert told(1.0, None, 2.0, None) == [0, 20, 170, 190]
    assert told(1.0, None, None, 1.0) == [0, 20, 50, 70]
    assert told(None, None, 2.0, 2.0) == [0, 20, 50, 70]
    assert told(None, None, None, None) == [0, 20, 50, 70]


def test_a_server_that_vanished_stays_in_the_sum_of_its_release():
    readings = [said(s, "a", 10 + s) for s in range(-1, 10, 5)]
    readings += [said(s, "b", 20 + s) for s in range(-1, 40, 5)]
    assert ok_by_second(samples(readings, 40))[40] == 10 + 40


def test_servers_that_are_scraped_at_different_moments_make_no_fall():
    early = [said(s, "a", 100 * (s + 5)) for s in range(-4, 60, 5)]
    late = [said(s, "b", 100 * (s + 5)) for s in range(-1, 60, 5)]
    counted = list(ok_by_second(samples([*early, *late], 60)).values())
    assert counted == sorted(counted) == [1000 * second for second in range(13)]


def test_a_release_without_readings_is_absent_but_keeps_its_counts():
    readings = [said(s, "a", s + 10) for s in range(-1, 100, 5) if not 10 < s < 50]

    found = ok_by_second(samples(readings, 60))

    assert set(found) == {0, 5, 10, 15, 20, 55, 60}
    assert (found[20], found[55]) == (10, 55)


def test_once_readings_stop_the_last_sample_shows_it():
    found = samples([said(-1, "a", 1), said(4, "a", 2)], 120)
    assert found[-1] == Sample(at=START + timedelta(seconds=120), counts={})


def test_without_any_reading_there_is_no_sample():
    assert samples([], 60) == ()


def test_a_first_release_is_counted_once_everybody_there_was_asked():
    readings = [said(21, "a", 7), said(24, "b", 9), said(31, "a", 17), said(34, "b", 29)]
    assert ok_by_second(samples(readings, 35)) == {26: 0, 30: 0, 35: 30}


def test_a_reading_that_says_too_little_is_none():
    whole = said(9, "a", 30, 3, predictions_0=1)
    without_errors = {key: n for key, n in whole.counters.items() if key != ("requests", "5xx")}
    without_bin = said(9, "a", 30, 3)
    start = said(4, "a", 10, 3, predictions_0=0)

    for partial in (replace(whole, counters=without_errors), without_bin):
        found = samples([said(-1, "a", 0, 0, predictions_0=0), start, partial], 10)
        assert ok_by_second(found)[10] == 10


def test_old_samples_get_coarser_and_the_first_one_stays():
    readings = [said(s, "a", s + 5) for s in range(-1, 86400, 5)]

    found = samples(readings, 86400)

    ages = [(found[-1].at - sample.at).total_seconds() for sample in found]
    assert ages[0] == 86400
    assert ages[-49:] == [5 * place for place in reversed(range(49))]
    assert all(one - other <= max(5, one / 24) for one, other in pairwise(ages))
    assert len(found) < 300


COUNTS = st.tuples(st.integers(0, 9), st.integers(0, 9))
READINGS = st.lists(
    st.builds(
        lambda tenths, server, counts: said(
            tenths / 10, server, *counts, release=f"of {server in 'ab'}"
        ),
        st.integers(-400, 1200),
        st.sampled_from("abc"),
        COUNTS,
    ),
    max_size=40,
)
PIECES = st.lists(st.integers(-20, 119), max_size=5).map(sorted)


@pytest.mark.long
@given(READINGS)
def test_no_count_ever_falls(readings):
    found = samples(readings, 120)
    for release in ("of True", "of False"):
        for key in ("2xx", "5xx"):
            counts = [s.counts[release].requests[key] for s in found if release in s.counts]
            assert counts == sorted(counts)


@pytest.mark.long
@given(READINGS, st.randoms())
def test_the_order_in_which_readings_come_does_not_matter(readings, random):
    unique = list({(each.at, each.server): each for each in readings}.values())
    shuffled = random.sample(unique, len(unique))
    renamed = [replace(each, server="zyx"["abc".index(each.server)]) for each in shuffled]
    assert samples(renamed, 120) == samples(shuffled, 120) == samples(unique, 120)


@pytest.mark.long
@given(READINGS, PIECES)
def test_readings_in_pieces_and_all_at_once_give_the_same_samples(readings, pieces):
    unique = list({(each.at, each.server): each for each in readings}.values())
    assert samples(unique, 120, pieces=pieces) == samples(unique, 120)


@pytest.mark.long
def test_pieces_give_the_same_samples_after_hours_too():
    readings = [said(s, "a", (s + 5) % 700) for s in range(-1, 9000, 5)]
    pieces = [second + 0.5 for second in range(0, 9000, 7)]
    assert samples(readings, 9000, pieces=pieces) == samples(readings, 9000)


@dataclass
class Life:
    """One process: when it is scraped, and what it has counted by then."""

    release: str
    server: str
    scrapes: list[tuple[float, int, int]]


@st.composite
def lives(draw):
    """Servers that start, restart and vanish, each scraped every 5 s at a moment of its own."""
    found = []
    for place in range(draw(st.integers(1, 4))):
        at = draw(st.sampled_from([-40.0, 1.0, 7.0, 33.0])) + draw(st.floats(0, 4.9))
        before = None
        for _ in range(draw(st.integers(1, 3))):
            ok, errors = 0, 0
            scrapes = []
            for _ in range(draw(st.integers(1, 8))):
                ok, errors = ok + draw(st.integers(0, 50)), errors + draw(st.integers(0, 5))
                if before and not scrapes:  # what outgrew its forerunner unseen cannot be told
                    ok = min(ok, before - 1)
                scrapes.append((at, ok, errors))
                at += draw(st.sampled_from([5, 5, 5, 5.3, 4.7, 10, 60]))
            found.append(Life("v2" if place % 2 else "v1", f"server {place}", scrapes))
            before = ok
            if not before:
                break
            at += draw(st.sampled_from([0, 9, 45]))
    return found


@pytest.mark.long
@given(lives())
def test_counts_are_the_truth_up_to_what_was_never_scraped(fleet):
    anchor = [said(s, "anchor", 0, release="other") for s in range(-40, 400, 5)]
    readings = [
        said(at, life.server, ok, errors, release=life.release)
        for life in fleet
        for at, ok, errors in life.scrapes
    ]

    found = samples([*readings, *anchor], 200)

    for sample in found:
        at = (sample.at - START).total_seconds()
        for release in ("v1", "v2"):
            mine = [life for life in fleet if life.release == release]
            fresh = any(
                at - FRESH_SECONDS < moment <= at for life in mine for moment, *_ in life.scrapes
            )
            assert (release in sample.counts) == fresh
            if fresh:
                truth = [_between(life, at) for life in mine]
                counted = sample.counts[release].requests
                assert (counted["2xx"], counted["5xx"]) == tuple(map(sum, zip(*truth, strict=True)))


def _between(life, at):
    """What the scrapes of a life show it counted after the start, until `at`."""

    def until(moment):
        known = [(ok, errors) for when, ok, errors in life.scrapes if when <= moment]
        return known[-1] if known else (0, 0)

    now, then = until(at), until(0)
    return now[0] - then[0], now[1] - then[1]
