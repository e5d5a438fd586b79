from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from hashlib import sha256

import pytest
import yaml

from modelyard.adapters.git.trees import WorkingTree
from modelyard.adapters.specs.documents import dump_spec, read_spec
from modelyard.adapters.specs.reader import read_specs
from modelyard.domain.specs.heldout import HeldOut, Role
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.version import (
    Code,
    DataFile,
    IntendedBreak,
    ModelVersion,
    Runtime,
    TrainingData,
)
from operations.drift_yard import MODEL, Yard, delays_yard, drifting_yard, months
from runtimes import OWN

JANUARY_TO_MARCH = ("--since", "2026-01-01", "--until", "2026-04-01")


@pytest.fixture
def yard(tmp_path) -> Yard:
    made = delays_yard(tmp_path)
    months(made.root, range(1, 5))
    return made


def pin(yard: Yard, uri: str) -> DataFile:
    return DataFile(uri=uri, sha256=sha256((yard.root / uri).read_bytes()).hexdigest())


def with_april(yard: Yard) -> HeldOut:
    done = yard.run(
        *("version", "held-out", "delays", "april", "--data", "data/delays/2026-04.parquet"),
        *("--since", "2026-04-01", "--until", "2026-05-01", "--cluster", "date"),
    )
    assert (done.exit_code, done.stdout) == (0, "models/delays/heldout/april.yaml\n"), done.stderr
    return read_spec(HeldOut, (yard.root / done.stdout.strip()).read_bytes(), name="april")


def first(yard: Yard, *words: object):
    return yard.run(
        *("version", "new", "delays", "v1", "--reason", "The first", "--held-out", "april"),
        *("--data", "data/delays/2026-0[1-3].parquet", *JANUARY_TO_MARCH, *words),
    )


def written(yard: Yard, name: str) -> ModelVersion:
    path = yard.root / f"models/delays/versions/{name}.yaml"
    return read_spec(ModelVersion, path.read_bytes(), name=name)


def test_a_held_out_set_is_written_with_its_files_pinned(yard):
    assert with_april(yard) == HeldOut(
        model="delays",
        name="april",
        files=(pin(yard, "data/delays/2026-04.parquet"),),
        cluster="date",
        role=Role.RECENT,
        max_looks=20,
        window=Interval(since=date(2026, 4, 1), until=date(2026, 5, 1)),
    )


def test_a_version_is_written_with_every_pin_filled_in(yard):
    with_april(yard)
    done = first(yard, "--param", "depth=3", "--param", 'kind="tree"', "--seed", 5)
    assert (done.exit_code, done.stdout) == (0, "models/delays/versions/v1.yaml\n"), done.stderr
    assert [line for line in done.stderr.splitlines() if line not in notes(done)] == [
        "next:",
        "  git switch -c delays-v1",
        "  git add models/delays",
        '  git commit -m "Add delays v1"',
        "  git push -u origin delays-v1",
        '  modelyard pr open delays-v1 --title "Add delays v1"',
    ]
    assert written(yard, "v1") == ModelVersion(
        model="delays",
        version="v1",
        reason="The first",
        data=TrainingData(
            files=tuple(pin(yard, f"data/delays/2026-0{month}.parquet") for month in (1, 2, 3)),
            window=Interval(since=date(2026, 1, 1), until=date(2026, 4, 1)),
        ),
        held_out=("april",),
        code=Code(tree=yard.git.rev_parse("HEAD:models/delays/trainer")),
        runtime=Runtime(lock=OWN),
        parameters={"depth": 3, "kind": "tree"},
        seed=5,
    )
    assert read_specs(WorkingTree(yard.root)).all_problems() == ()


def test_the_file_is_a_persons_own_and_carries_no_header_of_the_tool(yard):
    with_april(yard)
    first(yard)
    text = (yard.root / "models/delays/versions/v1.yaml").read_text()
    assert text.startswith("apiVersion: modelyard/v1\nkind: ModelVersion\n")


def test_what_is_not_said_comes_from_the_parent(yard):
    with_april(yard)
    first(yard, "--param", "depth=3", "--param", "trees=10", "--seed", 5)
    done = yard.run(
        *("version", "new", "delays", "v2", "--parent", "v1", "--reason", "Deeper"),
        *("--param", "depth=9"),
    )
    assert done.exit_code == 0, done.stderr
    assert written(yard, "v2") == replace(
        written(yard, "v1"),
        version="v2",
        parent="v1",
        reason="Deeper",
        parameters={"depth": 9, "trees": 10},
    )


def test_a_file_of_parameters_replaces_those_of_the_parent(yard, tmp_path):
    with_april(yard)
    first(yard, "--param", "depth=3")
    (tmp_path / "params.json").write_text('{"trees": 2, "rate": 0.5}')
    yard.run(
        *("version", "new", "delays", "v2", "--parent", "v1", "--reason", "Other"),
        *("--params", tmp_path / "params.json", "--param", "rate=1"),
    )
    assert written(yard, "v2").parameters == {"trees": 2, "rate": 1}


def test_held_out_days_inside_the_window_are_excluded_by_themselves(yard):
    with_april(yard)
    days = ("--since", "2026-02-01", "--until", "2026-02-08")
    february = ("--data", "data/delays/2026-02.parquet", "--cluster", "date", "--role", "old")
    yard.run("version", "held-out", "delays", "winter", *february, *days)
    assert first(yard).exit_code == 0
    held_out = Interval(since=date(2026, 2, 1), until=date(2026, 2, 8))
    assert written(yard, "v1").data.excludes == (held_out,)


def notes(done) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("note: ")]


def test_held_out_days_that_a_longer_window_asks_for_are_said(yard):
    with_april(yard)
    assert notes(first(yard)) == []
    done = yard.run(
        *("version", "new", "delays", "v2", "--parent", "v1", "--reason", "More rows"),
        *("--data", "data/delays/*.parquet", "--since", "2026-01-01", "--until", "2026-04-10"),
    )
    assert notes(done) == [
        "note: the days from 2026-04-01 up to 2026-04-10 are held out, so their rows do not train"
    ]


@pytest.mark.parametrize(
    ("name", "near"),
    [("num_roundz", "; num_rounds is there"), ("learning_rates", "; learning_rate is there"),
     ("verbosity", "")],
)  # fmt: skip
def test_a_parameter_that_no_file_of_the_trainer_names_is_said_and_one_it_names_is_not(
    yard, name, near
):
    with_april(yard)
    yard.write("models/delays/trainer/train.py", b"print(p['num_rounds'], p['learning_rate'])\n")
    yard.publish("A trainer with parameters")
    assert notes(first(yard, "--param", "num_rounds=3", "--param", "learning_rate=1")) == []
    done = yard.run(
        *("version", "new", "delays", "v2", "--parent", "v1", "--reason", "Other"),
        *("--param", f"{name}=3"),
    )
    assert done.exit_code == 0
    assert notes(done) == [
        f"note: no file of models/delays/trainer has the name of the parameter {name}{near}: a "
        "trainer may train without it, and say nothing"
    ]


def test_files_that_git_ignores_are_no_files_of_the_trainer(yard):
    with_april(yard)
    yard.write("models/delays/trainer/.gitignore", b"venv\n")
    yard.publish("A trainer with an environment beside it")
    environment = yard.root / "models/delays/trainer/venv"
    environment.mkdir()
    (environment / "library.py").write_text("verbosity = 1\n")
    (environment / "memory").symlink_to("/proc/self/mem")  # cannot be read
    done = first(yard, "--param", "verbosity=3")
    assert done.exit_code == 0, done.stderr
    assert [each.partition(" of models")[0] for each in notes(done)] == ["note: no file"]


def test_a_version_that_trains_the_same_model_again_says_so(yard):
    with_april(yard)
    first(yard)
    done = yard.run("version", "new", "delays", "v2", "--parent", "v1", "--reason", "Again")
    assert notes(done) == [
        "note: v2 has the rows, code, runtime, parameters and seed of v1, so it is the same model"
    ]
    other = ("version", "new", "delays", "v3", "--parent", "v1", "--reason", "Again", "--seed", 7)
    assert notes(yard.run(*other)) == []


def test_the_rows_of_retired_sets_may_train_and_the_sets_are_not_inherited(yard):
    april = with_april(yard)
    first(yard)
    yard.write(
        "models/delays/heldout/april.yaml", dump_spec("HeldOut", replace(april, retired=True))
    )
    months(yard.root, range(5, 6))
    may = ("--since", "2026-05-01", "--until", "2026-05-02", "--cluster", "row")
    yard.run("version", "held-out", "delays", "may", "--data", "data/delays/2026-05.parquet", *may)
    done = yard.run(
        *("version", "new", "delays", "v2", "--parent", "v1", "--reason", "More"),
        *("--until", "2026-05-01", "--held-out", "may"),
    )
    assert done.exit_code == 0, done.stderr
    spec = written(yard, "v2")
    assert spec.held_out == ("may",)
    assert spec.data.excludes == ()
    refused = yard.run("version", "new", "delays", "v3", "--parent", "v1", "--reason", "Same")
    assert refused.exit_code == 2
    assert "give --held-out NAME" in refused.stderr


def test_a_version_says_what_it_breaks_and_why(yard):
    with_april(yard)
    done = first(yard, "--breaks", "temp=callers = all of them, know", "--breaks", "wind= soon ")
    assert done.exit_code == 0, done.stderr
    assert written(yard, "v1").breaks == (
        IntendedBreak(name="temp", reason="callers = all of them, know"),
        IntendedBreak(name="wind", reason="soon"),
    )


@pytest.mark.sample(2)
@pytest.mark.parametrize("text", ["temp", "temp=", "=because", " = "])
def test_a_break_without_a_name_or_a_reason_is_refused(yard, text):
    with_april(yard)
    done = first(yard, "--breaks", text)
    assert done.exit_code == 2
    assert "expected NAME=REASON, with a reason" in done.stderr


def test_breaks_are_not_inherited_since_another_champion_has_other_callers(yard):
    with_april(yard)
    first(yard, "--breaks", "temp=announced")
    done = yard.run(
        *("version", "new", "delays", "v2", "--parent", "v1", "--reason", "Same"),
        *("--held-out", "april"),
    )
    assert done.exit_code == 0, done.stderr
    assert written(yard, "v2").breaks == ()


def test_refuses_a_trainer_with_changes_that_are_not_committed(yard):
    with_april(yard)
    yard.write("models/delays/trainer/train.py", b"print('other')\n")
    done = first(yard)
    assert done.exit_code == 3
    assert done.stderr.splitlines() == [
        "error: models/delays/trainer/train.py: changed and not committed, so it cannot be pinned",
        "hint: git add models/delays/trainer/train.py && git commit, or git restore it; "
        "then run this again",
    ]
    yard.git.run("restore", "models/delays/trainer/train.py")
    yard.write("models/delays/trainer/new.py", b"")
    assert first(yard).exit_code == 3


def test_refuses_a_lock_that_is_not_as_committed(yard):
    with_april(yard)
    yard.write("requirements-runtime.lock", b"numpy==1.0\n")
    done = first(yard)
    assert (done.exit_code, "requirements-runtime.lock: changed" in done.stderr) == (3, True)


def test_writing_the_same_version_again_changes_nothing_not_even_a_comment(yard):
    with_april(yard)
    first(yard)
    path = yard.root / "models/delays/versions/v1.yaml"
    path.write_bytes(b"# Mine.\n" + path.read_bytes())
    done = first(yard)
    assert (done.exit_code, done.stdout) == (0, "models/delays/versions/v1.yaml\n")
    assert path.read_bytes().startswith(b"# Mine.\n")


def test_refuses_to_overwrite_a_version_that_differs(yard):
    with_april(yard)
    first(yard)
    before = (yard.root / "models/delays/versions/v1.yaml").read_bytes()
    done = first(yard, "--seed", 9)
    assert done.exit_code == 3
    assert done.stderr.startswith("error: models/delays/versions/v1.yaml exists and differs\n")
    assert (yard.root / "models/delays/versions/v1.yaml").read_bytes() == before


def test_refuses_a_file_that_is_unreadable_and_in_the_way(yard):
    with_april(yard)
    yard.write("models/delays/versions/v1.yaml", b"{")
    assert first(yard).exit_code == 3
    assert (yard.root / "models/delays/versions/v1.yaml").read_bytes() == b"{"


def test_refuses_a_version_that_validate_would_refuse(yard):
    with_april(yard)
    done = first(yard, "--param", 'features=["temp", "delay"]')
    assert done.exit_code == 3
    assert done.stderr == (
        "error: models/delays/versions/v1.yaml would not be valid: feature delay is the target: "
        "the model would know the answer\n"
    )
    assert not (yard.root / "models/delays/versions/v1.yaml").exists()


def test_refuses_names_that_are_none(yard):
    with_april(yard)
    done = yard.run("version", "new", "delays", "../v1", "--reason", "x", "--parent", "v0")
    assert done.exit_code == 1
    done = first(yard)
    done = yard.run("version", "new", "delays", "V 2", "--reason", "x", "--parent", "v1")
    assert (done.exit_code, "would not be valid" in done.stderr) == (3, True)


def test_refuses_data_that_changed_under_a_pinned_name(yard):
    april = with_april(yard)
    (yard.root / "data/delays/2026-04.parquet").write_bytes(b"other")
    done = yard.run(
        *("version", "held-out", "delays", "april-2", "--data", "data/delays/2026-04.parquet"),
        *("--since", "2026-04-01", "--until", "2026-05-01", "--cluster", "date"),
    )
    assert done.exit_code == 3
    assert f"delays's held-out set april pins it as {april.files[0].sha256[:12]}" in done.stderr


def test_says_where_it_looked_for_data_that_is_not_there(yard):
    words = ("--cluster", "date", "--since", "2026-04-01", "--until", "2026-05-01")
    done = yard.run("version", "held-out", "delays", "x", "--data", "data/none/*.parquet", *words)
    assert done.exit_code == 1
    assert f"data/none/*.parquet: no file at {yard.root}/data/none/*.parquet" in done.stderr


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--param", "depth=three"), "--param depth=three: expected NAME=JSON"),
        (("--param", "depth"), "--param depth: expected NAME=JSON"),
        (("--param", "kind=it's"), """text needs quotes: kind='"it'"'"'s"'"""),
        (("--param", "deep=False"), "--param deep=False: expected NAME=JSON; write deep=false"),
        (("--param", "rate=NaN"), "expected NAME=JSON (Out of range float values are not JSON"),
        (("--param", "depth=" + "[" * 100_000), "expected NAME=JSON (maximum recursion depth"),
        (
            ("--since", "2026-13-01"),
            "Invalid value for '--since': '2026-13-01' is no day: write it as",
        ),
        (("--seed", "-1"), "Invalid value for '--seed'"),
    ],
)
def test_wrong_usage_says_what_was_expected(yard, words, message):
    with_april(yard)
    done = first(yard, *words)
    assert done.exit_code == 2
    assert message in done.stderr


def test_data_and_one_end_of_the_window_alone_are_wrong_usage(yard):
    with_april(yard)
    base = ("version", "new", "delays", "v1", "--reason", "x", "--held-out", "april")
    assert "give --data URI" in yard.run(*base).stderr
    alone = yard.run(*base, "--data", "data/delays/2026-01.parquet", "--since", "2026-01-01")
    assert (alone.exit_code, "give both --since and --until" in alone.stderr) == (2, True)


def test_a_dry_run_prints_the_file_and_writes_nothing(yard):
    with_april(yard)
    done = first(yard, "--dry-run")
    assert done.exit_code == 0
    assert not (yard.root / "models/delays/versions/v1.yaml").exists()
    first(yard)
    assert done.stdout == (yard.root / "models/delays/versions/v1.yaml").read_text()


def test_uris_stay_as_they_were_said_relative_or_whole(yard):
    from modelyard.operations.training.pins import DataRoot, expand_uri

    data = DataRoot(base="data", root=yard.root)
    files = [f"2026-0{month}.parquet" for month in (1, 2, 3, 4)]
    whole = f"file://{yard.root}/data/delays"
    assert expand_uri("delays/*.parquet", data) == tuple(f"delays/{file}" for file in files)
    assert expand_uri("**/*-02.parquet", data) == ("delays/2026-02.parquet",)
    assert expand_uri(f"{whole}/2026-0[34]*", data) == tuple(
        f"{whole}/{file}" for file in files[2:]
    )
    assert expand_uri("delays/none.parquet", data) == ("delays/none.parquet",)
    below = DataRoot(base="models/../data/./", root=yard.root)
    assert expand_uri("delays/*-01.parquet", below) == ("delays/2026-01.parquet",)
    remote = DataRoot(base=f"file://{yard.root}/data/", root=yard.root)
    assert expand_uri("delays/*-01.parquet", remote) == ("delays/2026-01.parquet",)


@pytest.mark.long
def test_shows_a_version_with_its_verdict_and_where_it_runs(tmp_path):
    yard = drifting_yard(tmp_path)
    done = yard.run("version", "show", "delays", "v2")
    assert done.stdout == (
        (yard.root / "models/delays/versions/v2.yaml").read_text()
        + "\ngate: pass: better\nruns in: production\n"
    )
    shown = json.loads(yard.run("version", "show", "delays", "v2", "--output", "json").stdout)
    assert shown == yaml.safe_load((yard.root / "models/delays/versions/v2.yaml").read_text())


@pytest.mark.long
def test_lists_the_versions_in_the_order_of_their_numbers(tmp_path):
    yard = drifting_yard(tmp_path)
    for name in ("v10", "v3"):
        words = ("--parent", "v2", "--reason", f"[red]{name}")
        assert yard.run("version", "new", "delays", name, *words).exit_code == 0
    *_, first, second, third = yard.run("version", "list", "delays").stdout.strip().splitlines()
    assert [line.split() for line in (first, second, third)] == [
        ["v2", "The", "first", "that", "counts", "pass", "production"],
        ["v3", "[red]v3", "-", "-"],
        ["v10", "[red]v10", "-", "-"],
    ]


def test_a_model_or_version_that_is_not_there_is_named(yard):
    assert yard.run("version", "list", "none").stderr == (
        f"error: {yard.root} has no valid models/none/model.yaml; it has delays\n"
        "hint: modelyard validate\n"
    )
    done = yard.run("version", "show", "delays", "v9")
    assert (done.exit_code, "v9.yaml; it has none\n" in done.stderr) == (1, True)


def test_the_model_of_these_tests_is_valid(yard):
    assert read_specs(WorkingTree(yard.root)).all_problems() == ()
    assert read_specs(WorkingTree(yard.root)).catalog.models == {"delays": MODEL}


def test_a_model_with_a_lock_of_its_own_pins_that_and_its_image_while_the_lock_stays(yard):
    with_april(yard)
    yard.write("models/delays/trainer/requirements.lock", b"xgboost==3.1\n")
    yard.git.run("add", "-A")
    yard.git.run("commit", "-q", "-m", "Lock it")
    image = "registry.example.org/runtime@sha256:" + "1" * 64
    assert first(yard, "--image", image).exit_code == 0
    mine = Runtime(lock=sha256(b"xgboost==3.1\n").hexdigest(), image=image)
    assert written(yard, "v1").runtime == mine

    more = ("version", "new", "delays", "v2", "--reason", "r", "--parent", "v1")
    assert yard.run(*more, "--seed", 6).exit_code == 0
    assert written(yard, "v2").runtime == mine
    yard.write("models/delays/trainer/requirements.lock", b"xgboost==3.2\n")
    yard.git.run("commit", "-q", "-a", "-m", "Lock it again")
    more = ("version", "new", "delays", "v3", "--reason", "r", "--parent", "v1")
    assert yard.run(*more, "--seed", 7).exit_code == 0
    assert written(yard, "v3").runtime == Runtime(lock=sha256(b"xgboost==3.2\n").hexdigest())


@pytest.mark.long
def test_a_version_for_a_cluster_takes_the_image_that_was_written_down_for_its_own_lock(yard):
    with_april(yard)
    lock, digest = "models/delays/trainer/requirements.lock", "1" * 64
    yard.write(lock, b"xgboost==3.1\n")
    yard.git.run("add", "-A")
    yard.git.run("commit", "-q", "-m", "Lock it")
    built, other = (f"ghcr.io/acme/{name}@sha256:{digest}" for name in ("yard", "other"))
    done = yard.run("runtime", "image", lock, built)
    assert done.exit_code == 0, done.stderr

    assert first(yard).exit_code == 0
    mine = Runtime(lock=sha256(b"xgboost==3.1\n").hexdigest())
    assert written(yard, "v1").runtime == mine, "on one machine there are no images"

    settings = yard.root / "modelyard.yaml"
    settings.write_text(f"{settings.read_text()}\norchestrator: argo\n")
    again = ("version", "new", "delays", "--reason", "r", "--parent", "v1")
    for name, words, image in (
        ("v2", ("--seed", 2), built),
        ("v3", ("--seed", 3, "--image", other), other),
        ("v4", ("--seed", 4, "--parent", "v3"), other),
    ):
        done = yard.run(*again, name, *words)
        assert done.exit_code == 0, done.stderr
        assert written(yard, name).runtime == replace(mine, image=image), name

    yard.write(lock, b"xgboost==3.2\n")
    yard.git.run("commit", "-q", "-a", "-m", "Lock it again")
    assert yard.run(*again, "v5", "--parent", "v3", "--seed", 5).exit_code == 0
    assert written(yard, "v5").runtime.image is None, "of that lock nothing was built yet"


HEAD = "date,distance,dep_delay,arr_delay\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "x.csv"),
        (HEAD.encode(), "x.csv"),
        (HEAD.replace(",", ";").encode() + b"2026-01-02;1;2;3\n", "x.csv"),
        (b"\x00\x01 no table", "x.csv"),
    ],
)
def test_data_that_is_no_table_of_the_contract_is_refused_before_anything_is_written(
    yard, content, said
):
    with_april(yard)
    (yard.root / "data/x.csv").write_bytes(content)
    new = ("version", "new", "delays", "v1", "--reason", "r", "--held-out", "april")

    done = yard.run(*new, "--data", "data/x.csv", *JANUARY_TO_MARCH)
    other = yard.run(
        "version", "held-out", "delays", "x", "--data", "data/x.csv", "--cluster", "row"
    )

    assert (done.exit_code, other.exit_code) == (3, 3), (done.stderr, other.stderr)
    assert said in done.stderr
    assert said in other.stderr
    assert not (yard.root / "models/delays/versions/v1.yaml").exists()
    assert not (yard.root / "models/delays/heldout/x.yaml").exists()


def test_a_window_without_rows_and_a_cluster_that_is_no_column_are_refused(yard):
    with_april(yard)
    new = ("version", "new", "delays", "v1", "--reason", "r", "--held-out", "april")
    held_out = ("version", "held-out", "delays", "x", "--data", "data/delays/2026-04.parquet")

    empty = yard.run(*new, "--data", "data/delays/2026-01.parquet", "--since", "2020-01-01",
                     "--until", "2020-02-01")  # fmt: skip
    without = yard.run(*held_out, "--cluster", "nothing")

    assert (empty.exit_code, without.exit_code) == (3, 3)
    assert "no labelled rows are left of data/delays/2026-01.parquet" in empty.stderr
    assert "cluster column 'nothing'" in without.stderr
