"""What every trainer here does: reads rows, keeps models with the library's own answers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

FOLDER = Path(sys.argv[1])
INPUTS = ["carrier", "minute", "temp", "dep_delay", "holiday"]
NUMBERS = INPUTS[1:]
KINDS = ["soon", "early", "late"]  # not by the alphabet, as libraries sort them
TRAIN = pd.read_parquet(FOLDER / "train.parquet")
SCORED = pd.read_parquet(FOLDER / "scored.parquet")
_DELAY = TRAIN["arr_delay"]
LATE = (_DELAY > 15).astype(int).to_numpy()
KIND = np.select([_DELAY < 0, _DELAY > 15], ["early", "late"], "soon")
NUMBER_OF_KIND = np.array([KINDS.index(each) for each in KIND])
MINUTES = _DELAY.to_numpy()
REQUIREMENTS = {"pip_requirements": ["mlflow-skinny"]}


def place(case: str) -> Path:
    """Where the model of a case is saved."""
    (FOLDER / case).mkdir()
    return FOLDER / case / "model"


def expect(case: str, answer: object) -> None:
    """Keep what the library itself answers for the scored rows."""
    np.save(FOLDER / case / "expected.npy", np.asarray(answer, dtype=np.float64))


def in_order(classes: object, scores: object) -> np.ndarray:
    """The probabilities of classes with names, in the order of the output's classes."""
    return np.asarray(scores)[:, [list(classes).index(kind) for kind in KINDS]]


def categories(frame: pd.DataFrame) -> pd.DataFrame:
    """The inputs with the category of every carrier that was trained on."""
    kind = pd.CategoricalDtype(sorted(TRAIN["carrier"].dropna().unique()))
    return frame[INPUTS].astype({"carrier": kind})


def signature(types: dict[str, str]) -> object:
    """A signature of these columns."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    columns = [ColSpec(kind, name, required=False) for name, kind in types.items()]
    return ModelSignature(inputs=Schema(columns), outputs=Schema([ColSpec("double")]))
