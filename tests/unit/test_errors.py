"""The texts that errors are made of."""

from __future__ import annotations

import pytest

from modelyard.errors import join_first


@pytest.mark.parametrize(
    ("texts", "joined"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a, b"),
        (["a", "b", "c"], "a, b and 1 more"),
        (map(str, range(1_206)), "0, 1 and 1,204 more"),
    ],
)
def test_the_first_texts_are_joined_and_the_others_counted(texts: list[str], joined: str) -> None:
    assert join_first(texts, 2) == joined


def test_texts_are_joined_by_what_is_asked_for() -> None:
    assert join_first(["a", "b", "c"], 2, between="; ") == "a; b and 1 more"
