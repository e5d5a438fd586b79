"""Boosters as text, and classes in the style of scikit-learn as skops, of every task."""

from __future__ import annotations

import lightgbm
import mlflow.lightgbm
from rows import (
    KIND,
    KINDS,
    LATE,
    MINUTES,
    NUMBER_OF_KIND,
    REQUIREMENTS,
    SCORED,
    TRAIN,
    categories,
    expect,
    in_order,
    place,
)

rows, scored = categories(TRAIN), categories(SCORED)
TARGETS = {"binary": LATE, "multiclass": NUMBER_OF_KIND, "regression": MINUTES}
OBJECTIVES = {
    "binary": {"objective": "binary"},
    "multiclass": {"objective": "multiclass", "num_class": len(KINDS)},
    "regression": {"objective": "regression"},
}
SMALL = {"num_leaves": 7, "verbose": -1, "num_threads": 1}

for task, target in TARGETS.items():
    case = f"{task}-booster"
    booster = lightgbm.train({**OBJECTIVES[task], **SMALL}, lightgbm.Dataset(rows, target), 8)
    mlflow.lightgbm.save_model(booster, place(case), **REQUIREMENTS)
    expect(case, booster.predict(scored))

    case = f"{task}-class"
    kind = lightgbm.LGBMRegressor if task == "regression" else lightgbm.LGBMClassifier
    named = KIND if task == "multiclass" else target
    model = kind(n_estimators=8, num_leaves=7, verbose=-1, n_jobs=1).fit(rows, named)
    mlflow.lightgbm.save_model(model, place(case), serialization_format="skops", **REQUIREMENTS)
    answer = model.predict(scored) if task == "regression" else model.predict_proba(scored)
    expect(case, in_order(model.classes_, answer) if task == "multiclass" else answer)
