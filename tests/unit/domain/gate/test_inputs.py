from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.gate.inputs import cluster_codes, number_names
from modelyard.errors import CannotAnswer

TEXTS = st.lists(st.text(max_size=3), max_size=30)
NUMBERS = st.lists(st.integers(-3, 40), max_size=30)


@given(names=st.one_of(TEXTS, NUMBERS), is_object=st.booleans())
def test_names_are_numbered_in_their_order_whatever_holds_them(names, is_object):
    given_names = np.array(names, dtype=object if is_object or not names else None)
    ordered, codes = number_names(given_names)
    assert ordered == sorted(set(names))
    assert [ordered[code] for code in codes.tolist()] == names


@given(numbers=st.lists(st.integers(0, 9), min_size=1, max_size=30), data=st.data())
def test_clusters_of_a_part_of_the_rows_have_numbers_without_gaps(numbers, data):
    of_all = cluster_codes(np.array([f"day {n}" for n in numbers], dtype=object), len(numbers))
    part = np.array(data.draw(st.lists(st.sampled_from(range(len(numbers))), min_size=1)))
    again = cluster_codes(of_all[part], part.size)
    assert set(again.tolist()) == set(range(len(set(of_all[part].tolist()))))
    assert again.tolist() == np.unique(of_all[part], return_inverse=True)[1].tolist()


@pytest.mark.parametrize("missing", [None, float("nan"), np.datetime64("NaT")])
def test_a_row_without_a_cluster_is_said(missing):
    with pytest.raises(CannotAnswer, match="1 of 3 rows have no cluster"):
        cluster_codes(np.array(["a", missing, "b"], dtype=object), 3)
