from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.drift.profiling import bins
from modelyard.domain.drift.profiling.bins import Bins

NUMBERS = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.floats(-1, 1))


@given(st.lists(NUMBERS, max_size=60, unique=True), st.lists(NUMBERS, max_size=60))
@settings(max_examples=300)
def test_the_bins_are_those_of_a_search(edges, numbers):
    ordered = np.array(sorted(edges), dtype=np.float64)
    with np.errstate(over="ignore"):
        near = [np.nextafter(ordered, way) for way in (-np.inf, np.inf)]
    asked = np.concatenate([numbers, ordered, *near])
    enough, bins._ENOUGH = bins._ENOUGH, 0
    try:
        found = Bins(ordered).places(asked[np.isfinite(asked)])
    finally:
        bins._ENOUGH = enough
    expected = np.searchsorted(ordered, asked[np.isfinite(asked)], side="left")
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("shape", ["normal", "lognormal", "pareto", "whole"])
def test_of_many_numbers_too(shape):
    random = np.random.default_rng(1)
    numbers = {
        "normal": random.normal(size=50_000),
        "lognormal": random.lognormal(size=50_000),
        "pareto": random.pareto(1, 50_000),
        "whole": random.poisson(3, 50_000).astype(float),
    }[shape]
    edges = np.unique(np.quantile(numbers, np.linspace(0.001, 0.999, 199)))
    found = Bins(edges).places(numbers)
    assert found.tolist() == np.searchsorted(edges, numbers, side="left").tolist()


def test_a_null_has_some_bin():
    edges, numbers = np.array([0.0, 1.0]), np.full(20_000, np.nan)
    numbers[7] = 0.5
    found = Bins(edges).places(numbers)
    assert found[7] == 1
    assert set(found.tolist()) <= {0, 1, 2}
