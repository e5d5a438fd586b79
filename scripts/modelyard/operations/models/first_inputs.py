"""The data, days and held-out set that a model without a version may be tried with."""

from __future__ import annotations

import shlex
from datetime import timedelta
from pathlib import Path

from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import model_folder


def suggest_first_inputs(root: Path, catalog: Catalog, model: str) -> str:
    """Return the options of a first training by what lies in the model's folder.

    Words in capitals are left for what nothing there tells.
    """
    held_out = [each for each in catalog.held_out_of(model) if not each.retired]
    first = held_out[0] if held_out else None
    data = _training_file(
        root, model, frozenset(pin.uri for each in held_out for pin in each.files)
    )
    words = ["--data", data or "URI"]
    if first is not None and first.window is not None:
        delay = timedelta(days=catalog.models[model].target.delay_days)
        words = ["--data", first.files[0].uri, "--since", "DAY"]
        words += ["--until", str(first.window.since - delay)]
    return shlex.join([*words, "--held-out", first.name if first else "NAME"])


def _training_file(root: Path, model: str, pinned: frozenset[str]) -> str | None:
    """The first file in the model's `data` that is held out by no set."""
    folder = root / model_folder(model) / "data"
    files = sorted(each for each in folder.glob("*") if each.is_file())
    names = (each.relative_to(root).as_posix() for each in files if each.suffix != ".py")
    return next((name for name in names if name not in pinned), None)
