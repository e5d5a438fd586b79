"""A model that skops has written is opened without MLflow, and judged as skops judges it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.artifact_digest import artifact_digest
from modelyard.errors import VersionFault
from modelyard.serving import predictor as opening
from modelyard.serving.predictor import is_schema_error, load_predictor
from serving.artifacts import TRUSTED, flights, shared_artifact

TYPES = """
import json, skops.io._trusted_types as types
print(json.dumps({k: v for k, v in vars(types).items() if k.endswith("_NAMES")}))
"""
OURS = """
from modelyard.serving.formats.skops_file import import_skops
import_skops()
"""
IMPORTS = {"by the server": OURS, "after pandas": f"import pandas{OURS}"}


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout


@pytest.mark.long
@pytest.mark.parametrize("way", IMPORTS)
def test_the_types_that_skops_trusts_are_the_same_as_by_its_own_import(way: str):
    assert json.loads(run(IMPORTS[way] + TYPES)) == json.loads(run(TYPES))


@pytest.mark.long
def test_a_process_that_opens_a_skops_model_has_not_imported_mlflow():
    folder, digest = shared_artifact()
    code = (
        "import sys; from pathlib import Path\n"
        "import modelyard.serving.server\n"
        "from modelyard.serving.predictor import load_predictor\n"
        f"load_predictor(Path({str(folder)!r}), {digest!r}, {TRUSTED!r})\n"
        "print('mlflow' in sys.modules)"
    )
    assert run(code).strip() == "False"


def test_a_frame_without_a_column_does_not_fit_the_signature():
    predictor = load_predictor(*shared_artifact(), TRUSTED)
    with pytest.raises(Exception, match=r"missing inputs \['minute', 'temp'\]") as failure:
        predictor.scores(flights().head(2).drop(columns=["minute", "temp"]))
    assert is_schema_error(failure.value)


def test_a_file_that_is_cut_off_is_the_versions_fault_and_named(tmp_path: Path):
    folder, _ = shared_artifact()
    copy = tmp_path / "artifact"
    subprocess.run(["cp", "-r", folder, copy], check=True)
    file = copy / "model" / "model.skops"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(Exception, match=r"model\.skops: is not a skops file"):
        load_predictor(copy, artifact_digest(copy), TRUSTED)


def test_a_class_of_the_model_that_ends_the_process_as_it_is_opened_is_the_versions_fault(
    monkeypatch: pytest.MonkeyPatch,
):
    def leave(*_: object) -> None:
        raise SystemExit(0)

    monkeypatch.setattr(opening, "load_skops", leave)
    with pytest.raises(VersionFault, match="skops cannot load it: the model raised SystemExit: 0"):
        load_predictor(*shared_artifact(), TRUSTED)


def test_a_runtime_without_skops_opens_models_of_other_formats():
    code = (
        "import sys; sys.modules['skops'] = None\n"
        "from modelyard.serving.formats.skops_file import import_skops_early\n"
        "import_skops_early(); print('skops.io' in sys.modules)"
    )
    assert run(code).strip() == "False"
