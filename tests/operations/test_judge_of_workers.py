"""What the judge sees of servers with several processes, of which some die between its looks."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from adapters.cluster.test_local import (
    CANARY,
    PRODUCTION,
    Yard,
    yard,  # noqa: F401 - a fixture
)
from modelyard.adapters.metrics.scrape import ScrapeMetrics
from modelyard.adapters.processes.process_table import find_process
from modelyard.adapters.processes.start import is_process_alive
from modelyard.adapters.store.artifacts import Store
from modelyard.adapters.tables.frames import scores_to_parquet
from modelyard.domain.canary.arms import count_arm
from modelyard.domain.canary.shadow.pairs import is_pair_of
from modelyard.domain.canary.traffic import Counts, Sample
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.model import CanaryPolicy, Server
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.repository import Repository
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.operations.judge.evidence import judge_best_effort
from modelyard.operations.judge.feedback import deliver_labels
from modelyard.operations.workspace import Workspace
from modelyard.serving.predictor import load_predictor
from serving.artifacts import MODEL, TRUSTED, flights, shared_artifact
from serving.running import request, until

ROWS = 10
POLICY = CanaryPolicy(
    least_predictions=300,
    least_looks=2,
    least_seconds=0,
    margin_error_rate=0.2,
    distribution_radius=0.2,
    shadow=1.0,
)
BOTH = replace(MODEL, canary=POLICY, server=Server(workers=2))
START = datetime.min.replace(tzinfo=UTC)


class Link:
    """A connection to a server, which one of its workers keeps."""

    def __init__(self, address: str) -> None:
        self._link = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
        self._link.connect()
        self.port = self._link.sock.getsockname()[1]
        self.close = self._link.close

    def send(self, name: str = "one", seed: int = 0, **changes: object) -> int:
        """The status that is answered to a request of some rows."""
        body = json.dumps({**request(ROWS, seed=seed, **changes), "id": name})
        self._link.request("POST", f"/v2/models/{MODEL.name}/infer", body)
        with self._link.getresponse() as answer:
            answer.read()
            return answer.status


@dataclass(kw_only=True)
class Judged:
    """The servers of production and canary, and the judge's looks at them.

    Args:
        yard: Where they run.
        stable: Production's release.
        canary: The canary's.
        workspace: What the judge works with.
        catalog: The specs that it knows.
    """

    yard: Yard
    stable: Release
    canary: Release
    workspace: Any
    catalog: Any

    def look(self) -> Verdict:
        """The judge's verdict, ten seconds after the one before."""
        self.yard.clock.passes(10)
        return judge_best_effort(self.workspace, self.catalog, CANARY, self.canary, START)

    def samples(self) -> Sequence[Sample]:
        """What the judge saw until now, and what it would see."""
        self.yard.clock.passes(1)
        metrics: ScrapeMetrics = self.workspace.services.metrics
        return metrics.samples(MODEL.name, since=START, keep=False)

    def counts(self, release: Release) -> Counts:
        """What it would see now of a release."""
        return self.samples()[-1].counts[release.identity]

    def workers(self, release: Release) -> list[int]:
        """The processes that serve a release."""
        process = self.yard.process(release)
        assert process is not None
        return sorted(child.pid for child in psutil.Process(process.pid).children())

    def links(self, release: Release) -> dict[int, Link]:
        """A connection to each of them, by process; waits for those that only just start."""
        (url,) = [e.url for e in self.yard.endpoints(PRODUCTION) if e.release == release.identity]
        found: dict[int, Link] = {}
        for worker in (workers := self.workers(release)):
            with stopped(each for each in workers if each != worker):
                found[worker] = link = Link(url)
                until(lambda port=link.port, pid=worker: port in clients_of(pid))
        return found

    def send(self, *, times: int, seed: int) -> None:
        """Send so many requests to each worker of both releases; all are answered."""
        for release in (self.stable, self.canary):
            for worker, link in self.links(release).items():
                with closing(link):
                    for at in range(times):
                        assert link.send(f"{worker}-{seed}-{at}", seed + at) == 200

    def sync_canary(self) -> None:
        """Bring the canary up as a watcher does, and wait until it answers."""
        self.yard.cluster.sync(self.canary, model=BOTH, environment=CANARY)
        until(lambda: self.yard.observe(CANARY).ready)

    def kill(self, release: Release, *workers: int) -> None:
        """Kill some workers, and wait for others in their place."""
        for each in workers:
            os.kill(each, signal.SIGKILL)
        until(lambda: len({*self.workers(release)} - {*workers}) == BOTH.server.workers)


def clients_of(process: int) -> set[int]:
    """The ports of the clients that a process has accepted."""
    found = psutil.Process(process).connections("tcp")
    return {each.raddr.port for each in found if each.raddr}


@contextmanager
def stopped(processes: Iterable[int]) -> Iterator[None]:
    """Meanwhile these processes do nothing."""
    known = [psutil.Process(each) for each in processes]
    for each in known:
        each.suspend()
    try:
        yield
    finally:
        for each in known:
            each.resume()


@pytest.fixture
def judged(yard: Yard, tmp_path: Path) -> Judged:  # noqa: F811 - a fixture
    store = Store(str(tmp_path / "store"), tmp_path)
    held_out = flights(600, seed=77)
    records, releases = {}, {}
    for version, environment, seed in (("v1", PRODUCTION, 0), ("v2", CANARY, 1)):
        folder, digest = shared_artifact(seed)
        yard.artifacts[digest] = folder
        store.put_model(folder, digest)
        scores = load_predictor(folder, digest, TRUSTED).scores(held_out)
        kept = store.put_evidence(
            scores_to_parquet(held_out["arr_delay"] > 15, held_out.index, scores)
        )
        result = SimpleNamespace(digest="rows", scores=kept)
        records["late", version] = SimpleNamespace(held_out=[result], champion=None, server=None)
        release = yard.release(version, environment, digest)
        releases[environment.name, "late"] = release
        yard.cluster.sync(release, model=BOTH, environment=environment)
        until(lambda where=environment: yard.observe(where).ready)
    services = SimpleNamespace(
        root=tmp_path,
        repository=Repository(),
        metrics=ScrapeMetrics(tmp_path, Repository(), yard.clock),
    )
    environments = {each.name: each for each in (CANARY, PRODUCTION)}
    return Judged(
        yard=yard,
        stable=releases["production", "late"],
        canary=releases["canary", "late"],
        workspace=Workspace(services=services, facts=None, store=store),
        catalog=Catalog(
            models={"late": BOTH}, records=records, environments=environments, releases=releases
        ),
    )


def fallen(samples: Sequence[Sample], release: Release) -> list[str]:
    """What was less, or not there, at a later look."""
    found = []
    for before, after in itertools.pairwise(each.counts[release.identity] for each in samples):
        for name in ("requests", "nulls", "unseen", "pairs", "within", "inputs", "shadow", "lost"):
            old, new = getattr(before, name), getattr(after, name)
            found += [f"{name} {key}" for key in old if new.get(key, -1) < old[key]]
        old, new = before.predictions, after.predictions
        found += [f"bin {at}" for at, n in enumerate(old) if new[at] < n]
        found += ["rows"] * (after.rows < before.rows)
    return found


def test_the_judge_adds_up_workers_and_sees_no_count_fall_when_one_is_killed(judged: Judged):
    assert judged.look().reason == "no request answered yet"
    verdicts = []
    for seed in (100, 200, 300):
        judged.send(times=6, seed=seed)
        verdicts.append(judged.look())
        if seed < 300:
            for release in (judged.stable, judged.canary):
                judged.kill(release, judged.workers(release)[0])
    samples = judged.samples()
    for release in (judged.stable, judged.canary):
        assert not fallen(samples, release)
        counts = samples[-1].counts[release.identity]
        assert counts.requests == {"2xx": 36, "4xx": 0, "5xx": 0}
        assert counts.rows == sum(counts.predictions) == 36 * ROWS
        assert counts.within["inf"] == 36
        assert [*counts.within.values()] == sorted(counts.within.values())
        # A tenth of the rows is without a temperature.
        assert counts.nulls["temp"] == 36
        assert counts.servers == 1
        assert len({each.counts[release.identity].process for each in samples}) == 1
    assert [each.outcome for each in verdicts[:2]] == [Outcome.INCONCLUSIVE] * 2
    assert verdicts[2].outcome is Outcome.PASS, verdicts[2].reason
    assert verdicts[2].numbers["canary_predictions"] == 36 * ROWS


@pytest.mark.long
def test_a_request_that_died_with_its_worker_is_an_error_to_the_judge(judged: Judged):
    judged.look()
    answers, stop = Counter[str](), threading.Event()
    (url,) = (e.url for e in judged.yard.endpoints(PRODUCTION) if e.share == 0.2)
    threads = [threading.Thread(target=ask, args=(url, answers, stop)) for _ in range(6)]
    for each in threads:
        each.start()
    for _ in range(2):
        before = answers["200"]
        until(lambda least=before + 50: answers["200"] > least)
        judged.look()
        judged.kill(judged.canary, *judged.workers(judged.canary))
    before = answers["200"]
    until(lambda: answers["200"] > before + 50)
    stop.set()
    for each in threads:
        each.join()
    judged.look()
    samples = [each for each in judged.samples() if judged.canary.identity in each.counts]
    assert not fallen(samples, judged.canary)
    counts, lost = samples[-1].counts[judged.canary.identity], answers["lost"]
    assert answers.keys() <= {"200", "lost"}
    assert answers["200"] <= counts.requests["2xx"] <= answers["200"] + lost
    assert counts.requests["5xx"] <= lost
    assert counts.within["inf"] == counts.requests["2xx"] + counts.requests["5xx"]
    # One that died is as slow as can be.
    assert (
        counts.within["inf"] - max(n for le, n in counts.within.items() if le != "inf")
        >= (counts.requests["5xx"])
    )
    arm = count_arm(samples, judged.canary.identity, is_new=True)
    first = samples[0].counts[judged.canary.identity].requests
    assert arm.errors[-1] == counts.requests["5xx"] - first["5xx"]


@pytest.mark.long
def test_a_server_whose_processes_all_die_begins_anew_and_its_counts_are_added(judged: Judged):
    judged.look()
    judged.send(times=4, seed=100)
    judged.look()
    process, workers = judged.yard.process(judged.canary), judged.workers(judged.canary)
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    for each in workers:
        os.kill(each, signal.SIGKILL)
    until(lambda: not is_process_alive(process))
    judged.sync_canary()
    judged.send(times=3, seed=200)
    judged.look()
    judged.send(times=3, seed=300)
    judged.look()
    samples = judged.samples()
    assert samples[-1].counts[judged.canary.identity].requests["2xx"] == 12
    arm = count_arm(samples, judged.canary.identity, is_new=True)
    assert arm.answered[-1] == 2 * (4 + 3 + 3)
    assert arm.rows == 2 * (4 + 3 + 3) * ROWS


@pytest.mark.long
def test_a_worker_that_outlives_its_parent_keeps_no_other_server_from_starting(judged: Judged):
    process = judged.yard.process(judged.canary)
    worker = find_process(judged.workers(judged.canary)[0])
    assert process is not None
    assert worker is not None
    with stopped([worker.pid]):
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: not is_process_alive(process))
        judged.sync_canary()
        assert judged.yard.process(judged.canary) != process
        assert is_process_alive(worker)
    until(lambda: not is_process_alive(worker))


@pytest.mark.long
def test_copies_find_their_pairs_whichever_workers_answer_them(judged: Judged):
    links, canaries = judged.links(judged.stable), judged.workers(judged.canary)
    assert len(links) == len(canaries) == 2
    for mine, theirs in itertools.product(links, canaries):
        before = sum(judged.counts(judged.stable).shadow.values())
        with stopped(each for each in canaries if each != theirs):
            # A copy that finds the canary resting from the one before is lost.
            until(
                lambda link=links[mine], known=before: (
                    link.send() == 200 and sum(judged.counts(judged.stable).shadow.values()) > known
                )
            )
    for link in links.values():
        link.close()
    counts = judged.counts(judged.stable)
    assert all(is_pair_of(each, judged.canary.identity) for each in counts.shadow)
    assert judged.counts(judged.canary).rows == 0


@pytest.mark.long
def test_labels_find_rows_in_the_logs_of_all_workers(judged: Judged, tmp_path: Path):
    judged.look()
    names: dict[str, list[str]] = {"v1": [], "v2": []}
    for release in (judged.stable, judged.canary):
        for worker, link in judged.links(release).items():
            with closing(link):
                for at in range(3):
                    name = f"{worker}-{at}"
                    names[release.version].append(name)
                    assert link.send(name, at) == 200
    judged.yard.cluster.stop_all()
    lines = [f"{name},{row},3.5" for each in names.values() for name in each for row in range(ROWS)]
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(["request,row,arr_delay", *lines]) + "\n")
    place = SimpleNamespace(
        main=lambda: "main", catalog=lambda _: judged.catalog, services=judged.workspace.services
    )
    found = deliver_labels(place, "late", labels)
    assert (found.rows, found.faults) == ({"v1": 6 * ROWS, "v2": 6 * ROWS}, ())
    parts = tmp_path.glob(".modelyard/payloads/*/late/*.parquet")
    assert len({part.stem.split("-")[-2] for part in parts}) == 4


def ask(url: str, answers: Counter[str], stop: threading.Event) -> None:
    """Send requests until told to stop, each on a connection of its own."""
    for at in itertools.count():
        if stop.is_set():
            return
        try:
            with closing(Link(url)) as link:
                answers[str(link.send(seed=at % 7))] += 1
        except (OSError, http.client.HTTPException):
            answers["lost"] += 1
