"""Held-out rows that a version or the champion trained on are refused before training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import DataContract, Target, Task
from modelyard.errors import Refused
from modelyard.operations.training.fetch import fetch_inputs
from operations.drift_yard import drifting_yard
from operations.training_job import job_of, make_checkout, model_of
from unit.domain.checks.small_catalog import GOOD, HELD_OUT, RELEASE, days, said

COLUMNS = (
    Column(name="x", type="number", nullable=True),
    Column(name="n", type="integer", nullable=True),
    Column(name="who", type="category", nullable=True),
    Column(name="y", type="number", available_at="later"),
)
MODEL = model_of(DataContract(columns=COLUMNS), Target(column="y"), Task.REGRESSION)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> tuple[Path, str]:
    root, tree = make_checkout(tmp_path_factory.mktemp("yard"))
    (root / "data").mkdir()
    return root, tree


def rows(seed: int, count: int = 100) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=count).round(4),
            "n": rng.integers(0, 9, count),
            "who": rng.choice(["ann", "bob"], count),
            "y": rng.normal(size=count),
        }
    )
    frame.loc[0, "x"] = None
    return frame


TRAIN, OTHER = rows(1), rows(2)


def refusal(checkout, held_out, *, champion=None, train=TRAIN, cluster="row", model=MODEL):
    """What fetch says of a held-out set; empty if it is accepted."""
    root, tree = checkout
    names = []
    for name, frame in (("train.csv", train), ("h.csv", held_out), ("old.parquet", champion)):
        if isinstance(frame, bytes):
            (root / "data" / name).write_bytes(frame)
        elif frame is not None and name.endswith("csv"):
            frame.to_csv(root / "data" / name, index=False)
        elif frame is not None:
            frame.to_parquet(root / "data" / name)
        names.append(f"data/{name}")
    old = None if champion is None else names[2:]
    job = job_of(root, tree, model, names[:1], held_out=names[1:2], cluster=cluster, champion=old)
    try:
        fetch_inputs(job)
    except Refused as refused:
        return refused.message
    return ""


def mixed(own: int, foreign: int) -> pd.DataFrame:
    frame = pd.concat([TRAIN.sample(own, random_state=0), OTHER.head(foreign)])
    return frame.sample(frac=1, random_state=1).reset_index(drop=True)


def as_text(frame: pd.DataFrame) -> bytes:
    """The same rows as another tool writes them: other digits, an extra column, CRLF."""
    lines = ["note,y,who,n,x"]
    for row in frame.itertuples():
        x = "" if pd.isna(row.x) else f"{row.x:.10f}"
        lines.append(f"?,{row.y!r},{row.who},{row.n}.0,{x}")
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize(
    ("held_out", "count"),
    [
        (TRAIN.sample(frac=1, random_state=3), 100),
        (TRAIN.head(7), 7),
        (mixed(1, 50), 1),
        (mixed(40, 60), 40),
        (as_text(TRAIN.head(20)), 20),
    ],
    ids=["in another order", "a part", "one row", "mixed with new ones", "written otherwise"],
)
def test_rows_that_the_version_trains_on_are_refused_whatever_file_they_are_in(
    checkout, held_out, count
):
    message = refusal(checkout, held_out)
    assert f"held-out set h: {count} of its" in message
    assert "were trained on; the first is row" in message
    assert message.endswith("by v2")


@pytest.mark.parametrize("held_out", [TRAIN.head(7), mixed(5, 50), as_text(TRAIN)])
def test_rows_that_the_champion_trained_on_are_refused(checkout, held_out):
    message = refusal(checkout, held_out, champion=TRAIN, train=rows(4))
    assert message.endswith("by v1")


def test_new_rows_are_accepted(checkout):
    assert refusal(checkout, OTHER, champion=rows(5)) == ""
    changed = TRAIN.assign(y=TRAIN["y"] + 1)
    assert refusal(checkout, changed, champion=rows(5)) == ""


def test_rows_of_a_few_categories_repeat_by_chance_and_are_accepted(checkout):
    def coins(seed: int) -> pd.DataFrame:
        return rows(seed).assign(x=0.5, y=[0.0, 1.0] * 50)

    assert refusal(checkout, coins(6), train=coins(7)) == ""
    # More than by chance: the rows of the training, among which a tenth repeat.
    some = pd.concat([TRAIN, TRAIN.head(5)], ignore_index=True)
    assert "were trained on" in refusal(checkout, mixed(60, 40), train=some)
    assert refusal(checkout, mixed(3, 97), train=some) == ""


def test_a_cluster_is_held_out_or_trains_but_not_both(checkout):
    held_out = OTHER.assign(who="cid")
    assert refusal(checkout, held_out, cluster="who") == ""
    held_out.loc[3, "who"] = "bob"
    message = refusal(checkout, held_out, cluster="who")
    assert "held-out set h: 1 of its clusters (who) were trained on: bob by v2" in message


def test_old_data_that_is_gone_does_not_stop_a_new_version(checkout, caplog):
    root, tree = checkout
    refusal(checkout, OTHER, champion=TRAIN)
    job = job_of(root, tree, MODEL, ["data/train.csv"], held_out=["data/h.csv"],
                 champion=["data/old.parquet"])  # fmt: skip
    (root / "data/old.parquet").unlink()
    fetch_inputs(job)
    assert "v1: not compared with the held-out rows" in caplog.text


@pytest.mark.parametrize(
    "changed",
    [{"n": "code 7"}, {"n": 0.5}, {"x": [[1.0]] * 100}],
    ids=["text", "fractions", "lists"],
)
def test_old_data_of_another_contract_does_not_stop_a_new_version(checkout, caplog, changed):
    assert refusal(checkout, OTHER, champion=TRAIN.assign(**changed)) == ""
    assert "v1: not compared with the held-out rows" in caplog.text


def test_a_set_over_days_that_the_champion_trained_on_is_not_written(tmp_path):
    yard = drifting_yard(tmp_path)  # v2 trained on January to March and runs in production
    february = ("--data", "data/delays/2026-02.parquet", "--cluster", "date", "--role", "old")
    span = ("--since", "2026-02-01", "--until", "2026-02-08")
    done = yard.run("version", "held-out", "delays", "winter", *february, *span)
    assert done.exit_code == 3
    assert "v2, which production runs, trained on rows of this set" in done.stderr
    assert not (yard.root / "models/delays/heldout/winter.yaml").exists()


def in_production(**changes: Any) -> Catalog:
    """The small catalog with v1, which trained until April, in production."""
    assert GOOD.production is not None
    name = GOOD.production.name
    releases = {**GOOD.releases, (name, "m"): replace(RELEASE, environment=name)}
    return replace(GOOD, **{"releases": releases, **changes})


def about_champions(catalog: Catalog) -> list[str]:
    check = "held-out-rows-are-new-to-the-champion"
    return [file for name, file, _ in said(catalog) if name == check]


def test_a_set_over_one_day_of_the_champions_is_a_problem():
    march = replace(HELD_OUT, name="march", window=days("2013-03-31", "2013-05-01"))
    sets = {**GOOD.held_out, ("m", "march"): march}
    assert about_champions(in_production()) == []
    assert about_champions(in_production(held_out=sets)) == ["heldout/march.yaml"]
    assert about_champions(replace(GOOD, held_out=sets, releases={})) == []
    sets["m", "march"] = replace(march, retired=True)
    assert about_champions(in_production(held_out=sets)) == []


def test_a_set_of_a_file_that_the_champion_trained_on_is_a_problem():
    v1 = GOOD.versions["m", "v1"]
    copied = replace(HELD_OUT, name="copy", files=v1.data.files, window=None)
    without = {("m", "v1"): replace(v1, data=replace(v1.data, window=None))}
    catalog = in_production(versions=without, held_out={("m", "copy"): copied})
    assert about_champions(catalog) == ["heldout/copy.yaml"]


def test_going_back_to_an_older_version_is_no_problem_of_a_judged_set():
    """Otherwise a rollback to a version that is older than a set would make main invalid."""
    early = replace(
        GOOD.versions["m", "v1"],
        data=replace(GOOD.versions["m", "v1"].data, window=days("2013-01-01", "2013-04-20")),
        held_out=(),
    )
    catalog = in_production(versions={**GOOD.versions, ("m", "v1"): early})
    assert catalog.judged_versions["m", "april"]
    assert about_champions(catalog) == ["versions/v2.yaml"]  # the next use of it alone
