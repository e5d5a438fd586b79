"""Programs that outlive the command that started them, ended later by what was written down."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from e2e.cluster.layout import Layout


@dataclass(frozen=True, kw_only=True)
class Program:
    """How to start one program again, exactly as it was started.

    `resolves` gives the program the cluster's DNS in place of the host's, as a pod would have.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: int = signal.SIGTERM
    resolves: bool = False


def start(layout: Layout, program: Program) -> None:
    """Start it in a session of its own and write down its process id and start time."""
    if running(layout, program.name):
        return
    layout.logs.mkdir(parents=True, exist_ok=True)
    argv = list(program.argv)
    if program.resolves:
        bind = f'mount --bind {layout.state}/resolv.conf /etc/resolv.conf && exec "$@"'
        argv = ["unshare", "--mount", "sh", "-c", bind, "sh", *argv]
    with (layout.logs / f"{program.name}.log").open("ab") as log:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**_environment(), **program.env},
            cwd="/",
            user=program.user,
            group=program.user,
            start_new_session=True,
        )
    record = asdict(program) | {
        "argv": list(program.argv),
        "pid": process.pid,
        "started": _started(process.pid),
        "order": time.time(),
    }
    path = _record_path(layout, program.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Programs start side by side, and each reads the records of all: never one half written.
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(record, indent=1))
    beside.replace(path)


def start_again(layout: Layout, name: str) -> None:
    """Start a stopped program as it was started before."""
    record = _records(layout).get(name)
    if record is None:
        raise SystemExit(f"{name} was never started; known: {', '.join(names(layout))}")
    known = Program.__dataclass_fields__
    start(layout, Program(**{key: value for key, value in record.items() if key in known}))


def stop(layout: Layout, name: str, *, seconds: float = 10, forget: bool = False) -> None:
    """End it by its id, politely at first; nothing happens when it is another process by now."""
    record = _records(layout).get(name)
    if record is None:
        return
    pid, deadline = record["pid"], time.monotonic() + seconds
    if running(layout, name):
        os.kill(pid, record["stop_signal"])
    while running(layout, name):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    if forget:
        _record_path(layout, name).unlink()


def names(layout: Layout) -> list[str]:
    """Every program that was started, in that order."""
    return sorted(records := _records(layout), key=lambda name: records[name]["order"])


def running(layout: Layout, name: str) -> bool:
    """Whether the process that was started is still there, and is that very process."""
    record = _records(layout).get(name)
    return record is not None and _started(record["pid"]) == record["started"]


def pid_of(layout: Layout, name: str) -> int | None:
    """The process id of a running program."""
    return _records(layout)[name]["pid"] if running(layout, name) else None


def _records(layout: Layout) -> dict[str, dict]:
    paths = _record_path(layout, "any").parent.glob("*.json")
    return {path.stem: json.loads(path.read_text()) for path in paths}


def _record_path(layout: Layout, name: str) -> Path:
    return layout.state / "processes" / f"{name}.json"


def _started(pid: int) -> str | None:
    """Boot id and start time in clock ticks; None for no process and for a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None if state == "Z" else f"{boot}/{fields[18]}"


def _environment() -> dict[str, str]:
    kept = ("LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": "/root"} | {k: os.environ[k] for k in kept if k in os.environ}
