"""Runs `modelyard ARGS` in a runtime that has the toolkit's dependencies but not the toolkit.

It is started as a file. The toolkit is always this very one, not a copy that a runtime was built
with, and nothing else of the platform's packages can be imported from it.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path


def lend_toolkit() -> None:
    """Make the package `modelyard` importable from here, and nothing that is beside it."""
    package = Path(__file__).resolve().parents[2]
    spec = importlib.util.spec_from_file_location(
        "modelyard", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(str(package))
    module = importlib.util.module_from_spec(spec)
    sys.modules["modelyard"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    lend_toolkit()
    sys.argv[0] = "modelyard"
    runpy.run_module("modelyard", run_name="__main__")
