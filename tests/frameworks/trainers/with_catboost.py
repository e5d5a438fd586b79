"""Classes of CatBoost in cbm, of every task, with a column of text."""

from __future__ import annotations

import catboost
import mlflow.catboost
from rows import INPUTS, KIND, LATE, MINUTES, REQUIREMENTS, SCORED, TRAIN, expect, in_order, place

TARGETS = {"binary": LATE, "multiclass": KIND, "regression": MINUTES}
NO_CARRIER = {"carrier": ""}  # CatBoost takes no null for a category
SMALL = {
    "iterations": 8,
    "depth": 3,
    "cat_features": ["carrier"],
    "verbose": False,
    "thread_count": 1,
    "allow_writing_files": False,
}

for task, target in TARGETS.items():
    case = f"{task}-class"
    kind = catboost.CatBoostRegressor if task == "regression" else catboost.CatBoostClassifier
    model = kind(**SMALL).fit(TRAIN[INPUTS].fillna(NO_CARRIER), target)
    mlflow.catboost.save_model(model, place(case), **REQUIREMENTS)
    scored = SCORED[INPUTS].fillna(NO_CARRIER)
    answer = model.predict(scored) if task == "regression" else model.predict_proba(scored)
    expect(case, in_order(model.classes_, answer) if task == "multiclass" else answer)
