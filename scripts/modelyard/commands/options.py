"""Options, context and printing that commands share."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from modelyard.domain.specs.paths import SETTINGS
from modelyard.errors import CannotAnswer

if TYPE_CHECKING:
    from modelyard.domain.specs.interval import Interval
    from modelyard.ports import Services

LAST_PORT = 65_535

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """The options before the command's name.

    Args:
        root: The checkout, or None to search for one.
        debug: Whether a crash shows its traceback.
    """

    root: Path | None = None
    debug: bool = False


output_option = click.option(
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Text for people, or JSON for programs.",
)


explain_option = click.option(
    "--explain", is_flag=True, help="One sentence, one table and one picture, as text."
)
picture_option = click.option(
    "--picture",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    metavar="FILE.svg",
    help="Also write the picture of --explain as SVG.",
)


def parse_address(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[str, int] | None:
    """Return `HOST:PORT` as a pair, as an option's callback; an IPv6 host is in brackets."""
    if value is None:
        return None
    # From the right: an IPv6 host has colons too.
    host, _, port = value.rpartition(":")
    # isdecimal alone accepts the digits of every script.
    if not host or not (port.isascii() and port.isdecimal()) or int(port) > LAST_PORT:
        raise click.BadParameter(f"{value!r} is not HOST:PORT, such as 127.0.0.1:8080", ctx, param)
    return host.strip("[]"), int(port)


def _name_of_somebody(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return the name, as an option's callback; it must show who it is."""
    from modelyard.domain.harmless_text import has_unsafe_characters
    from modelyard.domain.people import person_key

    if value is None:
        return None
    # Left out, it is git's user: nobody else may become that by leaving it blank.
    if not person_key(value):
        raise click.BadParameter("must not be blank", ctx, param)
    if has_unsafe_characters(value):
        raise click.BadParameter(f"{value!r} has characters that nobody sees", ctx, param)
    return value


as_option = click.option(
    "--as",
    "name",
    metavar="NAME",
    callback=_name_of_somebody,
    help="Who does this. [default: git's user.name]",
)

dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Print what would change; change nothing."
)


def _one_line(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Return the text as one harmless line, as an option's callback; it must not be blank."""
    from modelyard.adapters.git.names import safe_line

    # It is printed on the terminals of others.
    text = safe_line(value)
    if not text:
        raise click.BadParameter("must not be blank", ctx, param)
    return text


reason_option = click.option(
    "--reason", required=True, callback=_one_line, help="Why, for everyone who reads it later."
)


def moment(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """Return the time, as an option's callback."""
    from modelyard.domain.specs.times import parse_moment

    try:
        return parse_moment(value) if value is not None else None
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


class DayType(click.DateTime):
    """A day, as `2026-12-31`."""

    def __init__(self) -> None:
        super().__init__(["%Y-%m-%d"])

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the start of the day."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            raise click.BadParameter(
                f"{value!r} is no day: write it as 2026-12-31", ctx, param
            ) from error


_DAY = DayType()


def days_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--since` and `--until`, which give an interval; see `choose_window`."""
    until = click.option("--until", type=_DAY, metavar="DATE", help="The day after the last day.")
    since = click.option("--since", type=_DAY, metavar="DATE", help="The first day.")
    return since(until(function))


def training_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what a version trains on, and how."""
    for option in reversed(
        (
            click.option(
                "--parent", metavar="VERSION", help="Version that gives what is left out here."
            ),
            click.option(
                "--data", multiple=True, metavar="URI", help="Data file, or several with `*`."
            ),
            days_options,
            click.option(
                "--held-out", multiple=True, metavar="NAME", help="Held-out set to score it on."
            ),
            click.option(
                "--param", multiple=True, metavar="NAME=JSON", help="Parameter of the trainer."
            ),
            click.option(
                "--params",
                type=click.Path(path_type=Path, exists=True, dir_okay=False),
                metavar="FILE.json",
                help="All parameters, instead of the parent's.",
            ),
            click.option(
                "--seed",
                type=click.IntRange(0, 2**32 - 1),
                metavar="N",
                help="Seed of the training.",
            ),
        )
    ):
        function = option(function)
    return function


def choose_window(
    since: datetime | None, until: datetime | None, base: Interval | None
) -> Interval | None:
    """Return the interval of the options; an end that is not given is that of `base`."""
    from modelyard.domain.specs.interval import Interval

    first = since.date() if since else base.since if base else None
    last = until.date() if until else base.until if base else None
    if first is None and last is None:
        return None
    if first is None or last is None:
        raise click.UsageError("give both --since and --until: there is no parent with an interval")
    return Interval(since=first, until=last)


_JSON_OF_PYTHON = {"True": "true", "False": "false", "None": "null"}


def choose_parameters(
    base: Mapping[str, object], file: Path | None, each: Sequence[str]
) -> dict[str, object]:
    """Return the parent's parameters or the file's, and over them the single ones."""
    found = dict(base) if file is None else _read_object(file)
    for text in each:
        name, equals, value = text.partition("=")
        try:
            # JSON keeps 1, "1" and true apart.
            found[name] = _storable(json.loads(value))
        except (ValueError, RecursionError) as error:
            why = _explain_not_json(name or "NAME", value if equals else "text", error)
            raise click.UsageError(f"--param {text}: expected NAME=JSON{why}") from error
    return found


def _explain_not_json(name: str, value: str, error: Exception) -> str:
    """What to write instead; what the parser says is no help about a word."""
    if value in _JSON_OF_PYTHON:
        return f"; write {name}={_JSON_OF_PYTHON[value]}"
    is_word = isinstance(error, json.JSONDecodeError) and error.pos == 0
    text = shlex.quote(json.dumps(value, ensure_ascii=False))
    return f"{'' if is_word else f' ({error})'}; text needs quotes: {name}={text}"


def _storable(value: object) -> object:
    """Return the JSON value; `ValueError` for what no file can hold or no other reader reads."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)  # raises for 1e999 and NaN
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("a lone surrogate is no text") from error
    return value


def _read_object(file: Path) -> dict[str, object]:
    try:
        document = _storable(json.loads(file.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"--params {file}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise click.UsageError(f"--params {file}: expected a JSON object")
    return document


def pass_services(function: Callable[..., R]) -> Callable[..., R]:
    """Give the command `ports.Services` as its first argument, built from `modelyard.yaml`."""

    @wraps(function)
    def with_services(*args: Any, **kwargs: Any) -> R:
        return function(find_services(), *args, **kwargs)

    return with_services


def pass_root(function: Callable[..., R]) -> Callable[..., R]:
    """Give the command the root of the checkout as its first argument."""

    @wraps(function)
    def with_root(*args: Any, **kwargs: Any) -> R:
        return function(find_root(), *args, **kwargs)

    return with_root


def find_root() -> Path:
    """Return the checkout's root: `--root`, or the nearest folder upwards with `modelyard.yaml`.

    Raises:
        CannotAnswer: There is none.
    """
    from modelyard.ports import Services

    given = click.get_current_context().obj
    if isinstance(given, Services):
        # Tests pass the services themselves.
        return given.root
    if isinstance(given, Invocation) and given.root is not None:
        return _checked_root(given.root)
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / SETTINGS).is_file() or _had_settings(folder):
            return folder
    raise CannotAnswer(
        f"no {SETTINGS} in {here} or any folder above it",
        hint="change to a checkout, or use --root DIR",
    )


def find_person(services: Services, name: str | None) -> str:
    """Return the name given, or the one git knows this person by.

    Raises:
        CannotAnswer: There is none.
    """
    from modelyard.adapters.git.names import safe_line
    from modelyard.adapters.git.repository import Git

    known = safe_line(name or Git(services.root).user_name() or "")
    if not known:
        raise CannotAnswer(
            "your name is not known, and this is recorded under it",
            hint="git config user.name 'Your Name', or use --as NAME",
        )
    return known


def find_services() -> Services:
    """Return the adapters that `modelyard.yaml` of this checkout chooses."""
    from modelyard.ports import Services

    context = click.get_current_context()
    if not isinstance(context.obj, Services):
        from modelyard.operations.services import services_for

        # Kept in the context, so that one process has one set of adapters.
        context.obj = services_for(find_root())
    return context.obj


def _had_settings(folder: Path) -> bool:
    """Whether the folder is the root of a checkout, and a commit deleted its modelyard.yaml."""
    from modelyard.operations.services import committed_settings

    return (folder / ".git").exists() and committed_settings(folder) is not None


def _checked_root(folder: Path) -> Path:
    if not ((folder / SETTINGS).is_file() or _had_settings(folder)):
        raise CannotAnswer(f"{folder} has no {SETTINGS}", hint="--root is a checkout's top folder")
    return folder.resolve()
