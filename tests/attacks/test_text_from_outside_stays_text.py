"""Promise: whatever a file, a branch, a person, a trainer or a server says, it is only shown."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import cmarkgfm
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from modelyard import cli as frame
from modelyard.adapters import messages
from modelyard.cli import cli
from modelyard.commands.output import terminal
from modelyard.commands.output.logs import harmless_log
from modelyard.domain.harmless_text import (
    LONGEST_LINE,
    escape_markdown,
    harmless_line,
    harmless_lines,
    markdown_code,
    unescape_markdown,
)
from modelyard.domain.promotion.facts import Hold
from modelyard.domain.promotion.incidents import Incident
from modelyard.domain.specs.paths import record_file
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.reconcile.pages import evidence_page
from operations.yard import MODEL, living_yard

FORGED = "#1 merged as 0000000000"
ATTACKS = {
    "a second line": f"x\n{FORGED}",
    "a carriage return": f"x\r{FORGED}",
    "a vertical tab": f"x\v{FORGED}",
    "the line separator of Unicode": f"x\u2028{FORGED}",
    "the next line of C1": f"x\x85{FORGED}",
    "colours": f"\x1b[31m{FORGED}\x1b[0m",
    "a cursor that moves up": f"\x1b[1A\x1b[2K{FORGED}",
    "a window title": f"\x1b]0;{FORGED}\x07",
    "a link": "\x1b]8;;http://evil.example\x1b\\here\x1b]8;;\x1b\\",
    "the one-byte CSI": f"\x9b2J{FORGED}",
    "text that runs backwards": "x\u202e0000000000 sa degrem 1#",
    "isolates": "\u2067x\u2069",
    "nothing to see": "v\u200b1\u2060\ufeff\u00ad",
    "tags": "v1\U000e0041\U000e0042",
    "half a pair": "x\ud800y",
    "a byte of a file's name": "x\udcffy",
    "markup of rich": f"[bold red]{FORGED}[/] [link=http://evil.example]x[/link] :warning:",
    "a null": "x\0y",
}
UNSAFE = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff"
    r"\U000e0000-\U000e007f]"
)


def is_harmless(text: str) -> bool:
    lines = text.splitlines()
    return not UNSAFE.search(text) and not any(line.startswith(FORGED) for line in lines)


attacks = pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS)


@pytest.fixture(scope="module")
def living(tmp_path_factory):
    return living_yard(tmp_path_factory.mktemp("living") / "yard")


@pytest.fixture
def yard(living, tmp_path):
    return living.copy(tmp_path / "yard")


def run(yard, *args: str):
    environment = {"COLUMNS": "200", "NO_COLOR": "1"}
    return CliRunner(env=environment).invoke(cli, list(args), obj=yard.workspace().services)


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a command that raises; gives what is on stderr."""

    def ran(error: Exception, *options: str) -> str:
        def fail() -> None:
            raise error

        monkeypatch.setattr(frame, "load_command", lambda _: click.command("validate")(fail))
        assert frame.main([*options, "validate"]) != 0
        return capsys.readouterr().err

    return ran


# The function


@given(st.text())
def test_any_text_is_one_harmless_line(text: str):
    line = harmless_line(text)

    assert not UNSAFE.search(line)
    assert len(line.splitlines()) <= 1
    line.encode()


@given(st.text())
def test_any_text_is_harmless_lines(text: str):
    assert not UNSAFE.search(harmless_lines(text))


@pytest.mark.long
def test_a_huge_line_does_not_hide_what_was_printed_before():
    line = harmless_line("x" * 5_000_000)

    assert line == f"{'x' * LONGEST_LINE} ... (4,998,000 more characters)"


def test_names_that_differ_in_something_invisible_do_not_look_alike():
    assert harmless_line("v1") != harmless_line("v\u200b1")


def test_other_scripts_are_shown_as_they_are():
    text = "größer, 訓練, обучение, Zoë, naïve 95\u00a0%"

    assert harmless_line(text) == text.replace("\u00a0", " ")


# Errors, crashes, wrong usage and logs


@attacks
@pytest.mark.parametrize("kind", [CannotAnswer, Refused])
def test_an_error_and_its_hint_are_two_lines(fails, text: str, kind: type[CannotAnswer]):
    said = fails(kind(f"MLflow said: {text}", hint=f"try {text}"))

    assert is_harmless(said)
    assert [line.partition(":")[0] for line in said.splitlines()] == ["error", "hint"]


@attacks
def test_a_crash_cannot_write_on_the_terminal(fails, text: str):
    assert is_harmless(fails(ValueError(text)))


def test_a_traceback_cannot_either(fails):
    assert not UNSAFE.search(fails(ValueError(f"\x1b[1A\x1b[2K{FORGED}"), "--debug"))


@attacks
def test_wrong_usage_shows_the_argument_as_text(text: str, capsys: pytest.CaptureFixture[str]):
    if "\0" in text:
        pytest.skip("no process can be given a NUL")
    assert frame.main(["pr", "show", text]) == 2
    assert is_harmless(capsys.readouterr().err)


@attacks
def test_a_log_record_is_one_line(text: str):
    handler = harmless_log("%(levelname)s %(message)s")
    error = ValueError(text)
    said = "\n".join(
        handler.format(logging.LogRecord("x", logging.ERROR, "x", 1, message, (text,), cause))
        for message, cause in (
            ("the server said %s", None),
            ("unexpected %s", (ValueError, error, None)),
        )
    )

    assert is_harmless(said)
    assert len([line for line in said.splitlines() if not line.startswith("  ")]) == 2


def test_what_is_logged_without_any_configuration_is_harmless_too(tmp_path: Path):
    # In a process of its own: under pytest, records have another handler.
    code = (
        "import logging, sys; from modelyard import cli; import click\n"
        "def fail(): logging.getLogger('modelyard.x').error('said %s', sys.argv[1])\n"
        "cli.load_command = lambda _: click.command('validate')(fail)\n"
        "cli.main(['validate'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"x\n\x1b[31m{FORGED}"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stderr == f"said x\\n\\x1b[31m{FORGED}\n"


def test_a_terminal_without_unicode_gets_escapes_and_no_crash():
    code = (
        "from modelyard import cli; import click\n"
        "from modelyard.commands.output.terminal import print_line\n"
        "cli.load_command = lambda _: click.command('validate')(lambda: print_line('\\u8a13'))\n"
        "raise SystemExit(cli.main(['validate']))"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )

    assert (done.returncode, done.stdout) == (0, "\\u8a13\n")


# What people and other processes wrote into Git and the facts


def evil_branch(yard, path: str, *, author: str = "Mallory") -> None:
    """A pull request whose file has any name that Git can hold, which is any but a NUL."""
    main, environment = yard.main(), {**os.environ, "GIT_INDEX_FILE": str(yard.folder / "index")}
    for name in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{name}_NAME": author, f"GIT_{name}_EMAIL": "m@example.org"}

    def git(*args: str, stdin: bytes = b"") -> str:
        done = subprocess.run(
            ["git", *args], cwd=yard.git.root, env=environment, input=stdin,
            check=True, capture_output=True,
        )  # fmt: skip
        return done.stdout.decode().strip()

    git("read-tree", main)
    blob = git("hash-object", "-w", "--stdin", stdin=b"a: [\n")
    git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
    head = git("commit-tree", git("write-tree"), "-p", main, "-m", "By hand")
    git("push", "-q", "origin", f"{head}:refs/heads/evil")
    yard.pulls.open_branch("evil", title="By hand", body="", author=author)


FILES = {name: text for name, text in ATTACKS.items() if text.encode("utf-8", "replace") and
         "\0" not in text and "\ud800" not in text and "//" not in text}  # fmt: skip


@pytest.mark.sample(1)
@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_the_name_of_a_file_forges_no_line_of_watch(yard, monkeypatch, text: str):
    evil_branch(yard, f"models/{MODEL}/versions/{text}.yaml")
    monkeypatch.setattr("modelyard.commands.watch.workspace_of", lambda services: yard.workspace())

    said = run(yard, "watch", "--once").output
    shown = run(yard, "pr", "show", str(yard.pulls.list()[-1].number)).output

    assert "modelyard/checks" in said
    assert is_harmless(said)
    assert is_harmless(shown)


def test_the_author_of_a_commit_is_shown_as_text(yard):
    evil_branch(yard, "docs/x.md", author=f"Eve\x1b[1A\u202e{FORGED}")

    assert is_harmless(run(yard, "pr", "list").output)
    assert is_harmless(run(yard, "pr", "show", str(yard.pulls.list()[-1].number)).output)


@pytest.mark.sample(1)
@attacks
def test_a_hold_an_incident_and_a_failed_training_are_shown_as_text(yard, text: str):
    safe = text.encode("utf-8", "replace").decode()  # what a document in Git can hold
    yard.workspace().facts.update_model(
        MODEL,
        lambda facts: replace(
            facts,
            holds={"v1": Hold(reason=safe, by=safe, since=yard.clock.at)},
            incidents=(Incident(what=safe, at=yard.clock.at, key="k"),),
        ),
    )

    for command in (("status",), ("history", MODEL), ("unhold", MODEL, "v1", "--dry-run")):
        assert is_harmless(run(yard, *command).output)
    document = json.loads(run(yard, "status", "--output", "json").stdout)
    assert document["holds"][0]["reason"] == safe


def test_a_branch_name_is_shown_as_text(yard):
    yard.branch("x\u200by", {"docs/x.md": b"x"})

    for command in (("pr", "list"), ("pr", "open", f"x\u202ey\n{FORGED}", "--title", "x")):
        assert is_harmless(run(yard, *command).output)


# Pages and messages


def test_the_output_of_a_trainer_is_data_on_a_page_and_itself_on_a_terminal(yard):
    said = 'Traceback: File "train.py" | x_1 = df[df < 3]*2 <b>@ada</b> `rm` [x](http://e.x) \\n'
    text = yard.git.read_file(yard.main(), record_file(MODEL, "v1"))
    from modelyard.adapters.specs.documents import read_spec
    from modelyard.domain.specs.record import Record

    record = replace(
        read_spec(Record, text, name="x"),
        verdict=Verdict(outcome=Outcome.FAIL, reason=said, numbers={}),
    )
    page = evidence_page(record)

    assert "@ada" not in page
    assert "<b>" not in page
    assert "](" not in page
    assert unescape_markdown(escape_markdown(said)) == said
    assert said in "\n".join(map(unescape_markdown, page.splitlines()))


@given(st.text(st.sampled_from("ab_*`\\|<>&;#@-+1.)[]() ~lt\n\x1b")))
def test_a_terminal_reads_on_a_page_what_was_written(text: str):
    assert unescape_markdown(escape_markdown(text)) == harmless_line(text)


@pytest.mark.parametrize("text", ["a`b", "``", "", "x\n# y"])
def test_code_on_a_page_ends_where_it_should(text: str):
    page = markdown_code(text)

    assert (page.count("`"), page.count("\n")) == (2, 0)


@attacks
def test_a_notification_cannot_forge_a_line_or_call_people(monkeypatch, text: str):
    sent = []
    monkeypatch.setenv(messages.ADDRESSES, "json://x")
    monkeypatch.setattr(
        messages, "_deliver", lambda _, *message: bool(sent.append(message)) or True
    )

    assert messages.send_message(text, f"{text} @everyone")
    [(title, body)] = sent
    assert len(title.splitlines()) == 1
    assert not UNSAFE.search(title + body.replace("@\u200b", "@"))
    assert "@everyone" not in body


def test_a_table_made_by_hand_is_harmless_too():
    with click.Context(cli):
        console = terminal.make_console()
    console.file = io.StringIO()
    table = Table("a")
    table.add_row(f"\x1b[1A{FORGED}\u202e [red]x[/red]")
    console.print(table)

    assert not UNSAFE.search(console.file.getvalue())
    assert "[red]" in console.file.getvalue()


@pytest.mark.parametrize("text", ["@ada", "é@ada", "(@ada", "ö.@ada", "-@ada"])
def test_no_text_mentions_a_person(text):
    assert "@ada" not in escape_markdown(text)


def test_an_address_keeps_its_sign():
    assert "a_1@example.org" in escape_markdown("a_1@example.org").replace("\\", "")


@pytest.mark.parametrize(
    "text",
    ["see https://evil.example/x", "HTTP://evil.example", "(www.evil.example)", "WWW.evil.example",
     "ftp://evil.example/y", "[click](https://evil.example)", "<https://evil.example>"],
)  # fmt: skip
def test_no_text_becomes_a_link(text):
    page = cmarkgfm.github_flavored_markdown_to_html(escape_markdown(text))
    assert "<a" not in page
    assert unescape_markdown(escape_markdown(text)) == text
