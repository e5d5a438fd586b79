from __future__ import annotations

from dataclasses import replace

import pytest

from adapters.facts.fact_stores import AT
from modelyard.adapters.facts.documents import run_path
from modelyard.adapters.facts.run_logs import KEPT_RUNS, MOST_RUNS, surplus_logs
from modelyard.adapters.git.commit_stream import NewCommit
from modelyard.adapters.specs.json_documents import dump_json
from modelyard.domain.audit import Topic
from modelyard.domain.chatops.log import CommandLog, LogEntry
from modelyard.domain.chatops.reasons import ReasonCode

ENTRY = LogEntry(key="k", at=AT, login="bob", person="2", line="/hold", head="",
                 reason=ReasonCode.DONE, sentence="wine v1 is on hold")  # fmt: skip
LOG = CommandLog(entries=(ENTRY,))


@pytest.fixture
def crowded(store):
    """A branch with as many logs of runs as it may have, and one of a pull request."""
    store.update_commands(7, lambda _: LOG)
    for run in (9, 10):
        store.update_run(run, lambda _: LOG, topic=Topic(model="wine", version="v1"))
    content = dump_json(LOG, CommandLog)
    logs = {run_path(run): content for run in range(11, MOST_RUNS + 9)}
    store._documents.write(
        NewCommit(documents=logs, message="many", author="A <a@example.org>", at=AT), expected={}
    )
    return store


def runs_of(store) -> list[str]:
    return [path for path in store._documents.read().files if path.startswith("commands/run-")]


def test_the_logs_of_the_oldest_runs_go_when_there_are_too_many(crowded):
    assert len(runs_of(crowded)) == MOST_RUNS

    crowded.update_run(1000, lambda _: LOG, topic=Topic(model="wine", version="v1"))

    assert len(runs_of(crowded)) == KEPT_RUNS + 1
    assert crowded.read_run(1000) == crowded.read_run(MOST_RUNS + 8) == LOG
    assert crowded.read_run(9) == crowded.read_run(10) == CommandLog()
    assert crowded.read_commands(7) == LOG
    audit = [line.command for line in crowded.read_audit("wine")]
    assert audit == ["/hold"] * 3, "what was decided stays"
    # The log of a run that is gone can be written again.
    assert crowded.update_run(9, lambda log: log.with_entry(ENTRY), topic=Topic()) == LOG


def test_a_commit_that_writes_something_else_removes_no_log(crowded):
    crowded.update_commands(7, lambda log: log.with_entry(replace(ENTRY, key="l")))
    crowded.update_run(9, lambda log: log, topic=Topic())

    assert len(runs_of(crowded)) == MOST_RUNS


def test_runs_are_in_the_order_of_their_numbers_and_other_files_are_none():
    others = ["commands/pull-1.json", "commands/run-x.json", "commands/run-1.json.bak",
              "models/run-1.json", "facts/run-2.json/x"]  # fmt: skip
    there = [*others, *(run_path(run) for run in range(1, MOST_RUNS + 1))]

    gone = surplus_logs([run_path(5000)], there)

    assert list(gone) == [run_path(run) for run in range(1, MOST_RUNS - KEPT_RUNS + 1)]
    assert surplus_logs([run_path(5000)], there[:-1]) == {}
    assert surplus_logs(["commands/pull-1.json"], there) == {}
