from __future__ import annotations

from datetime import UTC, datetime

import pytest

from modelyard.domain.chatops.commands import (
    Approve,
    BreakGlass,
    Command,
    Freeze,
    Help,
    Hold,
    Override,
    Plan,
    Promote,
    Retrain,
    Rollback,
    Unapprove,
    Unfreeze,
    Unhold,
    Why,
)
from modelyard.domain.chatops.grammar import (
    EXAMPLE_TIME,
    FORMS,
    LONGEST_REASON,
    fill_in,
    parse_line,
)
from modelyard.domain.chatops.reading import Misread
from modelyard.domain.chatops.reasons import ReasonCode

SHA = "0123456789abcdef0123456789abcdef01234567"
SIX = datetime(2026, 12, 24, 18, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (f"/approve {SHA}", Approve(sha=SHA)),
        ("/unapprove", Unapprove()),
        ("/hold", Hold()),
        ("/hold it answers nonsense", Hold(reason="it answers nonsense")),
        ("/hold Büro zu, größer als 5 %", Hold(reason="Büro zu, größer als 5 %")),
        ("/unhold", Unhold()),
        ("/promote", Promote()),
        ("/promote staging", Promote(environment="staging")),
        ("/rollback", Rollback()),
        ("/rollback production", Rollback(environment="production")),
        (
            "/rollback production $(rm -rf /) `id` && echo",
            Rollback(environment="production", reason="$(rm -rf /) `id` && echo"),
        ),
        (
            "/freeze prod until 2026-12-24T18:00Z holidays",
            Freeze(environment="prod", until=SIX, reason="holidays"),
        ),
        (
            "/freeze  prod  until  2026-12-24T20:00:00+02:00  on  call",
            Freeze(environment="prod", until=SIX, reason="on call"),
        ),
        ("/unfreeze", Unfreeze()),
        ("/unfreeze prod", Unfreeze(environment="prod")),
        ("/retrain", Retrain()),
        ("/override until 2026-12-24T18:00Z few rows", Override(until=SIX, reason="few rows")),
        (f"/break-glass {SHA} outage", BreakGlass(sha=SHA, reason="outage")),
        ("/why", Why()),
        ("/plan", Plan()),
        ("/help  ", Help()),
    ],
)
def test_each_command_is_read(line: str, command: Command):
    assert parse_line(line) == command


@pytest.mark.parametrize(
    ("line", "reason", "why"),
    [
        ("/approve", ReasonCode.WRONG_USAGE, "the full SHA of the head commit, and nothing else"),
        (f"/approve {SHA} please", ReasonCode.WRONG_USAGE, "and nothing else"),
        (f"/approve {SHA}<!--", ReasonCode.WRONG_USAGE, "and nothing else"),
        (f"/approve {SHA.upper()}", ReasonCode.WRONG_USAGE, "the full SHA"),
        (f"/approve\t{SHA}", ReasonCode.WRONG_USAGE, "the full SHA"),
        ("/approve 0123abc", ReasonCode.SHORT_SHA, "0123abc has 7 characters; a full SHA has 40"),
        ("/break-glass 0123abc outage", ReasonCode.SHORT_SHA, "has 7 characters"),
        (f"/break-glass {SHA}", ReasonCode.WRONG_USAGE, "a reason of 3 to 300 characters"),
        ("/unapprove it", ReasonCode.WRONG_USAGE, "/unapprove takes nothing after it"),
        ("/why not", ReasonCode.WRONG_USAGE, "/why takes nothing after it"),
        ("/hold <b>", ReasonCode.WRONG_USAGE, "without < and >"),
        ("/hold no", ReasonCode.WRONG_USAGE, "3 to 300"),
        (f"/hold {'x' * (LONGEST_REASON + 1)}", ReasonCode.WRONG_USAGE, "3 to 300"),
        ("/promote Staging", ReasonCode.WRONG_USAGE, "the name of an environment"),
        ("/promote ../etc", ReasonCode.WRONG_USAGE, "the name of an environment"),
        ("/promote a&&id", ReasonCode.WRONG_USAGE, "the name of an environment"),
        ("/promote stagíng", ReasonCode.WRONG_USAGE, "í is LATIN SMALL LETTER I WITH ACUTE"),
        ("/promote staging now", ReasonCode.WRONG_USAGE, "and nothing else"),
        ("/freeze prod", ReasonCode.WRONG_USAGE, f"a time such as {EXAMPLE_TIME}"),
        ("/freeze prod until tomorrow x", ReasonCode.WRONG_USAGE, "a time such as"),
        ("/freeze prod until 2026-12-24 xmas", ReasonCode.WRONG_USAGE, "a time such as"),
        ("/freeze prod until 2026-12-24T18:00 xmas", ReasonCode.WRONG_USAGE, "a time such as"),
        ("/freeze prod until 2026-13-24T18:00Z xmas", ReasonCode.WRONG_USAGE, "is no time"),
        ("/freeze prod until 0001-01-01T00:00+10:00 xmas", ReasonCode.WRONG_USAGE, "is no time"),
        ("/override until 2026-12-24T25:00Z xmas", ReasonCode.WRONG_USAGE, "is no time"),
        ("/aprove", ReasonCode.UNKNOWN_COMMAND, "there is no /aprove; did you mean /approve?"),
        ("/Approve", ReasonCode.UNKNOWN_COMMAND, "did you mean /approve?"),
        ("/UNFREEZE prod", ReasonCode.UNKNOWN_COMMAND, "did you mean /unfreeze?"),
        ("/roll-back", ReasonCode.UNKNOWN_COMMAND, "did you mean /rollback?"),
        ("/help!", ReasonCode.UNKNOWN_COMMAND, "did you mean /help?"),
        ("/\u0430pprove x", ReasonCode.UNKNOWN_COMMAND, "\u0430 is CYRILLIC SMALL LETTER A"),
        ("\uff0fwhy", ReasonCode.UNKNOWN_COMMAND, "\uff0f is FULLWIDTH SOLIDUS"),
        ("/\uff57hy", ReasonCode.UNKNOWN_COMMAND, "FULLWIDTH LATIN SMALL LETTER W"),
    ],
)
def test_a_slip_is_explained(line: str, reason: ReasonCode, why: str):
    found = parse_line(line)

    assert isinstance(found, Misread)
    assert (found.reason, found.line) == (reason, line)
    assert why in found.why


@pytest.mark.parametrize(
    "line",
    [
        *(
            "",
            "/",
            "//",
            "/ approve",
            "text",
            "approve",
            f"approve {SHA}",
            f"please /approve {SHA}",
        ),
        *(
            "/usr/bin",
            "/approve/x",
            "/lgtm",
            "/assign @ann",
            "/ok-to-test",
            "/é",
            "\\/why",
            ".help",
        ),
        *("-/why", "\u2215why", "\u2044why", "/why" + "x" * 600),
    ],
)
def test_a_line_for_others_is_no_command(line: str):
    assert parse_line(line) is None


@pytest.mark.parametrize("name", FORMS)
def test_the_line_to_paste_is_right_once_it_is_filled_in(name: str):
    filled = fill_in(
        FORMS[name].usage, sha=SHA, environment="staging", time=EXAMPLE_TIME, reason="a reason"
    )

    assert isinstance(parse_line(filled), FORMS[name].make)
    assert not filled.isupper()


def test_what_is_not_known_stays_in_the_line_to_paste():
    assert fill_in("/rollback ENVIRONMENT REASON", environment="dev", sha=None) == (
        "/rollback dev REASON"
    )
