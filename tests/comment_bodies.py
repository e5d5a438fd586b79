"""Bodies of comments at random, made of what Markdown readers disagree about."""

from __future__ import annotations

import random
from collections.abc import Iterator

SHA = "0123456789abcdef0123456789abcdef01234567"
COMMAND_LINES = (
    f"/approve {SHA}",
    "/why",
    "/hold it answers nonsense",
    "/promote staging",
    "/freeze prod until 2026-12-24T18:00Z holidays",
)
_BEFORE = (
    *("", "", "", "", " ", "   ", "    ", "\t", "> ", ">", "- ", "* ", "1. ", "1) ", "# ", "## "),
    *("| ", "    > ", "> > ", "- - ", "~", "~~", "*", "**", "_", "`", "``", "[", "![", "\\", "<"),
    *("<b>", "<!--", "$", "$$", ":", ": ", "[^1]: ", "[a]: ", "\u00a0", "&nbsp;", "<!", "<?", "@"),
)
_AFTER = (
    *(
        "",
        "",
        "",
        "",
        " ",
        "  ",
        "\\",
        "*",
        "**",
        "_",
        "`",
        "``",
        "~",
        "~~",
        "]",
        "](x)",
        "](",
        "[a]",
    ),
    *(
        ">",
        "</b>",
        "-->",
        "<!--",
        "<b",
        "$",
        "$$",
        "|",
        " |",
        "&",
        "&amp;",
        "&#47;",
        "<x@y.z>",
        " #",
    ),
    *("<http://x.y>", "http://x.y", "\u3000", "\\`", "![a](b)", "?>", "]]>", ")", "'", '"'),
)
_WHOLE = (
    *(
        "",
        "",
        "",
        "",
        "text",
        "text",
        "```",
        "````",
        "~~~",
        "```sh",
        "===",
        "---",
        "--",
        "-",
        "***",
    ),
    *(
        "|-|-|",
        ":-",
        "|a|b|",
        "-|-",
        "|-",
        ":-:",
        "a | b",
        "<!--",
        "-->",
        "<details>",
        "</details>",
    ),
    *("<pre>", "</pre>", "<div>", "<x", 'y="', '">', "<![CDATA[", "]]>", "<?x", "?>", "<script>"),
    *("[a]: b", "[a]:", "'title", "title'", "[^1]: note", "$$", "\\[", "\\]", "> quote", "- item"),
    *("1. one", "> - item", "[text", "text](x)", "*em", "em*", "`code", "code`", "~x", "x~", "-- "),
    *("On Monday, Ann wrote:", "-----Original Message-----", "term", ": term", "{: .a}", ":::"),
)


def make_bodies(seed: int, count: int) -> Iterator[str]:
    """Yield bodies of one to nine lines; the same seed yields the same bodies."""
    chance = random.Random(seed)  # noqa: S311 - bodies of tests, no secret
    for _ in range(count):
        lines = [_make_line(chance) for _ in range(chance.randint(1, 9))]
        yield chance.choice(("\n", "\n", "\n", "\r\n", "\r")).join(lines)


def _make_line(chance: random.Random) -> str:
    if chance.random() < 0.5:
        return chance.choice(_BEFORE[:16]) * (chance.random() < 0.3) + chance.choice(_WHOLE)
    line = chance.choice(COMMAND_LINES)
    if chance.random() < 0.15:  # something in the middle of it
        at = chance.randrange(len(line))
        line = line[:at] + chance.choice((*_BEFORE, *_AFTER)) + line[at:]
    before = "".join(chance.choice(_BEFORE) for _ in range(chance.choice((0, 0, 1, 1, 2))))
    return before + line + chance.choice(_AFTER) * (chance.random() < 0.5)
