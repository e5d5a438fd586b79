"""A step that runs for each word of a list: `withParam`, on this machine."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from adapters.workflows.test_local import (
    ONLY_COULD_NOT_ANSWER,
    eventually,
    put,
    spec,
    template,
)
from modelyard.adapters.workflows import local_runner
from modelyard.adapters.workflows.fields import OR_KILLED
from modelyard.adapters.workflows.local import LocalWorkflows
from modelyard.adapters.workflows.template import read_plan
from modelyard.domain.specs.paths import WORKFLOW_TEMPLATES
from modelyard.domain.specs.repository import Repository
from modelyard.errors import Refused

WORDS = ("one", "two", "three")
RETRY = {"limit": 2, **ONLY_COULD_NOT_ANSWER, "expression": OR_KILLED}


def fan_out(words: Any, script: str, **fields: Any) -> dict[str, Any]:
    """A workflow of three steps: a list, `script` for each of its words as $W, and an end."""
    listed = {"name": "list", "valueFrom": {"path": "/work/list", "default": "[]"}}
    each = template(
        "each",
        f'W="{{{{inputs.parameters.word}}}}"; {script}',
        inputs={"parameters": [{"name": "word"}]},
        **{"retryStrategy": RETRY, **fields},
    )
    tasks = [
        {"name": "plan", "template": "plan"},
        {
            "name": "each",
            "template": "each",
            "depends": "plan",
            "arguments": {"parameters": [{"name": "word", "value": "{{item}}"}]},
            "withParam": "{{tasks.plan.outputs.parameters.list}}",
        },
        {"name": "end", "template": "end", "depends": "each"},
    ]
    left = f"printf '%s' '{words if isinstance(words, str) else json.dumps(words)}' > list"
    first = template("plan", left, outputs={"parameters": [listed]})
    end = template("end", "cat ../did 2> /dev/null | sort | tr '\\n' ' '; true")
    return spec(first, each, end, tasks=tasks)


class Walked:
    """A workflow that was walked in this process, with so many cores."""

    def __init__(self, folder: Path, wanted: dict[str, Any], cores: int = 2) -> None:
        self.folder, self.running = folder, [0]
        self.walk = local_runner.Walk(
            read_plan(wanted, {}), name="w-1", folder=folder, root=folder, report=self._report
        )
        self.walk._most = cores
        self.walk.run()

    def _report(self) -> None:
        self.running.append(sum(t.running is not None for t in self.walk.tracks.values()))

    @property
    def phases(self) -> dict[str, str]:
        return {name: track.phase for name, track in self.walk.tracks.items()}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """The pauses before tries are a hundredth of what they are."""
    sleep = time.sleep
    monkeypatch.setattr(local_runner.time, "sleep", lambda seconds: sleep(seconds / 100))


def test_a_step_runs_once_for_each_word_and_the_next_after_all_of_them(tmp_path):
    ran = Walked(tmp_path, fan_out(WORDS, "sleep 0.3; echo $W >> ../did"))
    assert ran.phases == {
        "plan": "Succeeded",
        "each(0:one)": "Succeeded",
        "each(1:two)": "Succeeded",
        "each(2:three)": "Succeeded",
        "end": "Succeeded",
    }
    assert (ran.walk.phase, ran.walk.message) == ("Succeeded", "")
    assert (tmp_path / "end.log").read_text().split() == sorted(WORDS)
    assert max(ran.running) == 2  # as many at a time as there are cores


def test_without_a_word_the_step_is_skipped_and_the_next_runs(tmp_path):
    ran = Walked(tmp_path, fan_out([], "exit 3"))
    assert ran.phases == {"plan": "Succeeded", "each": "Skipped", "end": "Succeeded"}
    assert ran.walk.phase == "Succeeded"


@pytest.mark.parametrize(("end", "tries"), [("kill -9 $$", 2), ("kill $$", 2), ("exit 1", 2)])
def test_a_word_whose_process_is_killed_or_could_not_answer_is_tried_again_alone(
    tmp_path, end, tries
):
    script = f"echo $W >> ../did; [ $W != two ] || [ -e ../again ] || {{ touch ../again; {end}; }}"
    ran = Walked(tmp_path, fan_out(WORDS, script))
    assert set(ran.phases.values()) == {"Succeeded"}
    assert sorted((tmp_path / "did").read_text().split()) == sorted([*WORDS, "two"])
    assert ran.walk.tracks["each(1:two)"].tries == tries


def test_a_word_that_is_killed_each_time_ends_the_workflow_after_its_tries(tmp_path):
    ran = Walked(tmp_path, fan_out(WORDS, "[ $W != two ] || kill -9 $$"))
    assert ran.walk.tracks["each(1:two)"].tries == 3
    assert ran.phases["end"] == "Omitted"
    assert ran.walk.phase == "Error"
    assert ran.walk.message == "each(1:two): killed by signal 9"


def test_after_a_refusal_no_further_word_is_begun_and_running_ones_end(tmp_path):
    script = (
        "echo $W >> ../did; [ $W = one ] && { sleep 0.3; exit 3; }; sleep 1; echo $W >> ../ended"
    )
    ran = Walked(tmp_path, fan_out(WORDS, script))
    assert ran.phases == {
        "plan": "Succeeded",
        "each(0:one)": "Failed",
        "each(1:two)": "Succeeded",
        "each(2:three)": "Omitted",
        "end": "Omitted",
    }
    assert (tmp_path / "ended").read_text() == "two\n"
    assert (ran.walk.phase, ran.walk.message) == (
        "Failed",
        "each(0:one): exit code 3: it said nothing",
    )


def test_a_word_out_of_time_is_stopped_and_the_others_go_on(tmp_path):
    script = "[ $W != two ] || sleep 60; echo $W >> ../did"
    ran = Walked(tmp_path, fan_out(WORDS[:2], script, activeDeadlineSeconds=1))
    assert (ran.phases["each(0:one)"], ran.phases["each(1:two)"]) == ("Succeeded", "Error")
    assert ran.walk.message == "each(1:two): out of time after 1 s"


def test_a_workflow_out_of_time_stops_all_words(tmp_path):
    ran = Walked(tmp_path, fan_out(WORDS, "sleep 60") | {"activeDeadlineSeconds": 1})
    assert ran.phases == {
        "plan": "Succeeded",
        **{f"each({n}:{word})": "Error" for n, word in enumerate(WORDS)},
        "end": "Error",
    }
    assert ran.walk.message == "each(0:one): the workflow took more than 1 s"


@pytest.mark.parametrize(
    ("left", "message"),
    [
        ("no json", "is 'no json': expected a JSON list of words"),
        ('{"a": 1}', "expected a JSON list of words"),
        ("[1, 2]", "expected a JSON list of words"),
        ('["../../x"]', "expected a JSON list of words"),
        ('["one two"]', "expected a JSON list of words"),
        (json.dumps([f"w{n}" for n in range(65)]), "has 65 words: at most 64 run side by side"),
    ],
)
def test_a_list_that_is_none_is_an_error_of_its_step(tmp_path, left, message):
    ran = Walked(tmp_path, fan_out(left, "true"))
    assert (ran.phases["each"], ran.phases["end"]) == ("Error", "Omitted")
    assert message in ran.walk.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"withParam": '["a"]'}, 'withParam: "[\\"a\\"]" does not fit: a list is written'),
        (
            {"withParam": "{{tasks.end.outputs.parameters.list}}"},
            "withParam: there is no value for {{tasks.end.outputs.parameters.list}}",
        ),
        ({"withItems": ["a"]}, "withItems: is not known here"),
        ({"withSequence": {"count": "2"}}, "withSequence: is not known here"),
    ],
)
def test_refuses_another_kind_of_list(change, message):
    wanted = fan_out(WORDS, "true")
    wanted["templates"][-1]["dag"]["tasks"][1] |= change
    with pytest.raises(Refused, match=re.escape(f"dag.tasks[1].{message}")):
        read_plan(wanted, {})


def test_refuses_outputs_of_a_step_that_runs_for_each_word_and_words_without_a_list():
    outputs = {"parameters": [{"name": "o", "valueFrom": {"path": "/work/o"}}]}
    with pytest.raises(Refused, match=r"outputs: each runs for each of a list, so it may leave no"):
        read_plan(fan_out(WORDS, "true", outputs=outputs), {})
    wanted = fan_out(WORDS, "true")
    del wanted["templates"][-1]["dag"]["tasks"][1]["withParam"]
    with pytest.raises(Refused, match=re.escape("there is no value for {{item}}")):
        read_plan(wanted, {})


@pytest.mark.long
def test_a_stopped_runner_ends_all_words_first(tmp_path):
    checkout = tmp_path / "checkout"
    (checkout / WORKFLOW_TEMPLATES).mkdir(parents=True)
    (checkout / "modelyard.yaml").write_text("apiVersion: modelyard/v1\nkind: Repository\n")
    workflows = LocalWorkflows(checkout, Repository())
    put(checkout, "wide", fan_out(WORDS[:2], "sleep 60"))
    workflows.submit("w-1", template="wide", parameters={})
    folder = checkout / ".modelyard/workflows/w-1"

    def running() -> dict[str, Any]:
        found = json.loads((folder / "status.json").read_text())["running"]
        return found if len(found) == min(2, len(os.sched_getaffinity(0))) else {}

    assert eventually(running)
    begun = running()
    os.kill(json.loads((folder / "status.json").read_text())["runner"]["pid"], signal.SIGTERM)
    status = workflows.wait("w-1", progress=lambda _: None)
    assert status.message == "each(0:one): interrupted"
    assert all(
        eventually(lambda p=p: not Path(f"/proc/{p['pid']}").exists()) for p in begun.values()
    )
