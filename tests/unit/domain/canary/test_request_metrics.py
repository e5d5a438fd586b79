from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binom

import modelyard.domain.canary.error_rate as under_test
from modelyard.adapters.specs.schemas import schema_of
from modelyard.domain.canary.error_rate import against_not_worse, against_within
from modelyard.domain.canary.judge import CanaryEvidence, judge_canary
from modelyard.domain.canary.latency import LATENCY_BOUNDS_MS, bound_name, slow_threshold
from modelyard.domain.canary.request_metrics import LEAST_SLOW_SECONDS, Series, most_of_a_look
from modelyard.domain.canary.traffic import Counts, Sample
from modelyard.domain.specs.model import CanaryPolicy
from modelyard.domain.verdict import Outcome

START = datetime(2013, 5, 1, 8, tzinfo=UTC)
POLICY = CanaryPolicy(least_looks=1)
BOUNDS = [bound_name(bound / 1000) for bound in LATENCY_BOUNDS_MS]


def counts(answered, *, refused=None, times=()):
    """Counts of one server.

    Args:
        answered: Requests answered.
        refused: Requests refused; None for a server that does not count them.
        times: (requests, milliseconds) pairs; empty for a server that does not measure.
    """
    within = {bound: sum(n for n, ms in times if ms <= 1000 * float(bound)) for bound in BOUNDS}
    within["inf"] = sum(n for n, _ in times)
    return Counts(
        requests={"2xx": answered, "4xx": refused or 0, "5xx": 0},
        rows=answered,
        refused=refused,
        within=within if times else {},
    )


def samples(*pairs, every=5):
    return tuple(
        Sample(
            at=START + timedelta(seconds=every * place),
            counts={name: found for name, found in zip(("v2", "v1"), pair, strict=True) if found},
        )
        for place, pair in enumerate(pairs)
    )


def refusing(canary, stable, steps=30):
    """Both arms at constant rates: (answered, refused) a step; refused may be None."""

    def at(arm, step):
        return counts(arm[0] * step, refused=None if arm[1] is None else arm[1] * step)

    return samples(*((at(canary, step), stable and at(stable, step)) for step in range(steps)))


def timed(canary, stable, steps=30):
    """Both arms with the same (requests, milliseconds) pairs in each step."""

    def at(arm, step):
        times = [(n * step, ms) for n, ms in arm]
        return counts(step * sum(n for n, _ in arm), refused=0, times=times)

    return samples(*((at(canary, step), stable and at(stable, step)) for step in range(steps)))


def judged(found, policy=POLICY, **changed):
    evidence = {"samples": found, "canary": "v2", "stable": "v1", **changed}
    return judge_canary(CanaryEvidence(**evidence), policy)


def test_a_canary_that_refuses_two_thirds_of_the_requests_fails():
    verdict = judged(refusing((10, 20), (120, 0), steps=6))

    assert verdict.outcome is Outcome.FAIL
    assert verdict.reason == "refused 66.7 % of 150 requests, stable 0 % of 600: worse than stable"
    assert verdict.numbers["canary_refused"] == pytest.approx(2 / 3)
    assert verdict.numbers["stable_refused"] == 0


def test_a_canary_that_refuses_every_request_fails_without_a_single_answer():
    verdict = judged(refusing((0, 30), (120, 0), steps=6))

    assert verdict.outcome is Outcome.FAIL
    assert verdict.reason == "refused 100 % of 150 requests, stable 0 % of 600: worse than stable"


@pytest.mark.parametrize("part", [0.02, 0.05, 0.3])
def test_a_canary_that_refuses_a_small_part_more_than_stable_never_passes(part):
    refused = round(1000 * part)
    verdict = judged(refusing((1000 - refused, refused), (3990, 10)))

    assert verdict.outcome is Outcome.FAIL


@pytest.mark.parametrize("part", [0.0, 0.1, 0.3, 0.9])
def test_requests_that_both_releases_refuse_are_the_clients_fault(part):
    mine, others = round(400 * part), round(1600 * part)
    verdict = judged(refusing((400 - mine, mine), (1600 - others, others), steps=120))

    assert verdict.outcome is Outcome.PASS


def test_a_canary_that_refuses_less_than_stable_passes():
    assert judged(refusing((400, 0), (1400, 200))).outcome is Outcome.PASS


def test_refusals_that_start_late_are_found():
    good = [(counts(400 * n, refused=0), counts(1600 * n, refused=0)) for n in range(20)]
    bad = [
        (counts(7600 + 130 * n, refused=270 * n), counts(30_400 + 1600 * n, refused=0))
        for n in range(1, 5)
    ]
    assert judged(samples(*good)).outcome is Outcome.PASS
    assert judged(samples(*good, *bad)).outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("refused", "outcome"), [(0, Outcome.PASS), (5, Outcome.PASS), (80, Outcome.FAIL)]
)
def test_a_first_release_has_an_absolute_limit_of_refusals(refused, outcome):
    found = refusing((400 - refused, refused), None)
    assert judged(found, stable=None).outcome is outcome


def test_the_limit_of_a_first_release_is_not_for_one_that_has_all_traffic_after_another():
    found = refusing((320, 80), None)
    assert judged(found, stable=None, is_first=False).outcome is Outcome.PASS


def test_refusals_that_the_canary_does_not_count_are_no_data_and_block_nothing():
    verdict = judged(refusing((400, None), (1600, 800)))

    assert verdict.outcome is Outcome.PASS
    assert "refusals not judged: the server of the canary does not count them" in verdict.reason
    assert "canary_refused" not in verdict.numbers


@pytest.mark.parametrize(
    ("refused", "of_4xx", "outcome"),
    [(270, 0, Outcome.FAIL), (0, 0, Outcome.PASS), (40, 400, Outcome.PASS)],
)
def test_of_an_older_stable_server_every_4xx_is_taken_for_a_refusal(refused, of_4xx, outcome):
    found = refusing((400 - refused, refused), (1600, None))
    older = tuple(
        replace(
            sample, counts={**sample.counts, "v1": with_4xx(sample.counts["v1"], step * of_4xx)}
        )
        for step, sample in enumerate(found)
    )
    assert judged(older).outcome is outcome


def with_4xx(of, refused):
    return replace(of, requests={**of.requests, "4xx": refused})


def test_without_any_count_of_4xx_stable_has_no_data():
    found = tuple(
        replace(
            sample, counts={**sample.counts, "v1": Counts(requests={"2xx": 99 * step, "5xx": 0})}
        )
        for step, sample in enumerate(refusing((400, 200), (1600, None)))
    )
    assert "refusals not judged: the server of stable does not count them" in judged(found).reason


def test_without_the_new_counts_everything_is_as_in_version_0_1():
    verdict = judged(refusing((400, None), (1600, None)))

    assert verdict.reason == (
        "error rate 0 % of 11600 requests, stable 0 % of 46400: not worse by 1 %"
    )
    assert verdict.numbers["evidence_needed"] == pytest.approx(math.log(20))


def test_without_requests_there_is_no_share_and_stable_has_no_numbers():
    assert Series(totals=[0, 0], hits=[0, 0]).share == 0
    verdict = judged(refusing((400, 0), (0, 0)))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.numbers["canary_refused"] == 0
    assert not any(name.startswith("stable") for name in verdict.numbers)


FAST, TEN_TIMES = [(40, 4.0)], [(40, 40.0)]
MANY = [(160, 4.0)]


def test_a_canary_ten_times_slower_fails():
    verdict = judged(timed(TEN_TIMES, MANY, steps=6), slow_ms=10)

    assert verdict.outcome is Outcome.FAIL
    assert verdict.reason == (
        "slower than 10 ms 100 % of 200 requests, stable 0 % of 800: "
        "worse than stable by more than 10 %"
    )
    assert verdict.numbers["canary_slow"] == 1


@pytest.mark.parametrize("slow_part", [0.25, 0.5, 0.8])
def test_a_canary_with_a_slow_part_beyond_the_margin_fails(slow_part):
    slow = round(400 * slow_part)
    mine = [(400 - slow, 4.0), (slow, 60.0)]
    assert judged(timed(mine, [(1600, 4.0)]), slow_ms=25).outcome is Outcome.FAIL


def test_a_canary_as_slow_as_a_busy_stable_passes():
    mine, others = [(20, 4.0), (380, 90.0)], [(80, 4.0), (1520, 90.0)]
    assert judged(timed(mine, others), slow_ms=25).outcome is Outcome.PASS


def test_where_every_request_of_both_is_slow_the_canary_still_passes():
    assert judged(timed([(400, 90.0)], [(1600, 90.0)]), slow_ms=25).outcome is Outcome.PASS


def test_a_difference_below_the_threshold_is_no_difference():
    assert judged(timed([(400, 20.0)], [(1600, 2.0)]), slow_ms=25).outcome is Outcome.PASS


@pytest.mark.parametrize("slow", [50, 400])
def test_one_slow_moment_fails_nothing(slow):
    # As when a machine starts something else: every request of one interval is slow.
    bad = [
        (
            counts(
                400 * n, refused=0, times=[(400 * n - slow * (n > 3), 4.0), (slow * (n > 3), 900)]
            ),
            counts(1600 * n, refused=0, times=[(1600 * n, 4.0)]),
        )
        for n in range(30)
    ]
    assert judged(samples(*bad), slow_ms=25).outcome is Outcome.PASS
    # Also when somebody asks the judge many times in that moment.
    assert judged(samples(*bad[:8], every=1), slow_ms=25).outcome is not Outcome.FAIL


@pytest.mark.parametrize("every", [5, 15, 60, 600])
@pytest.mark.parametrize(("intervals", "is_failed"), [(1, False), (3, False), (4, True)])
def test_four_intervals_of_slow_answers_fail_a_canary_and_fewer_do_not_however_long_they_are(
    every, intervals, is_failed
):
    steady = timed([(400, 900.0)], [(1600, 4.0)], steps=intervals + 1)
    pairs = [(each.counts["v2"], each.counts["v1"]) for each in steady]

    found = judged(samples(*pairs, every=every), slow_ms=25)

    assert (found.outcome is Outcome.FAIL) is is_failed


def with_slow_parts(parts, requests=200, every=30):
    """Looks of so many seconds; the canary has these parts of slow requests, and stable 3 %."""
    known, slow = [(None, None)], [0, 0]
    for look, part in enumerate(parts, start=1):
        slow = [slow[0] + round(requests * part), slow[1] + round(4 * requests * 0.03)]
        known.append(
            tuple(
                counts(look * all_, refused=0, times=[(look * all_ - some, 20), (some, 2000)])
                for all_, some in zip((requests, 4 * requests), slow, strict=True)
            )
        )
    known[0] = (None, counts(0, refused=0, times=[(0, 20)]))
    return samples(*known, every=every)


def outcomes(parts, every=30):
    """The verdict after each look."""
    found = with_slow_parts(parts, every=every)
    return [judged(found[: look + 1], slow_ms=100).outcome for look in range(1, len(parts) + 1)]


FALLING = [0.03 + 0.3 * 0.8**look for look in range(60)]


@pytest.mark.parametrize(
    ("start", "end"),
    [(0.3, Outcome.PASS), (0.6, Outcome.PASS), (0.9, Outcome.INCONCLUSIVE)],
)
def test_a_canary_that_gets_faster_in_its_first_looks_does_not_fail(start, end):
    parts = [0.03 + start * 0.8**look for look in range(60)]
    assert Outcome.FAIL not in outcomes(parts)
    worse = judged(with_slow_parts(parts[:10]), slow_ms=100)
    assert worse.numbers["evidence_slow_worse"] > worse.numbers["evidence_needed"]
    assert "worse than stable by more than 10 % at first, and less and less" in worse.reason
    assert worse.outcome is Outcome.INCONCLUSIVE
    assert judged(with_slow_parts(parts), slow_ms=100).outcome is end


@pytest.mark.parametrize(
    ("parts", "look"),
    [
        ([0.97] * 20, 4),
        ([0.3] * 20, 4),
        # Faster than at first, and slow all the same.
        ([*FALLING[:6], *[0.3] * 14], None),
        ([max(0.3, 0.8 * 0.8**look) for look in range(20)], None),
        # As slow as ever in all of the warm-up but one look.
        ([0.97, 0.97, 0.97, 0.97, 0.97, 0.97, 0.97, 0.97, 0.03, 0.97] * 2, 4),
        ([0.97] * 10 + [0.03] * 10, 4),
        # As one that starts anew every eight looks, and gets faster each time.
        ([0.97, 0.8, 0.6, 0.4, 0.03, 0.03, 0.03, 0.03] * 3, 20),
    ],
)
def test_a_canary_that_stays_slow_fails_within_twenty_looks(parts, look):
    found = outcomes(parts)
    assert Outcome.FAIL in found
    assert look is None or found.index(Outcome.FAIL) + 1 == look


@pytest.mark.parametrize(
    ("every", "look"),
    # With looks of 30 seconds it is look 14, seven minutes.
    [(30, 14), (50, 11), (100, 8), (150, 6), (300, 4), (301, 4), (3600, 4)],
)
def test_the_warm_up_has_an_end_in_time_where_looks_are_far_apart(every, look):
    getting_faster = [max(0.3, 0.8 * 0.8**look) for look in range(20)]
    assert outcomes(getting_faster, every).index(Outcome.FAIL) + 1 == look


@pytest.mark.parametrize("every", [5, 30, 60])
def test_a_canary_that_warms_up_within_minutes_does_not_fail_however_long_a_look_takes(every):
    assert Outcome.FAIL not in outcomes(FALLING, every)


def test_what_is_slow_after_the_warm_up_is_judged_from_there_on():
    parts = [*FALLING[:10], *[0.5] * 4]
    assert [each is Outcome.FAIL for each in outcomes(parts)] == [False] * 13 + [True]
    # Three looks are no four, also where those of the warm-up were slow.
    assert judged(with_slow_parts(parts[:-1]), slow_ms=100).outcome is Outcome.INCONCLUSIVE


def test_a_first_release_has_no_stable_to_get_as_fast_as():
    found = with_slow_parts([0.9 * 0.8**look for look in range(10)])
    known = tuple(replace(each, counts={"v2": each.counts["v2"]}) for each in found[1:])
    first = (replace(found[0], counts={}), *known)
    assert judged(first, stable=None, slow_ms=100).outcome is Outcome.FAIL


@pytest.mark.parametrize(("ms", "outcome"), [(4.0, Outcome.PASS), (90.0, Outcome.FAIL)])
def test_a_first_release_is_judged_by_the_limit_of_slow_requests(ms, outcome):
    verdict = judged(timed([(400, ms)], None), stable=None, slow_ms=50)

    assert verdict.outcome is outcome


def test_a_release_whose_servers_count_by_other_times_is_not_judged_by_them():
    found = timed([(400, 90.0)], [(1600, 4.0)])
    assert "slow" not in judged(found, slow_ms=33).reason


@pytest.mark.parametrize("bound", ["0.025", "inf"])
@pytest.mark.parametrize("release", ["v1", "v2"])
def test_a_release_whose_servers_count_half_of_what_is_needed_is_not_judged_by_it(bound, release):
    found = tuple(
        replace(sample, counts={**sample.counts, release: without(sample.counts[release], bound)})
        for sample in timed([(400, 90.0)], [(1600, 4.0)])
    )
    assert "slow" not in judged(found, slow_ms=25).reason


def without(of, bound):
    return replace(of, within={name: n for name, n in of.within.items() if name != bound})


@pytest.mark.parametrize(
    ("slow_ms", "p95", "threshold"),
    [
        (None, None, None),
        (0, 4.0, None),
        (250, 4.0, 250),
        (250, None, 250),
        (None, 0.4, 10),
        (None, 4.0, 10),
        (None, 5.0, 25),
        (None, 9.9, 25),
        (None, 10.0, 50),
        (None, 90.0, 250),
        (None, 9000.0, 10_000),
    ],
)
def test_the_threshold_is_given_or_at_most_five_times_what_verify_measured(slow_ms, p95, threshold):
    assert slow_threshold(slow_ms, p95) == threshold


def test_two_more_metrics_each_get_their_part_of_alpha():
    assert judged(timed(FAST, MANY), slow_ms=10).numbers["evidence_needed"] == pytest.approx(
        math.log(60)
    )


# Error rates and power, by simulation.

ALPHA = POLICY.alpha / 4  # the judge's part of each of four metrics


def walks(rng, intervals, canary, stable, *, requests=100, share=0.2, runs=300):
    """Cumulative (canary, hits, stable, hits) of many runs; rates may be arrays over intervals."""
    mine = rng.poisson(requests * share, (runs, intervals))
    others = rng.poisson(requests * (1 - share), (runs, intervals))
    hits = rng.binomial(mine, canary), rng.binomial(others, stable)
    return [
        np.stack([mine[run], hits[0][run], others[run], hits[1][run]]).cumsum(axis=1)
        for run in range(runs)
    ]


def failed(counts, margin=POLICY.margin_slow, *, every=5):
    """Whether these looks fail it by its latency; without seconds between looks, uncapped."""
    allowed = [
        math.log(1 / ALPHA) * every * look / LEAST_SLOW_SECONDS
        for look in range(1, len(counts[0]) + 1)
    ]
    caps = {"allowed": allowed, "most": most_of_a_look(math.log(1 / ALPHA))} if every else {}
    return against_within(*counts, margin, **caps).ever_rejects(ALPHA)


@pytest.mark.long
@pytest.mark.parametrize("base", [0.0, 0.05, 0.4, 0.85])
def test_a_canary_slower_by_exactly_the_margin_is_seldom_failed_by_sixty_looks(base):
    runs = walks(np.random.default_rng(1), 60, base + POLICY.margin_slow, base)

    assert np.mean([failed(run) for run in runs]) <= ALPHA


def bursts(rng, runs, intervals):
    """The share of slow requests on a machine of its own: 2 %, and in a twentieth of looks 90 %."""
    return np.where(rng.random((runs, intervals)) < 0.05, 0.9, 0.02)


@pytest.mark.long
def test_bursts_of_one_machine_seldom_fail_a_healthy_canary():
    rng = np.random.default_rng(2)
    rates = (bursts(rng, 300, 60), bursts(rng, 300, 60))
    runs = walks(rng, 60, *rates)

    capped = np.mean([failed(run) for run in runs])
    uncapped = np.mean([failed(run, every=0) for run in runs])

    assert capped <= 0.01
    assert uncapped >= 0.1


@pytest.mark.parametrize(("requests", "looks"), [(20, 6), (100, 4), (1000, 4)])
def test_a_canary_ten_times_slower_is_failed_after_a_few_looks(requests, looks):
    rng = np.random.default_rng(3)
    for run in walks(rng, looks, 0.97, 0.03, requests=requests, runs=40):
        assert failed(run)


def test_two_thirds_refused_are_found_within_a_few_requests():
    rng = np.random.default_rng(4)
    needed = []
    for run in walks(rng, 200, 0.67, 0.0, requests=5, share=0.2, runs=100):
        looks = range(1, 200)
        found = next(n for n in looks if against_not_worse(*run[:, :n]).ever_rejects(ALPHA))
        needed.append(run[0][found - 1])

    assert np.median(needed) <= 8
    assert max(needed) <= 16


@pytest.mark.parametrize("part", [0.0, 0.3])
def test_equal_refusals_are_seldom_failed_by_sixty_looks(part):
    runs = walks(np.random.default_rng(5), 60, part, part)

    assert np.mean([against_not_worse(*run).ever_rejects(ALPHA) for run in runs]) <= ALPHA


# An independent oracle: the nearest point by a library's optimizer, and products of plain ratios.


def oracle(counts, margin, base, excess):
    """The log ratio of one alternative to its nearest null pair, interval by interval."""
    above = base + margin + excess * (1 - base - margin)
    steps = np.diff(np.asarray(counts), axis=1, prepend=0)
    total = 0.0
    for n, k, m, j in steps.T:

        def divergence(u, weight=n / (n + m)):
            return weight * kl(above, u + margin) + (1 - weight) * kl(base, u)

        ends = (min(base, above - margin), max(base, above - margin))
        u = minimize_scalar(divergence, bounds=ends, method="bounded", options={"xatol": 1e-12}).x
        total += k * math.log(above / (u + margin)) + (n - k) * math.log(
            (1 - above) / (1 - u - margin)
        )
        total += j * math.log(base / u) + (m - j) * math.log((1 - base) / (1 - u))
    return total


def kl(p, q):
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def test_the_evidence_beyond_a_margin_is_that_of_an_independent_oracle(monkeypatch):
    run = walks(np.random.default_rng(6), 4, 0.5, 0.1, requests=30, runs=1)[0]
    for base in (0.01, 0.2, 0.7):
        for excess in (0.1, 0.8):
            monkeypatch.setattr(under_test, "WIDE_RATES", np.array([base]))
            monkeypatch.setattr(under_test, "EXCESSES", np.array([excess]))
            found = against_within(*run, 0.1)
            assert found.now == pytest.approx(oracle(run, 0.1, base, excess), abs=1e-5)


@pytest.mark.parametrize(
    ("n", "m", "margin"), [(1, 1, 0.1), (2, 3, 0.1), (3, 1, 0.2), (2, 6, 0.05)]
)
@pytest.mark.parametrize("stable", [0.0, 0.01, 0.3, 0.7])
@pytest.mark.parametrize("part", [1.0, 0.5, -0.5])
def test_over_all_outcomes_of_a_canary_within_the_margin_the_mean_is_at_most_one(
    n, m, margin, stable, part
):
    canary = max(0.0, stable + part * margin)
    mean = sum(
        binom.pmf(k, n, canary)
        * binom.pmf(j, m, stable)
        * math.exp(against_within([n], [k], [m], [j], margin).now)
        for k in range(n + 1)
        for j in range(m + 1)
    )
    assert mean <= 1 + 1e-9


@pytest.mark.parametrize("margin", [-0.1, 1.1, math.nan])
def test_a_margin_that_is_no_share_is_refused(margin):
    with pytest.raises(ValueError, match="margin must be from 0 to 1"):
        against_within([1], [0], [1], [0], margin)


def test_nothing_exceeds_a_margin_of_one():
    assert against_within([9], [9], [9], [0], 1.0).now == 0


def test_the_schema_offers_exactly_the_times_that_servers_count_by():
    offered = schema_of("Model")["properties"]["canary"]["properties"]["slow_ms"]["enum"]
    assert offered == [0, *LATENCY_BOUNDS_MS]


def test_refusals_have_the_margin_of_errors_unless_one_is_given():
    assert "by 1 %" in judged(refusing((400, 0), (1600, 0)), POLICY).reason
    wide = replace(POLICY, margin_error_rate=0.05)
    assert judged(refusing((400, 0), (1600, 0)), wide).reason.count("not worse by 5 %") == 2
    own = replace(wide, margin_refusals=0.02)
    assert "not worse by 2 %" in judged(refusing((400, 0), (1600, 0)), own).reason
