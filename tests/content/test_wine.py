from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.trees import WorkingTree
from modelyard.adapters.specs.reader import read_valid_catalog
from modelyard.adapters.tables.frames import columns_of, with_labels
from modelyard.domain.specs.contract import find_breaches
from modelyard.domain.specs.model import Model

ROOT = Path(__file__).parents[2]
WINE = ROOT / "models" / "wine"
V1 = ["flavanoids", "color_intensity", "proline"]


def script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"wine_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model() -> Model:
    return read_valid_catalog(WorkingTree(ROOT), models=["wine"]).models["wine"]


@pytest.fixture(scope="module")
def rows() -> Mapping[str, pd.DataFrame]:
    return {name: pd.read_csv(WINE / "data" / f"{name}.csv") for name in ("train", "heldout")}


def test_the_same_source_gives_the_committed_bytes(tmp_path: Path):
    script(WINE / "data" / "prepare.py").write(tmp_path)
    for name in ("train.csv", "heldout.csv"):
        assert (tmp_path / name).read_bytes() == (WINE / "data" / name).read_bytes()


def test_every_wine_is_in_one_of_the_two_files(rows: Mapping[str, pd.DataFrame]):
    from sklearn.datasets import load_wine

    both = pd.concat(rows.values())
    assert sorted(both["proline"]) == sorted(load_wine().data[:, 12])
    counts = {name: each["cultivar"].value_counts().to_dict() for name, each in rows.items()}
    assert counts == {
        "train": {"barolo": 39, "grignolino": 47, "barbera": 32},
        "heldout": {"barolo": 20, "grignolino": 24, "barbera": 16},
    }


@pytest.mark.parametrize("name", ["train", "heldout"])
def test_the_rows_keep_the_contract(model: Model, rows: Mapping[str, pd.DataFrame], name: str):
    assert list(rows[name].columns) == [column.name for column in model.data.columns]
    assert find_breaches(model.data.columns, columns_of(rows[name])) == ()


def test_the_first_version_pins_what_is_here(model: Model):
    catalog = read_valid_catalog(WorkingTree(ROOT), models=["wine"])
    v1, held_out = catalog.versions["wine", "v1"], catalog.held_out["wine", "every-third"]
    pins = [*v1.data.files, *held_out.files]
    assert [pin.uri for pin in pins] == [
        "models/wine/data/train.csv",
        "models/wine/data/heldout.csv",
    ]
    for pin in pins:
        assert hashlib.sha256((ROOT / pin.uri).read_bytes()).hexdigest() == pin.sha256
    assert v1.code.tree == Git(ROOT).tree_hash("HEAD", "models/wine/trainer")
    assert v1.parameters == {"features": V1}


def trained(
    folder: Path, rows: pd.DataFrame, model: Model, parameters: object
) -> subprocess.CompletedProcess[str]:
    """The trainer's command on training rows, as the platform runs it."""
    with_labels(rows, model)[0].to_parquet(folder / "train.parquet", index=False)
    (folder / "params.json").write_text(json.dumps(parameters))
    return subprocess.run(
        [
            *(sys.executable, WINE / "trainer" / "train.py", "--data", folder),
            *("--params", folder / "params.json", "--seed", "0", "--out", folder / "out"),
        ],
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
def test_the_trainer_leaves_a_model_without_a_type_to_trust(
    tmp_path: Path, rows: Mapping[str, pd.DataFrame], model: Model, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.pyfunc
    import skops.io

    done = trained(tmp_path, rows["train"], model, {"features": V1})
    assert (done.returncode, done.stdout) == (
        0,
        "118 wines, 3 columns, classes barbera, barolo, grignolino\n",
    ), done.stderr

    folder = tmp_path / "out" / "model"
    assert skops.io.get_untrusted_types(file=folder / "model.skops") == []
    loaded = mlflow.pyfunc.load_model(str(folder))
    columns = [(column.name, column.type.name) for column in loaded.metadata.signature.inputs]
    assert columns == [(name, "double") for name in V1]
    classes = tuple(column.name for column in loaded.metadata.signature.outputs)
    assert classes == model.primary.classes
    predicted = loaded.predict(rows["heldout"][V1])
    right = predicted.argmax(axis=1) == rows["heldout"]["cultivar"].map(classes.index)
    assert (predicted.shape, right.sum()) == ((60, 3), 58)


@pytest.mark.long
def test_a_parameter_the_trainer_does_not_know_is_refused(
    tmp_path: Path, rows: Mapping[str, pd.DataFrame], model: Model
):
    done = trained(tmp_path, rows["train"], model, {"depth": 3})
    assert done.returncode == 2
    assert done.stderr.endswith("error: unknown parameter depth; known are c, features\n")
    assert not (tmp_path / "out").exists()


def test_the_readme_says_what_the_data_can_tell_apart(rows: Mapping[str, pd.DataFrame]):
    from sklearn.metrics import accuracy_score, log_loss

    train, held_out = rows["train"], rows["heldout"]
    classifier: Any = script(WINE / "trainer" / "train.py").classifier
    every = [name for name in train.columns if name != "cultivar"]

    def figures(features: list[str]) -> str:
        fitted = classifier(1.0, 0).fit(train[features], train["cultivar"])
        loss = log_loss(held_out["cultivar"], fitted.predict_proba(held_out[features]))
        right = accuracy_score(held_out["cultivar"], fitted.predict(held_out[features]))
        return f"| {loss:.3f} | {right:.0%} |".replace("0.", ".").replace("%", " %")

    text = (WINE / "README.md").read_text()
    for name, features in {
        "flavanoids, color_intensity, proline (v1)": V1,
        "all thirteen": every,
        "alcohol, color_intensity, hue": ["alcohol", "color_intensity", "hue"],
        "alcohol, ash": ["alcohol", "ash"],
    }.items():
        assert f"| {name} {figures(features)}" in text


def test_v1_pins_the_runtime_of_the_platform_as_it_is_now():
    # Nobody trained it yet, so its pin follows `make lock`.
    lock = hashlib.sha256((ROOT / "requirements-runtime.lock").read_bytes()).hexdigest()
    assert f"lock: {lock}\n" in (ROOT / "models/wine/versions/v1.yaml").read_text()
