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
from modelyard.domain.chatops.typed import USAGES, Typed, as_comment, parse_typed, write_typed

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
    assert type(parse_line(as_comment(typed))) is type(typed.command)


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
