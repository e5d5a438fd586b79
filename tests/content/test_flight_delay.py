from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from operations.real_flights import prepared_flights

MODEL = Path(__file__).parents[2] / "models" / "flight-delay"
TRAINER = MODEL / "trainer" / "train.py"
SCHEDULE = ["carrier", "origin", "distance", "minute"]
WEATHER = ["precip", "visib", "wind_speed", "temp"]
FEATURES = ["carrier", "origin", "dest", "distance", "minute", "weekday", *WEATHER]
MONOTONE = {"precip": 1, "visib": -1, "wind_speed": 1, "temp": -1}
PARAMETERS = {"features": FEATURES, "max_iter": 20, "monotone": MONOTONE}
MONTHS = [f"2013-{month:02}.parquet" for month in range(1, 13)]


def script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"flight_delay_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", autouse=True)
def no_telemetry() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        yield


@pytest.fixture(scope="module")
def prepare() -> ModuleType:
    return script(MODEL / "data" / "prepare.py")


@pytest.fixture(scope="module")
def train() -> ModuleType:
    return script(TRAINER)


@pytest.fixture(scope="module")
def months() -> Path:
    return prepared_flights()


def labelled(months: Path, *names: str) -> pd.DataFrame:
    rows = pd.concat([pd.read_parquet(months / f"{name}.parquet") for name in names])
    rows = rows[rows["arr_delay"].notna()]
    return rows.assign(label=(rows["arr_delay"] > 15).astype("int64")).drop(columns="arr_delay")


@pytest.fixture(scope="module")
def sample(months: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of 5,000 rows spread over January to March."""
    folder = tmp_path_factory.mktemp("sample")
    rows = labelled(months, "2013-01", "2013-02", "2013-03")
    rows.iloc[:: len(rows) // 5000][:5000].to_parquet(folder / "train.parquet", index=False)
    return folder


Training = Callable[..., int]


@pytest.fixture
def training(train: ModuleType, sample: Path, tmp_path: Path) -> Training:
    """Train in this process: `training("out", seed=1)`; the code that `train.py` exits with."""

    def run(
        out: str = "out",
        *,
        parameters: object = PARAMETERS,
        seed: int = 0,
        data: Path = sample,
    ) -> int:
        params = tmp_path / "params.json"
        params.write_text(json.dumps(parameters))
        line = ["--data", data, "--params", params, "--seed", seed, "--out", tmp_path / out]
        code: int = train.main([str(word) for word in line])
        return code

    return run


@pytest.fixture(scope="module")
def trained(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the trainer's command leaves when it is run as the platform runs it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "home").mkdir()
    (folder / "cwd").mkdir()
    (folder / "params.json").write_text(json.dumps(PARAMETERS))
    line = ["--data", sample, "--params", folder / "params.json", "--out", folder / "out"]
    finished = subprocess.run(
        [sys.executable, TRAINER, *line, "--seed", "0"],
        env={"PATH": os.environ["PATH"], "HOME": str(folder / "home")},
        cwd=folder / "cwd",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    return folder


def late(folder: Path, rows: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    import mlflow.pyfunc

    predictions = mlflow.pyfunc.load_model(str(folder)).predict(rows[FEATURES])
    assert predictions.shape == (len(rows), 2)
    assert predictions.dtype == np.float64
    np.testing.assert_allclose(predictions.sum(axis=1), 1)
    return np.asarray(predictions[:, 1])


@pytest.mark.long
def test_the_same_source_gives_the_same_bytes_twice(
    prepare: ModuleType, months: Path, tmp_path: Path
):
    assert prepare.main([str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == MONTHS
    for name in MONTHS:
        assert (tmp_path / name).read_bytes() == (months / name).read_bytes()


@pytest.mark.slow
def test_keeps_every_scheduled_flight_of_the_year_in_schedule_order(months: Path):
    rows = pd.concat([pd.read_parquet(months / name) for name in MONTHS], ignore_index=True)
    assert {name: str(kind) for name, kind in rows.dtypes.items()} == {
        **dict.fromkeys(["date", "carrier", "origin", "dest"], "object"),
        **dict.fromkeys(["distance", "minute", "weekday", *WEATHER], "float64"),
        **dict.fromkeys(["dep_delay", "arr_delay"], "float64"),
    }
    assert len(rows) == 336_776
    assert int(rows["arr_delay"].isna().sum()) == 9_430
    assert int(rows["temp"].isna().sum()) == 1_573
    order = rows[["date", "minute"]]
    pd.testing.assert_frame_equal(order, order.sort_values(["date", "minute"], kind="stable"))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "mend"),
    [
        ("unit", lambda july: july.assign(visib=july["visib"] / 1609.344)),
        ("name", lambda july: july.rename(columns={"precip_mm": "precip"})),
    ],
)
def test_a_broken_july_is_july_but_for_the_damage(
    prepare: ModuleType,
    months: Path,
    tmp_path: Path,
    damage: str,
    mend: Callable[[pd.DataFrame], pd.DataFrame],
):
    assert prepare.main([str(tmp_path), "--break", damage]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["2013-07.parquet"]
    sound, broken = (pd.read_parquet(folder / "2013-07.parquet") for folder in (months, tmp_path))
    assert not broken.equals(sound)
    pd.testing.assert_frame_equal(mend(broken), sound)


@pytest.mark.long
def test_the_command_needs_no_more_than_path_and_home_and_leaves_only_the_model(trained: Path):
    assert sorted(path.name for path in (trained / "out").iterdir()) == ["model"]
    assert list((trained / "home").iterdir()) == []
    assert list((trained / "cwd").iterdir()) == []


@pytest.mark.long
def test_the_signature_names_the_features_in_order_and_the_two_probabilities(trained: Path):
    from mlflow.models import get_model_info

    signature = get_model_info(str(trained / "out" / "model")).signature
    assert [(column.name, column.type.name) for column in signature.inputs] == [
        ("carrier", "string"),
        ("origin", "string"),
        ("dest", "string"),
        *((name, "double") for name in ["distance", "minute", "weekday", *WEATHER]),
    ]
    assert [(column.name, column.type.name) for column in signature.outputs] == [
        ("on_time", "double"),
        ("late", "double"),
    ]


@pytest.mark.long
def test_the_model_folder_holds_no_pickle_and_no_type_to_trust(trained: Path):
    import skops.io

    folder = trained / "out" / "model"
    assert sorted(path.name for path in folder.iterdir()) == [
        "MLmodel",
        "conda.yaml",
        "model.skops",
        "python_env.yaml",
        "requirements.txt",
    ]
    assert skops.io.get_untrusted_types(file=folder / "model.skops") == []
    with zipfile.ZipFile(folder / "model.skops") as archive:
        names = sorted(archive.namelist())
        for name in names[:-1]:
            assert name.endswith(".npy")
            np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
    assert names[-1] == "schema.json"


@pytest.mark.long
def test_null_and_unknown_values_are_predicted_with_and_never_crash(trained: Path, sample: Path):
    rows = pd.read_parquet(sample / "train.parquet").head(40)
    usual = late(trained / "out" / "model", rows)
    assert usual.std() > 0
    changes = [rows.assign(**{name: "??"}) for name in ("carrier", "origin", "dest")]
    changes += [rows.assign(**{name: None}) for name in ("carrier", "origin", "dest")]
    changes += [rows.assign(**{name: np.nan}) for name in FEATURES[3:]]
    changes.append(
        rows.assign(**dict.fromkeys(FEATURES[:3]), **dict.fromkeys(FEATURES[3:], np.nan))
    )
    for changed in changes:
        predicted = late(trained / "out" / "model", changed)
        assert ((predicted > 0) & (predicted < 1)).all()
    assert predicted.std() == 0


@pytest.mark.long
@pytest.mark.slow
def test_more_of_a_monotone_feature_never_turns_the_prediction_the_other_way(
    trained: Path, sample: Path
):
    row = pd.read_parquet(sample / "train.parquet").head(1)
    for name, direction in MONOTONE.items():
        grid = row.loc[row.index.repeat(200)].assign(**{name: np.linspace(-5, 110, 200)})
        steps = np.diff(late(trained / "out" / "model", grid)) * direction
        assert steps.min() >= 0
        assert steps.max() > 0


@pytest.mark.long
def test_a_seed_fixes_the_model_and_another_seed_gives_another(
    training: Training, sample: Path, tmp_path: Path
):
    rows = pd.read_parquet(sample / "train.parquet").head(200)
    assert [training("a"), training("b"), training("c", seed=1)] == [0, 0, 0]
    first, again, other = (late(tmp_path / name / "model", rows) for name in "abc")
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


@pytest.mark.slow
@pytest.mark.parametrize(
    "parameters",
    [
        {"features": ["carrier", "dest"], "max_iter": 2},
        {"features": ["minute", "dep_delay"], "max_iter": 2, "learning_rate": 1},
    ],
    ids=["only categories", "only numbers"],
)
def test_features_of_one_kind_are_enough(training: Training, parameters: object):
    assert training(parameters=parameters) == 0


@pytest.mark.long
def test_the_versions_differ_on_april_by_as_much_as_the_readme_says(
    train: ModuleType, months: Path
):
    from sklearn.metrics import roc_auc_score
    from threadpoolctl import threadpool_limits

    winter = labelled(months, "2013-01", "2013-02", "2013-03")
    april = labelled(months, "2013-04")

    def auc(parameters: object, **columns: float) -> float:
        chosen = train.parameters(json.dumps(parameters))
        names = list(chosen.features)
        with threadpool_limits(limits=1):  # as the trainer, and for its reasons
            model = train.classifier(chosen, 0).fit(winter[names], winter["label"])
            scores = model.predict_proba(april.assign(**columns)[names])[:, 1]
        return float(roc_auc_score(april["label"], scores))

    full = {"features": FEATURES, "monotone": MONOTONE}
    late_column = {**full, "features": [*FEATURES, "dep_delay"]}
    small = {"features": ["carrier", "dest", "minute"], "max_iter": 15, "max_leaf_nodes": 3}
    assert auc({"features": SCHEDULE}) == pytest.approx(0.642, abs=0.002)
    assert auc(full) == pytest.approx(0.668, abs=0.002)
    assert auc(small) == pytest.approx(0.620, abs=0.002)
    assert auc(late_column) == pytest.approx(0.893, abs=0.002)
    assert auc(late_column, dep_delay=np.nan) == pytest.approx(0.574, abs=0.004)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            '{"features": ["minute"], "max_itr": 5}',
            "unknown parameter 'max_itr'; known are features, l2_regularization, learning_rate, "
            "max_iter, max_leaf_nodes, min_samples_leaf, monotone",
        ),
        (
            '{"features": ["arr_delay"]}',
            'unknown feature "arr_delay"; known are carrier, origin, dest, distance, minute, '
            "weekday, precip, visib, wind_speed, temp, dep_delay",
        ),
        ("{}", "features must be a list of at least one, not null"),
        (
            '{"features": ["minute", "minute"]}',
            'a feature is there twice in ["minute", "minute"]',
        ),
        (
            '{"features": ["minute"], "max_iter": 1.5}',
            "max_iter must be a whole number of 1 or more, not 1.5",
        ),
        (
            '{"features": ["minute"], "max_iter": true}',
            "max_iter must be a whole number of 1 or more, not true",
        ),
        (
            '{"features": ["minute"], "learning_rate": NaN}',
            "learning_rate must be a number of 1e-06 or more, not NaN",
        ),
        (
            '{"features": ["minute"], "monotone": {"temp": -1}}',
            "monotone names 'temp', which is no numeric feature",
        ),
        (
            '{"features": ["minute"], "monotone": {"minute": 2}}',
            "monotone minute must be -1, 0 or 1, not 2",
        ),
        ('{"features": ["minute"], "monotone": 1}', "monotone must be an object, not 1"),
        ("[]", "parameters must be an object, not []"),
        ("{", "not JSON: Expecting property name enclosed in double quotes: line 1 column 2"),
    ],
)
def test_refuses_parameters_it_does_not_take_and_says_which(
    train: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    parameters: str,
    message: str,
):
    params = tmp_path / "params.json"
    params.write_text(parameters)
    words = ["--data", tmp_path, "--params", params, "--seed", 0, "--out", tmp_path / "out"]
    assert train.main([str(word) for word in words]) == 2
    assert capsys.readouterr().err.startswith(f"train.py: {params}: {message}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [0, 1]}, "no column minute"),
        ({"minute": [1.0, 2.0]}, "no column label"),
        (
            {"minute": [1.0, 2.0], "label": [1, 1]},
            "label must hold both 0 and 1 and nothing else, found 1",
        ),
        (
            {"minute": [1.0, 2.0], "label": [0.0, None]},
            "label must hold both 0 and 1 and nothing else, found 0.0, nan",
        ),
    ],
)
def test_refuses_rows_it_cannot_learn_from(
    train: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    columns: dict[str, list[object]],
    message: str,
):
    pd.DataFrame(columns).to_parquet(tmp_path / "train.parquet")
    (tmp_path / "params.json").write_text('{"features": ["minute"]}')
    line = f"--data {tmp_path} --params {tmp_path}/params.json --seed 0 --out {tmp_path}/out"
    assert train.main(line.split()) == 1
    assert capsys.readouterr().err == f"train.py: {tmp_path}/train.parquet: {message}\n"


def test_refuses_to_write_over_a_model(
    train: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "model").mkdir()
    (tmp_path / "params.json").write_text('{"features": ["minute"]}')
    line = f"--data {tmp_path} --params {tmp_path}/params.json --seed 0 --out {tmp_path}"
    assert train.main(line.split()) == 1
    assert capsys.readouterr().err == (
        f"train.py: {tmp_path}/model: there is a model already; name an empty folder\n"
    )
