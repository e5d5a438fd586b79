from __future__ import annotations

import pytest

from modelyard.domain.specs.names import is_name, is_version


@pytest.mark.parametrize("text", ["m", "flight-delay", "m2", "a" * 40, "a--b"])
def test_accepts_what_kubernetes_and_git_accept_as_a_name(text):
    assert (is_name(text), is_version(text)) == (True, True)


@pytest.mark.parametrize(
    "text",
    ["", "2m", "-m", "m-", "M", "a" * 41, "a/b", "a b", "a_b", "m\n", "\u00e9t\u00e9", "..", "m."],
)
def test_refuses_what_would_break_a_ref_or_a_label(text):
    assert (is_name(text), is_version(text)) == (False, False)


@pytest.mark.parametrize("text", ["v1.2", "v1.2.3", "v1-rc.1"])
def test_only_versions_may_hold_single_dots(text):
    assert (is_name(text), is_version(text)) == (False, True)


@pytest.mark.parametrize("text", ["v1..2", "v1.lock", "v1.", ".v1", "v1-"])
def test_refuses_versions_that_git_would_not_take_as_a_ref(text):
    assert not is_version(text)
