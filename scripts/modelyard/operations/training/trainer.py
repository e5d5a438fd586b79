"""Runs the model's trainer closed in, and says which limit it exceeded or how it failed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from modelyard.adapters.isolation.confinement import WAYS, Reach
from modelyard.adapters.isolation.left_files import read_left_file
from modelyard.adapters.isolation.run import ClosedCommand, run_closed_in
from modelyard.adapters.isolation.task import Ended, Limits
from modelyard.adapters.runtimes.environments import Runtime
from modelyard.artifact_digest import artifact_files
from modelyard.domain.harmless_text import last_lines
from modelyard.domain.isolation import Isolation, Unisolated
from modelyard.domain.specs.model import UNIX_SOCKETS, Trainer
from modelyard.errors import Refused
from modelyard.operations.runtimes.closed_in import (
    MEGABYTE,
    STORAGE,
    find_pod_isolation,
    refuse_unisolated,
    runtime_folders,
)
from modelyard.operations.training.job import TRAINER, Job, count_threads

LAST_LINES = 12
_SHOWN = 5
LOG = "trainer.log"
KEPT = ("PATH", "LANG", "TZ", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
MEMORY = 4 * 2**30
"""Bytes in memory that a trainer may use where model.yaml gives no figure."""

MOST_FILES = 10_000
"""Files of an artifact: each is stored, signed and fetched by itself."""

_INPUTS = ("data", "params.json")
_CHANGED = ("out", "home", "tmp", "trainer")
_OUT_OF_MEMORY = 137  # killed, as the kernel does when memory is short
_CLOSED_IN = ("PermissionError", "Permission denied", "Read-only file system")


@dataclass(frozen=True, kw_only=True)
class TrainerOrder:
    """What is to be run.

    Args:
        trainer: What model.yaml says of it.
        seed: The version's seed.
        lock: SHA-256 of the lock that the version pins.
        isolation: In a pod: by which means it can be closed in, as found before it runs. Elsewhere
            a person starts it, and only the record says by which.
        unisolated: What follows in a pod that offers none.
    """

    trainer: Trainer
    seed: int
    lock: str
    isolation: Isolation | None = None
    unisolated: Unisolated = Unisolated.REFUSED


@dataclass(frozen=True, kw_only=True)
class Trained:
    """How a trainer ended.

    Args:
        ended: How its process did.
        killed: Whether the kernel killed a process for lack of memory meanwhile.
    """

    ended: Ended
    killed: bool


def order_of(job: Job, folder: Path) -> TrainerOrder:
    """The order to train the job's version; in the folder the means of a pod are tried."""
    return TrainerOrder(
        trainer=job.model.trainer,
        seed=job.spec.seed,
        lock=job.spec.runtime.lock,
        isolation=find_pod_isolation(folder),
        unisolated=job.unisolated,
    )


def run_trainer(
    order: TrainerOrder,
    inputs: Path,
    folder: Path,
    runtime: Runtime,
    *,
    ways: tuple[str, ...] = WAYS,
) -> Trained:
    """Run the trainer on its inputs; its model is in `out/model` of the folder afterwards.

    Args:
        order: What to run.
        inputs: Holds `data/` and `params.json`.
        folder: Holds `trainer/`, the only part of it that the trainer may change besides new ones.
        runtime: What it runs in.
        ways: The ways of closing it in to try.

    Raises:
        CannotAnswer: It could not be closed in.
    """
    refuse_unisolated(order.isolation, order.unisolated, what="the trainer")
    for name in _CHANGED:
        (folder / name).mkdir(exist_ok=True)
    kills = _count_kills()
    ended = run_closed_in(
        ClosedCommand(
            command=[
                *order.trainer.command,
                *("--data", str(inputs / "data"), "--params", str(inputs / "params.json")),
                *("--seed", str(order.seed), "--out", str(folder / "out")),
            ],
            cwd=folder / "trainer",
            environment=_environment(folder, runtime),
            log=folder / LOG,
            folder=folder / "supervisor",
            reach=reach_of(order.trainer, inputs, folder, runtime),
            limits=limits_of(order.trainer),
            python=runtime.other_python,
            ways=ways,
        )
    )
    return Trained(ended=ended, killed=_count_kills() > kills)


def check_trained(job: Job, trained: Trained, folder: Path) -> None:
    """Store how the trainer was closed in and what it printed, and refuse all but a model.

    Raises:
        Refused: It failed, exceeded a limit, or left something else than a model.
    """
    trainer, ended = job.model.trainer, trained.ended
    limits = limits_of(trainer)
    job.put_document(TRAINER, {"isolation": ended.isolation, "memory": ended.memory})
    # The folder means nothing to a reader.
    output = _read_log(folder / LOG, limits.log).replace(f"{folder}/", "")
    job.put_file(LOG, output.encode())
    if ended.exceeded is not None:
        raise job.refuse(f"the trainer {EXCEEDED[ended.exceeded](trainer, limits)}")
    if ended.exit_code == _OUT_OF_MEMORY and trained.killed:
        raise job.refuse(_out_of_memory(ended))
    if ended.exit_code != 0:
        last = last_lines(output, LAST_LINES) or "it had no output"
        hint = _CLOSED_IN_HINT if any(word in last for word in _CLOSED_IN) else None
        raise job.refuse(f"the trainer ended with exit code {ended.exit_code}: {last}", hint=hint)
    _refuse_unsealable(job, folder / "out" / "model")
    if not (folder / "out" / "model" / "MLmodel").is_file():
        raise job.refuse(
            f"the trainer left no MLflow model in out/model: {_describe_left(folder / 'out')}",
            hint="write the model to the folder `model` of what --out names",
        )


def _describe_left(out: Path) -> str:
    # The trainer may have put a link to another folder there.
    left = [] if out.is_symlink() else sorted(path.name for path in out.glob("*"))
    return f"it left {', '.join(left[:_SHOWN])} beside it" if left else "it left no file"


def limits_of(trainer: Trainer) -> Limits:
    """What the trainer may use."""
    memory, storage = trainer.resources.memory_bytes, trainer.resources.storage_bytes
    return Limits(
        seconds=trainer.timeout_seconds,
        memory=MEMORY if memory is None else memory,
        tasks=trainer.limits.processes,
        files=trainer.limits.open_files,
        space=STORAGE if storage is None else storage,
        log=trainer.limits.log_megabytes * MEGABYTE,
    )


def reach_of(trainer: Trainer, inputs: Path, folder: Path, runtime: Runtime) -> Reach:
    """What the trainer may reach: the runtime, its inputs, and folders of its own."""
    return Reach(
        readable=(*sorted(runtime_folders(runtime)), *(str(inputs / name) for name in _INPUTS)),
        writable=tuple(str(folder / name) for name in _CHANGED),
        ports=trainer.ports,
        local_sockets=UNIX_SOCKETS in trainer.egress,
    )


EXCEEDED: dict[str, Callable[[Trainer, Limits], str]] = {
    "seconds": lambda trainer, _: (
        f"was stopped after its limit of {trainer.timeout_seconds} s (trainer.timeout_seconds)"
    ),
    "memory": lambda _, limits: (
        f"ran out of memory: it used more than {limits.memory / 2**20:.0f} MiB; raise "
        "trainer.resources.memory in model.yaml, or let it need less"
    ),
    "tasks": lambda _, limits: (
        f"had more than {limits.tasks} processes and threads; raise trainer.limits.processes in "
        "model.yaml, or let it start fewer"
    ),
    "space": lambda _, limits: (
        f"wrote more than {limits.space / 2**20:.0f} MiB of files; raise "
        "trainer.resources.ephemeral_storage in model.yaml, or let it write less"
    ),
    "log": lambda _, limits: (
        f"printed more than {limits.log // MEGABYTE} MB; raise trainer.limits.log_megabytes in "
        "model.yaml, or let it print less"
    ),
}
"""What is said of a limit that was exceeded."""

_CLOSED_IN_HINT = (
    "the trainer is closed in: it reaches its inputs, --out, $HOME, $TMPDIR and the addresses of "
    "trainer.egress in model.yaml, and nothing else"
)


def _environment(folder: Path, runtime: Runtime) -> dict[str, str]:
    """The variables that a trainer needs to start: no credentials, proxies or platform settings."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    count = str(count_threads())
    return {
        **kept,
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "OMP_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "PYTHONHASHSEED": "0",  # the same seed must give the same model
        "PATH": f"{runtime.python.parent}{os.pathsep}{kept.get('PATH', os.defpath)}",
    }


def _out_of_memory(ended: Ended) -> str:
    used = f"{ended.memory / 2**20:.0f} MiB"
    return (
        f"the trainer ran out of memory: the kernel killed it when it used {used}; let it need "
        "less, or train on a machine with more"
    )


def _count_kills() -> int:
    """How often the kernel has killed for lack of memory since it started."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:  # not Linux
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _read_log(log: Path, most: int) -> str:
    try:
        return read_left_file(log, most).decode(errors="replace")
    except (OSError, ValueError):  # it printed nothing
        return ""


def _refuse_unsealable(job: Job, model: Path) -> None:
    """Refuse links, devices and what is too large or too much, before anything is opened or moved.

    Links may lead to others' files, and a file may be far larger than its bytes on disk.
    """
    if model.is_symlink():
        raise job.refuse("the trainer left a link as out/model; it must leave a folder")
    most = job.model.artifact.max_megabytes
    try:
        size = sum(_countable_sizes(model))
    except (Refused, OSError) as error:  # a path that no call of the system takes, or no rights
        raise job.refuse(str(error), folder=model.parent.parent) from error
    if size > most * MEGABYTE:
        raise job.refuse(
            f"the artifact has {size / MEGABYTE:.1f} MB, the limit is {most} MB",
            hint="raise artifact.max_megabytes in model.yaml, or leave less in out/model",
        )


def _countable_sizes(model: Path) -> Iterator[int]:
    """The size of each file.

    Raises:
        Refused: One is no file, or cannot be read, or there are too many.
    """
    files = artifact_files(model) if model.is_dir() else ()
    for number, (name, path) in enumerate(files, start=1):
        if number > MOST_FILES:
            raise Refused(f"artifact {model}: it has more than {MOST_FILES:,} files")
        if not os.access(path, os.R_OK):
            raise Refused(f"artifact {model}: {name} cannot be read by who trains")
        yield path.lstat().st_size
