"""The command line: the table of commands, and how errors become exit codes."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from modelyard.commands.options import Invocation
from modelyard.errors import EXIT_CODES, YardError, explain_disk_error

CRASHED = 1
"""Exit code of a crash, that of "could not answer": a crash must never look like a refusal."""

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the signal's number, as in a shell."""

_GIVEN = "modelyard.arguments"
"""The key of the arguments in the context of the program."""

QUIET = {"DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"}
"""Environment that libraries read on import: no telemetry, and no log line below a warning."""

PIPE_CLOSED = 141
"""Exit code when the reader of the output is gone: 128 and the number of SIGPIPE."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A command that is imported only when it is called.

    Args:
        target: `module:attribute` below `modelyard.commands`.
        help: Its line in `modelyard --help`.
        hidden: Whether only workflows and the tool itself call it.
    """

    target: str
    help: str
    hidden: bool = False


# Modules are text here: --help and completion import none of them.
COMMANDS: Mapping[str, Entry] = {
    "validate": Entry(target="validate:validate", help="Check every spec of the checkout."),
    "check-pull": Entry(target="validate:check_pull", help="Check what a pull request may change."),
    "schemas": Entry(target="schemas:schemas", help="Write the format reference."),
    "model": Entry(target="model:model", help="Propose a new model from its data."),
    "contract": Entry(target="model:contract", help="Compare a contract with a file of data."),
    "try": Entry(target="model:try_", help="Train what is in the checkout, and keep nothing."),
    "version": Entry(target="version:version", help="Add a version of a model, with its pins."),
    "runtime": Entry(target="runtime:runtime", help="Lock and list the runtimes of models."),
    "signature": Entry(
        target="signature:signature", help="Sign artifacts, and check their signatures."
    ),
    "render": Entry(target="render:render", help="Write the manifests of the releases."),
    "pr": Entry(target="pr:pr", help="List, show, approve and merge pull requests."),
    "status": Entry(target="status:status", help="Show which version runs where."),
    "site": Entry(target="status:site", help="Write pages of all of it for a browser."),
    "history": Entry(target="history:history", help="Show what happened, to all models or to one."),
    "gate": Entry(target="gate:gate", help="Compare a version with its champion."),
    "override": Entry(
        target="gate:override", help="Let a version pass an inconclusive gate, for a time."
    ),
    "record": Entry(target="record:record", help="Show the record of a version, or propose it."),
    "promote": Entry(target="promote:promote", help="Propose a version for an environment."),
    "rollback": Entry(target="rollback:rollback", help="Go back to the last verified release."),
    "hold": Entry(target="hold:hold", help="Stop automation from releasing a version."),
    "unhold": Entry(target="hold:unhold", help="Allow automation to release it again."),
    "freeze": Entry(target="freeze:freeze", help="Stop promotions into an environment."),
    "unfreeze": Entry(target="freeze:unfreeze", help="Allow promotions into it again."),
    "reconcile": Entry(target="reconcile:reconcile", help="Do whatever is missing."),
    "watch": Entry(target="watch:watch", help="Start servers, record facts, and reconcile."),
    "judge": Entry(target="judge:judge", help="Compare a canary with the stable release."),
    "feedback": Entry(target="judge:feedback", help="Join labels that arrived to logged rows."),
    "drift": Entry(target="drift:drift", help="Compare new data with the training data."),
    "retrain": Entry(target="retrain:retrain", help="Propose a version trained on newer data."),
    "serve": Entry(target="serve:serve", help="Serve a trained model over HTTP."),
    "replay": Entry(target="replay:replay", help="Send recorded rows to a model's servers."),
    "servers": Entry(target="servers:servers", help="List or stop local model servers."),
    "adopt": Entry(target="servers:adopt", help="Run the servers of an environment from here."),
    "init": Entry(target="init:init", help="Write a new yard, or set up its forge."),
    "upgrade": Entry(target="init:upgrade", help="Bring a yard to the version that runs."),
    "platform": Entry(target="init:platform", help="Say where bucket, image and database are."),
    "doctor": Entry(target="doctor:doctor", help="Check that everything needed is in place."),
    "gc": Entry(target="doctor:gc", help="Pack the repositories that have grown."),
    "chatops": Entry(target="chatops:chatops", help="Answer commands in comments.", hidden=True),
    "step": Entry(target="step:step", help="Run one step of a workflow.", hidden=True),
    "workflow": Entry(target="step:workflow", help="Run a rendered workflow.", hidden=True),
    "fetch-model": Entry(
        target="step:fetch_model", help="Fetch an artifact into a folder.", hidden=True
    ),
    "serve-judge": Entry(
        target="judge:serve_judge", help="Serve the judge over HTTP.", hidden=True
    ),
    "preload": Entry(
        target="preload:preload", help="Import libraries once, for many commands.", hidden=True
    ),
}
"""Every command, in the order of a version's path."""


def load_command(name: str) -> click.Command:
    """Import a command and return it."""
    from importlib import import_module

    module, attribute = COMMANDS[name].target.split(":")
    command: click.Command = getattr(import_module(f"modelyard.commands.{module}"), attribute)
    return command


class Commands(click.Group):
    """A group that imports only the command it runs, and turns errors into exit codes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, entry in COMMANDS.items():
            # A stand-in for help and completion; resolve_command imports the real one.
            self.add_command(click.Command(name, short_help=entry.help, hidden=entry.hidden))

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the commands in the order of the table; click would sort them."""
        return list(self.commands)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Read the arguments, or print the help; an interrupt is one line here as well."""
        given = tuple(args)  # click takes from the list what it has read
        try:
            return super().make_context(info_name, args, parent, **extra)
        except KeyboardInterrupt:
            _print_interruption(None, given)
            raise click.exceptions.Exit(INTERRUPTED) from None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the arguments as they were given: an interrupted command is named with them."""
        ctx.meta[_GIVEN] = tuple(args)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command to run, imported."""
        from modelyard.commands.output.logs import replace_last_resort

        name, found, rest = super().resolve_command(ctx, args)
        replace_last_resort()
        return name, found and load_command(found.name or ""), rest

    def invoke(self, ctx: click.Context) -> None:
        """Run the command; an error becomes a sentence on stderr and an exit code."""
        try:
            super().invoke(ctx)
        except YardError as error:
            _print_error(error.message, hint=error.hint)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            _stop_writing()
            ctx.exit(PIPE_CLOSED)
        except KeyboardInterrupt:
            _print_interruption(ctx.invoked_subcommand, ctx.meta[_GIVEN])
            ctx.exit(INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # noqa: BLE001 - a crash must not look like a refusal
            _report_crash(error, debug=isinstance(ctx.obj, Invocation) and ctx.obj.debug)
            ctx.exit(CRASHED)


@click.command(
    cls=Commands,
    # Every option can be set in the environment too, such as MODELYARD_ROOT.
    context_settings={"auto_envvar_prefix": "MODELYARD", "help_option_names": ["-h", "--help"]},
    epilog=f"Exit codes: {EXIT_CODES}.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    help="The checkout. [default: the nearest folder upwards with modelyard.yaml]",
)
@click.option("--color/--no-color", default=None, help="Force colour on or off.")
@click.option("-v", "--verbose", count=True, help="Log more to stderr; -vv logs everything.")
@click.option("--debug", is_flag=True, help="Show the traceback of a crash.")
@click.version_option(package_name="modelyard", message="%(prog)s %(version)s")
@click.pass_context
def cli(
    ctx: click.Context, /, root: Path | None, *, color: bool | None, verbose: int, debug: bool
) -> None:
    """Deliver machine-learning models from a Git repository.

    A version of a model is a file. Merged pull requests train it, gate it and move it through the
    environments. A release that does worse is rolled back.
    """
    # https://no-color.org: any value but an empty one. An option wins over it.
    ctx.color = False if color is None and os.environ.get("NO_COLOR") else color
    if ctx.obj is None:
        ctx.obj = Invocation(root=root, debug=debug)
    if verbose or debug:
        _log_to_stderr(debug=debug or verbose > 1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; no exception leaves it.

    Args:
        argv: The arguments after the program's name; None for those of this process.
    """
    for name, value in QUIET.items():
        # A person's own setting wins.
        os.environ.setdefault(name, value)
    arguments = list(sys.argv[1:] if argv is None else argv)
    _accept_every_character()
    try:
        return _run_and_report(arguments)
    except KeyboardInterrupt:  # while it said what was wrong, or while it wrote its last line
        _print_interruption(None, arguments)
        return INTERRUPTED


def _run_and_report(arguments: list[str]) -> int:
    try:
        # In standalone mode click would end the process with codes of its own.
        code = cli.main(args=list(arguments), prog_name="modelyard", standalone_mode=False)
        # A closed pipe must fail here, not when the interpreter ends.
        sys.stdout.flush()
    except click.ClickException as error:
        _print_usage(error)
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except BrokenPipeError:
        _stop_writing()
        return PIPE_CLOSED
    except SystemExit:  # click raises it when the reader of the help is gone
        return PIPE_CLOSED
    return code if isinstance(code, int) else 0


def run() -> NoReturn:
    """Run the command line of this process, and end it with the exit code."""
    from modelyard.adapters.processes.forked import is_fork, run_exit_handlers

    code = main()
    if is_fork():
        sys.exit(code)  # who forked it has more to do
    # While the interpreter takes itself apart, a thread of Arrow that still wants it aborts the
    # process: exit code 134 after a correct answer (apache/arrow#38352).
    run_exit_handlers()
    os._exit(code)


def _print_error(message: str, *, hint: str | None = None) -> None:
    from modelyard.commands.output.terminal import print_line
    from modelyard.domain.harmless_text import hide_passwords

    print_line(f"error: {hide_passwords(message)}", err=True)
    if hint is not None:
        print_line(f"hint: {hide_passwords(hint)}", err=True)


def _print_interruption(command: str | None, given: Sequence[str]) -> None:
    from modelyard.commands.output.interrupted import describe_interruption
    from modelyard.commands.output.terminal import print_line
    from modelyard.domain.harmless_text import hide_passwords

    if sys.stderr.isatty():
        print_line(err=True)  # after the ^C of the terminal
    print_line(hide_passwords(describe_interruption(command, given)), err=True)


def _print_usage(error: click.ClickException) -> None:
    """Print wrong usage as click does; the arguments may come from outside, as in CI."""
    from modelyard.commands.output.terminal import print_line, print_lines

    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        print_lines(f"{context.get_usage()}\n", err=True)
        print_lines(f"Try '{context.command_path} --help' for help.\n\n", err=True)
    print_line(f"Error: {error.format_message()}", err=True)


def _report_crash(crash: Exception, *, debug: bool) -> None:
    if debug:
        import traceback

        from modelyard.commands.output.terminal import print_lines
        from modelyard.domain.harmless_text import hide_passwords

        print_lines(hide_passwords("".join(traceback.format_exception(crash))), err=True)
    error = explain_disk_error(crash)
    if isinstance(error, YardError):
        _print_error(error.message, hint=error.hint)
        return
    # Some libraries raise with pages of text.
    first_line = str(error).partition("\n")[0]
    _print_error(
        f"unexpected {type(error).__name__}: {first_line}",
        hint="run it again with --debug to see where",
    )


def _accept_every_character() -> None:
    """Let stdout and stderr escape what their encoding lacks, rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _stop_writing() -> None:
    """Let the interpreter flush its last bytes to nowhere; at the closed pipe it would complain."""
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, not a file
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _log_to_stderr(*, debug: bool) -> None:
    import logging

    from modelyard.commands.output.logs import harmless_log

    handler = harmless_log("%(levelname)s %(name)s: %(message)s", level=logging.DEBUG)
    logger = logging.getLogger("modelyard")
    # Replaced, not added: main may run more than once in a process.
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
