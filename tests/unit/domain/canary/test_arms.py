from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from modelyard.domain.canary.arms import Arm, count_arm, drop_out_of_order
from modelyard.domain.canary.counters.table import CountSeries
from modelyard.domain.canary.shadow.pairs import keep_pairs_of
from modelyard.domain.canary.traffic import Counts, Sample

START = datetime(2013, 5, 1, tzinfo=UTC)


def at(seconds, **by_release):
    return Sample(at=START + timedelta(seconds=seconds), counts=by_release)


def served(total, errors=0, refused=0, **rest):
    return Counts(requests={"2xx": total, "4xx": refused, "5xx": errors}, rows=total, **rest)


def test_an_arm_is_counted_from_its_first_sample():
    found = count_arm(
        (
            at(
                0, v2=served(100, 1, 7, predictions=(60, 40), nulls={"dest": 1}, pairs={"pairs": 9})
            ),
            at(
                9,
                v2=served(
                    130,
                    3,
                    9,
                    predictions=(70, 60),
                    nulls={"dest": 5},
                    unseen={"dest": 2},
                    pairs={"pairs": 15},
                ),
            ),
        ),
        "v2",
        is_new=True,
    )
    assert found == Arm(
        answered=(0, 32),
        errors=(0, 2),
        predictions=((0, 0), (10, 20)),
        rows=30,
        nulls={"dest": 4},
        unseen={"dest": 2},
        pairs=({}, {"pairs": 6}),
        seconds=9,
        is_fresh=True,
        client_errors=(0, 2),
    )


def test_a_new_arm_that_was_seen_to_start_is_counted_from_nothing():
    seen = (at(0), at(5, v2=served(30)), at(10, v2=served(50)))
    assert count_arm(seen, "v2", is_new=True).answered == (0, 30, 50)
    assert count_arm(seen, "v2", is_new=False).answered == (0, 0, 20)


def test_a_fall_of_any_counter_starts_a_new_baseline_for_all_of_them():
    seen = (
        at(0, v2=served(0, servers=2)),
        at(1, v2=served(100, 4, servers=2)),
        at(2, v2=served(120, 1, servers=2)),
        at(3, v2=served(150, 2, servers=2)),
    )
    found = count_arm(seen, "v2", is_new=True)
    assert (found.answered, found.errors) == ((0, 104, 104, 135), (0, 4, 4, 5))


def test_a_counter_that_disappears_has_fallen():
    first = served(9, nulls={"dest": 3}, servers=3)
    seen = (at(0, v2=first), at(1, v2=served(20, servers=3)), at(2, v2=served(25, servers=3)))
    assert count_arm(seen, "v2", is_new=True).answered == (0, 0, 5)


def test_all_that_one_server_counts_after_a_restart_is_new():
    seen = (at(0), *(at(each, v2=served(10, 2)) for each in (1, 2)), at(3, v2=served(4, 1)))
    # Equal counts are no restart. Fewer are one, and the counter began at zero again.
    found = count_arm(seen, "v2", is_new=True)
    assert (found.answered, found.errors) == ((0, 12, 12, 17), (0, 2, 2, 3))


def test_a_new_process_is_new_although_its_counters_are_higher_than_before():
    processes = ("a", "b", "b", "", "c", "d")
    totals = (10, 30, 35, 36, 80, 90)
    seen = tuple(
        at(place + 1, v2=replace(served(total, 2), process=process))
        for place, (total, process) in enumerate(zip(totals, processes, strict=True))
    )
    # An unknown process is a fall only if a counter falls.
    assert count_arm((at(0), *seen), "v2", is_new=True).answered == (0, 12, 44, 49, 87, 131, 223)
    again = (at(0, v2=seen[0].counts["v2"]), *seen[1:3])
    assert count_arm(again, "v2", is_new=True).answered == (0, 32, 37)


def test_what_falls_in_a_process_that_goes_on_is_broken_and_adds_nothing():
    totals = enumerate((0, 60, 59, 58, 70))
    seen = tuple(at(place, v2=served(n, process="one")) for place, n in totals)
    assert count_arm(seen, "v2", is_new=True).rows == 72


def test_it_is_not_known_what_was_counted_while_one_of_several_servers_started_again():
    totals = (90, 120, None, 80, 99)
    seen = tuple(
        at(place, **({} if n is None else {"v2": served(n, servers=2)}))
        for place, n in enumerate(totals)
    )
    found = count_arm(seen, "v2", is_new=False)
    assert (found.answered, found.unknown) == ((0, 30, 30, 30, 49), {2, 3})
    alone = tuple(at(place, v2=served(n)) for place, n in enumerate((90, 20, 30)))
    assert count_arm(alone, "v2", is_new=False).unknown == frozenset()


def test_processes_of_several_servers_are_not_told_apart():
    two = replace(served(10, servers=2), process="a")
    seen = (at(0), at(1, v2=two), at(2, v2=replace(two, requests={"2xx": 40}, process="b")))
    assert count_arm(seen, "v2", is_new=True).answered == (0, 10, 40)


def test_looks_are_intervals_with_answers():
    seen = tuple(at(place, v2=served(total)) for place, total in enumerate((5, 5, 9, 9, 20)))
    assert count_arm(seen, "v2", is_new=True).looks == 2
    assert count_arm((at(0), *seen[1:]), "v2", is_new=True).looks == 3


def test_a_restart_is_not_counted_while_the_number_of_servers_changes():
    seen = (at(0, v2=served(0)), at(1, v2=served(90, servers=2)), at(2, v2=served(50)))
    assert count_arm(seen, "v2", is_new=True).answered == (0, 90, 90)


def test_absent_and_unreadable_samples_are_bridged():
    seen = (
        at(0, v2=served(0)),
        at(1, v2=served(50)),
        at(2),
        at(3, v2=served(math.nan)),
        at(4, v2=served(80)),
    )
    found = count_arm(seen, "v2", is_new=True)
    assert (found.answered, found.seconds, found.is_fresh) == ((0, 50, 50, 50, 80), 4, True)
    assert not count_arm(seen[:4], "v2", is_new=True).is_fresh


def test_an_arm_never_seen_did_nothing():
    nothing = Arm(
        answered=(0, 0),
        errors=(0, 0),
        predictions=((), ()),
        rows=0,
        nulls={},
        unseen={},
        pairs=({}, {}),
        seconds=0,
        is_fresh=False,
        client_errors=(0, 0),
    )
    assert count_arm((at(0), at(1)), "v2", is_new=True) == nothing


def test_samples_keep_only_growing_times():
    first, late, stale, last = at(0), at(5), at(4), at(6)
    assert drop_out_of_order((first, late, stale, late, last)) == (first, late, last)


def test_pairs_of_past_canaries_are_not_read():
    seen = [
        Sample(
            at=START + look * timedelta(seconds=30),
            counts={"v1": Counts(requests={"2xx": n}, shadow=pairs)},
        )
        for look, (n, pairs) in enumerate(
            [(10, {"old:k:1:1": 9}), (20, {"old:k:1:1": 9, "new:k:1:1": 2}), (30, {"new:k:1:1": 5})]
        )
    ]
    found = count_arm(keep_pairs_of(seen, "new"), "v1", is_new=False)
    assert found.answered == (0, 10, 20)
    assert found.shadow.column("new:k:1:1").tolist() == [0, 2, 5]
    assert count_arm(keep_pairs_of(seen, "none"), "v1", is_new=False).shadow == CountSeries()


def test_counters_are_read_by_name_in_whatever_order_a_sample_has_them():
    names = [f"column:{cell}={place}" for cell in range(3) for place in range(4)]
    counts = [{name: 7 * look + at for at, name in enumerate(names)} for look in range(6)]
    turned = [
        dict(reversed(each.items())) if look % 3 else each for look, each in enumerate(counts)
    ]
    found = [
        count_arm([at(0), *(at(n, v2=served(n, segments=s)) for n, s in enumerate(some, 1))], "v2",
                  is_new=True)
        for some in (counts, turned)
    ]  # fmt: skip
    assert found[0] == found[1]
    assert found[1].segments.last == counts[-1]
    late = [*counts[:3], *({**each, "column:0=9": n} for n, each in enumerate(counts[3:], 1))]
    arm = count_arm(
        [at(n, v2=served(n, segments=s)) for n, s in enumerate(late)], "v2", is_new=True
    )
    assert arm.segments.column("column:0=9").tolist() == [0, 0, 0, 1, 2, 3]
    assert arm.segments.columns([3, 4]).tolist() == arm.segments.columns([4, 3])[:, ::-1].tolist()
    assert arm.segments.columns([]).shape == (6, 0)
