"""The trainer that `model new --framework` writes trains as it is, in a runtime of its own."""

from __future__ import annotations

import json
import subprocess
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from frameworks.runtimes import make_runtime
from frameworks.test_models_of_other_libraries import TRAINED, parquet
from modelyard.adapters.tables.frames import LABEL, with_labels
from modelyard.adapters.tables.stored_rows import StoredRows
from modelyard.domain.isolation import Unisolated
from modelyard.domain.proposal.model import Wishes
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.model import Owner
from modelyard.domain.specs.paths import trainer_folder
from modelyard.operations.models.new_model import compose_model
from modelyard.operations.models.skeleton import COMMAND, FRAMEWORKS
from modelyard.operations.runtimes.scoring import Artifact, score_tables
from modelyard.operations.training.train import _seal

pytestmark = pytest.mark.frameworks

INPUTS = ["carrier", "minute", "temp", "dep_delay", "holiday"]
DELAY = TRAINED["arr_delay"]
# Not in the order of the alphabet, in which libraries sort them.
KINDS = np.select([DELAY < 0, DELAY > 15], ["early", "late"], "soon")
TARGETS = {
    "binary": np.where(DELAY > 15, "yes", "no"),
    "multiclass": KINDS,
    "regression": DELAY.to_numpy(),
}


# As people name columns; LightGBM takes none of JSON's signs in its own names.
ODD = {"lightgbm": 'Größe [°C]: {"a", b}', "xgboost": "Größe °C: {a, b}"}


@pytest.mark.parametrize("task", TARGETS)
@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_a_skeleton_trains_what_is_sealed_and_knows_its_rows_again(library, task, tmp_path):
    frame = TRAINED[INPUTS].assign(target=TARGETS[task]).rename(columns={"temp": ODD[library]})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    framework = FRAMEWORKS[library]
    wishes = Wishes(
        name="m", target="target", owner=Owner(team="t", contact="t"), command=COMMAND,
        artifact=framework.artifact,
    )  # fmt: skip
    new = compose_model(
        tmp_path, Catalog(), wishes, framework, file="rows.csv", timestamp=None, here=tmp_path
    )
    model = new.proposal.model
    assert model.task == task
    rows, _ = with_labels(frame, model)
    runtime = make_runtime(library)
    (tmp_path / "out").mkdir()
    rows.to_parquet(tmp_path / "train.parquet")
    features = ["carrier", ODD[library], "dep_delay", "minute"]
    given = json.dumps({"num_boost_round": 30, "features": features})
    (tmp_path / "params.json").write_text(given)
    script = tmp_path / "train.py"
    script.write_bytes(new.documents[f"{trainer_folder('m')}/train.py"])
    done = subprocess.run(
        [runtime.python, script, "--data", tmp_path, "--params", tmp_path / "params.json",
         "--seed", "1", "--out", tmp_path / "out"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    job: Any = SimpleNamespace(
        model=model, spec=SimpleNamespace(seed=1), unisolated=Unisolated.REFUSED
    )
    stored = StoredRows(tmp_path / "train.parquet", name="train.parquet")
    sealed = _seal(job, tmp_path, tmp_path / "out" / "model", stored, runtime)
    artifact = Artifact(folder=sealed.folder, digest=sealed.digest)
    scored = score_tables(runtime, [artifact], [parquet(rows.drop(columns=[LABEL]))], model)
    scores = scored.scores(0, 0, what="the model cannot predict")

    labels = rows[LABEL].to_numpy()
    if task == "multiclass":
        known = np.array(model.primary.classes)[scores.argmax(axis=1)]
        assert (known == labels).mean() > 0.8
    elif task == "binary":
        assert ((scores > 0.5) == labels).mean() > 0.8
    else:
        assert np.corrcoef(scores, labels)[0, 1] > 0.8
