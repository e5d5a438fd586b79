from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from hashlib import sha256

import jsonschema
import pandas as pd
import pytest

from modelyard.adapters.specs.documents import dump_spec
from modelyard.adapters.specs.schemas import schema_folder
from modelyard.adapters.store.artifacts import Store
from modelyard.adapters.tables.frames import columns_of
from modelyard.domain.promotion.incidents import Incident
from modelyard.domain.promotion.notifications import find_notifications
from modelyard.domain.specs.contract import find_breaches
from modelyard.errors import CannotAnswer
from operations.drift_yard import (
    JUNE,
    MODEL,
    NOW,
    Yard,
    delays_yard,
    drifting_yard,
    in_kelvin,
    months,
    rewritten,
    rows,
    with_policy,
)
from operations.real_flights import contract, flights, real_yard

__all__ = ["contract", "flights"]

SCHEMA = json.loads((schema_folder() / "output/drift.schema.json").read_bytes())


@pytest.fixture
def yard(tmp_path) -> Yard:
    return drifting_yard(tmp_path)


def answer(yard: Yard, *words: object):
    """The exit code and the answer of `drift`, held against its schema."""
    code, found = yard.answer("drift", "delays", *words)
    jsonschema.validate(found, SCHEMA)
    return code, found


def incidents(yard: Yard, model: str = "delays") -> tuple[Incident, ...]:
    return yard.workspace.facts.read_model(model).incidents


@pytest.mark.long
def test_data_like_the_training_data_has_not_drifted(yard):
    code, found = answer(yard, "--until", "2026-04-29")
    assert code == 0
    assert (found["outcome"], found["version"], found["confirmed"]) == ("none", "v2", [])
    assert [(w["since"], w["rows"], w["usable"]) for w in found["windows"]] == [
        ("2026-04-01", 700, True),
        ("2026-04-08", 700, True),
        ("2026-04-15", 700, True),
        ("2026-04-22", 700, True),
    ]
    assert not any(c["drifted"] for w in found["windows"] for c in w["columns"])


@pytest.mark.long
def test_a_column_that_moved_for_three_windows_of_four_is_confirmed(yard):
    code, found = answer(yard, "--until", "2026-05-22")
    assert (code, found["outcome"]) == (3, "confirmed")
    assert {(c["column"], c["reason"]) for c in found["confirmed"]} == {
        ("temp", "range"),
        ("temp", "shape"),
    }
    drifted = [[c["column"] for c in w["columns"] if c["drifted"]] for w in found["windows"]]
    assert [set(columns) for columns in drifted] == [set(), {"temp"}, {"temp"}, {"temp"}]


@pytest.mark.long
def test_two_windows_are_not_enough(yard):
    code, found = answer(yard, "--until", "2026-05-15")
    assert (code, found["confirmed"]) == (0, [])
    assert sum(any(c["drifted"] for c in w["columns"]) for w in found["windows"]) == 2


@pytest.mark.long
def test_looks_at_the_newest_rows_unless_told_otherwise(yard):
    code, found = answer(yard)
    assert (code, found["until"], found["windows"][-1]["until"]) == (3, "2026-07-01", "2026-07-01")


@pytest.mark.long
def test_the_evidence_is_kept_and_the_same_rows_give_the_same(yard):
    _, first = answer(yard)
    _, again = answer(yard)
    assert first == again
    evidence = json.loads(yard.workspace.store.read_evidence(first["evidence"]))
    assert evidence["windows"] == first["windows"]
    assert evidence["profile"] == first["profile"]
    assert evidence["files"] == [
        {"uri": JUNE, "sha256": sha256((yard.root / JUNE).read_bytes()).hexdigest()}
    ]
    _, earlier = answer(yard, "--until", "2026-06-30")
    assert earlier["evidence"] != first["evidence"]


@pytest.mark.long
def test_the_text_is_a_table_and_one_closing_sentence(yard, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    done = yard.run("drift", "delays", "--until", "2026-05-22")
    assert done.exit_code == 3
    *table, evidence, closing = done.stdout.splitlines()
    assert "2026-04-24" in table[4]
    assert "nothing drifted" in table[4]
    assert evidence.startswith("evidence sha256:")
    assert closing == (
        "delays: drift from what v2 was trained on is confirmed by 3 of 4 windows before "
        "2026-05-22: temp (range), temp (shape)"
    )


@pytest.mark.long
@pytest.mark.parametrize(("until", "word"), [("2026-04-29", "none"), ("2026-06-30", "confirmed")])
def test_the_decision_is_one_word_in_a_file(yard, tmp_path, until, word):
    yard.run("drift", "delays", "--until", until, "--decision", tmp_path / "decision")
    assert (tmp_path / "decision").read_text() == word


@pytest.mark.long
def test_a_broken_contract_is_an_incident_and_never_drift(yard, tmp_path):
    rewritten(yard, JUNE, temp=in_kelvin)
    code, found = answer(yard, "--decision", tmp_path / "decision")
    assert (code, found["outcome"], found["evidence"]) == (3, "breached", None)
    assert [(b["column"], b["rule"], b["expected"]) for b in found["breaches"]] == [
        ("temp", "range", "-40 to 60 degC")
    ]
    assert found["breaches"][0]["found"].startswith("values from 29")
    assert (tmp_path / "decision").read_text() == "breached"
    [incident] = incidents(yard)
    assert incident.at == NOW
    assert incident.what.startswith(
        "contract of data/delays/*.parquet broken: column temp (range): "
        "expected -40 to 60 degC, found values from 29"
    )
    assert found["incidents"] == [incident.what]


@pytest.mark.long
def test_an_incident_tells_what_broke_the_contract_once_that_is_known(yard):
    rewritten(yard, "data/delays/2026-04.parquet", temp=in_kelvin)
    _, found = answer(yard, "--until", "2026-04-29")
    [incident] = incidents(yard)
    assert found["breaches"][0]["cause"] == "looks as if degC became K"
    assert incident.what.endswith(" rows); looks as if degC became K")
    unnamed = replace(incident, what=incident.what.partition("; ")[0])
    yard.workspace.facts.update_model(
        "delays", lambda before: replace(before, incidents=(unnamed,))
    )
    explained = yard.run("drift", "delays", "--until", "2026-04-29", "--explain")
    assert "rows); looks as if degC became K" in explained.stdout.replace("\n", " ")
    assert incidents(yard) == (incident,)


@pytest.mark.long
def test_a_breach_that_lasts_is_one_incident_however_the_numbers_change(yard):
    rewritten(yard, JUNE, temp=in_kelvin)
    for until in ("2026-06-10", "2026-06-20", "2026-06-25"):
        assert answer(yard, "--until", until)[0] == 3
    (incident,) = incidents(yard)
    assert incident.key == "contract/data/delays/*.parquet#temp/range/-40 to 60 degC"


@pytest.mark.long
@pytest.mark.parametrize("is_told_under", ["its key", "its sentence"])
def test_an_incident_of_before_the_key_said_what_is_expected_stays_the_same(yard, is_told_under):
    rewritten(yard, JUNE, temp=in_kelvin)
    answer(yard)
    (incident,) = incidents(yard)
    old = replace(incident, key=incident.key.removesuffix("/-40 to 60 degC"))
    sentence = sha256(old.what.encode()).hexdigest()[:16]
    of_key = f"incident/{old.key}/{old.at.isoformat()}"
    told = (of_key if is_told_under == "its key" else f"incident/{sentence}",)
    change = partial(replace, incidents=(old,), told=told)
    yard.workspace.facts.update_model("delays", change)

    answer(yard, "--until", "2026-06-20")

    assert incidents(yard) == (old,)
    facts = yard.workspace.facts.read_model("delays")
    assert find_notifications("delays", facts, (), NOW) == ()


@pytest.mark.long
def test_a_breach_of_another_limit_is_another_incident_even_beside_one_of_before(yard):
    rewritten(yard, JUNE, temp=in_kelvin)
    answer(yard)
    (incident,) = incidents(yard)
    other = replace(
        incident,
        what=incident.what.replace("-40 to 60", "-40 to 50"),
        key=incident.key.removesuffix("/-40 to 60 degC"),
    )
    yard.workspace.facts.update_model("delays", lambda before: replace(before, incidents=(other,)))

    answer(yard)

    (now,) = incidents(yard)
    assert (now.key, "-40 to 60" in now.what) == (incident.key, True)


@pytest.mark.long
def test_a_breach_that_is_worded_otherwise_is_the_same_incident(yard):
    rewritten(yard, JUNE, temp=in_kelvin)
    answer(yard)
    (incident,) = incidents(yard)
    reworded = replace(incident, what="an older modelyard's words")
    yard.workspace.facts.update_model(
        "delays", lambda before: replace(before, incidents=(reworded,))
    )

    assert answer(yard)[1]["incidents"] == [reworded.what]
    assert incidents(yard) == (reworded,)


@pytest.mark.long
def test_only_a_clean_look_at_the_newest_rows_takes_an_incident_back(yard):
    sound = (yard.root / JUNE).read_bytes()
    rewritten(yard, JUNE, temp=in_kelvin)
    answer(yard)
    other = Incident(what="nobody knows", at=NOW)
    yard.workspace.facts.update_model(
        "delays", lambda before: replace(before, incidents=(other, *before.incidents))
    )
    assert answer(yard, "--until", "2026-05-01")[1]["outcome"] == "none"
    assert len(incidents(yard)) == 2
    (yard.root / JUNE).write_bytes(sound)
    _, found = answer(yard)
    assert (found["outcome"], found["incidents"]) == ("confirmed", [])
    assert incidents(yard) == (other,)


@pytest.mark.long
def test_an_incident_of_one_feed_is_not_taken_back_by_another(yard):
    rewritten(yard, JUNE, temp=in_kelvin)
    answer(yard)
    assert answer(yard, "--feed", "data/delays/2026-0[1-5].parquet")[1]["outcome"] == "confirmed"
    assert len(incidents(yard)) == 1


@pytest.mark.long
def test_a_renamed_column_is_named_with_what_was_found_instead(yard):
    rewritten(yard, JUNE, temp_f=lambda frame: frame["temp"])
    rewritten(yard, JUNE, temp=None)
    _, found = answer(yard, "--until", "2026-06-03")
    assert found["breaches"] == [
        {
            "column": "temp",
            "rule": "missing",
            "expected": "a number column",
            "found": "no such column; found instead: temp_f",
            "rows": 200,
            "cause": "",
        }
    ]


@pytest.mark.long
def test_nulls_type_and_rows_without_a_day_break_the_contract(yard):
    def rules(**columns: object) -> list[tuple[str, str]]:
        sound = (yard.root / JUNE).read_bytes()
        rewritten(yard, JUNE, **columns)
        _, found = answer(yard)
        (yard.root / JUNE).write_bytes(sound)
        return [(b["column"], b["rule"]) for b in found["breaches"]]

    assert rules(temp=lambda frame: frame["temp"].where(frame.index % 2 == 0)) == [("temp", "null")]
    assert rules(airline=lambda _: None) == [("airline", "null")]
    assert rules(temp=lambda frame: frame["temp"].astype(str)) == [("temp", "type")]
    assert rules(date=None) == [("date", "missing")]
    assert rules(date=lambda frame: frame["date"].where(frame.index > 0)) == [("date", "null")]
    assert rules(date=lambda frame: "June") == [("date", "type")]


@pytest.mark.long
def test_a_breach_outside_the_windows_is_not_looked_at(yard):
    rewritten(yard, JUNE, temp=in_kelvin)
    assert answer(yard, "--until", "2026-06-01")[1]["outcome"] == "confirmed"


@pytest.mark.long
def test_a_broken_contract_is_told_before_anything_runs_in_production(tmp_path):
    yard = delays_yard(tmp_path)
    months(yard.root)
    done = yard.run("drift", "delays")
    assert (done.exit_code, done.stderr) == (
        1,
        "error: production has no release of delays, so there is nothing to compare with\n"
        "hint: modelyard status\n",
    )
    rewritten(yard, JUNE, temp=in_kelvin)
    assert answer(yard)[0] == 3
    assert len(incidents(yard)) == 1


@pytest.mark.long
def test_what_cannot_be_answered_is_said_with_exit_code_1(yard):
    for words, message in (
        (("drift", "none"), "the main branch has no valid models/none/model.yaml"),
        (("drift", "delays", "--feed", "data/no/*.parquet"), "data/no/*.parquet: no file at"),
        (("drift", "delays", "--feed", "modelyard.yaml"), "modelyard.yaml: not a table"),
        (
            ("drift", "delays", "--until", "2025-01-01"),
            "0 rows from 2024-12-25 to 2025-01-01, but 200 are needed to compare the latest window",
        ),
        (
            ("drift", "delays", "--until", "2025-01-01"),
            "hint: the feed has no row of these days: modelyard drift delays --until DATE compares",
        ),
    ):
        done = yard.run(*words)
        assert (done.exit_code, message in done.stderr) == (1, True), done.stderr


@pytest.mark.long
def test_a_model_without_a_feed_or_a_profile_cannot_be_asked(tmp_path):
    model = replace(MODEL, data=replace(MODEL.data, feed=None))
    yard = drifting_yard(tmp_path, model)
    done = yard.run("drift", "delays")
    assert (done.exit_code, "has no data.feed" in done.stderr) == (1, True)
    assert answer(yard, "--feed", "data/delays/*.parquet")[0] == 3
    for file in (yard.root / ".modelyard/artifacts/evidence").iterdir():
        file.unlink()
    done = yard.run("drift", "delays", "--feed", "data/delays/*.parquet")
    assert (done.exit_code, "out of reach" in done.stderr) == (1, True)


def test_a_store_that_fails_once_is_named_and_no_rows_are_missed(yard, monkeypatch):
    """Without a profile no rows are compared, but the feed has enough of them."""
    real, asked = Store.read_evidence, []

    def read(store, digest):
        asked.append(digest)
        if len(asked) == 1:
            raise CannotAnswer("the store did not answer")
        return real(store, digest)

    monkeypatch.setattr(Store, "read_evidence", read)

    done = yard.run("drift", "delays")

    assert (done.exit_code, "the store did not answer" in done.stderr) == (1, True), done.stderr


@pytest.mark.long
def test_an_older_window_with_too_few_rows_is_a_warning(yard):
    frame = pd.read_parquet(yard.root / JUNE)
    frame[~frame["date"].between("2026-06-10", "2026-06-16")].to_parquet(yard.root / JUNE)
    code, found = answer(yard)
    assert code == 3
    assert [w["usable"] for w in found["windows"]] == [True, False, True, True]
    assert found["warnings"] == [
        "0 rows from 2026-06-10 to 2026-06-17 are too few to compare: 200 are needed "
        "(drift.least_rows)",
        "quality is not watched: the record of v2 has no held-out scores to compare",
    ]


@pytest.mark.long
@pytest.mark.parametrize(("rows", "nulls", "are_said"), [(2, 1, False), (20, 20, True)])
def test_of_a_window_of_few_rows_only_nulls_beyond_chance_break_the_contract(
    yard, rows, nulls, are_said
):
    frame = pd.read_parquet(yard.root / JUNE)
    inside = frame["date"].between("2026-06-10", "2026-06-16")
    few = frame[inside][:rows].copy()
    few.iloc[:nulls, few.columns.get_loc("temp")] = None
    pd.concat([frame[~inside], few]).to_parquet(yard.root / JUNE)
    _, found = answer(yard)  # that the window has so few rows is a fault of its own
    assert ("null" in [each["rule"] for each in found["breaches"]]) == are_said


@pytest.mark.long
def test_too_few_calendar_blocks_confirm_nothing_and_say_so(tmp_path):
    yard = drifting_yard(tmp_path, with_policy(window_days=14, needed=1, of=1))
    code, found = answer(yard)
    assert (code, found["outcome"]) == (0, "none")
    assert any(c["drifted"] for c in found["windows"][0]["columns"])
    assert found["warnings"] == [
        "the profile of v2 has 6 calendar blocks of 14 days, but 8 are needed: the effect of "
        "the calendar alone is unknown, so nothing is confirmed",
        "quality is not watched: the record of v2 has no held-out scores to compare",
    ]


@pytest.mark.long
@pytest.mark.parametrize("command", ["drift", "retrain"])
def test_an_edit_of_the_checkout_that_main_does_not_have_is_said(yard, command):
    words = (command, "delays", "--until", "2026-04-29")
    assert "of this checkout" not in yard.run(*words).stderr
    edited = dump_spec("Model", with_policy(least_rows=1))
    yard.write(f"models/{MODEL.name}/model.yaml", edited)
    said = "note: models/delays/model.yaml of this checkout is not that of the main branch"
    assert said in yard.run(*words).stderr
    yard.publish("Merged")
    assert said not in yard.run(*words).stderr


def ask_for_windows_of(yard: Yard, days: int) -> None:
    """Change the length of a window on the main branch, with v2 trained on weeks."""
    yard.write(f"models/{MODEL.name}/model.yaml", dump_spec("Model", with_policy(window_days=days)))
    yard.publish(f"Windows of {days} days")


@pytest.mark.long
@pytest.mark.parametrize("days", [10, 14, 21])
def test_longer_windows_than_those_of_the_training_are_no_flood_of_rows(yard, days):
    ask_for_windows_of(yard, days)
    _, found = answer(yard, "--until", "2026-05-01")
    assert [w["rows"] for w in found["windows"]] == [100 * days] * 4
    assert (found["outcome"], found["breaches"]) == ("none", [])
    assert found["warnings"][0] == (
        f"v2 was trained with drift.window_days 7, and model.yaml says {days}: {days} days are "
        "compared by what 7 days of the training data differ, and so less is seen until a version "
        "is trained anew"
    )


@pytest.mark.long
@pytest.mark.parametrize("days", [1, 3])
def test_windows_are_never_shorter_than_what_the_profile_knows_the_calendar_by(yard, days):
    ask_for_windows_of(yard, days)
    _, found = answer(yard, "--until", "2026-04-29")
    assert [(w["since"], w["rows"]) for w in found["windows"]] == [
        ("2026-04-01", 700), ("2026-04-08", 700), ("2026-04-15", 700), ("2026-04-22", 700),
    ]  # fmt: skip
    assert (found["outcome"], found["breaches"]) == ("none", [])
    assert found["warnings"][0] == (
        f"v2 was trained with drift.window_days 7, and model.yaml says {days}: windows have 7 days "
        f"until a version is trained with {days}"
    )


@pytest.mark.long
def test_csv_and_parquet_files_make_one_feed(yard):
    rows(date(2026, 7, 1), date(2026, 7, 8)).to_csv(
        yard.root / "data/delays/2026-07.csv", index=False
    )
    yard.clock.at = NOW + timedelta(days=7)
    code, found = answer(yard, "--feed", "data/delays/2026-0[67]*")
    assert (code, found["until"]) == (3, "2026-07-08")
    assert [w["rows"] for w in found["windows"]] == [700, 700, 700, 700]


@pytest.mark.long
@pytest.mark.parametrize(
    "feed", ["data/trial/*.parquet", "data/trial/2026-06.parquet", "./data/delays/*.parquet"]
)
def test_a_breach_of_a_feed_given_by_hand_leaves_no_incident_behind(yard, feed):
    rewritten(yard, JUNE, airline=lambda _: None)
    (yard.root / "data/trial").mkdir()
    for file in (yard.root / "data/delays").iterdir():
        (yard.root / "data/trial" / file.name).write_bytes(file.read_bytes())

    done = yard.run("drift", "delays", "--feed", feed)

    assert (done.exit_code, "no incident is recorded" in done.stdout) == (3, True), done.output
    assert answer(yard, "--feed", feed)[1]["incidents"] != []
    assert incidents(yard) == ()


@pytest.mark.long
def test_levels_from_outside_cannot_drive_the_terminal(yard):
    rewritten(yard, JUNE, airline=lambda _: "\x1b[2J[red]")
    done = yard.run("drift", "delays")
    assert done.exit_code == 3
    assert "\x1b" not in done.stdout


@pytest.mark.long
def test_the_page_is_for_people_and_changes_no_answer(yard, tmp_path):
    page = tmp_path / "drift.html"
    _, plain = answer(yard)
    code, found = answer(yard, "--page", page)
    assert code == 3
    text, report = page.read_text(), page.with_name("drift.evidently.html")
    assert "<title>delays v2: drift confirmed</title>" in text
    assert 'href="drift.evidently.html"' in text
    assert text.count("<svg") == 3  # the heat map and two distributions; nothing has labels here
    assert text.count(" - not compared</title>") == 0
    assert found["page"]["report_digest"] in text
    assert report.read_bytes() == yard.workspace.store.read_evidence(found["page"]["report_digest"])
    title = "<title>Evidently&#x27;s report of delays v2: drift confirmed</title>"
    assert title in report.read_text()
    del found["page"]["report_digest"]
    assert found["page"] == {
        "path": str(page),
        "report": str(report),
        "reference_rows": 9000,
        "current_rows": 2800,
        "columns": ["temp", "airline"],
        "left_out": {},
    }
    assert {**found, "page": None} == plain


@pytest.mark.long
def test_it_explains_itself_by_a_sentence_a_table_and_a_picture(yard, tmp_path):
    drawn = tmp_path / "drift.svg"
    done = yard.run("drift", "delays", "--explain", "--picture", drawn)
    assert done.exit_code == 3
    assert done.stdout.startswith("delays: drift from what v2 was trained on is confirmed by")
    assert "is the floor of each" in done.stdout.splitlines()[-1]
    assert any(line.startswith("temp (range)") for line in done.stdout.splitlines())
    assert drawn.read_text().startswith("<svg")


@pytest.mark.long
def test_no_page_is_made_of_data_that_breaks_the_contract(yard, tmp_path):
    rewritten(yard, JUNE, temp=in_kelvin)
    done = yard.run("drift", "delays", "--page", tmp_path / "drift.html")
    assert (done.exit_code, (tmp_path / "drift.html").exists()) == (3, False)
    assert "is not written: the data breaks the contract" in done.stderr


@pytest.mark.long
def test_no_page_is_made_of_training_data_that_changed(yard, tmp_path):
    rewritten(yard, "data/delays/2026-02.parquet", temp=in_kelvin)
    done = yard.run("drift", "delays", "--page", tmp_path / "drift.html")
    assert (done.exit_code, "v2 pins SHA-256" in done.stderr) == (3, True)


@pytest.mark.long
def test_every_month_and_week_of_the_real_year_keeps_the_contract(flights, contract):
    columns = contract.data.columns
    frames = [pd.read_parquet(file) for file in sorted(flights.iterdir())]
    assert len(frames) == 12
    for frame in frames:
        assert sorted(frame.columns) == sorted(column.name for column in columns)
        assert find_breaches(columns, columns_of(frame)) == ()
    year = pd.concat(frames)
    for number in range(52):
        first = date(2013, 1, 1) + timedelta(days=7 * number)
        week = year["date"].between(str(first), str(first + timedelta(days=6)))
        assert find_breaches(columns[1:], columns_of(year[week])) == ()


@pytest.mark.long
@pytest.mark.parametrize("name", ["2013-01.parquet", "2013-07.parquet"])
def test_visibility_in_metres_breaks_the_real_contract(flights, contract, name):
    frame = pd.read_parquet(flights / name)
    broken = frame.assign(visib=frame["visib"] * 1609.344)
    found = find_breaches(contract.data.columns, columns_of(broken))
    assert [(b.column, b.rule, b.expected) for b in found] == [("visib", "range", "0 to 10 mi")]


@pytest.mark.slow
def test_spring_is_no_drift_and_early_summer_is(tmp_path, flights, contract):
    yard = real_yard(tmp_path, flights, contract)
    code, found = yard.answer("drift", "flight-delay", "--until", "2013-05-06")
    assert (code, found["outcome"]) == (0, "none")
    code, found = yard.answer("drift", "flight-delay", "--until", "2013-07-01")
    assert (code, [(c["column"], c["reason"]) for c in found["confirmed"]]) == (
        3,
        [("temp", "range"), ("temp", "shape")],
    )
    assert incidents(yard, "flight-delay") == ()
