"""Opens a model that skops has written, without MLflow and without skops' long search."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

_SEARCHED = ("numpy", "scipy.special")


def import_skops() -> Any:
    """`skops.io`, imported in half the time.

    On its import it looks for the home of each function of NumPy and SciPy, in all modules and in
    the order of their import. So the modules of these two come first, in the order they had: what
    it finds stays the same.
    """
    if "skops.io" not in sys.modules and threading.active_count() == 1:
        import scipy.special  # noqa: F401, PLC0415 - a server of another format needs none of it

        for name in [each for each in sys.modules if not each.startswith(_SEARCHED)]:
            sys.modules[name] = sys.modules.pop(name)
    import skops.io  # noqa: PLC0415 - as above

    return skops.io


def import_skops_early() -> None:
    """Import it before anything else does, where the runtime has it.

    A model's own runtime has what its lock names: a model of another format needs no skops.
    """
    if find_spec("skops") is not None:
        import_skops()


def load_skops(file: str, trusted: Sequence[str]) -> Any:
    """The object in a file, of the types that skops trusts by itself and these.

    Raises:
        Exception: Whatever skops raises for a file that it cannot read.
    """
    return import_skops().load(file, trusted=list(trusted))
