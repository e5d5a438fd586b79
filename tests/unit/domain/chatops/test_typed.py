from __future__ import annotations

from datetime import UTC, datetime
from string import printable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.chatops.commands import (
    Freeze,
    Hold,
    Promote,
    Retrain,
    Rollback,
    Unfreeze,
    Unhold,
)
from modelyard.domain.chatops.grammar import parse_line
from modelyard.domain.chatops.typed import (
    USAGES,
    Typed,
    as_comment,
    find_fault,
    parse_typed,
    write_typed,
)

SIX = datetime(2026, 12, 24, 18, tzinfo=UTC)
WINE = {"model": "wine", "version": "v1.2"}


@pytest.mark.parametrize(
    ("line", "typed"),
    [
        ("/hold wine v1.2 $(id) `x`", Typed(command=Hold(reason="$(id) `x`"), **WINE)),
        ("/unhold wine v1.2", Typed(command=Unhold(), **WINE)),
        ("/promote prod wine v1.2", Typed(command=Promote(environment="prod"), **WINE)),
        (
            "/promote prod wine v1.2 --replace",
            Typed(command=Promote(environment="prod", replace=True), **WINE),
        ),
        (
            "/rollback prod wine too slow",
            Typed(command=Rollback(environment="prod", reason="too slow"), model="wine"),
        ),
        (
            "/rollback prod wine --remove too slow",
            Typed(
                command=Rollback(environment="prod", reason="too slow", remove=True), model="wine"
            ),
        ),
        (
            "/freeze prod until 2026-12-24T18:00:00+00:00 holidays",
            Typed(command=Freeze(environment="prod", until=SIX, reason="holidays")),
        ),
        ("/unfreeze prod", Typed(command=Unfreeze(environment="prod"))),
        ("/retrain wine v1.2", Typed(command=Retrain(), **WINE)),
    ],
)
def test_a_command_is_written_and_read_alike_and_names_the_comment_that_does_the_same(line, typed):
    assert parse_typed(line) == typed
    assert write_typed(typed) == line
    assert find_fault(typed) is None
    if comment := as_comment(typed):
        assert type(parse_line(comment)) is type(typed.command)
    assert (comment is None) == ("--re" in line)  # no comment replaces or removes


@pytest.mark.parametrize(
    "line",
    [
        "",
        "hold wine v1 bad",
        "/hold wine v1",
        "/hold wine v1  bad",
        "/hold wine v1 --remove",
        "/hold ../wine v1 bad",
        "/hold wine v1..2 bad",
        "/hold wine v1.lock bad",
        "/hold wine v1 <b>bad</b>",
        "/hold wine v1 bad\n/unhold wine v2",
        "/hold wine v1 b\N{RIGHT-TO-LEFT OVERRIDE}ad",
        f"/hold wine v1 {'x' * 301}",
        "/rollback prod wine --removed too slow",
        "/rollback prod wine --remove --remove x y",
        "/promote prod wine v1 --replace --replace",
        "/promote prod",
        "/freeze prod holidays",
        "/unfreeze prod now",
        "/unfreeze пrod",
        "/approve 0123456789abcdef0123456789abcdef01234567",
        "/break-glass 0123456789abcdef0123456789abcdef01234567 fire",
        "/override until 2026-12-24T18:00Z because",
    ],
)
def test_what_is_no_command_to_the_letter_is_none(line):
    assert parse_typed(line) is None


def test_a_time_that_is_none_is_told():
    with pytest.raises(ValueError, match="month"):
        parse_typed("/freeze prod until 2026-13-24T18:00Z holidays")


@given(st.text(st.sampled_from([*printable, "é", "\N{NO-BREAK SPACE}", "\u202e"]), max_size=40))
def test_a_reason_is_read_as_it_was_typed_or_not_at_all(reason):
    typed = Typed(command=Rollback(environment="prod", reason=reason), model="wine")
    assert parse_typed(write_typed(typed)) in {None, typed}


def test_what_a_comment_alone_can_say_has_no_typed_form():
    names = {usage.split()[0] for usage in USAGES}
    assert not names & {"/approve", "/unapprove", "/override", "/break-glass"}


NO_REASON = "3 to 300 printable characters"


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (Typed(command=Hold(reason="abc"), model="Wine", version="v1"), "'Wine' is no name of a m"),
        (Typed(command=Hold(reason="abc"), model="wine", version="v1..2"), "'v1..2' is no name"),
        (Typed(command=Hold(reason="abc"), model="", version="v1"), "'' is no name of a model"),
        (Typed(command=Unhold(), model="wine", version="x" * 41), "of a version"),
        (Typed(command=Retrain(), model="w x", version="v1"), "'w x' is no name of a model"),
        (Typed(command=Unfreeze(environment="prod now")), "'prod now' is no name of an env"),
        (Typed(command=Freeze(environment="", until=SIX, reason="abc")), "'' is no name of an env"),
        (Typed(command=Hold(reason="ab"), **WINE), f"'ab' must have {NO_REASON}"),
        (Typed(command=Hold(reason="--dry"), **WINE), "'--dry' must have"),
        (Typed(command=Hold(reason="a\nb c"), **WINE), r"'a\nb c' must have"),
        (Typed(command=Rollback(environment="prod", reason="x" * 301), model="wine"), NO_REASON),
    ],
)
def test_the_word_that_is_wrong_is_named_with_its_rule(typed, why):
    assert why in str(find_fault(typed))
