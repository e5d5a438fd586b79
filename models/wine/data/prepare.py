"""Write train.csv and heldout.csv beside this file, from the wine data that scikit-learn brings."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from sklearn.datasets import load_wine

CULTIVARS = {0: "barolo", 1: "grignolino", 2: "barbera"}
RENAMED = {"od280/od315_of_diluted_wines": "od280_od315", "target": "cultivar"}
EVERY = 3


def prepared() -> pd.DataFrame:
    """The 178 wines in the order of the source, which is sorted by cultivar."""
    wines: pd.DataFrame = load_wine(as_frame=True).frame
    return wines.replace({"target": CULTIVARS}).rename(columns=RENAMED)


def write(folder: Path) -> None:
    """Write both files: every third wine is held out, which keeps the shares of the cultivars.

    The same wines give the same bytes.
    """
    wines = prepared()
    held_out = wines.index % EVERY == 0
    for name, rows in (("train", wines[~held_out]), ("heldout", wines[held_out])):
        path = folder / f"{name}.csv"
        rows.to_csv(path, index=False, lineterminator="\n")
        print(f"{path}: {len(rows)} wines")


if __name__ == "__main__":
    write(Path(__file__).parent)
