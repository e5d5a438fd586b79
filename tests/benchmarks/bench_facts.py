"""What the facts of many models cost: a read of all, a pass over all, a write, a history.

    python tests/benchmarks/bench_facts.py [MODELS] [COMMITS]

Prints JSON. The forge is a bare repository on this disk, with facts of each model in three
environments, and COMMITS commits on their branch.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "scripts")]
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])

from modelyard.adapters.git.remote_refs import one_snapshot  # noqa: E402 - after the paths
from modelyard.adapters.specs.json_documents import dump_json  # noqa: E402
from modelyard.domain.promotion.facts import ModelFacts, ReleaseFacts  # noqa: E402
from modelyard.domain.promotion.plan import plan  # noqa: E402
from modelyard.domain.verdict import Outcome, Verdict  # noqa: E402
from modelyard.operations.reconcile.collect import collect_world  # noqa: E402
from modelyard.operations.status.worlds import collect_worlds  # noqa: E402
from operations.yard import SHORT, Yard, model_named, new_yard  # noqa: E402

AT = datetime(2026, 3, 1, tzinfo=UTC)


def facts_of(number: int) -> ReleaseFacts:
    """Facts as they usually are."""
    return ReleaseFacts(
        release=f"{number:016x}",
        version="v2",
        artifact="a" * 64,
        seen_at=AT,
        healthy_since=AT + timedelta(seconds=number),
        verdict=Verdict(outcome=Outcome.PASS, reason="as good", numbers={"lower": -0.1}),
        judged_at=AT,
        verified=(f"{number:016x}",),
        tried=("a" * 64, "b" * 64),
    )


def stream(models: int, commits: int) -> Iterator[bytes]:
    """What `git fast-import` reads: every document, and then changes of one document a commit."""
    paths = [f"facts/{env.name}/model-{n}.json" for env in SHORT for n in range(models)]
    own = [f"models/model-{n}.json" for n in range(models)]
    documents = {path: dump_json(facts_of(0), ReleaseFacts) for path in paths}
    documents |= {path: dump_json(ModelFacts(), ModelFacts) for path in own}
    yield commit_of(1, documents)
    draw = random.Random(7)  # noqa: S311 - no secret
    for number in range(2, commits + 1):
        document = dump_json(facts_of(number), ReleaseFacts)
        yield commit_of(number, {draw.choice(paths): document})


def commit_of(number: int, documents: dict[str, bytes]) -> bytes:
    """One commit of the stream."""
    head = f"commit refs/heads/modelyard/state\ncommitter A <a@b> {1_700_000_000 + number} +0000\n"
    rows = [head.encode(), b"data 1\nx\n"]
    for path, document in documents.items():
        rows.append(b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(document), document))
    return b"".join([*rows, b"\n"])


def yard_of(folder: Path, models: int, commits: int) -> Yard:
    """A yard with so many models, their facts, and that much history of them."""
    yard = new_yard(folder / "yard", SHORT)
    documents: dict[str, bytes | None] = {}
    for number in range(models):
        documents |= model_named(yard, f"model-{number}")
    yard.commit({"models/m/model.yaml": None, "models/m/heldout/recent.yaml": None})
    yard.commit(documents)
    remote = folder / "yard" / "remote.git"
    subprocess.run(
        ["git", "fast-import", "--quiet"],
        cwd=remote,
        input=b"".join(stream(models, commits)),
        check=True,
    )
    return yard


def seconds(work: Callable[[], object]) -> float:
    """How long one run takes."""
    start = time.perf_counter()
    work()
    return round(time.perf_counter() - start, 3)


def pass_over(yard: Yard, models: int) -> None:
    """Read what a pass reads: the facts of each model, from one snapshot."""
    store = yard.workspace().facts
    with one_snapshot():
        for number in range(models):
            store.read_model(f"model-{number}")
            store.read_snapshot(f"model-{number}")


def plan_some(yard: Yard, models: int) -> None:
    """Plan for some models, as `modelyard reconcile --dry-run` does, without the registry."""
    workspace = yard.workspace()
    for number in range(models):
        plan(collect_world(workspace, f"model-{number}", with_registry=False))


def main(models: int, commits: int) -> dict[str, float]:
    """All figures."""
    with tempfile.TemporaryDirectory() as folder:
        yard = yard_of(Path(folder), models, commits)
        store = yard.workspace().facts
        found = {"first_read_s": seconds(store.read_snapshot)}
        found["second_read_s"] = seconds(store.read_snapshot)
        found["reads_of_a_pass_s"] = seconds(lambda: pass_over(yard, models))
        changes = iter(range(10))

        def write() -> None:
            store.update_release(
                "canary", "model-1", lambda facts: replace(facts, version=f"v{next(changes)}")
            )

        found["write_s"] = round(sum(seconds(write) for _ in range(5)) / 5, 3)
        path = "facts/canary/model-1.json"
        found["history_s"] = seconds(lambda: store.read_history(path))
        found["status_s"] = seconds(lambda: collect_worlds(yard.workspace()))
        found["reconcile_100_s"] = seconds(lambda: plan_some(yard, min(models, 100)))
        return found


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[1:]]
    print(json.dumps(main(*(numbers or [1000, 30_000])), indent=2))
