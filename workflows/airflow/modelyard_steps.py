"""What a step of a workflow does in Airflow: its turn, its tries, and what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from modelyard_fields import PASSED_ON

ROOT = Path(os.environ.get("MODELYARD_ROOT") or Path(__file__).resolve().parents[2])
"""The checkout, whose rendered workflows are run."""

STEPS = os.environ.get("MODELYARD_STEPS", "processes")
"""Where steps run: `processes` of the worker, or `pods`."""

TAG = re.compile(r"\{\{([^{}]*)\}\}")
_COULD_NOT_ANSWER = 1  # the one exit code after which another try may help
_KILLED = 128  # exit codes from here on are signals


@dataclass(frozen=True, kw_only=True)
class Step:
    """One task of a workflow.

    Args:
        name: The task's name.
        template: Its template, as it was rendered.
        before: The step before, or None.
        runs_after: Phases of the step before in which it runs.
        when: Pairs of words; it is skipped unless one pair is equal, or there is none.
        limit: How often it is tried again when it could not answer.
    """

    name: str
    template: Mapping[str, Any]
    before: str | None
    runs_after: frozenset[str]
    when: tuple[tuple[str, str], ...]
    limit: int
    outputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        """Program and arguments, still with tags."""
        container = self.template["container"]
        return [*container["command"], *container.get("args", ())]

    @property
    def environment(self) -> dict[str, str]:
        """The variables that it gets wherever it runs, still with tags."""
        given = self.template["container"].get("env", ())
        return {each["name"]: each["value"] for each in given if each["name"] in PASSED_ON}


class StepRules:
    """What holds for a step wherever it runs: its turn, its tries, what it leaves behind."""

    step: Step
    too_late: float | None = None
    """Seconds after its time at which a run is not begun any more."""

    goes_on = False
    """Whether the next try goes on with what a lost try left running."""

    def pre_execute(self, context: Any) -> None:
        """Skip the step if it is not its turn, and give it up if its last try was lost."""
        ti, step = context["ti"], self.step
        if step.before and phase_of(ti, step.before) not in step.runs_after:
            ti.xcom_push(key="omitted", value=True)  # unlike one that is skipped by its condition
            raise AirflowSkipException(f"{step.before} did not end as {step.name} needs it")
        tries, is_begun = self._remembered(context)
        late = (datetime.now(UTC) - context["dag_run"].run_after).total_seconds()
        if self.too_late is not None and late > self.too_late and not (tries or is_begun):
            ti.xcom_push(key="omitted", value=True)
            raise AirflowSkipException(f"the run is {late:.0f} s late, {self.too_late} are allowed")
        scope = self.scope(context)
        pairs = [[fill_tags(word, scope) for word in pair] for pair in step.when]
        if odd := [word for pair in pairs for word in pair if not word.isidentifier()]:
            self.give_up(context, f"when compares {odd[0]!r}: that is no word")
        if pairs and not any(left == right for left, right in pairs):
            raise AirflowSkipException(f"the condition of {step.name} does not hold")
        if is_begun and not self.goes_on:
            self.give_up(context, "lost: the task ended before its step did")
        self._remember(context, tries, is_begun=True)

    def scope(self, context: Any) -> dict[str, str]:
        """The value of every tag that is known now."""
        found = {"workflow.name": context["run_id"]}
        found |= {f"workflow.parameters.{k}": str(v) for k, v in context["params"].items()}
        asked = set(TAG.findall(str((self.step.when, self.step.template))))
        for tag in (each for each in asked - found.keys() if each.startswith("tasks.")):
            _, task, _, _, name = tag.split(".")
            value = context["ti"].xcom_pull(task_ids=task, key=f"outputs.{name}")
            found |= {} if value is None else {tag: str(value)}
        return found

    def finish(self, context: Any, code: int | None, left: Mapping[str, str], why: str) -> None:
        """Leave outputs and exit code behind, and say whether the step failed or is tried again.

        Args:
            context: Airflow's.
            code: The step's exit code; None or a signal's when something else ended it.
            left: Its outputs, by name.
            why: What ended it, if it was not the step itself.
        """
        ti = context["ti"]
        sources = {name: source.get("default") for name, source in self.step.outputs.items()}
        values = {name: left.get(name, default) for name, default in sources.items()}
        for name, value in values.items():
            if value is not None:
                ti.xcom_push(key=f"outputs.{name}", value=value)
        if code is None or code < 0 or code >= _KILLED:
            self.give_up(context, why or f"killed: exit code {code}")
        if code == 0:
            if missing := [name for name, value in values.items() if value is None]:
                self.give_up(context, f"left no {', '.join(missing)}")
            return
        tries, _ = self._remembered(context)
        if code == _COULD_NOT_ANSWER and tries < self.step.limit:
            self._remember(context, tries + 1, is_begun=False)
            raise AirflowException("exit code 1: it could not answer, and is tried again")
        # Only a step's last word is left, so that a try that is lost later has none.
        ti.xcom_push(key="exit_code", value=code)
        raise AirflowFailException(f"exit code {code}")

    def give_up(self, context: Any, why: str) -> NoReturn:
        """Fail without an exit code, which only a step can leave, and without another try."""
        context["ti"].xcom_push(key="reason", value=why)
        raise AirflowFailException(why)

    def _remembered(self, context: Any) -> tuple[int, bool]:
        # Somebody who clears a task raises its `max_tries`: it begins anew.
        life = context["ti"].max_tries
        known = context["task_state_store"].get("step") or {}
        is_mine = known.get("life") == life
        return (known["tries"], known["begun"]) if is_mine else (0, False)

    def _remember(self, context: Any, tries: int, *, is_begun: bool) -> None:
        state = {"life": context["ti"].max_tries, "tries": tries, "begun": is_begun}
        context["task_state_store"].set("step", state)


class ProcessStep(StepRules, BaseOperator):
    """A step as a process of the worker."""

    process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> None:
        """Run the step's command in an empty folder."""
        scope = self.scope(context)
        words = [fill_tags(word, scope) for word in self.step.command]
        given = {name: fill_tags(text, scope) for name, text in self.step.environment.items()}
        deadline = self.step.template.get("activeDeadlineSeconds")
        with tempfile.TemporaryDirectory(prefix="modelyard-") as work:
            try:
                code, is_late = self._run(words, given, work, deadline)
            except OSError as error:
                self.give_up(context, f"{words[0]}: {error.strerror}")
            place = f"{self.step.template['container']['workingDir'].rstrip('/')}/"
            files = {
                name: Path(work, source["path"].removeprefix(place))
                for name, source in self.step.outputs.items()
            }
            left = {n: f.read_text().rstrip("\n") for n, f in files.items() if f.is_file()}
        if is_late:
            self.finish(context, None, left, f"out of time after {deadline} s")
        self.finish(context, code, left, f"killed by signal {-code}" if code < 0 else "")

    def on_kill(self) -> None:
        """End the step, with all that it started."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def _run(
        self, words: list[str], given: Mapping[str, str], work: str, deadline: float | None
    ) -> tuple[int, bool]:
        is_late = threading.Event()
        environment = {  # Airflow's own has its secrets
            k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "_AIRFLOW"))
        }
        path = f"{ROOT / '.venv/bin'}:{environment.get('PATH', '')}"
        process = self.process = subprocess.Popen(
            words,
            cwd=work,
            env={**environment, "MODELYARD_ROOT": str(ROOT), "PATH": path, **given},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )

        def end() -> None:
            try:
                process.wait(deadline)
            except subprocess.TimeoutExpired:
                is_late.set()
            self.on_kill()

        threading.Thread(target=end, daemon=True).start()
        for line in process.stdout or ():
            self.log.info("[main] %s", line.rstrip())  # as the log of a pod
        return process.wait(), is_late.is_set()


class RunOutcome(BaseOperator):
    """Fails unless the last step that ran succeeded: Airflow calls a run green if its end is."""

    names: tuple[str, ...] = ()

    def execute(self, context: Any) -> None:
        """Look at the steps from the last one on."""
        ti = context["ti"]
        for name in reversed(self.names):
            phase = phase_of(ti, name)
            if phase == "Succeeded":
                return
            if phase in {"Failed", "Error"}:
                ti.xcom_push(key="step", value=name)
                raise AirflowFailException(f"{name}: {phase}")


def phase_of(ti: Any, name: str) -> str:
    """How another step of the run ended, in Argo's words."""
    states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[name], run_ids=[ti.run_id])
    state = states.get(ti.run_id, {}).get(name)
    if state == "failed":  # a step that was ended by something else left no exit code
        return "Error" if ti.xcom_pull(task_ids=name, key="exit_code") is None else "Failed"
    if state == "skipped":
        return "Omitted" if ti.xcom_pull(task_ids=name, key="omitted") else "Skipped"
    return "Succeeded" if state == "success" else "Omitted"


def fill_known_tags(value: Any, scope: Mapping[str, str]) -> Any:
    """The value with the tags replaced that have a value."""
    kept = {tag: f"{{{{{tag}}}}}" for tag in TAG.findall(str(value))}
    return fill_tags(value, {**kept, **scope})


def fill_tags(value: Any, scope: Mapping[str, str]) -> Any:
    """The value with every tag in it replaced; values are not searched for tags again."""
    if isinstance(value, dict):
        return {key: fill_tags(each, scope) for key, each in value.items()}
    if isinstance(value, list):
        return [fill_tags(each, scope) for each in value]
    if not isinstance(value, str):
        return value
    if unknown := [tag for tag in TAG.findall(value) if tag not in scope]:
        raise AirflowFailException(f"there is no value for {{{{{unknown[0]}}}}}")
    return TAG.sub(lambda tag: scope[tag[1]], value)
