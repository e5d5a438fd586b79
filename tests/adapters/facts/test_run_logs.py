from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.facts.fact_stores import AT
from modelyard.adapters.facts.documents import run_path
from modelyard.adapters.facts.run_logs import KEPT_RUNS, MOST_RUNS, surplus_logs
from modelyard.adapters.git.commit_stream import NewCommit
from modelyard.adapters.specs.json_documents import Unreadable, dump_json
from modelyard.domain.audit import Topic
from modelyard.domain.chatops.log import CommandLog, LogEntry
from modelyard.domain.chatops.reasons import ReasonCode

ENTRY = LogEntry(key="k", at=AT, login="bob", person="2", line="/hold", head="",
                 reason=ReasonCode.DONE, sentence="wine v1 is on hold")  # fmt: skip
LOG = CommandLog(entries=(ENTRY,))
LATER = AT + timedelta(days=3)


def _log(minute: int) -> CommandLog:
    """A log that ended that many minutes after the first."""
    return CommandLog(entries=(replace(ENTRY, at=AT + timedelta(minutes=minute)),))


@pytest.fixture
def crowded(store):
    """A branch with as many logs of runs as it may have, and one of a pull request."""
    store.update_commands(7, lambda _: LOG)
    for run in (9, 10):
        store.update_run(run, lambda _: LOG, topic=Topic(model="wine", version="v1"))
    logs = {run_path(run): dump_json(_log(run), CommandLog) for run in range(11, MOST_RUNS + 9)}
    store._documents.write(
        NewCommit(documents=logs, message="many", author="A <a@example.org>", at=AT), expected={}
    )
    return store


def runs_of(store) -> list[str]:
    return [path for path in store._documents.read().files if path.startswith("commands/run-")]


def test_the_oldest_logs_go_when_there_are_too_many(crowded):
    assert len(runs_of(crowded)) == MOST_RUNS
    crowded._clock.at = LATER

    crowded.update_run(1000, lambda _: LOG, topic=Topic(model="wine", version="v1"))

    assert len(runs_of(crowded)) == KEPT_RUNS + 1
    assert crowded.read_run(1000) == LOG
    assert crowded.read_run(MOST_RUNS + 8) == _log(MOST_RUNS + 8)
    assert crowded.read_run(9) == crowded.read_run(10) == CommandLog()
    assert crowded.read_commands(7) == LOG
    audit = [line.command for line in crowded.read_audit("wine")]
    assert audit == ["/hold"] * 3, "what was decided stays"
    # The log of a run that is gone can be written again.
    assert crowded.update_run(9, lambda log: log.with_entry(ENTRY), topic=Topic()) == LOG


def test_after_a_move_to_a_forge_that_counts_from_one_the_new_logs_stay(crowded):
    crowded._clock.at = LATER
    new = CommandLog(entries=(replace(ENTRY, at=LATER),))

    for run in (1, 2):
        crowded.update_run(run, lambda _: new, topic=Topic())

    assert crowded.read_run(1) == crowded.read_run(2) == new
    assert len(runs_of(crowded)) == KEPT_RUNS + 2


def test_a_log_of_the_last_day_stays_however_many_there_are(crowded):
    crowded._clock.at = AT + timedelta(days=1, minutes=30)

    crowded.update_run(1000, lambda _: LOG, topic=Topic())

    gone = {run_path(run) for run in range(9, 31)}
    there = {run_path(run) for run in (*range(9, MOST_RUNS + 9), 1000)}
    assert set(runs_of(crowded)) == there - gone


def test_a_commit_that_writes_something_else_removes_no_log(crowded):
    crowded._clock.at = LATER
    crowded.update_commands(7, lambda log: log.with_entry(replace(ENTRY, key="l")))
    crowded.update_run(9, lambda log: log, topic=Topic())

    assert len(runs_of(crowded)) == MOST_RUNS


def test_other_files_and_logs_that_cannot_be_read_are_left_alone():
    others = ["commands/pull-1.json", "commands/run-x.json", "commands/run-1.json.bak",
              "models/run-1.json", "facts/run-2.json/x"]  # fmt: skip
    there = [*others, *(run_path(run) for run in range(1, MOST_RUNS + 1))]
    found = {path: _log(number) for number, path in enumerate(there)}
    found[run_path(1)] = Unreadable("no JSON")

    def gone(written, there=there):
        return list(
            surplus_logs([written], there, lambda paths: {p: found[p] for p in paths}, LATER)
        )

    assert gone(run_path(5000)) == [run_path(run) for run in range(2, MOST_RUNS - KEPT_RUNS + 2)]
    assert gone(run_path(5000), there[:-1]) == gone("commands/pull-1.json") == []
