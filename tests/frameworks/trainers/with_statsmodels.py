"""Generalized linear models, whose predictions MLflow asks for; statsmodels knows only pickles."""

from __future__ import annotations

import mlflow.statsmodels
import statsmodels.api as sm
from rows import LATE, MINUTES, REQUIREMENTS, SCORED, TRAIN, expect, place, signature

# Without the columns that may be null: it has no answer for such a row.
COLUMNS = ["minute", "dep_delay"]
TYPES = dict.fromkeys(COLUMNS, "double")
rows, scored = (frame[COLUMNS].astype("float64") for frame in (TRAIN, SCORED))

for task, target in (("binary", LATE), ("regression", MINUTES)):
    case = f"{task}-results"
    family = sm.families.Binomial() if task == "binary" else sm.families.Gaussian()
    model = sm.GLM(target, rows, family=family).fit()
    mlflow.statsmodels.save_model(model, place(case), signature=signature(TYPES), **REQUIREMENTS)
    expect(case, model.predict(scored))
