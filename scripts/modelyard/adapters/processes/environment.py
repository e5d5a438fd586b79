"""The variables of a process that opens a model: what it needs to start, and no credentials."""

from __future__ import annotations

import os

from modelyard.adapters.processes.fork_client import PRELOADED
from modelyard.adapters.processes.preloaded import READ_ONCE

_KEPT = frozenset(
    {
        *("PATH", "HOME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_LOGGING_LEVEL"),
        *(PRELOADED, "MODELYARD_IMAGE", "MODELYARD_RUNTIME", "MODELYARD_RUNTIMES"),
    }
)
_PREFIXES = (*READ_ONCE, "LC_", "MODELYARD_SERVE_", "CUDA_", "NVIDIA_")

_OF_INTERPRETERS = ("PYTHON", "LD_")
"""Some of these bring code: `PYTHONPATH`, `PYTHONHOME`, `LD_PRELOAD`, and others to come."""

_HARMLESS = frozenset(
    {
        *("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONHASHSEED", "PYTHONFAULTHANDLER"),
        *("PYTHONUTF8", "PYTHONIOENCODING", "PYTHONCOERCECLOCALE", "PYTHONNOUSERSITE"),
        *("PYTHONMALLOC", "PYTHONTRACEMALLOC", "LD_LIBRARY_PATH"),
    }
)


def bare_environment() -> dict[str, str]:
    """This process's variables without those that it does not need to open and serve a model.

    A model may run code when it is opened, and whoever reaches a server may make it do things: the
    forge's token, keys of the store and of notifications have no business there. Nor has code that
    a variable names: what runs there is what a lock pins.
    """
    return {
        name: value
        for name, value in bare_of_secrets().items()
        if name in _HARMLESS or not name.startswith(_OF_INTERPRETERS)
    }


def bare_of_secrets() -> dict[str, str]:
    """The same with the variables that bring code, for a process that only forks others."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or name.startswith(_PREFIXES)
    }
