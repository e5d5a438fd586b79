from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def preloaded_process(address: Path, modules: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that preloads these modules and forks; says `ready` first."""
    code = (
        "import sys; from pathlib import Path;"
        "from modelyard.adapters.processes.preloaded import serve_forks;"
        "serve_forks(Path(sys.argv[1]), sys.argv[2:], prepare=list,"
        " ready=lambda: print('ready', flush=True))"
    )
    command = [sys.executable, "-c", code, str(address), *modules]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield process
        process.stdin.close()
        assert process.wait(30) in {0, -signal.SIGKILL}
