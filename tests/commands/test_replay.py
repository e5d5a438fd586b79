from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from modelyard.adapters.clock import SystemClock
from modelyard.adapters.cluster.endpoints import Endpoint, read_endpoints, write_endpoints
from modelyard.adapters.cluster.local import LocalCluster
from modelyard.adapters.metrics.replay import draw_endpoint
from modelyard.adapters.metrics.scrape import ScrapeMetrics
from modelyard.adapters.specs.documents import dump_spec
from modelyard.commands.replay import replay
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.environment import Environment, Rollout, Step
from modelyard.domain.specs.record import Artifact, Record
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.repository import Repository
from modelyard.domain.specs.version import Code, DataFile, ModelVersion, Runtime, TrainingData
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.ports import Services
from modelyard.serving.documents import Serving, Training
from serving.artifacts import MODEL, flights, shared_artifact
from serving.running import preloaded_socket

PRODUCTION = Environment(
    name="production", description="All users.", namespace="production", promotes_from="canary"
)
CANARY = Environment(
    name="canary",
    description="Some users.",
    namespace="production",
    joins="production",
    rollout=Rollout(steps=(Step(share=0.25),)),
)
START = datetime(2020, 1, 1, tzinfo=UTC)


def fetch(digest: str, folder: Path, asked: object) -> Path:
    del asked
    if not folder.exists():
        shutil.copytree(shared_artifact()[0], folder)
    return folder


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    root = tmp_path_factory.mktemp("yard")
    for path, kind, thing in (
        ("modelyard.yaml", "Repository", Repository()),
        ("models/late/model.yaml", "Model", MODEL),
        ("environments/production/environment.yaml", "Environment", PRODUCTION),
        ("environments/canary/environment.yaml", "Environment", CANARY),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(dump_spec(kind, thing))
    flights(500).to_parquet(root / "flights.parquet")
    services: Any = Services(
        root=root,
        repository=Repository(),
        pulls=None,  # type: ignore[arg-type]
        desk=None,  # type: ignore[arg-type]
        orchestrator=None,  # type: ignore[arg-type]
        cluster=LocalCluster(root, Repository(), fetch, SystemClock(), patience_seconds=60),
        metrics=ScrapeMetrics(root, Repository(), SystemClock()),
        clock=SystemClock(),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))
        for version, environment in (("v1", PRODUCTION), ("v2", CANARY)):
            release = Release(
                model="late",
                environment=environment.name,
                version=version,
                artifact=shared_artifact()[1],
                server_image="image",
                renderer=1,
                manifests="",
            )
            services.cluster.sync(release, model=MODEL, environment=environment)
        yield services
        services.cluster.stop_all()


def run(services: Services, *options: str) -> Result:
    data = str(services.root / "flights.parquet")
    return CliRunner().invoke(replay, ["late", "--data", data, *options], obj=services)


def told(services: Services, *options: str) -> dict[str, Any]:
    result = run(services, "--output", "json", *options)
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.output)
    return document


def totals(services: Services) -> dict[str, dict[str, Any]]:
    samples = services.metrics.samples("late", since=START)
    return {release: vars(counts) for release, counts in samples[-1].counts.items()}


@pytest.mark.long
def test_rows_reach_the_releases_by_share_and_are_counted_there(yard: Services):
    before = totals(yard)
    document = told(yard, "--rows", "2000", "--seed", "7")
    after = totals(yard)
    releases = {each["version"]: each for each in document["releases"]}
    assert (document["rows"], document["requests"]) == (2000, 100)
    assert document["codes"] == {"200": 100}
    assert releases["v1"]["requests"] + releases["v2"]["requests"] == 100
    assert 15 <= releases["v2"]["requests"] <= 35
    for each in releases.values():
        was, now = before[each["release"]], after[each["release"]]
        assert now["requests"]["2xx"] - was["requests"]["2xx"] == each["requests"]
        assert now["rows"] - was["rows"] == 20 * each["requests"]
        assert sum(now["predictions"]) - sum(was["predictions"]) == 20 * each["requests"]


def test_rows_of_a_csv_file_are_the_rows_of_a_parquet_file(yard: Services):
    flights(40).to_csv(yard.root / "flights.csv", index=False)
    document = told(yard, "--rows", "40", "--data", str(yard.root / "flights.csv"))
    assert document["codes"] == {"200": 2}


def test_the_same_seed_sends_the_same_requests(yard: Services):
    once, again, other = (told(yard, "--seed", seed)["releases"] for seed in "112")
    assert once == again
    assert once != other


def test_a_blank_column_arrives_as_null_in_every_row(yard: Services):
    before = totals(yard)
    told(yard, "--rows", "100", "--blank", "dep_delay")
    after = totals(yard)
    blank = sum(after[r]["nulls"]["dep_delay"] - before[r]["nulls"]["dep_delay"] for r in after)
    assert blank == 100


def test_a_column_that_may_not_be_null_is_refused_by_the_servers_and_told(yard: Services):
    assert told(yard, "--rows", "40", "--blank", "carrier")["codes"] == {"400": 2}


def test_says_what_the_servers_answer_to_requests_that_they_refuse(yard: Services):
    refused = run(yard, "--rows", "40", "--blank", "carrier").output.splitlines()[1]
    assert refused.startswith("  400: 2 requests, such as: input carrier: ")


@pytest.fixture
def dated(yard: Services) -> Iterator[Services]:
    """The model's rows have a day, which no request carries, and the file has ten days of them."""
    file, columns = yard.root / "models/late/model.yaml", MODEL.data.columns
    day = Column(name="day", type="timestamp", available_at="later")
    data = replace(MODEL.data, columns=(*columns, day), timestamp="day")
    rows = flights(100)
    rows["day"] = [f"2026-01-{1 + number // 10:02}" for number in range(100)]
    # Of the third and the fourth day no row has this value.
    rows.loc[20:39, "dep_delay"] = None
    rows.to_csv(yard.root / "dated.csv", index=False)
    file.write_bytes(dump_spec("Model", replace(MODEL, data=data)))
    yield yard
    file.write_bytes(dump_spec("Model", MODEL))


@pytest.mark.parametrize(
    ("days", "nulls"),
    [
        (("--since", "2026-01-03", "--until", "2026-01-05"), 40),
        (("--until", "2026-01-03"), 0),
        (("--since", "2026-01-05"), 0),
    ],
)
def test_only_rows_of_the_days_that_were_asked_for_are_sent(dated, days, nulls):
    before = totals(dated)
    told(dated, "--data", str(dated.root / "dated.csv"), "--rows", "40", *days)
    after = totals(dated)
    assert sum(after[r]["nulls"]["dep_delay"] - before[r]["nulls"]["dep_delay"] for r in after) == (
        nulls
    )


def test_days_without_rows_and_rows_without_days_are_said(dated):
    given = ("--data", str(dated.root / "dated.csv"), "--since", "2027-01-01")
    assert "has no row of the days that" in str(run(dated, *given).exception)
    assert "has no column day" in str(run(dated, "--since", "2026-01-01").exception)


def test_days_of_a_model_whose_rows_have_none_are_said(yard):
    assert "its model.yaml has no data.timestamp" in str(
        run(yard, "--until", "2026-01-01").exception
    )


def test_more_rows_than_the_file_has_are_drawn_again(yard: Services):
    assert told(yard, "--rows", "1010", "--rows-per-request", "100")["requests"] == 11


def test_the_rate_is_kept(yard: Services):
    document = told(yard, "--rows", "60", "--rows-per-request", "10", "--rate", "50")
    assert document["seconds"] >= 1.0


def test_says_in_words_what_became_of_the_requests(yard: Services):
    result = run(yard, "--rows", "20")
    assert result.exit_code == 0
    first, code, release = result.output.splitlines()
    assert first.startswith("20 rows in 1 requests to production, ")
    assert code == "  200: 1 requests"
    assert release.endswith("): 1 requests, 100.0%")


def test_a_server_that_is_gone_is_unreachable_and_the_replay_still_ran(yard: Services):
    state = yard.root / ".modelyard"
    gone = Endpoint(url="http://127.0.0.1:1", release="r0", version="v0", share=1.0)
    write_endpoints(state, [gone], environment="elsewhere", model="late")
    elsewhere = Environment(name="elsewhere", description="Nobody.", namespace="nowhere")
    path = yard.root / "environments" / "elsewhere" / "environment.yaml"
    path.parent.mkdir()
    path.write_bytes(dump_spec("Environment", elsewhere))
    try:
        document = told(yard, "--environment", "elsewhere", "--rows", "20")
    finally:
        shutil.rmtree(path.parent)
        write_endpoints(state, [], environment="elsewhere", model="late")
    assert document["codes"] == {"unreachable": 1}
    assert document["releases"] == [{"version": "v0", "release": "r0", "requests": 1}]


def taught(services: Services, version: str, dropped: str) -> None:
    """A version in the checkout whose server asks for all inputs but one."""
    inputs = [column for column in MODEL.inputs if column.name != dropped]
    serving = Serving(
        model="late",
        task=MODEL.task,
        inputs=tuple(inputs),
        output=MODEL.primary,
        training=Training(null={}, levels={}),
    )
    digest = hashlib.sha256(version.encode()).hexdigest()
    store = services.root / services.repository.artifacts / "models" / digest
    store.mkdir(parents=True)
    (store / "serving.json").write_text(json.dumps(asdict(serving)))
    (store / ".complete").touch()
    spec = ModelVersion(
        model="late",
        version=version,
        reason="r",
        data=TrainingData(files=(DataFile(uri="flights.parquet", sha256="a" * 64),)),
        held_out=("recent",),
        code=Code(tree="c" * 40),
        runtime=Runtime(lock="d" * 64),
    )
    record = Record(
        model="late",
        version=version,
        spec="e" * 64,
        workflow="w",
        attempt=1,
        seed=0,
        lock="d" * 64,
        threads=1,
        verdict=Verdict(outcome=Outcome.PASS, reason="r"),
        artifact=Artifact(digest=f"sha256:{digest}", size=1, format="skops", inputs=()),
    )
    for folder, kind, thing in (("versions", "ModelVersion", spec), ("records", "Record", record)):
        path = services.root / "models" / "late" / folder / f"{version}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(dump_spec(kind, thing))


def test_requests_have_what_a_version_taught_its_callers_and_no_more(yard: Services):
    taught(yard, "v0", dropped="carrier")
    taught(yard, "v8", dropped="dep_delay")

    # `carrier` is required by the servers; `dep_delay` may be left out.
    assert told(yard, "--rows", "40", "--as", "v0")["codes"] == {"400": 2}
    before = totals(yard)
    assert told(yard, "--rows", "40", "--as", "v8")["codes"] == {"200": 2}
    after = totals(yard)
    left_out = sum(after[r]["nulls"]["dep_delay"] - before[r]["nulls"]["dep_delay"] for r in after)
    assert left_out == 40
    assert told(yard, "--rows", "40")["codes"] == {"200": 2}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--as", "v77"], "late/versions/v77.yaml"),
        (["--as", "v8", "--blank", "dep_delay"], "requests of late have no such column"),
    ],
)
def test_what_no_version_taught_is_said(yard: Services, options: list[str], complaint: str):
    assert complaint in str(run(yard, *options).exception)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--blank", "arr_delay"], "--blank arr_delay: requests of late have no such column"),
        (
            ["--environment", "mars"],
            "the checkout has no valid environments/mars/environment.yaml; it has canary",
        ),
        (["--data", __file__], "not a table; expected .parquet, .csv or .csv.gz"),
        (["--data", "no-table.csv"], "no-table.csv: not readable as a table: it has no header"),
    ],
)
def test_what_cannot_be_replayed_is_said(
    yard: Services,
    options: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    Path("no-table.csv").touch()
    result = run(yard, *options)
    assert complaint in str(result.exception)


@given(
    shares=st.lists(st.floats(0.01, 1), min_size=1, max_size=4),
    at=st.floats(0, 1, exclude_max=True),
)
def test_a_draw_falls_to_the_endpoint_whose_share_holds_it(shares: list[float], at: float):
    whole = sum(shares)
    endpoints = [
        Endpoint(url=str(place), release=str(place), version="v", share=share / whole)
        for place, share in enumerate(shares)
    ]
    place = int(draw_endpoint(endpoints, at).release)  # type: ignore[union-attr]
    below = sum(endpoint.share for endpoint in endpoints[:place])
    assert below <= at
    assert at < below + endpoints[place].share or place == len(endpoints) - 1
    assert draw_endpoint([], at) is None


def test_rows_sent_to_one_address_are_told_by_the_release_that_answered(yard: Services):
    endpoints = read_endpoints(
        yard.root / Repository().state, environment="production", model="late"
    )
    stable = next(each for each in endpoints if each.version == "v1")

    document = told(yard, "--rows", "100", "--url", stable.url)

    assert document["codes"] == {"200": 5}
    assert document["releases"] == [
        {"version": "none", "release": stable.release, "requests": 5}  # Git has no release here
    ]


def test_an_address_where_nobody_listens_is_told_and_is_no_crash(yard: Services):
    document = told(yard, "--rows", "20", "--url", "http://127.0.0.1:9")

    assert document["codes"] == {"unreachable": 1}


@pytest.mark.parametrize("address", ["late.models", "file:///etc/passwd"])
def test_an_address_is_http_or_refused(yard: Services, address: str):
    result = run(yard, "--url", address)

    assert result.exit_code == 2
    assert "does not start with http:// or https://" in result.output
