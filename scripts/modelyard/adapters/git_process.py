"""How the git binary is started: what it is told, and what it may not inherit."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelyard.adapters.git_names import readable
from modelyard.errors import CannotAnswer

TIMEOUT_SECONDS = 300

# What a person may have configured and would change an answer; credentials stay as they are.
_CONFIG = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "i18n.commitEncoding": "UTF-8",
    "log.follow": "false",
    "log.showSignature": "false",
    "maintenance.auto": "false",
    # A file moved on main must be a conflict, not a guess about where the change belongs now.
    "merge.renames": "false",
    "push.followTags": "false",
    "push.gpgSign": "false",
    "push.recurseSubmodules": "no",
}
_OPTIONS = [word for name, value in _CONFIG.items() for word in ("-c", f"{name}={value}")]

# Set when git itself started us (a hook, an alias); they would point at another repository.
_INHERITED = {
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_EXTERNAL_DIFF",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_WORK_TREE",
}
_FIXED = {
    "LC_ALL": "C",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}

# All the ways client and server say "somebody was faster".
_LOST = re.compile(
    r"cannot lock ref|incorrect old value provided|fetch first|non-fast-forward|stale info"
    r"|failed to update ref|failed to lock|remote ref does not exist|reference already exists"
    r"|remote ref updated since checkout"
)
_NEVER_FITS = re.compile(r"exists; cannot create")


def run(
    root: Path,
    *args: str,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    accept: Sequence[int] = (0,),
) -> subprocess.CompletedProcess[bytes]:
    """Run one git command in `root`.

    Args:
        root: Where git starts looking for the repository.
        args: The command and its arguments; never a shell.
        stdin: What the command reads.
        env: Variables on top of the inherited ones.
        accept: Exit codes that are answers.

    Raises:
        CannotAnswer: git is missing, hangs, or ends with another exit code; with its own words.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in _INHERITED}
    try:
        done = subprocess.run(
            ["git", *_OPTIONS, *args],
            cwd=root,
            input=stdin,
            env={**inherited, **_FIXED, **(env or {})},
            capture_output=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
    except OSError as error:
        raise CannotAnswer(f"cannot start git in {root}: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise CannotAnswer(f"git {args[0]} in {root}: no end after {TIMEOUT_SECONDS} s") from error
    if done.returncode not in accept:
        raise CannotAnswer(f"git {args[0]} in {root}: {words(done)}")
    return done


def words(done: subprocess.CompletedProcess[bytes]) -> str:
    """What git said, without its advice, on one line and safe to print."""
    said = done.stderr.decode("utf-8", "replace").splitlines()
    said += [row for row in done.stdout.decode("utf-8", "replace").splitlines() if row[:1] == "!"]
    told = " ".join(row for row in said if not row.startswith(("hint:", "To ", "error: failed to")))
    return readable(told)[:1000] or f"exit code {done.returncode}"


def lost_the_race(pushed: subprocess.CompletedProcess[bytes]) -> bool:
    """Whether a `push --porcelain` that was to move every ref found that somebody else had."""
    # Up to date although it was to be moved: the writer who made the same commit won. Taking it
    # for ours would lose one of two equal increments.
    same = any(row.startswith(b"=\t") for row in pushed.stdout.splitlines())
    said = words(pushed)
    lost = _LOST.search(said) is not None and _NEVER_FITS.search(said) is None
    return same or (pushed.returncode != 0 and lost)
