"""Labels joined to logged rows: what is kept, and what is left out and why."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from modelyard.adapters.tables.frames import scores_to_parquet
from modelyard.commands import judge, options
from modelyard.domain.drift.quality import HeldOutLoss
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import MissingLabels, Output, OutputKind, Task
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.judge.deliveries import read_deliveries
from modelyard.operations.judge.feedback import deliver_labels
from modelyard.operations.judge.live_losses import day_losses_of, live_loss_of
from modelyard.serving.documents import Serving, Training
from modelyard.serving.inputs import read_request, tensors_of_rows
from modelyard.serving.payload_parts import GrowingPart, Payload, part_schema, write_part
from operations.yard import MODEL_SPEC

ROOT = Path(__file__).parents[2]
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
INPUTS = (Column(name="x", type="number", nullable=True),)
KINDS = replace(
    MODEL_SPEC,
    task=Task.MULTICLASS,
    target=replace(MODEL_SPEC.target, above=None, column="kind"),
    outputs=(Output(name="k", kind=OutputKind.CLASS, classes=("a", "b"), primary=True),),
    data=replace(MODEL_SPEC.data, columns=(*INPUTS, Column(name="kind", type="category"))),
    gate=replace(MODEL_SPEC.gate, metric="log_loss"),
)


class Place:
    """A checkout with payload logs, and what a workspace asks of it."""

    def __init__(self, root, model=MODEL_SPEC):
        self.root, self.model = root, model
        self.services = SimpleNamespace(root=root, repository=Repository())
        self.store = SimpleNamespace(read_evidence=lambda digest: self.evidence)
        labels = np.array([0, 1] * 50)
        self.evidence = scores_to_parquet(labels, labels.astype(str), np.linspace(0.1, 0.9, 100))
        self.known = {}

    def main(self):
        return "main"

    def once(self, what, commit, ask, *names):
        key = (what, commit, *names)
        if key not in self.known:
            self.known[key] = ask()
        return self.known[key]

    def catalog(self, commit):
        return SimpleNamespace(require_model=lambda name: self.model)

    def log(self, requests, *, release="r1", version="v1", environment="production", at=AT):
        """Log requests: by id, the scores of their rows."""
        serving = Serving(
            model="m",
            task=self.model.task,
            inputs=INPUTS,
            output=self.model.primary,
            training=Training(null={}, levels={}),
        )
        payloads = [
            Payload(
                at=at + timedelta(hours=place),
                status=200,
                scores=np.array(scores),
                inputs=read_request(
                    {"id": name, "inputs": tensors_of_rows(INPUTS, [{"x": 1.0}] * len(scores))},
                    INPUTS,
                ),
            )
            for place, (name, scores) in enumerate(requests.items())
        ]
        labels = {"model": "m", "version": version, "release": release, "digest": "d"}
        folder = self.root / ".modelyard" / "payloads" / environment / "m"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{release}-{len(list(folder.iterdir()))}.parquet"
        part = GrowingPart(part_schema(serving), labels)
        part.add(payloads)
        write_part(folder / name, part)

    def deliver(self, text, name="labels.csv", **options):
        path = self.root / name
        path.write_text(text)
        return deliver_labels(self, "m", path, **options)


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    place.log({"q1": [0.2, 0.9], "q2": [0.7]})
    place.log({"q3": [0.4]}, release="r2", version="v2", environment="canary")
    return place


def reasons(delivery):
    return {fault.why: (fault.labels, fault.example) for fault in delivery.faults}


def test_labels_find_the_rows_of_stable_and_canary_by_request_and_row(place):
    found = place.deliver("request,row,y\nq1,0,0.1\nq1,1,0.8\nq2,0,0.9\nq3,0,0.2\n")
    assert (found.labels, found.rows, found.faults) == (4, {"v1": 3, "v2": 1}, ())
    kept = read_deliveries(place, "m").sort_values(["request", "row"])
    assert kept["label"].tolist() == [0, 1, 1, 0]
    assert [each.tolist() for each in kept["prediction"]] == [[0.2], [0.9], [0.7], [0.4]]
    assert set(kept["delivery"]) == {1}


def test_what_is_left_out_is_counted_by_why_with_an_example(place):
    place.log({"q2": [0.1]}, release="r3")  # a client used the id again
    found = place.deliver(
        "request,row,y\nq1,0,0.1\nq1,0,0.1\nq1,1,0.1\nq1,1,0.9\nq2,0,1\nnobody,0,1\nq1,7,1\nq3,0,\n,0,1\n"
    )
    assert found.rows == {"v1": 1}
    assert reasons(found) == {
        "without a request id": (1, "row 8 of the file"),
        "without a label": (1, "q3"),
        "twice in the file": (1, "q1"),
        "in the file with different labels": (2, "q1 row 1"),
        "several logged rows have this request and row": (1, "q2"),
        "no logged row has this request and row": (2, "nobody"),
    }


def test_a_label_is_kept_once_and_the_first_one_stays(place):
    place.deliver("request,y\nq2,0.9\nq3,0.2\n")
    again = place.deliver("request,y\nq2,0.8\nq3,0.9\n")
    assert again.rows == {}
    assert reasons(again) == {
        "delivered before": (1, "q2"),
        "delivered before with another label, which stays": (1, "q3"),
    }
    later = place.deliver("request,row,y\nq1,0,0.9\nq2,0,0.9\n")
    assert later.rows == {"v1": 1}
    assert sorted(read_deliveries(place, "m")["delivery"]) == [1, 1, 2]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("request,y\nq2,0.9\nq3,0.2\n", 0),  # the same file
        ("request,y\nq2,0.9\nq3,\nnobody,1\n", 0),
        ("request,row,y\nq2,0,0.9\nq1,0,0.2\n", 0),
        ("request,y\nq2,0.2\n", 3),  # another label of a known row
        ("request,y\nnobody,1\n", 3),
        ("request,y\n", 3),
    ],
)
def test_a_label_that_is_known_already_is_no_failure(place, monkeypatch, text, code):
    place.deliver("request,y\nq2,0.9\nq3,0.2\n")
    (place.root / "again.csv").write_text(text)
    monkeypatch.setattr(judge, "workspace_of", lambda services: place)
    monkeypatch.setattr(options, "find_services", lambda: None)
    done = CliRunner().invoke(judge.feedback, ["m", "--labels", str(place.root / "again.csv")])
    assert done.exit_code == code, done.output


def test_labels_that_are_known_need_no_logs_any_more(place):
    place.deliver("request,y\nq2,0.9\n")
    shutil.rmtree(place.root / ".modelyard" / "payloads")
    assert place.deliver("request,y\nq2,0.9\n").has_known
    with pytest.raises(CannotAnswer, match="no payload log"):
        place.deliver("request,y\nq3,0.9\n")


def test_a_dry_run_keeps_nothing(place):
    assert place.deliver("request,y\nq2,1\n", keep=False).rows == {"v1": 1}
    assert read_deliveries(place, "m").empty


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("request,y\nq2,high\n", "y: found"),
        ("request,row,y\nq2,first,1\n", "row: found"),
        ("id,y\nq2,1\n", "column request is missing"),
        ("request,label\nq2,1\n", "column y is missing"),
    ],
)
def test_a_file_of_another_shape_is_refused_and_nothing_is_kept(place, text, said):
    with pytest.raises(Refused, match=said):
        place.deliver(text)
    assert read_deliveries(place, "m").empty


def test_a_file_with_other_separators_is_told_how_to_be_saved(place):
    with pytest.raises(Refused) as refused:
        place.deliver("request;y\nq2;1\n")
    assert (refused.value.hint or "").startswith("its fields are separated by semicolons")


def test_a_model_without_a_payload_log_says_where_it_looked(tmp_path):
    with pytest.raises(CannotAnswer, match="no payload log"):
        Place(tmp_path).deliver("request,y\nq2,1\n")


def test_a_part_that_is_cut_off_is_named_and_the_others_count_once_it_is_moved(place, tmp_path):
    cut = tmp_path / ".modelyard" / "payloads" / "production" / "m" / "r1-9.parquet"
    cut.write_bytes(b"PAR1 cut off")

    with pytest.raises(CannotAnswer, match=r"r1-9\.parquet") as refused:
        place.deliver("request,y\nq3,1\n")

    assert (refused.value.hint or "").startswith("move a damaged part to another folder")
    cut.rename(tmp_path / "r1-9.parquet")
    assert sum(place.deliver("request,y\nq3,1\n").rows.values()) == 1


def test_labels_may_come_as_parquet_and_logs_from_anywhere(place, tmp_path):
    path = tmp_path / "labels.parquet"
    pd.DataFrame({"request": ["q3"], "y": [0.9]}).to_parquet(path)
    folder = tmp_path / ".modelyard" / "payloads" / "canary" / "m"
    assert deliver_labels(place, "m", path, payloads=[folder]).rows == {"v2": 1}


def test_a_missing_label_that_means_no_is_kept_as_no(place):
    target = replace(MODEL_SPEC.target, missing=MissingLabels.NEGATIVE)
    place.model = replace(MODEL_SPEC, target=target)
    assert place.deliver("request,y\nq2,\n").rows == {"v1": 1}
    assert read_deliveries(place, "m")["label"].tolist() == [0]


def test_classes_keep_all_their_chances(tmp_path):
    place = Place(tmp_path, KINDS)
    place.log({"q1": [[0.3, 0.7]]})
    assert place.deliver("request,kind\nq1,b\n").rows == {"v1": 1}
    reference = HeldOutLoss(metric="log_loss", mean=0.1, cut=1.0, allowed=0.2)
    (day,) = day_losses_of(place, KINDS, "v1", reference, AT.date())
    assert (day.day, day.rows) == (AT.date(), 1)
    assert day.mean == pytest.approx(-np.log(0.7))


def test_a_label_of_no_class_is_left_out_and_spoils_no_other(tmp_path):
    place = Place(tmp_path, KINDS)
    place.log({"q1": [[0.3, 0.7]], "q2": [[0.3, 0.7]], "q3": [[0.3, 0.7]]})
    found = place.deliver("request,kind\nq1,b\nq2,zebra\nq3,B\n")
    assert found.rows == {"v1": 1}
    assert reasons(found) == {"of no class of the model": (2, "q2")}
    reference = HeldOutLoss(metric="log_loss", mean=0.1, cut=1.0, allowed=0.2)
    (day,) = day_losses_of(place, KINDS, "v1", reference, AT.date())
    assert day.rows == 1


def test_the_judge_gets_the_losses_of_both_releases_since_the_canary_started(place):
    place.deliver("request,row,y\nq1,0,0.1\nq1,1,0.8\nq2,0,0.9\nq3,0,0.2\n")
    asked = {"canary": "r2", "stable": "r1", "held_out": "digest"}
    found = live_loss_of(place, MODEL_SPEC, since=AT, **asked)
    assert (found.canary.totals[-1], found.stable.totals[-1]) == (1.0, 2.0)
    assert found.metric == "log_loss"
    assert found.canary.hits[-1] * found.cut == pytest.approx(-np.log(0.6))
    assert live_loss_of(place, MODEL_SPEC, since=AT + timedelta(days=1), **asked) is None


def test_labels_that_came_for_one_class_first_are_not_judged(place):
    place.log({f"s{n}": [0.3] for n in range(40)})
    place.log({f"c{n}": [0.4] for n in range(40)}, release="r2", version="v2")
    lines = [f"{name}{n},0.9\n" for name in "sc" for n in range(40)]
    place.deliver(f"request,y\n{''.join(lines)}")
    asked = {"canary": "r2", "stable": "r1", "held_out": "digest", "since": AT}
    with pytest.raises(CannotAnswer, match="of its share of held-out rows"):
        live_loss_of(place, MODEL_SPEC, **asked)


def test_labels_are_judged_while_the_store_is_away_once_its_scores_were_read(place):
    place.deliver("request,row,y\nq1,0,0.1\nq3,0,0.2\n")
    asked = {"canary": "r2", "stable": "r1", "held_out": "digest", "since": AT}
    before = live_loss_of(place, MODEL_SPEC, **asked)
    place.evidence = b"gone"
    assert live_loss_of(place, MODEL_SPEC, **asked) == before


def test_a_request_counts_at_the_first_delivery_that_labels_a_row_of_it(place):
    place.deliver("request,row,y\nq1,0,0.1\nq3,0,0.2\n")
    asked = {"canary": "r2", "stable": "r1", "held_out": "digest", "since": AT}
    before = live_loss_of(place, MODEL_SPEC, **asked)
    place.deliver("request,row,y\nq1,1,0.8\n")
    assert live_loss_of(place, MODEL_SPEC, **asked) == before


def test_releases_of_other_classes_do_not_matter_and_stable_ones_are_named(tmp_path):
    place = Place(tmp_path, KINDS)
    place.log({"q1": [[0.3, 0.7]]})
    place.log({"q2": [[0.3, 0.7]]}, release="r2", version="v2")
    place.log({"q3": [[0.3, 0.3, 0.4]]}, release="r3", version="v3")
    place.deliver("request,kind\nq1,b\nq2,b\nq3,b\n")
    place.evidence = scores_to_parquet(
        np.array(["a", "b"] * 50), np.arange(100).astype(str), np.full((100, 2), 0.5)
    )
    asked = {"stable": "r1", "held_out": "digest", "since": AT}
    found = live_loss_of(place, KINDS, canary="r2", **asked)
    assert (found.canary.totals, found.stable.totals) == ([1.0], [1.0])
    with pytest.raises(CannotAnswer, match="v3 answered 3 numbers for a row"):
        live_loss_of(place, KINDS, canary="r3", **asked)


def broken_by(place, content, name="00000001.parquet"):
    place.deliver("request,y\nq2,0.9\nq3,0.2\n")
    part = place.root / ".modelyard" / "feedback" / "m" / name
    whole = part.read_bytes() if part.exists() else b""
    part.write_bytes(content(whole) if callable(content) else content)
    return part


def without_columns(content):
    table = pq.read_table(io.BytesIO(content)).select(["request", "row", "label"])
    return as_bytes(table)


def with_other_types(content):
    return as_bytes(pa.table({**pd.read_parquet(io.BytesIO(content)), "at": ["noon", "noon"]}))


def as_bytes(table):
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "00000001.parquet"),
        (b"PAR1 and no more", "00000001.parquet"),
        (lambda whole: whole[: len(whole) // 2], "00000001.parquet"),
        (without_columns, "00000001.parquet"),
        (with_other_types, "00000001.parquet"),
        (b"", "of-mine.parquet"),
    ],
)
def test_a_delivery_that_cannot_be_read_is_named_with_what_to_do(place, content, name):
    part = broken_by(place, content, name)
    asked = {"canary": "r2", "stable": "r1", "held_out": "digest", "since": AT}
    for ask in (
        lambda: read_deliveries(place, "m"),
        lambda: live_loss_of(place, MODEL_SPEC, **asked),
        lambda: place.deliver("request,y\nq1,0.9\n"),
    ):
        with pytest.raises(CannotAnswer) as caught:
            ask()
        assert str(part) in caught.value.message
        assert "move it away" in caught.value.hint
    part.unlink()
    assert place.deliver("request,y\nq1,0.9\nq2,0.9\n").rows["v1"] >= 1


def test_programs_are_told_what_the_schema_of_the_output_says(place):
    schema = json.loads((ROOT / "schemas/output/feedback.schema.json").read_bytes())
    found = place.deliver("request,row,y\nq1,0,0.1\nnobody,0,1\n")
    jsonschema.Draft202012Validator(schema).validate(json.loads(json.dumps(asdict(found))))
