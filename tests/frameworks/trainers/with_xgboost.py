"""Boosters and classes in the style of scikit-learn, of every task, with a column of text."""

from __future__ import annotations

import mlflow.xgboost
import xgboost
from rows import (
    KINDS,
    LATE,
    MINUTES,
    NUMBER_OF_KIND,
    REQUIREMENTS,
    SCORED,
    TRAIN,
    categories,
    expect,
    place,
    signature,
)

TYPES = {
    "carrier": "string",
    "minute": "long",
    "temp": "double",
    "dep_delay": "double",
    "holiday": "boolean",
}
rows, scored = categories(TRAIN), categories(SCORED)
TARGETS = {"binary": LATE, "multiclass": NUMBER_OF_KIND, "regression": MINUTES}
OBJECTIVES = {
    "binary": {"objective": "binary:logistic"},
    "multiclass": {"objective": "multi:softprob", "num_class": len(KINDS)},
    "regression": {"objective": "reg:squarederror"},
}

for task, target in TARGETS.items():
    made = xgboost.DMatrix(rows, target, enable_categorical=True)
    booster = xgboost.train({**OBJECTIVES[task], "max_depth": 3}, made, num_boost_round=8)
    case = f"{task}-booster"
    mlflow.xgboost.save_model(booster, place(case), signature=signature(TYPES), **REQUIREMENTS)
    expect(case, booster.predict(xgboost.DMatrix(scored, enable_categorical=True)))

    case = f"{task}-class"
    kind = xgboost.XGBRegressor if task == "regression" else xgboost.XGBClassifier
    model = kind(n_estimators=8, max_depth=3, enable_categorical=True).fit(rows, target)
    mlflow.xgboost.save_model(model, place(case), model_format="json", **REQUIREMENTS)
    expect(case, model.predict(scored) if task == "regression" else model.predict_proba(scored))
