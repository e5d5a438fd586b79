from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.specs.model import CanaryPolicy
from modelyard.errors import CannotAnswer, Refused
from modelyard.serving.artifact import artifact_digest, describe_artifact, verify_digest
from modelyard.serving.documents import read_golden, read_serving, write_serving
from modelyard.serving.inputs import frame_of_rows
from modelyard.serving.predictor import load_predictor
from serving.artifacts import MODEL, TRUSTED, flights

Artifact = tuple[Path, str]


@pytest.fixture
def copy(artifact: Artifact, tmp_path: Path) -> Artifact:
    folder = tmp_path / "copy"
    shutil.copytree(artifact[0], folder)
    return folder, artifact[1]


def edit_metadata(folder: Path, old: str, new: str) -> str:
    path = folder / "model" / "MLmodel"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return artifact_digest(folder)


def test_the_digest_is_that_of_the_sorted_manifest(tmp_path: Path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.txt").write_bytes(b"two")
    (tmp_path / "one.txt").write_bytes(b"one")
    lines = sorted(
        [
            f"{hashlib.sha256(b'one').hexdigest()}  one.txt\n",
            f"{hashlib.sha256(b'two').hexdigest()}  b/two.txt\n",
        ]
    )
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert artifact_digest(tmp_path) == f"sha256:{expected}"


@pytest.mark.long
@given(files=st.dictionaries(st.sampled_from(["a", "b", "c", "d/e"]), st.binary(max_size=9)))
def test_the_digest_names_the_content_and_nothing_else(
    files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
):
    digests = set()
    for order in (1, -1):
        folder = tmp_path_factory.mktemp("any")
        for name in sorted(files)[::order]:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(files[name])
        digests.add(artifact_digest(folder))
    (folder / "more").write_bytes(b"")
    assert len(digests) == 1
    assert artifact_digest(folder) not in digests


def test_a_copy_elsewhere_is_the_same_artifact(copy: Artifact):
    assert artifact_digest(copy[0]) == copy[1]


def test_a_changed_byte_is_refused_before_anything_is_opened(copy: Artifact):
    folder, digest = copy
    (folder / "model" / "MLmodel").write_text("!!python/object/apply:os.system ['false']")
    with pytest.raises(Refused, match=f"its files have the digest .*, the pin is {digest}"):
        load_predictor(folder, digest)


def test_an_extra_file_is_refused(copy: Artifact):
    (copy[0] / "extra").write_bytes(b"")
    with pytest.raises(Refused, match="the pin is"):
        verify_digest(*copy)


@pytest.mark.parametrize("digest", ["", "sha256:abc", "latest", "md5:" + "0" * 64])
def test_only_a_full_digest_is_a_pin(artifact: Artifact, digest: str):
    with pytest.raises(Refused, match="is not of the form sha256:<64 hex digits>"):
        verify_digest(artifact[0], digest)


def test_a_symbolic_link_is_refused(copy: Artifact):
    (copy[0] / "link").symlink_to("/etc/hostname")
    with pytest.raises(Refused, match="link is not a regular file"):
        verify_digest(*copy)


def test_a_pipe_is_refused_and_not_waited_for(copy: Artifact):
    os.mkfifo(copy[0] / "pipe")
    with pytest.raises(Refused, match="pipe is not a regular file"):
        verify_digest(*copy)


def test_a_name_that_could_forge_a_manifest_line_is_refused(tmp_path: Path):
    (tmp_path / "a\nb").write_bytes(b"")
    with pytest.raises(Refused, match="is not a printable name"):
        artifact_digest(tmp_path)


def test_a_missing_folder_cannot_be_answered_for(tmp_path: Path):
    with pytest.raises(CannotAnswer, match="no such folder"):
        verify_digest(tmp_path / "none", "sha256:" + "0" * 64)


def test_describes_format_signature_and_size_without_opening(artifact: Artifact):
    folder = artifact[0]
    found = describe_artifact(folder)
    assert found.format == "skops"
    assert found.inputs == {
        "carrier": "string",
        "minute": "long",
        "temp": "double",
        "dep_delay": "double",
        "holiday": "boolean",
    }
    assert found.size == sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    assert found.file == folder / "model" / "model.skops"


@pytest.mark.parametrize("name", ["pickle", "cloudpickle"])
def test_a_pickled_model_is_refused_unless_its_format_is_listed(copy: Artifact, name: str):
    folder = copy[0]
    digest = edit_metadata(folder, "serialization_format: skops", f"serialization_format: {name}")
    with pytest.raises(Refused, match=f"its format is {name}; accepted: skops"):
        load_predictor(folder, digest)
    with pytest.raises(CannotAnswer, match="MLflow cannot load it"):  # it was a skops file
        load_predictor(folder, digest, TRUSTED, formats=["skops", name])


def test_types_the_metadata_asks_to_trust_are_refused_unless_listed(copy: Artifact):
    folder = copy[0]
    digest = edit_metadata(
        folder, "skops_trusted_types:\n", "skops_trusted_types:\n    - builtins.eval\n"
    )
    with pytest.raises(Refused, match=r"contains types that are not trusted: builtins\.eval$"):
        load_predictor(folder, digest, TRUSTED)
    assert load_predictor(folder, digest, [*TRUSTED, "builtins.eval"]).digest == digest


def test_the_models_own_list_of_trusted_types_trusts_nothing(artifact: Artifact):
    with pytest.raises(Refused, match=r"contains types that are not trusted: numpy\.dtype"):
        load_predictor(*artifact)


def test_types_the_file_names_are_refused_unless_listed(copy: Artifact):
    import skops.io

    folder = copy[0]
    skops.io.dump({"model": hashlib.sha256}, folder / "model" / "model.skops")
    named = skops.io.get_untrusted_types(file=folder / "model" / "model.skops")
    assert named
    with pytest.raises(Refused, match=f"contains types that are not trusted: {named[0]}"):
        load_predictor(folder, artifact_digest(folder), TRUSTED)


def test_a_file_that_is_not_skops_is_refused(copy: Artifact):
    folder = copy[0]
    (folder / "model" / "model.skops").write_bytes(b"nothing")
    with pytest.raises(Refused, match="its bytes are no skops file"):
        load_predictor(folder, artifact_digest(folder), TRUSTED)


def test_a_loader_outside_mlflow_is_refused(copy: Artifact):
    digest = edit_metadata(copy[0], "loader_module: mlflow.sklearn", "loader_module: antigravity")
    with pytest.raises(Refused, match="loader_module is 'antigravity'"):
        load_predictor(copy[0], digest, TRUSTED)


def test_a_model_file_outside_the_artifact_is_refused(copy: Artifact):
    digest = edit_metadata(copy[0], "model_path: model.skops", "model_path: ../../other.skops")
    with pytest.raises(Refused, match="which is outside the artifact"):
        load_predictor(copy[0], digest, TRUSTED)


def test_python_modules_inside_the_artifact_are_refused_unless_listed(copy: Artifact):
    digest = edit_metadata(copy[0], "code: null", "code: code")
    with pytest.raises(Refused, match="contains Python modules"):
        load_predictor(copy[0], digest, TRUSTED)


def test_a_signature_that_does_not_agree_with_the_contract_is_refused(copy: Artifact):
    folder = copy[0]
    path = folder / "serving.json"
    document = json.loads(path.read_text())
    document["inputs"][1]["nullable"] = True
    document["inputs"][0]["type"] = "boolean"
    path.write_text(json.dumps(document))
    expected = "column minute is long in the signature and nullable integer in the contract"
    with pytest.raises(Refused, match=expected):
        load_predictor(folder, artifact_digest(folder), TRUSTED)


@pytest.mark.parametrize(
    ("name", "why"),
    [("arr_delay", "the target"), ("minute", "known only later"), ("wind", "not in the contract")],
)
def test_a_feature_no_request_carries_is_refused_with_the_reason(tmp_path: Path, name, why):
    columns = [
        replace(each, available_at="later") if each.name == "minute" else each
        for each in MODEL.data.columns
    ]
    model = replace(MODEL, data=replace(MODEL.data, columns=tuple(columns)))
    asked = re.escape(f"asks for {name} ({why}), which no request carries")
    with pytest.raises(CannotAnswer, match=asked) as raised:
        write_serving(tmp_path, model=model, inputs=[name], training=[flights()])
    assert "take it out of the features in the trainer" in (raised.value.hint or "")


def test_serving_json_names_the_segments_that_the_signature_has(tmp_path: Path):
    policy = CanaryPolicy(segments=("carrier", "holiday"))
    model = replace(MODEL, canary=policy)
    write_serving(tmp_path, model=model, inputs=["carrier"], training=[flights()])
    assert read_serving(tmp_path).segments == ("carrier",)
    write_serving(tmp_path, model=MODEL, inputs=["carrier"], training=[flights()])
    assert read_serving(tmp_path).segments == ()
    assert "segments" not in json.loads((tmp_path / "serving.json").read_text())


def test_serving_json_tells_the_contract_and_the_training_shares(artifact: Artifact):
    serving = read_serving(artifact[0])
    assert serving.inputs == MODEL.inputs
    assert serving.output == MODEL.primary
    assert serving.training.levels == {"carrier": ("AA", "B6", "UA")}
    assert serving.training.null == {
        "carrier": 0.0,
        "minute": 0.0,
        "temp": 0.1,
        "dep_delay": 0.0,
        "holiday": 0.0,
    }


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"rows": [], "scores": [], "tolerance": 1}', '{"rows": 1}']
)
def test_a_broken_golden_file_cannot_be_answered_for(tmp_path: Path, text: str):
    (tmp_path / "golden.json").write_text(text)
    with pytest.raises(CannotAnswer, match=r"golden\.json"):
        read_golden(tmp_path)


def test_scores_are_the_positive_class_whatever_else_the_frame_holds(artifact: Artifact):
    predictor = load_predictor(*artifact, TRUSTED)
    golden = read_golden(artifact[0])
    frame = frame_of_rows(predictor.serving.inputs, golden.rows)
    expected = np.array(golden.scores)
    assert predictor.scores(frame).shape == (12,)
    assert np.array_equal(predictor.scores(frame), expected)
    shuffled = frame.assign(other=1)[[*reversed(frame.columns), "other"]]
    assert np.array_equal(predictor.scores(shuffled), expected)
    rows = flights().head(12).astype({"minute": "float64"})
    assert np.array_equal(predictor.scores(rows), expected)


def test_a_missing_value_gets_the_contracts_default(artifact: Artifact):
    predictor = load_predictor(*artifact, TRUSTED)
    frame = flights().head(5)
    blank = frame.assign(holiday=None)
    plain = frame.assign(holiday=False)
    assert np.array_equal(predictor.scores(blank), predictor.scores(plain))


@pytest.mark.parametrize(
    ("function", "complaint"),
    [("predict", "predicts labels"), ("predict_log_proba", "are not probabilities")],
)
def test_a_model_that_does_not_answer_with_probabilities_is_refused(
    copy: Artifact, function: str, complaint: str
):
    digest = edit_metadata(copy[0], "predict_fn: predict_proba", f"predict_fn: {function}")
    predictor = load_predictor(copy[0], digest, TRUSTED)
    with pytest.raises(Refused, match=complaint):
        predictor.scores(flights().head(2))


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        ("temp", "warm", "column temp cannot be read as double: could not convert"),
        ("minute", 1.5, "column minute cannot be read as long: it has values that would change"),
        ("minute", None, "column minute cannot be read as long: it has nulls"),
        ("holiday", 2, "column holiday cannot be read as boolean: it has values that would"),
    ],
)
def test_a_frame_that_cannot_be_read_names_the_column(
    artifact: Artifact, column: str, value: object, complaint: str
):
    predictor = load_predictor(*artifact, TRUSTED)
    with pytest.raises(CannotAnswer, match=complaint):
        predictor.scores(flights().head(2).assign(**{column: value}))
