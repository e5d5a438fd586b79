"""Ctrl-C before a command runs: while Python imports it, reads its arguments or prints its help."""

from __future__ import annotations

import signal
import subprocess
import sys

import click
import pytest

from modelyard import cli as frame


def _interrupted_at(module: str, *, before: str = "") -> subprocess.CompletedProcess[str]:
    program = (
        f"{before}\nimport sys\n"
        "class PressesCtrlC:\n"
        "    def find_spec(self, name, *others):\n"
        "        import os\n"
        f"        if name == {module!r}: os.kill(os.getpid(), 2)\n"
        "sys.meta_path.insert(0, PressesCtrlC())\n"
        "sys.argv[1:] = ['--help']\n"
        "import runpy\n"
        "runpy.run_module('modelyard', run_name='__main__', alter_sys=True)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    "module", ["modelyard.cli", "click", "click.parser", "modelyard.commands.options"]
)
def test_ctrl_c_while_the_command_line_is_imported_is_one_line(module: str):
    done = _interrupted_at(module)

    said = "stopped: modelyard. To go on, run the same command again.\n"
    assert (done.returncode, done.stdout, done.stderr) == (130, "", said)


def test_a_module_that_catches_every_exception_does_not_lose_ctrl_c():
    careless = (
        "import builtins\n"
        "real = builtins.__import__\n"
        "def careless(*a, **k):\n"
        "    try: return real(*a, **k)\n"
        "    except KeyboardInterrupt: raise ImportError from None\n"
        "builtins.__import__ = careless\n"
    )
    assert _interrupted_at("click.parser", before=careless).returncode == 130


def test_a_command_that_ignores_ctrl_c_as_in_the_background_goes_on():
    done = _interrupted_at("click", before="import signal; signal.signal(2, signal.SIG_IGN)")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["--help"], ["no-such-command"], ["status", "--help"]])
def test_ctrl_c_while_help_or_a_usage_error_is_printed_is_one_line(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(click.Command, "format_usage", interrupt)

    assert frame.main(arguments) == 130

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("stopped: modelyard")
    assert said.err.endswith(f"To go on: modelyard {' '.join(arguments)}\n")
    assert said.err.count("\n") == 1


def test_a_command_that_runs_hears_ctrl_c_as_before():
    program = (
        "import signal, sys\n"
        "from modelyard import cli\n"
        "from modelyard.__main__ import start\n"
        "cli.run = lambda: print(signal.getsignal(2) is signal.default_int_handler)\n"
        "start()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout == "True\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
