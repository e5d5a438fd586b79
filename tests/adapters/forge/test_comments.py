from __future__ import annotations

from datetime import UTC, datetime

import pytest

from modelyard.adapters.forge.comments import LONGEST_BODY, MOST_COMMANDS, read_comment
from modelyard.domain.chatops.commands import Approve, Freeze, Help, Hold, Plan, Rollback, Why
from modelyard.domain.chatops.reading import CommentReading, Misread
from modelyard.domain.chatops.reasons import ReasonCode

SHA = "0123456789abcdef0123456789abcdef01234567"
LINE = f"/approve {SHA}"
APPROVE = Approve(sha=SHA)

COUNTS = {
    "alone": LINE,
    "after text in its paragraph": f"Looks good.\n{LINE}",
    "before text in its paragraph": f"{LINE}\nThanks!",
    "after another paragraph": f"Looks good.\n\n{LINE}",
    "after a heading": f"# Review\n{LINE}",
    "after a fence": f"```\ntrain()\n```\n{LINE}",
    "after a quote and a blank line": f"> is it fine?\n\n{LINE}",
    "after a list and a blank line": f"- one\n- two\n\n{LINE}",
    "after a rule": f"text\n\n---\n{LINE}",
    "after a table and a blank line": f"|a|b|\n|-|-|\n|1|2|\n\n{LINE}",
    "before a table": f"{LINE}\n\n|a|b|\n|-|-|\n|1|<b>2</b>|",
    "before HTML": f"{LINE}\n\n<details>log</details>",
    "before a comment of HTML": f"{LINE}\n<!-- as said -->",
    "before quoted mail": f"{LINE}\n\nOn Mon, 2 Nov 2026, Ann <ann@example.org> wrote:\n> hm",
    "before a signature": f"{LINE}\n\n-- \nAnn",
    "with CRLF": f"Good.\r\n\r\n{LINE}\r\n",
    "with CR alone": f"Good.\r\r{LINE}\r",
    "with up to three blanks before it": f"   {LINE}",
    "with blanks after it": f"{LINE}   ",
    "with a hard break after it": f"{LINE}  \nThanks",
    "with several blanks between": f"/approve   {SHA}",
    "beside a line with code": f"The `gate` passes.\n{LINE}",
    "beside a line with a link": f"See [this](https://example.org).\n{LINE}",
    "beside a mention and an emoji": f"Thanks @bob, café 🎉\n{LINE}",
    "beside one dollar": f"It costs $5.\n{LINE}",
    "beside one tilde": f"About ~5 %.\n{LINE}",
    "beside the word from": f"From: ann's notes\n{LINE}",
    "with signs of mail inside code": f"```\n-----Original Message-----\n-- \n```\n{LINE}",
}

COUNTS_FOR_NOTHING = {
    "quoted": f"> {LINE}",
    "quoted without a blank": f">{LINE}",
    "quoted twice": f"> > {LINE}",
    "lazily quoted": f"> text\n{LINE}",
    "lazily quoted in a list": f"> - text\n{LINE}",
    "quoted as an alert": f"> [!NOTE]\n> {LINE}",
    "in code": f"`{LINE}`",
    "in code over lines": f"`text\n{LINE}\ntext`",
    "in code of two backticks": f"``\n{LINE}\n``",
    "in a fence": f"```\n{LINE}\n```",
    "in a fence of tildes": f"~~~\n{LINE}\n~~~",
    "in a fence that is not closed": f"```\n{LINE}",
    "in a fence with a shorter one inside": f"````\n```\n{LINE}\n````",
    "in a fence with a language": f"```sh\n{LINE}\n```",
    "in indented code": f"    {LINE}",
    "in code indented by a tab": f"\t{LINE}",
    "in a comment of HTML": f"<!--\n{LINE}\n-->",
    "in a comment of HTML with blank lines": f"<!--\n\n{LINE}\n\n-->",
    "below an unclosed comment of HTML": f"<!-- oops\n\n{LINE}",
    "below an unclosed comment of HTML in a quote": f"> <!-- oops\n\n{LINE}",
    "below details": f"<details>\n\n{LINE}\n\n</details>",
    "below HTML in a table": f"|a|b|\n|-|-|\n|1|<b>|\n\n{LINE}",
    "in a pre": f"<pre>\n{LINE}\n</pre>",
    "in a blockquote of HTML": f"<blockquote>\n\n{LINE}\n</blockquote>",
    "in a paragraph with a tag": f"text <b>\n{LINE}\n</b>",
    "in a processing instruction": f"<?php\n\n{LINE}\n?>",
    "in a CDATA section": f"<![CDATA[\n\n{LINE}\n]]>",
    "below a line break of HTML": f"text<br>\n{LINE}",
    "with an entity for the slash": f"&#47;approve {SHA}",
    "with an entity of hexadecimal": f"&#x2f;approve {SHA}",
    "with a named entity": f"&sol;approve {SHA}",
    "with an entity for a letter": f"/&#97;pprove {SHA}",
    "with an entity for a blank": f"/approve&#32;{SHA}",
    "with an escaped slash": f"\\/approve {SHA}",
    "in a list": f"- {LINE}",
    "in a numbered list": f"1. {LINE}",
    "in a list, lazily": f"- text\n{LINE}",
    "in a list, after a blank line": f"- text\n\n  {LINE}",
    "in a task": f"- [ ] {LINE}",
    "in a list 500 deep": "- " * 500 + LINE,
    "in 20,000 quotes": ">" * 20_000 + LINE,
    "in a table": f"|a|\n|-|\n|{LINE}|",
    "as a row without bars": f"a | b\n--|--\n{LINE}",
    "as the head of a table of one column": f"{LINE}\n:-",
    "as a row of a table that begins as a reference": f"[a]:\n|-\ntext\n{LINE}",
    "above what is a table to one parser and a heading to another": f"{LINE}\n|a\n--",
    "below what is a heading to one parser and a table to another": f"a\n:-\n===\n{LINE}",
    "below what is HTML to one parser and a table to another": f"text\n<?a|\n--\n\n{LINE}",
    "with a footnote on its line": "/hold as said [^1]\n\n[^1]: text",
    "as a heading": f"# {LINE}",
    "as an underlined heading": f"{LINE}\n===",
    "as a heading underlined once": f"{LINE}\n-",
    "above a signature that underlines it": f"{LINE}\n-- ",
    "as emphasis": f"*{LINE}*",
    "in emphasis over lines": f"*text\n{LINE}\ntext*",
    "struck out": f"~~{LINE}~~",
    "struck out over lines": f"~~text\n{LINE}\ntext~~",
    "struck out by single tildes": f"~text\n{LINE}\ntext~",
    "as the text of a link": f"[{LINE}](https://example.org)",
    "in the text of a link over lines": f"[text\n{LINE}\ntext](https://example.org)",
    "in the title of a link": f'[text](https://example.org "\n{LINE}\n")',
    "as the text of an image": f"![text\n{LINE}\n](https://example.org/a.png)",
    "as a reference's address": f"[a]: {LINE}",
    "as a reference's title": f"[a]: /b '\n{LINE}\n'",
    "below a reference in a list": f"- [a]: b\n{LINE}",
    "below a reference in a quote": f"> [a]: b\n{LINE}",
    "below what is code to one parser and a quote to another": f"> > a\n    ```\n{LINE}",
    "below what is code to one parser and text to another": f"[a]:\ncode`\n    > b\n{LINE}",
    "below code in a list, without a blank line": f"- ```\n{LINE}",
    "as a footnote in a list": f"1. [^1]: text\n{LINE}",
    "as a footnote": f"[^1]: {LINE}",
    "as a footnote, lazily": f"[^1]: text\n{LINE}",
    "as a footnote of several words, lazily": f"[^1]: some text here\n{LINE}",
    "in maths": f"$$\n{LINE}\n$$",
    "in maths over lines": f"$a\n{LINE}\nb$",
    "in maths of brackets": f"\\[\n{LINE}\n\\]",
    "in a list of terms": f"term\n: text\n{LINE}",
    "below quoted mail that is not quoted": f"ok\n\nOn Monday, Ann wrote:\n{LINE}",
    "below an Outlook reply": f"ok\n\n-----Original Message-----\n\n{LINE}",
    "below an Outlook reply's headers": f"ok\n\nFrom: Ann\nSent: Monday\nTo: Bob\n\n{LINE}",
    "below headers in bold": f"ok\n\n**From:** Ann\n**Date:** Monday\n\n{LINE}",
    "below a forwarded message": f"ok\n\n---------- Forwarded message ---------\n\n{LINE}",
    "below a message forwarded by a phone": f"ok\n\nBegin forwarded message:\n\n{LINE}",
    "below a signature": f"ok\n\n-- \n{LINE}",
    "below a signature without a blank": f"ok\n\n--\n{LINE}",
    "after text on its line": f"please {LINE}",
    "after a mention on its line": f"@bot {LINE}",
    "with code on its line": f"{LINE} `now`",
    "with emphasis on its line": f"/approve *{SHA}*",
    "after a non-breaking blank": f"\u00a0{LINE}",
    "after an ideographic blank": f"\u3000{LINE}",
    "in a comment with our own mark": f"<!-- modelyard:status -->\n\n{LINE}",
    "in a comment that ends with our own mark": f"{LINE}\n\n<!-- modelyard:status -->",
    "empty": "",
    "blank": " \n\t\n",
    "a path": "/usr/bin/python3 fails\n/etc/hosts\n/srv/approve",
    "another bot's command": "/lgtm\n/assign @ann\n/cherry-pick main",
}


@pytest.mark.parametrize("body", COUNTS.values(), ids=COUNTS.keys())
def test_a_line_of_plain_text_is_a_command(body: str):
    assert read_comment(body) == CommentReading(found=(APPROVE,))


@pytest.mark.parametrize("body", COUNTS_FOR_NOTHING.values(), ids=COUNTS_FOR_NOTHING.keys())
def test_a_line_that_a_reader_does_not_see_as_plain_text_counts_for_nothing(body: str):
    assert read_comment(body) == CommentReading()


@pytest.mark.parametrize(
    "character",
    [
        *("\x00", "\x07", "\x1b", "\x0b", "\x0c", "\x7f", "\x85"),
        *("\u200b", "\u200d", "\u2060", "\u00ad", "\ufeff"),
        *("\u202e", "\u2066", "\u200f", "\u061c"),
        *("\u2028", "\u2029", "\ud800", "\ue000", "\U000e0041"),
    ],
    ids=lambda character: f"U+{ord(character):04X}",
)
@pytest.mark.parametrize("where", ["before {}", "{}/approve", "/app{}rove", "far\n\n\nbelow {}"])
def test_a_comment_with_a_character_that_nobody_sees_is_refused_whole(character: str, where: str):
    body = f"{LINE}\n\n{where.format(character)}"

    found = read_comment(body)

    assert found.found == ()
    assert found.refused is not None
    assert found.refused.reason is ReasonCode.HIDDEN_CHARACTERS
    assert f"U+{ord(character):04X}" in found.refused.why


def test_a_command_split_by_a_character_that_nobody_sees_is_refused_and_not_passed_over():
    found = read_comment(f"/app\u200brove {SHA}")

    assert found.refused is not None
    assert found.refused.why == (
        "the comment holds a character that nobody sees: U+200B (ZERO WIDTH SPACE) in line 1"
    )


def test_a_comment_without_a_command_may_hold_any_character():
    assert read_comment("👩\u200d💻 fixed it\u202e, see /usr/bin/env") == CommentReading()


def test_a_comment_that_is_too_long_is_refused():
    found = read_comment(LINE + "\n" + "x" * LONGEST_BODY)

    assert found.refused is not None
    assert found.refused.reason is ReasonCode.BODY_TOO_LONG


def test_a_comment_with_too_many_commands_is_refused_whole():
    found = read_comment("/why\n" * (MOST_COMMANDS + 1))

    assert found == CommentReading(refused=found.refused)
    assert found.refused is not None
    assert found.refused.reason is ReasonCode.TOO_MANY_COMMANDS


def test_several_commands_keep_their_order():
    body = (
        "/plan\ntext\n\n/hold it answers nonsense\n\n> /why\n\n"
        "/rollback production it answers nonsense\n"
        "/freeze staging until 2026-12-24T18:00+01:00 holidays\n/help"
    )

    assert read_comment(body).found == (
        Plan(),
        Hold(reason="it answers nonsense"),
        Rollback(environment="production", reason="it answers nonsense"),
        Freeze(
            environment="staging",
            until=datetime(2026, 12, 24, 17, tzinfo=UTC),
            reason="holidays",
        ),
        Help(),
    )


@pytest.mark.parametrize(
    "line",
    [
        "/\u0430pprove x",
        "\uff0fapprove x",
        "/approve\u00a0x",
        "/Approve x",
        "/approve: x",
        "/aprove x",
    ],
)
def test_a_slip_is_answered_and_a_command_beside_it_is_read(line: str):
    slip, why = read_comment(f"{line}\n\n/why").found

    assert isinstance(slip, Misread)
    assert slip.line == line
    assert slip.paste == "/approve SHA"
    assert why == Why()
