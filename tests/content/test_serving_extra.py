"""`modelyard[serving]` is all that a runtime of another framework has of what the toolkit needs."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

import pytest
from packaging.requirements import Requirement

from modelyard.operations.runtimes.lock import extra_requirements

BLOCK = """
import sys
class Present:
    def __init__(self, real):
        self.real = real
    def __getattr__(self, name):  # such as find_distributions
        return getattr(self.real, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else self.real.find_spec(name, path, target)
sys.meta_path[:] = [Present(each) for each in sys.meta_path]
"""


def brought_along(wishes: list[str]) -> set[str]:
    """The names of these distributions and of all that they need."""
    found: set[str] = set()
    pending = [(Requirement(wish).name, frozenset[str]()) for wish in wishes]
    seen: set[tuple[str, frozenset[str]]] = set()
    while pending:
        name, extras = pending.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found.add(re.sub(r"[-_.]+", "-", name).lower())
        try:
            needed = [Requirement(each) for each in requires(name) or ()]
        except PackageNotFoundError:  # of another platform
            continue
        for each in needed:
            marker = each.marker
            if marker is None or any(marker.evaluate({"extra": x}) for x in ("", *extras)):
                pending.append((each.name, frozenset(each.extras)))
    return found


GRPC = "modelyard.serving.grpc.listener, modelyard.serving.grpc.service"


@pytest.mark.slow
@pytest.mark.parametrize("extras", [("serving",), ("serving", "grpc")], ids=["http", "grpc"])
def test_scoring_and_serving_import_nothing_else(extras: tuple[str, ...]):
    there = brought_along([wish for extra in extras for wish in extra_requirements(extra)])
    assert "uvicorn" in there
    assert ("grpcio" in there) is ("grpc" in extras)
    assert not {"kserve", "scikit-learn", "skops", "mlflow", "sqlalchemy"} & there
    absent = {
        module
        for module, owners in packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} & {*there, "modelyard"}
    }
    code = (
        f"ABSENT = {absent!r}\n{BLOCK}\n"
        "import modelyard.cli as cli\n"
        "for name in ('serve', 'runtime'): cli.load_command(name)\n"
        "import modelyard.serving.scoring, modelyard.serving.predictor, mlflow.pyfunc\n"
        "import modelyard.adapters.cluster.claim, modelyard.adapters.runtimes.find\n"
        "import modelyard.serving.server\n"
        + (f"import {GRPC}\n" if "grpc" in extras else "assert 'grpc' not in sys.modules\n")
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
