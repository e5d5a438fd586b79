from __future__ import annotations

import pytest

from modelyard.domain.checks import find_problems
from modelyard.domain.checks.metrics import widest_margin
from modelyard.domain.specs.model import GatePolicy, Guard, Slice
from unit.domain.checks.small_catalog import MODEL, with_model


@pytest.mark.parametrize(
    ("metric", "share", "percent", "widest"),
    [
        ("auc", 0.01, 1, "0.5"),
        ("auc", 0.499, 0.5, "0.5"),
        ("accuracy", 0.02, 2, "0.5"),
        ("brier", 0.005, 0.5, "0.25"),
        ("log_loss", 0.69, 0.7, "0.693"),
        ("calibration", 0.0025, 0.25, "0.25"),
    ],
)
def test_a_margin_in_percent_is_too_wide_wherever_it_is(metric, share, percent, widest):
    def found(margin):
        guards = (Guard(metric=metric, margin=margin),)
        slices = (Slice(where="distance > 3", metric=metric, margin=margin),)
        gate = GatePolicy(metric="auc", margin=0.01, guards=guards, slices=slices)
        return list(find_problems(with_model(gate=gate)))

    assert found(share) == []
    reason = f"a margin of {percent:g} is too wide for {metric}: a model that knows nothing is"
    problems = found(percent)
    assert [each.path for each in problems] == [
        ("gate", "guards", 0, "margin"),
        ("gate", "slices", 0, "margin"),
    ]
    assert all(each.message.startswith(reason) for each in problems)
    assert all(f"at most {widest}; 1 % is" in each.message for each in problems)


def test_errors_in_the_unit_of_the_target_have_no_widest_margin():
    assert widest_margin("mae", MODEL) == float("inf")
