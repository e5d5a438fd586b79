"""Runs the files of workflows/ and collects the Argo documents they describe."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from modelyard.errors import CannotAnswer


def rendered_workflows(
    folder: Path, *, image: str, models: tuple[str, ...]
) -> Mapping[str, dict[str, object]]:
    """The Argo documents of all workflows, by name.

    Each file whose name does not start with an underscore has a function
    `template(*, image, models)` that returns Hera's workflows.

    Args:
        folder: Where the files are; they may import each other.
        image: The image steps run in.
        models: Models that new data arrives for.

    Raises:
        CannotAnswer: There is no such function, or two documents have one name.
    """
    documents: dict[str, dict[str, object]] = {}
    for path in sorted(folder.glob("[!_]*.py")):
        with _importable(folder):
            template = runpy.run_path(str(path)).get("template")
            if template is None:
                message = f"workflows/{path.name} has no function template(*, image, models)"
                raise CannotAnswer(message, hint="start the name of a shared file with _")
            for workflow in template(image=image, models=models):
                if workflow.name in documents:
                    raise CannotAnswer(f"workflows/{path.name}: {workflow.name} is defined twice")
                documents[workflow.name] = workflow.to_dict()
    return documents


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let the files import each other, and unload them afterwards: the next folder has its own."""
    before, unwritten = set(sys.modules), sys.dont_write_bytecode
    # Python takes compiled code for that of the file if time (in seconds) and length are equal.
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = unwritten
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).parent == folder:
                del sys.modules[name]
