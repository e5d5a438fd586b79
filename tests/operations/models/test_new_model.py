from __future__ import annotations

import ast
import csv
import datetime as dt
import gzip
import io
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from modelyard.adapters.git.trees import WorkingTree
from modelyard.adapters.specs.documents import read_spec
from modelyard.adapters.specs.reader import read_specs
from modelyard.adapters.tables.column_facts import read_facts
from modelyard.adapters.tables.frames import columns_of
from modelyard.adapters.tables.table_files import read_table
from modelyard.domain.proposal.model import Wishes
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.contract import find_breaches
from modelyard.domain.specs.heldout import HeldOut
from modelyard.domain.specs.model import Model, Owner, Task
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.models import new_model
from modelyard.operations.models.new_model import NewModel, compose_model, write_model
from modelyard.operations.models.skeleton import COMMAND, FRAMEWORKS

FRAMEWORK = FRAMEWORKS["sklearn"]
WISHES = Wishes(
    name="shop",
    target="bought",
    owner=Owner(team="ada", contact="ada@example.org"),
    command=COMMAND,
    artifact=FRAMEWORK.artifact,
)
START = dt.date(2026, 1, 1)


def csv_bytes(columns: dict[str, list[object]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return buffer.getvalue().encode()


def propose(
    root: Path,
    content: bytes,
    *,
    file: str = "shop.csv",
    timestamp: str | None = None,
    catalog: Catalog | None = None,
    **wishes: object,
) -> NewModel:
    (root / file).write_bytes(content)
    return compose_model(
        root,
        catalog or Catalog(),
        replace(WISHES, **wishes),
        FRAMEWORK,
        file=str(root / file),
        timestamp=timestamp,
        here=root,
    )


@pytest.mark.parametrize(
    ("name", "library"), [("lightgbm", "lightgbm"), ("xgboost", "xgboost-cpu")]
)
def test_another_framework_brings_its_libraries_its_format_and_its_classes(tmp_path, name, library):
    columns = {"kind": ["b", "a", "c"] * 60, "size": list(range(180))}
    (tmp_path / "kinds.csv").write_bytes(csv_bytes(columns))
    framework = FRAMEWORKS[name]
    wishes = replace(WISHES, target="kind", artifact=framework.artifact)

    new = compose_model(
        tmp_path, Catalog(), wishes, framework, file="kinds.csv", timestamp=None, here=tmp_path
    )

    folder = f"models/{new.proposal.model.name}"
    assert library in new.documents[f"{folder}/trainer/requirements.in"].decode()
    assert f"  formats:\n  - {name}\n" in new.documents[f"{folder}/model.yaml"].decode()
    script = new.documents[f"{folder}/trainer/train.py"].decode()
    ast.parse(script)
    known = "".join(f'    "{each}",\n' for each in new.proposal.model.primary.classes)
    assert f"\nCLASSES: tuple[str, ...] = (\n{known})\n" in script
    assert '\nNUMBERS: tuple[str, ...] = (\n    "size",\n)\n' in script


def of_columns(root: Path, columns: dict[str, list[object]], **given: object) -> NewModel:
    return propose(root, csv_bytes(columns), **given)


def shop(rows: int = 100, **columns: list[object]) -> dict[str, list[object]]:
    """A table with a label and one number that is always an input."""
    return {
        "bought": [("yes", "no")[number % 2] for number in range(rows)],
        "visits": [number % 7 + 0.5 for number in range(rows)],
        **columns,
    }


def column(new: NewModel, name: str):
    return next(each for each in new.proposal.model.data.columns if each.name == name)


def notes(new: NewModel, name: str) -> str:
    found = (each for each in new.proposal.columns if each.column and each.column.name == name)
    return " ".join(next(found).notes)


def assert_admits(new: NewModel, content: bytes, uri: str) -> None:
    """The model.yaml as it is written admits every single value of the table."""
    page = new.documents["models/shop/model.yaml"]
    model = read_spec(Model, page, name="model.yaml")
    assert model == new.proposal.model
    frame = read_table(content, uri=uri, data=model.data)
    assert find_breaches(model.data.columns, columns_of(frame), tolerance=0) == ()


def test_a_packed_file_beyond_the_limit_has_no_hint_of_a_file_that_is_not_there(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(new_model, "read_facts", partial(read_facts, megabytes=1))
    content = gzip.compress(b"bought,visits\n" + b"yes,1234567\n" * 90_000)
    with pytest.raises(Refused, match="unpack to more than 1 MB") as caught:
        propose(tmp_path, content, file="shop.csv.gz")
    hint = caught.value.hint or ""
    assert "give the rows as .parquet" in hint
    assert "model.yaml" not in hint


names = st.sampled_from(["a", "A", "a_", "label", "cluster", "user_id", "zip", "x, y", "é", "when"])
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
days = st.dates(dt.date(1, 1, 2), dt.date(9998, 12, 30))
FIELDS = {
    "whole numbers": st.integers(-(2**66), 2**66).map(str),
    "few numbers": st.sampled_from(["1", "2", "3"]),
    "numbers": st.floats(allow_nan=True, allow_infinity=True).map(str),
    "codes": st.sampled_from(["02139", "10001", "7"]),
    "times": st.one_of(days.map(str), st.datetimes().map(str), st.just("2026-01-01T23:59:60Z")),
    "dates": days.map(str),
    "truths": st.sampled_from(["true", "False", "1", "0"]),
    "levels": st.sampled_from(["NA", "EU", "-", "none", "no", "1e5"]),
    "texts": texts,
}
MISSING = st.sampled_from(["", "", "NA", "?", " "])
TYPED = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "float64": st.floats(),
    "float32": st.floats(width=32),
    "bool_": st.booleans(),
    "string": texts,
    "date32": days,
    "binary": st.binary(max_size=3),
}


@st.composite
def csv_tables(draw) -> bytes:
    rows = draw(st.integers(6, 40))
    columns: dict[str, list[object]] = shop(rows)
    for name in draw(st.lists(names, max_size=4, unique=True)):
        kind = draw(st.sampled_from(sorted(FIELDS)))
        field = FIELDS[kind] if draw(st.booleans()) else st.one_of(FIELDS[kind], MISSING)
        columns[name] = draw(st.lists(field, min_size=rows, max_size=rows))
    return csv_bytes(columns)


@st.composite
def parquet_tables(draw) -> bytes:
    rows = draw(st.integers(6, 40))
    columns = {name: pa.array(values) for name, values in shop(rows).items()}
    for name in draw(st.lists(names, max_size=4, unique=True)):
        kind = draw(st.sampled_from([*TYPED, "decimal", "timestamp"]))
        if kind == "decimal":
            drawn = st.decimals(-999, 999, places=2)
            values = pa.array(draw(st.lists(drawn, min_size=rows, max_size=rows)),
                              pa.decimal128(9, 2))  # fmt: skip
        elif kind == "timestamp":
            drawn = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))  # noqa: DTZ001
            unit = draw(st.sampled_from(["s", "us"]))
            zone = draw(st.sampled_from([None, "UTC", "+02:00"]))
            found = draw(st.lists(st.none() | drawn, min_size=rows, max_size=rows))
            values = pa.array(found, pa.timestamp("us")).cast(pa.timestamp(unit), safe=False)
            values = values.cast(pa.timestamp(unit, zone))
        else:
            drawn = draw(st.lists(st.none() | TYPED[kind], min_size=rows, max_size=rows))
            values = pa.array(drawn, getattr(pa, kind)())
        columns[name] = values
    buffer = io.BytesIO()
    parquet.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


@pytest.mark.long
@pytest.mark.parametrize(
    ("tables", "name"), [(csv_tables(), "shop.csv"), (parquet_tables(), "shop.parquet")],
    ids=["csv", "parquet"],
)  # fmt: skip
def test_a_proposed_contract_admits_the_table_that_it_was_made_of(tmp_path, tables, name):
    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        phases=[Phase.generate],  # the tables are small, and shrinking one takes minutes
    )
    @given(tables)
    def admitted(content: bytes) -> None:
        new = propose(tmp_path, content, file=name)
        event(" ".join(sorted({str(each.type) for each in new.proposal.model.data.columns})))
        assert_admits(new, content, name)
        held_out = new.held_out.files[0].uri
        if held_out in new.documents and new.days is None:
            for uri in (new.training, held_out):
                assert_admits(new, new.documents[uri], uri)

    admitted()


def test_ids_codes_and_levels_are_told_apart(tmp_path):
    rows = 400
    new = of_columns(
        tmp_path,
        shop(
            rows,
            row_id=list(range(rows)),
            customer_id=[f"C{number % 70}" for number in range(rows)],
            zip=[("02139", "10001")[number % 2] for number in range(rows)],
            postcode=[10_000 + number % 50 for number in range(rows)],
            continent=[("NA", "EU", "AS")[number % 3] for number in range(rows)],
            note=[f"text {number}" for number in range(rows)],
            premium=[("true", "false")[number % 2] for number in range(rows)],
            age=["" if number % 10 == 0 else 18 + number % 60 for number in range(rows)],
        ),
    )
    assert {each.name: each.type for each in new.proposal.model.data.columns} == {
        "bought": "category",
        "visits": "number",
        "customer_id": "category",
        "zip": "category",
        "postcode": "category",
        "continent": "category",
        "premium": "boolean",
        "age": "integer",
    }
    assert set(new.proposal.left_out) == {"row_id", "note"}
    assert new.proposal.features == ("visits", "zip", "postcode", "continent", "premium", "age")
    assert column(new, "continent").levels == ("AS", "EU", "NA")
    assert (column(new, "age").nullable, column(new, "age").max_null_share) == (True, 0.25)
    assert (column(new, "age").minimum, column(new, "age").maximum) == (0, 106)
    assert (new.proposal.cluster, new.held_out.cluster) == ("customer_id", "customer_id")


@pytest.mark.parametrize(
    ("values", "most"),
    [(["0", "1"] * 50, 1.0), (["0", "1", "2", "0"] * 25, 3.0), (["1", "1"] * 50, 2.0)],
)
def test_a_number_that_is_0_or_1_is_a_flag_and_has_no_room_for_a_2(tmp_path, values, most):
    new = of_columns(tmp_path, shop(near_holiday=values))
    assert column(new, "near_holiday").maximum == most
    assert ("unit" in notes(new, "near_holiday")) == (most != 1.0)


@pytest.mark.parametrize(("different", "asked"), [(80, True), (51, True), (40, False)])
def test_text_of_which_most_is_different_is_asked_about(tmp_path, different, asked):
    remarks = [f"hit number {number % different} of a flock" for number in range(100)]
    new = of_columns(tmp_path, shop(remarks=remarks))
    assert ("is it free text?" in notes(new, "remarks")) == asked


def test_a_unit_is_asked_for_and_never_invented(tmp_path):
    new = of_columns(tmp_path, shop(temp_celsius=[str(number % 30) for number in range(100)]))
    assert "QUESTION: in which unit?" in notes(new, "temp_celsius")
    assert [each.unit for each in new.proposal.model.data.columns] == [None] * 3
    page = new.documents["models/shop/model.yaml"].decode()
    assert "  # QUESTION: in which unit? Write `unit: ...`; leave it out if it has none\n" in page


def test_na_is_a_level_unless_numbers_need_it_as_a_missing_value(tmp_path):
    continents = [("NA", "EU")[number % 2] for number in range(100)]
    as_level = of_columns(tmp_path, shop(continent=continents))
    assert column(as_level, "continent").levels == ("EU", "NA")
    assert as_level.proposal.model.data.missing == ("",)
    ages = ["NA" if number % 9 == 0 else str(number) for number in range(100)]
    as_missing = of_columns(tmp_path, shop(continent=continents, age=ages))
    assert as_missing.proposal.model.data.missing == ("", "NA")
    assert (column(as_missing, "age").type, column(as_missing, "age").nullable) == ("integer", True)
    assert column(as_missing, "continent").nullable
    assert "is it a level? Then quote it in the file" in notes(as_missing, "continent")


def test_dates_that_are_not_iso_8601_are_said(tmp_path):
    dates = [f"{1 + number % 12:02}/{1 + number % 28:02}/2026" for number in range(100)]
    new = of_columns(tmp_path, shop(signup=dates))
    assert new.days is None
    told = notes(new, "signup")
    assert told.count("write them as 2026-12-31") == told.count("dates") == 1


def test_the_last_days_are_held_out_where_rows_have_a_time(tmp_path):
    days = [str(START + dt.timedelta(days=number // 10)) for number in range(1000)]
    content = csv_bytes(shop(1000, day=days))
    new = propose(tmp_path, content)
    assert new.days is not None
    assert str(new.days.training.since) == "2026-01-01"
    assert new.days.training.until == new.days.held_out.since == dt.date(2026, 3, 21)
    assert new.days.held_out.until == dt.date(2026, 4, 11)
    assert new.held_out.name == "since-2026-03-21"
    assert (new.held_out.cluster, new.rows) == ("day", (790, 210))
    assert new.training == new.held_out.files[0].uri == "models/shop/data/shop.csv"
    assert new.documents["models/shop/data/shop.csv"] == content


def test_every_third_row_is_held_out_where_rows_have_no_time(tmp_path):
    table = shop(90, note=['a "quoted", text\nof two lines'] * 90)
    new = of_columns(tmp_path, table)
    assert (new.days, new.held_out.name, new.rows) == (None, "every-third", (60, 30))
    files = (new.documents[new.training], new.documents[new.held_out.files[0].uri])
    rows = [list(csv.reader(io.StringIO(each.decode(), newline="")))[1:] for each in files]
    whole = list(csv.reader(io.StringIO(csv_bytes(table).decode(), newline="")))[1:]
    assert rows[1] == whole[2::3]
    assert sorted(rows[0] + rows[1]) == sorted(whole)


@pytest.mark.parametrize(("again", "said"), [(1, "1 of 601 rows is a copy"), (40, "40 of 640")])
def test_a_row_and_its_copy_are_on_one_side_and_copies_are_said(tmp_path, again, said):
    table = shop(600, size=[f"{number / 7:.3f}" for number in range(600)])
    # The copies come last, so every fifth row would be on another side than its twin.
    twice = {name: [*values, *values[:again]] for name, values in table.items()}
    new = of_columns(tmp_path, twice)
    training, held_out = (
        {tuple(row) for row in list(csv.reader(io.StringIO(new.documents[uri].decode())))[1:]}
        for uri in (new.training, new.held_out.files[0].uri)
    )
    assert sum(new.rows) == 600 + again
    assert not training & held_out
    (warning,) = new.warnings
    assert said in warning
    assert of_columns(tmp_path, table).warnings == ()


def test_rows_of_a_table_of_few_categories_are_equal_by_chance(tmp_path):
    new = of_columns(tmp_path, {"bought": ["yes", "no", "no"] * 100, "colour": ["a", "b"] * 150})
    assert not any("cop" in warning for warning in new.warnings)
    assert new.rows == (240, 60)


def test_copies_are_said_where_days_are_held_out_too(tmp_path):
    days = [str(START + dt.timedelta(days=number // 10)) for number in range(1000)]
    table = shop(1000, day=days, size=[f"{number / 7:.3f}" for number in range(1000)])
    twice = {name: [*values, values[-1]] for name, values in table.items()}
    (warning,) = of_columns(tmp_path, twice).warnings
    assert "1 of 1,001 rows is a copy" in warning


@pytest.mark.parametrize("name", ["Größe [m²]", "a<b", "x]"])
def test_a_name_that_the_library_does_not_take_is_refused_before_anything_is_written(
    tmp_path, name
):
    (tmp_path / "shop.csv").write_bytes(csv_bytes(shop(**{name: [n % 7 for n in range(100)]})))
    arguments: dict[str, Any] = {"file": "shop.csv", "timestamp": None, "here": tmp_path}
    with pytest.raises(Refused, match=re.escape(name)) as raised:
        compose_model(tmp_path, Catalog(), WISHES, FRAMEWORKS["xgboost"], **arguments)
    assert "--framework lightgbm" in (raised.value.hint or "")
    assert compose_model(tmp_path, Catalog(), WISHES, FRAMEWORKS["lightgbm"], **arguments)


def test_a_cluster_is_on_one_side_only(tmp_path):
    users = [f"u{number * 7 % 100}" for number in range(600)]
    new = of_columns(tmp_path, shop(600, user_id=users))
    sides = [
        {row["user_id"] for row in csv.DictReader(new.documents[uri].decode().splitlines())}
        for uri in (new.training, new.held_out.files[0].uri)
    ]
    assert [len(side) for side in sides] == [80, 20]
    assert not sides[0] & sides[1]


@pytest.mark.parametrize(
    ("values", "task", "target"),
    [
        (["yes", "no"], "binary", {"positive_class": "yes"}),
        (["0", "1"], "binary", {"above": 0.5}),
        (["true", "false"], "binary", {"positive_class": "True"}),
        (["a", "b", "b"], "binary", {"positive_class": "a"}),
        (["a", "b", "c"], "multiclass", {}),
        (["1", "2", "3"], "multiclass", {}),
        ([str(number) for number in range(40)], "regression", {}),
        (["1.5", "2.5", "7"], "regression", {}),
    ],
)
def test_the_task_is_guessed_from_the_target(tmp_path, values, task, target):
    bought = [values[number % len(values)] for number in range(120)]
    model = of_columns(tmp_path, shop(120) | {"bought": bought}).proposal.model
    assert model.task == task
    found = {name: getattr(model.target, name) for name in ("above", "positive_class")}
    assert {name: value for name, value in found.items() if value is not None} == target


def test_a_person_may_say_another_task(tmp_path):
    table = shop(120) | {"bought": [str(1 + number % 5) for number in range(120)]}
    assert of_columns(tmp_path, table).proposal.model.task is Task.MULTICLASS
    new = of_columns(tmp_path, table, task=Task.REGRESSION)
    assert new.proposal.model.task is Task.REGRESSION
    with pytest.raises(Refused, match="fits no binary task; fitting: multiclass, regression"):
        of_columns(tmp_path, table, task=Task.BINARY)


@pytest.mark.parametrize(
    ("columns", "wishes", "said"),
    [
        ({}, {"target": "boght"}, "target column 'boght' is not in the data"),
        ({"bought": ["yes"] * 100}, {}, "has one value, 'yes'; a label needs two"),
        ({"bought": [f"t{n}" for n in range(100)]}, {}, "has 100 different texts"),
        ({"visits": [f"t{n}" for n in range(100)]}, {}, "no column but bought can be an input"),
        ({}, {"timestamp": "visits"}, "timestamp column 'visits' is of type number"),
        ({}, {"timestamp": "vist"}, "timestamp column 'vist' is not in the data; it has "),
        ({}, {"cluster": "user"}, "cluster column 'user' is not in the data"),
        ({}, {"name": "Shop!"}, "would not be valid"),
    ],
)
def test_what_makes_no_model_is_refused(tmp_path, columns, wishes, said):
    with pytest.raises(Refused, match=said):
        of_columns(tmp_path, shop() | columns, **wishes)


def test_a_time_in_another_form_is_asked_for_since_rows_of_any_day_are_held_out(tmp_path):
    times = [f"{1 + n // 24 % 28:02}.{1 + n // 672:02}.2026 {n % 24:02}:10" for n in range(300)]
    days = [f"{1 + n // 20:02}.01.2026" for n in range(300)]  # so few that they are levels
    asked = "no time of a row is known, so rows of any day are held out: is it"
    for columns, found in (
        ({"seen": times}, "seen"),
        ({"day": days}, "day"),
        ({"day": days, "seen": times}, "day or seen"),
    ):
        told = of_columns(tmp_path, shop(300, **columns)).warnings
        assert f"{asked} {found}?" in told
    told = of_columns(tmp_path, shop(300, seen=times), timestamp=new_model.NO_TIME).warnings
    assert asked not in " ".join(told)


def test_a_set_that_is_too_small_for_the_gate_is_said_at_once(tmp_path):
    new = of_columns(tmp_path, shop(30))
    assert "only 10 clusters (row) are held out and the gate needs 20" in " ".join(new.warnings)


def test_a_file_that_is_no_table_is_refused(tmp_path):
    with pytest.raises(CannotAnswer, match="not a table"):
        propose(tmp_path, b"[]", file="shop.json")
    with pytest.raises(Refused, match="it has no rows"):
        propose(tmp_path, b"bought,visits\n")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("gone.csv", "gone.csv: there is no such file here, and none at "),
        ("../gone.csv", "../gone.csv: there is no such file in "),
        ("/gone/gone.csv", "/gone/gone.csv: there is no such file in "),
        ("..", ".. is a folder"),
    ],
)
def test_a_file_that_is_not_there_is_said_wherever_it_should_be(tmp_path, file, said):
    with pytest.raises(CannotAnswer, match=said) as caught:
        compose_model(tmp_path, Catalog(), WISHES, FRAMEWORK, file=file, timestamp=None,
                      here=tmp_path)  # fmt: skip
    assert (caught.value.hint or "").startswith("give the path of a .csv")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a;late\n1;yes\n", "semicolons"),
        ("a;late\n1,5;yes\n", "semicolons"),
        ("a\tlate\n1\tyes\n", "tabs"),
    ],
)
def test_a_table_without_commas_is_told_from_one_without_the_target(tmp_path, text, words):
    with pytest.raises((CannotAnswer, Refused)) as refused:
        propose(tmp_path, text.encode(), target="late")
    assert refused.value.hint is not None
    assert f"separated by {words}: save it with commas" in refused.value.hint


def test_data_outside_of_the_repository_is_pinned_where_it_is(tmp_path):
    lake = tmp_path / "lake"
    lake.mkdir()
    days = [str(START + dt.timedelta(days=number // 10)) for number in range(600)]
    catalog = Catalog(repository=Repository(data=str(lake)))
    new = propose(lake, csv_bytes(shop(600, day=days)), catalog=catalog)
    assert (new.training, new.held_out.files[0].uri) == ("shop.csv", "shop.csv")
    assert not any("/data/" in path for path in new.documents)
    with pytest.raises(Refused, match="none is copied"):
        propose(lake, csv_bytes(shop()), catalog=catalog)


def test_a_model_is_written_whole_or_not_at_all(tmp_path):
    new = of_columns(tmp_path, shop())
    (tmp_path / "modelyard.yaml").write_text("apiVersion: modelyard/v1\nkind: Repository\n")
    stranger = tmp_path / "models/shop/README.md"
    stranger.parent.mkdir(parents=True)
    stranger.write_text("somebody was faster")
    with pytest.raises(Refused, match="models/shop/ exists already"):
        write_model(tmp_path, Repository(), new)
    assert [path.name for path in (tmp_path / "models").rglob("*")] == ["shop", "README.md"]
    assert list((tmp_path / ".modelyard").iterdir()) == []
    stranger.unlink()
    write_model(tmp_path, Repository(), new)
    written = {path: (tmp_path / path).read_bytes() for path in new.documents}
    assert written == dict(new.documents)
    specs = read_specs(WorkingTree(tmp_path))
    assert [each.message for each in specs.all_problems() if "shop" in each.file] == []
    assert specs.catalog.held_out["shop", "every-third"] == new.held_out
    with pytest.raises(Refused, match="exists already"):
        of_columns(tmp_path, shop())


def test_a_held_out_set_reads_back_with_its_guess_as_a_comment(tmp_path):
    new = of_columns(tmp_path, shop())
    text = new.documents["models/shop/heldout/every-third.yaml"]
    assert text.startswith(b"# GUESS: no row depends on another\n")
    assert read_spec(HeldOut, text, name="every-third") == new.held_out
