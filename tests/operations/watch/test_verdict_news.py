from __future__ import annotations

import pytest

from modelyard.domain.verdict import Outcome, Verdict
from modelyard.operations.watch.verdict_news import is_news

NOTHING = "no request answered yet"
ALL = (
    "error rate 0 % of 150 requests: not decided; missing: evidence that the error rate is below "
    "2 % (2.2 of 4.1; at this rate about 129 more requests), 29 more looks with answers, "
    "5 more seconds"
)
FEWER = (
    "error rate 0 % of 190 requests: not decided; missing: evidence that the error rate is below "
    "2 % (2.9 of 4.1; at this rate about 82 more requests), 7 more looks with answers"
)


def said(reason: str) -> Verdict:
    return Verdict(outcome=Outcome.INCONCLUSIVE, reason=reason)


@pytest.mark.parametrize(
    ("known", "now", "expected"),
    [
        (NOTHING, NOTHING, False),
        (NOTHING, ALL, True),
        (ALL, ALL.replace("129", "88").replace("29 more", "17 more"), False),
        (ALL, FEWER, True),
        (FEWER, ALL, False),  # it came back: told again, it would be told without end
        (ALL, NOTHING, False),
    ],
)
def test_an_undecided_verdict_is_news_once_less_is_missing(known: str, now: str, expected: object):
    assert is_news(said(known), said(now)) == expected


@pytest.mark.parametrize("known", [None, said(ALL), Verdict(outcome=Outcome.FAIL, reason="bad")])
def test_another_outcome_is_news(known: Verdict | None):
    assert is_news(known, Verdict(outcome=Outcome.PASS, reason="good"))


def test_other_numbers_of_a_pass_are_none():
    first, second = (Verdict(outcome=Outcome.PASS, reason=f"of {n} requests") for n in (1, 2))
    assert not is_news(first, second)
