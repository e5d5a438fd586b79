"""Starts the git binary: its options, its environment and its time limits."""

from __future__ import annotations

import logging
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from modelyard.adapters.git.names import safe_line
from modelyard.adapters.git.sign_in import credentials_of
from modelyard.adapters.processes.silence_limit import (
    Patience,
    TooSilent,
    run_with_silence_limit,
)
from modelyard.domain.harmless_text import hide_passwords
from modelyard.errors import CannotAnswer, DiskFault, NoRoom

logger = logging.getLogger(__name__)

# Only a file system that hangs makes a local command take minutes.
LOCAL_SECONDS = 300.0

NETWORK_SECONDS = {"ls-remote": 20.0, "push": 60.0, "fetch": 120.0}
"""Limits of commands that wait for a remote: a rollback waits for them.

A fetch may be large, so its limit is the longest time in which it prints no progress.
"""

MOST_SILENCES = 8
"""How many times as long a first fetch may take in whole: one of 41,000 refs takes minutes."""

FETCH_KEY = "modelyard.fetchSeconds"
"""The key of Git's configuration by which one checkout gives a fetch more than that."""

_PACKING_SECONDS = 30.0
"""Limit of `git maintenance`: a rollback may wait for it."""

_COMPACTING_SECONDS = 3600.0
"""Limit of what `modelyard gc` waits for: a person or a timer started it."""

SILENT_SECONDS = 15
"""How long HTTP may be silent."""

_LONG_SECONDS = {
    "maintenance": _PACKING_SECONDS,
    "repack": _COMPACTING_SECONDS,
    "commit-graph": _COMPACTING_SECONDS,
}

# git removes its lock files on SIGTERM; that takes milliseconds.
_SECONDS_TO_END = 2.0

# Settings of a person that would change an answer; credentials are left alone.
_CONFIG = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": str(SILENT_SECONDS),
    "i18n.commitEncoding": "UTF-8",
    "log.follow": "false",
    "log.showSignature": "false",
    "maintenance.auto": "false",
    # A file moved on main must be a conflict, not a guess about where the change belongs now.
    "merge.renames": "false",
    "push.followTags": "false",
    "push.gpgSign": "false",
    "push.recurseSubmodules": "no",
    # Else `git grep --untracked` is refused.
    "submodule.recurse": "false",
}
_OPTIONS = [word for name, value in _CONFIG.items() for word in ("-c", f"{name}={value}")]

# Git sets these when it started us (a hook, an alias); they would point at another repository.
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

# All the ways in which client and server report that another writer was faster.
_LOST = re.compile(
    r"cannot lock ref|incorrect old value provided|fetch first|non-fast-forward|stale info"
    r"|failed to update ref|failed to lock|remote ref does not exist|reference already exists"
    r"|remote ref updated since checkout"
)
_LOCK = re.compile(r"Unable to create '(?P<path>[^']+\.lock)': File exists")
_TOO_SLOW = re.compile(r"Operation too slow|Operation timed out|Connection timed out")
# A ref below another ref (`a` and `a/b`), or a rule of the remote's: no retry helps.
_NEVER_FITS = re.compile(r"exists; cannot create|\[remote rejected\] \(non-fast-forward\)")
# A row of `push --porcelain` about a ref that the remote itself did not move.
_REJECTED = re.compile(r"^!\t.*\[remote rejected\]", re.MULTILINE)


class NoAnswer(CannotAnswer):
    """The remote was silent for too long; an immediate retry would only wait again."""


class Rejected(CannotAnswer):
    """The remote answered and moves a ref for nobody: a name is occupied, or a rule forbids it."""


def run_git(
    root: Path,
    *args: str,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    accept: Sequence[int] = (0,),
    is_again: bool = False,
) -> subprocess.CompletedProcess[bytes]:
    """Run one git command in `root`.

    Args:
        root: The repository, or a folder in it.
        args: The command and its arguments; never a shell.
        stdin: What the command reads.
        env: Variables on top of the inherited ones.
        accept: Exit codes that are answers.
        is_again: Whether a fetch brings only what came since another one.

    Raises:
        CannotAnswer: git is missing, hangs, or ends with another exit code; with its own message.
    """
    command, whole = git_command(*args), {**git_environment(), **(env or {})}
    seconds = {**NETWORK_SECONDS, **_LONG_SECONDS}.get(args[0], LOCAL_SECONDS)
    if args[0] in NETWORK_SECONDS:
        whole |= credentials_of(root, whole)
    try:
        if args[0] == "fetch":
            silences = 1 if is_again else MOST_SILENCES
            done = _run_fetch(command, root, whole, seconds, silences)
        else:
            done = _run_to_end(command, root, whole, stdin, seconds)
    except OSError as error:
        raise CannotAnswer(f"cannot start git in {root}: {error}") from error
    except TooSilent as error:
        raise _silent(root, args, error) from error
    except subprocess.TimeoutExpired as error:
        raise no_end(root, args, seconds) from error
    if done.returncode not in accept:
        raise git_failure(f"git {args[0]} in {root}", args, done)
    return done


def git_command(*args: str) -> list[str]:
    """The words of a git command that no setting of a person changes."""
    return ["git", *_OPTIONS, *args]


def git_environment() -> dict[str, str]:
    """All environment variables of a git command."""
    inherited = {name: value for name, value in os.environ.items() if name not in _INHERITED}
    return {**inherited, **_FIXED}


def no_end(root: Path, args: Sequence[str], seconds: float) -> NoAnswer:
    """The error that reports a git command which took too long."""
    asked = safe_line(" ".join(args))[:200]
    return NoAnswer(f"git {asked} in {root}: no end after {seconds:g} s", hint=_hint(args))


def _silent(root: Path, args: Sequence[str], error: TooSilent) -> NoAnswer:
    """The error for a fetch that met a limit."""
    asked = safe_line(" ".join(args))[:200]
    more = f"a slow one gets more time by: git config {FETCH_KEY} {2 * error.limit:g}"
    return NoAnswer(
        f"git {asked} in {root}: {error.what} ({FETCH_KEY})", hint=f"{_hint(args)}; {more}"
    )


def git_failure(
    what: str, args: Sequence[str], done: subprocess.CompletedProcess[bytes]
) -> CannotAnswer:
    """The error that reports a failed git command."""
    message = git_message(done)
    # First: a remote without room rejects a push, too.
    if any(sign in message for sign in _NO_ROOM):
        return NoRoom(f"{what}: {message}", hint=_MAKE_ROOM)
    if _READ_ONLY in message:
        return DiskFault(
            f"{what}: {message}", hint="mount it to be written again, and run it again"
        )
    if lock := lock_in_the_way(message):
        return CannotAnswer(f"{what}: {message}", hint=hint_of_lock(lock))
    if args[0] == "push" and _REJECTED.search(done.stdout.decode("utf-8", "replace")):
        return Rejected(f"{what}: {message}", hint=_HINT_OF_REJECTED)
    is_slow = args[0] in NETWORK_SECONDS and _TOO_SLOW.search(message)
    kind = NoAnswer if is_slow else CannotAnswer
    return kind(f"{what}: {message}", hint=_hint_of_no_remote(message) or _hint(args))


_MAKE_ROOM = "make room on that disk, and run it again: nothing is half done"
_NO_ROOM = (
    "No space left on device",
    "Out of diskspace",  # in the words of fast-import
    "Disk quota exceeded",
)
_READ_ONLY = "Read-only file system"


def lock_in_the_way(message: str) -> str | None:
    """The lock file that kept git from its work, which a killed git may have left."""
    found = _LOCK.search(message)
    return found["path"] if found else None


def hint_of_lock(lock: str) -> str:
    """What a person does about a lock that a killed git may have left: it stays for ever."""
    return f"if no git is at work there, a killed one left it: rm {lock}"


_HINT_OF_REJECTED = (
    "modelyard doctor names branches that stand in the way; else a hook or a protection rule of "
    "the remote refuses it"
)


# A name, and no path or address: git knows no remote of this name, and took it for a folder.
_NO_REMOTE = re.compile(r"'(?P<name>[^'/:\\]+)' does not appear to be a git repository")


def _hint_of_no_remote(message: str) -> str | None:
    """What a person does in a checkout without the remote that modelyard.yaml names."""
    found = _NO_REMOTE.search(message)
    if not found:
        return None
    name = found["name"]
    return (
        f"this checkout has no remote {name}; with a forge: git remote add {name} URL; without "
        f"one, a folder is enough: git init --bare -b main ../forge.git && "
        f"git remote add {name} ../forge.git && git push {name} main"
    )


def _hint(args: Sequence[str]) -> str | None:
    if args[0] not in NETWORK_SECONDS:
        return None
    remote = args[args.index("--") + 1]
    return f"check that the remote answers and accepts your credentials: git ls-remote {remote}"


def _run_to_end(
    command: Sequence[str], root: Path, env: Mapping[str, str], stdin: bytes, seconds: float
) -> subprocess.CompletedProcess[bytes]:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=root, env=env, stdin=pipe, stdout=pipe, stderr=pipe
    ) as process:
        try:
            out, err = process.communicate(stdin, timeout=seconds)
        except BaseException:
            end_git(process)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _run_fetch(
    command: Sequence[str], root: Path, env: Mapping[str, str], seconds: float, silences: int
) -> subprocess.CompletedProcess[bytes]:
    """Run a fetch as long as it prints progress: the first one of a fleet brings 40,000 refs."""

    def more() -> float | None:
        try:
            asked = run_git(root, "config", "--type=int", "--get", FETCH_KEY, accept=(0, 1)).stdout
        except CannotAnswer as error:  # the fetch still ends with what its remote did not do
            logger.warning("%s is not used: %s", FETCH_KEY, error.message)
            return None
        return float(asked) if asked.strip() else None

    patience = Patience(seconds, silences, more)
    return run_with_silence_limit(command, root, env, patience=patience, end=end_git)


def end_git(process: subprocess.Popen[bytes]) -> None:
    """End a git that takes too long, and what it started to reach the remote."""
    try:
        # Imported here: nearly every command runs git, and nearly none has to end one.
        from modelyard.adapters.processes.process_table import end_tree

        with suppress(OSError):  # git alone is killed where its children cannot be listed
            end_tree(process.pid, grace_seconds=_SECONDS_TO_END)
    finally:
        process.kill()


def git_message(done: subprocess.CompletedProcess[bytes]) -> str:
    """Git's message without its advice, on one line and safe to print."""
    rows = done.stderr.decode("utf-8", "replace").splitlines()
    rows += [row for row in done.stdout.decode("utf-8", "replace").splitlines() if row[:1] == "!"]
    text = " ".join(row for row in rows if not row.startswith(("hint:", "To ", "error: failed to")))
    return hide_passwords(safe_line(text))[:1000] or f"exit code {done.returncode}"


def lost_the_race(pushed: subprocess.CompletedProcess[bytes]) -> bool:
    """Whether a `push --porcelain` failed because another writer had moved a ref."""
    # A ref that is up to date although it should move: another writer made the same commit. To
    # take it for ours would lose one of two equal increments.
    same = any(row.startswith(b"=\t") for row in pushed.stdout.splitlines())
    message = git_message(pushed)
    lost = _LOST.search(message) is not None and _NEVER_FITS.search(message) is None
    return same or (pushed.returncode != 0 and lost)
