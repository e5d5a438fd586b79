from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.people import is_among, is_same_person, person_key


@pytest.mark.parametrize(
    "other",
    ["ann", "ANN", " Ann ", "A\u200bnn", "\uff21nn", "Ann <ann@example.org>", "Ann\n", "Ann\u00a0"],
)
def test_one_person_is_known_in_every_spelling(other):
    assert is_same_person("Ann", other)
    assert is_among(other, ("Bob", "Ann"))


@pytest.mark.parametrize("other", ["Anna", "An n", "Ann B", "", "Bob"])
def test_other_people_are_others(other):
    assert not is_same_person("Ann", other)


@pytest.mark.parametrize("name", ["", " ", "\t\n", "\u200b\u2060", "<ann@example.org>", "\x00"])
def test_a_name_that_shows_nobody_is_nobody(name):
    assert person_key(name) == ""


@given(st.text())
def test_the_key_of_a_key_is_the_key(name):
    assert person_key(person_key(name)) == person_key(name)


@given(st.text(st.characters(codec="utf-8")))
def test_case_makes_no_other_person(name):
    assert is_same_person(name, name.casefold())
