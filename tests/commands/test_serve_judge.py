from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from modelyard.adapters import bounded_http
from modelyard.adapters.bounded_http import BoundedServer
from modelyard.adapters.specs.documents import dump_spec
from modelyard.cli import cli
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer
from modelyard.operations.judge import git_reader, verdict_cache
from modelyard.operations.judge.http import JudgeService
from modelyard.operations.watch.observe import observe_model
from operations.yard import MODEL, contested_yard


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return contested_yard(tmp_path_factory.mktemp("start") / "yard")


@pytest.fixture
def yard(start, tmp_path):
    """v1 is verified everywhere; v2 has a record."""
    return start.copy(tmp_path / "yard")


@pytest.fixture(autouse=True)
def nothing_is_shared(monkeypatch):
    """Every request reads Git and computes a verdict."""
    monkeypatch.setattr(git_reader, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(git_reader, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(verdict_cache, "SHARED_SECONDS", -1.0)
    monkeypatch.setattr(verdict_cache, "GIT_SECONDS", 60.0)
    monkeypatch.setattr(verdict_cache, "WAIT_SECONDS", 60.0)


@dataclass
class Client:
    port: int

    def get(self, path, method="GET"):
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=90)) as connection:
            connection.request(method, path)
            with connection.getresponse() as answer:
                return answer.status, answer.read().decode()

    def ask(self, release, environment="canary"):
        status, text = self.get(f"/v1/verdicts/{environment}/{MODEL}/{release}")
        assert status == 200, text
        return json.loads(text)

    def outcome(self, release, environment="canary"):
        told = self.ask(release, environment)
        return told["outcome"], told["reason"]

    def counted(self, name, **labels):
        families = text_string_to_metric_families(self.get("/metrics")[1])
        samples = [sample for family in families for sample in family.samples]
        (found,) = [s.value for s in samples if s.name == name and s.labels == labels]
        return found


@contextmanager
def judging(workspace):
    service = JudgeService(workspace)
    server = BoundedServer("127.0.0.1", 0, service.make_app())
    server.start()
    service.start()
    try:
        yield Client(server.port)
    finally:
        server.stop()


def put(yard, version="v2", environment="canary"):
    """The version in traffic there, ready and not judged yet; its identity."""
    yard.put(version, environment, is_verified=False)
    return yard.facts(environment).release


def observe(yard):
    observe_model(yard.workspace(), MODEL, yard.said.append)


def metrics_of(workspace, metrics):
    return replace(workspace, services=replace(workspace.services, metrics=metrics))


@pytest.mark.long
def test_a_release_that_does_worse_has_failed_before_anybody_wrote_it_down(yard):
    release = put(yard)
    yard.broken.add("v2")

    with judging(yard.workspace()) as client:
        told = client.ask(release)

    assert {key: told[key] for key in ("outcome", "environment", "model", "release")} == {
        "outcome": "fail",
        "environment": "canary",
        "model": MODEL,
        "release": release,
    }
    assert told["reason"].startswith("error rate 33.3 % of 20000 requests, stable 0 % of 20000")
    assert told["numbers"]["canary_requests"] == 20000
    assert yard.facts("canary").verdict is None


@pytest.mark.long
def test_a_verdict_explains_itself_by_a_sentence_a_table_and_a_picture(yard, tmp_path):
    put(yard)
    yard.broken.add("v2")
    drawn = tmp_path / "judge.svg"
    words = ["judge", "canary", MODEL, "--explain", "--picture", str(drawn)]
    found = CliRunner().invoke(cli, words, obj=yard.workspace().services)
    assert found.exit_code == 3
    lines = found.output.splitlines()
    assert lines[0].startswith("fail: error rate 33.3 % of 20000 requests")
    assert any(line.split()[:2] == ["canary", "requests"] for line in lines)
    assert lines[-1].startswith("log evidence of each test; | is what is needed")
    assert drawn.read_text().startswith("<svg")


@pytest.mark.long
@pytest.mark.parametrize("environment", ["canary", "production"])
def test_a_release_passes_once_the_judge_and_the_facts_say_so(yard, environment):
    release = put(yard, environment=environment)
    if environment == "production":  # its first step, half of the requests
        ledger = yard.ledger("cluster")
        known = ledger.read()[f"production/{MODEL}"]
        stable = {"release": yard.facts("production").verified[-1], "version": "v1"}
        ledger.put(f"production/{MODEL}", {**known, "share": 0.5, "stable": stable})
    with judging(yard.workspace()) as client:
        outcome, reason = client.outcome(release, environment)
        assert outcome == "inconclusive"
        assert reason.startswith("the watcher has not recorded the pass yet: error rate 0 %")
        observe(yard)
        assert yard.facts(environment).verdict.passed
        assert client.outcome(release, environment)[0] == "pass"
        yard.broken.add("v2")
        assert client.outcome(release, environment)[0] == "fail"


@pytest.mark.long
def test_what_the_facts_call_bad_has_failed_whatever_the_counts_say(yard):
    release = put(yard)
    with judging(yard.workspace()) as client:
        aborted = "taken out of traffic: ada said so"
        yard.workspace().facts.update_release(
            "canary", MODEL, lambda facts: replace(facts, aborted="ada said so")
        )
        assert client.outcome(release) == ("fail", aborted)


@pytest.mark.long
def test_a_release_that_a_rollback_restored_needs_no_second_pass(yard):
    release = yard.facts("canary").release
    yard.workspace().facts.update_release(
        "canary", MODEL, lambda facts: replace(facts, verdict=None)
    )
    with judging(yard.workspace()) as client:
        assert client.outcome(release)[0] == "pass"


@pytest.mark.long
def test_what_git_does_not_name_is_inconclusive(yard):
    release = put(yard)
    named = yard.name("v1", "canary").identity
    with judging(yard.workspace()) as client:
        assert client.outcome(release) == (
            "inconclusive",
            f"Git has v1 here, as release {named}",
        )
        assert client.outcome(release, "nowhere") == ("inconclusive", "Git has no release here")
        unseen = "not seen running yet: the watcher has not recorded it"
        assert client.outcome(named) == ("inconclusive", unseen)


def test_where_nobody_judges_there_is_no_verdict(yard):
    release = yard.facts("staging").release
    with judging(yard.workspace()) as client:
        said = "staging is not judged: rollout.judged is false"
        assert client.outcome(release, "staging") == ("inconclusive", said)


class Unreachable:
    def samples(self, model, *, since, keep=True):
        raise CannotAnswer("Prometheus at http://prometheus:9090 is out of reach: refused")


@pytest.mark.long
def test_without_counts_the_answer_is_inconclusive_and_an_error_is_counted(yard):
    release = put(yard)
    with judging(metrics_of(yard.workspace(), Unreachable())) as client:
        said = "Prometheus at http://prometheus:9090 is out of reach: refused"
        assert client.outcome(release) == ("inconclusive", said)
        assert client.counted("modelyard_judge_errors_total", what="judging") == 1
        assert client.counted("modelyard_judge_verdicts_total", outcome="inconclusive") == 1
        assert client.counted("modelyard_judge_verdicts_total", outcome="pass") == 0
        assert client.counted("modelyard_judge_seconds_count") == 1


@pytest.mark.long
def test_without_evidence_a_release_can_fail_but_never_pass(yard):
    release = put(yard)
    observe(yard)
    (yard.folder / "store" / "evidence").rename(yard.folder / "elsewhere")
    with judging(yard.workspace()) as client:
        outcome, reason = client.outcome(release)
        assert (outcome, "out of reach" in reason) == ("inconclusive", True)
        yard.broken.add("v2")
        assert client.outcome(release)[0] == "fail"
        assert client.counted("modelyard_judge_errors_total", what="judging") == 2


@pytest.mark.long
def test_without_git_a_release_can_fail_but_not_pass(yard):
    release = put(yard)
    observe(yard)
    remote = yard.folder / "remote.git"
    with judging(yard.workspace()) as client:
        assert client.outcome(release)[0] == "pass"
        remote.rename(yard.folder / "away.git")
        outcome, reason = client.outcome(release)
        assert outcome == "inconclusive"
        assert reason.startswith("Git is out of reach (git ls-remote in ")
        yard.broken.add("v2")
        assert client.outcome(release)[0] == "fail"
        assert client.get("/healthz") == (200, "ok\n")
        assert client.counted("modelyard_judge_errors_total", what="git") >= 2
        yard.broken.clear()
        (yard.folder / "away.git").rename(remote)
        assert client.outcome(release)[0] == "pass"


@pytest.mark.long
@pytest.mark.parametrize(
    "file", ["environments/canary/environment.yaml", f"models/{MODEL}/model.yaml"]
)
def test_by_rules_that_cannot_be_read_a_release_can_fail_but_not_pass(yard, file):
    restored = yard.facts("production").release
    release = put(yard)
    observe(yard)
    yard.commit({file: b"name: ["})
    with judging(yard.workspace()) as client:
        outcome, reason = client.outcome(release)
        assert outcome == "inconclusive"
        assert reason.startswith(f"{file} cannot be read; the judge's verdict is pass: ")
        assert client.outcome(restored, "production")[0] == "pass"
        yard.broken.add("v2")
        assert client.outcome(release)[0] == "fail"


@pytest.mark.long
def test_a_git_server_that_hangs_keeps_nobody_from_failing(yard, monkeypatch):
    release = put(yard)
    observe(yard)
    workspace, hung = yard.workspace(), threading.Event()
    with judging(workspace) as client:
        assert client.outcome(release)[0] == "pass"
        monkeypatch.setattr(verdict_cache, "GIT_SECONDS", 0.01)
        monkeypatch.setattr(git_reader, "OLD_SECONDS", 0.0)
        monkeypatch.setattr(type(workspace.facts), "read_snapshot", lambda *_, **__: hung.wait(60))
        outcome, reason = client.outcome(release)
        assert outcome == "inconclusive"
        assert reason.startswith("Git has not answered for ")
        yard.broken.add("v2")
        assert client.outcome(release)[0] == "fail"
        hung.set()


@pytest.mark.long
def test_it_is_ready_once_git_was_read(yard):
    release = put(yard)
    remote = yard.folder / "remote.git"
    remote.rename(yard.folder / "away.git")
    with judging(yard.workspace()) as client:
        assert client.outcome(release)[0] == "inconclusive"
        assert client.get("/healthz") == (503, "Git has not been read yet\n")
        (yard.folder / "away.git").rename(remote)
        assert "not recorded the pass" in client.outcome(release)[1]
        assert client.get("/healthz") == (200, "ok\n")


@dataclass
class Counting:
    """Lets nobody have counts before it is told to."""

    inner: object
    asked: int = 0
    may: threading.Event = field(default_factory=threading.Event)

    def samples(self, model, *, since, keep=True):
        self.asked += 1
        self.may.wait(60)
        return self.inner.samples(model, since=since, keep=keep)


@pytest.mark.long
def test_all_who_ask_the_same_share_one_answer(yard, monkeypatch):
    monkeypatch.setattr(verdict_cache, "SHARED_SECONDS", 3600.0)
    release, workspace = put(yard), yard.workspace()
    counting = Counting(workspace.services.metrics)
    with judging(metrics_of(workspace, counting)) as client, ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(client.outcome, release) for _ in range(8)]
        counting.may.set()
        answers = {each.result() for each in waiting}
        assert len(answers) == 1
        assert client.outcome(release) in answers
        assert counting.asked == 1


@pytest.mark.long
def test_who_asks_is_not_kept_waiting_and_the_answer_comes_later(yard, monkeypatch):
    monkeypatch.setattr(verdict_cache, "WAIT_SECONDS", 0.05)
    release, workspace = put(yard), yard.workspace()
    yard.broken.add("v2")
    counting = Counting(workspace.services.metrics)
    with judging(metrics_of(workspace, counting)) as client:
        said = "no verdict yet after 0.05 s"
        assert client.outcome(release) == ("inconclusive", said)
        counting.may.set()
        monkeypatch.setattr(verdict_cache, "WAIT_SECONDS", 60.0)
        assert client.outcome(release)[0] == "fail"


class Crashing:
    def samples(self, model, *, since, keep=True):
        raise ZeroDivisionError


@pytest.mark.long
def test_a_crash_is_no_verdict_and_does_not_end_the_judge(yard):
    release = put(yard)
    with judging(metrics_of(yard.workspace(), Crashing())) as client:
        said = "unexpected ZeroDivisionError, see the judge's log"
        assert client.outcome(release) == client.outcome(release) == ("inconclusive", said)
        assert client.counted("modelyard_judge_errors_total", what="judging") == 2


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/verdicts/canary/m", 404),
        ("GET", f"/v1/verdicts/canary/m/{'0' * 16}/more", 404),
        ("GET", f"/v1/verdicts/Canary/m/{'0' * 16}", 400),
        ("GET", f"/v1/verdicts/canary/../{'0' * 16}", 400),
        ("GET", f"/v1/verdicts/canary/m%2f/{'0' * 16}", 400),
        ("GET", "/v1/verdicts/canary/m/latest", 400),
        ("GET", f"/v1/verdicts/canary/{'m' * 600}/{'0' * 16}", 414),
        ("POST", f"/v1/verdicts/canary/m/{'0' * 16}", 405),
        ("DELETE", "/healthz", 405),
        ("HEAD", "/healthz", 405),
        ("BREW", "/", 405),
        ("GET", f"/v1/verdicts/canary/m/{'0' * 16}?now=1", 200),
    ],
)
def test_only_what_is_a_question_is_answered(served, method, path, status):
    assert served.get(path, method)[0] == status


@pytest.fixture(scope="module")
def served(start, tmp_path_factory):
    with judging(start.copy(tmp_path_factory.mktemp("served") / "yard").workspace()) as client:
        yield client


def test_a_client_takes_no_more_than_its_share_of_connections_and_time(yard, monkeypatch):
    monkeypatch.setattr(bounded_http, "MOST_CONNECTIONS", 1)
    monkeypatch.setattr(bounded_http, "READ_SECONDS", 0.3)
    with judging(yard.workspace()) as client:
        with closing(socket.create_connection(("127.0.0.1", client.port))) as slow:
            slow.sendall(b"GET /healthz HTTP/1.1\r\nHost:")
            with closing(socket.create_connection(("127.0.0.1", client.port))) as other:
                assert other.recv(100).startswith(b"HTTP/1.0 503 ")
            assert slow.recv(100) == b""  # it was hung up on
        while client.get("/healthz")[0] == 503:  # its connection is about to be free
            pass


def test_an_address_must_be_one(yard):
    for wrong in ("8080", ":8080", "localhost:http", "localhost:99999"):
        done = CliRunner().invoke(
            cli, ["serve-judge", "--listen", wrong], obj=yard.workspace().services
        )
        assert done.exit_code == 2
        assert "is not HOST:PORT, such as 127.0.0.1:8080" in done.stderr


def test_an_address_that_is_taken_is_said(yard):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        done = CliRunner().invoke(
            cli, ["serve-judge", "--listen", where], obj=yard.workspace().services
        )
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: cannot listen on {where}: ")


@pytest.mark.long
def test_the_process_answers_and_ends_soon_when_it_is_told_to(yard):
    root = yard.folder / "clone"
    settings = Repository(artifacts=str(yard.folder / "store"))
    (root / "modelyard.yaml").write_bytes(dump_spec("Repository", settings))
    command = [sys.executable, "-m", "modelyard", "--root", str(root)]
    process = subprocess.Popen(
        [*command, "serve-judge", "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        client = Client(int(process.stdout.readline().rpartition(":")[2]))
        while client.get("/healthz")[0] == 503:
            pass
        release = yard.facts("canary").release
        assert client.outcome(release) == ("inconclusive", "no request answered yet")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
