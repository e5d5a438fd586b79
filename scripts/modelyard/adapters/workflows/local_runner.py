"""Walks a plan: runs its steps one after the other and tries again what may help."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.adapters.processes.start import Running, start_command, stop_process
from modelyard.adapters.workflows.plan import Plan, Step, condition_holds, fill_tags
from modelyard.errors import Refused

_KILLED = 128  # exit codes from here on are signals
_RAN = frozenset({"Succeeded", "Failed", "Error"})


@dataclass(kw_only=True)
class Track:
    """Where one step is.

    Args:
        step: The step.
        phase: Argo's word: `Pending`, `Running`, `Succeeded`, `Failed`, `Error`, `Skipped` or
            `Omitted`.
        message: Why, when it failed.
        tries: How often it was started.
        outputs: Its output parameters.
        running: The running try.
    """

    step: Step
    phase: str = "Pending"
    message: str = ""
    tries: int = 0
    outputs: dict[str, str] = field(default_factory=dict)
    running: Running | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it."""
        return self.phase not in {"Pending", "Running"}


class _OutOfTimeError(Exception):
    """The workflow took longer than it may."""


class Walk:
    """One run of a plan.

    Args:
        plan: What to run.
        name: The workflow's name.
        folder: Where each step has its log and its work folder.
        root: The checkout.
        report: Called after every change.
    """

    def __init__(
        self, plan: Plan, *, name: str, folder: Path, root: Path, report: Callable[[], None]
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.root = root
        self.report = report
        self.tracks = {step.name: Track(step=step) for step in plan.steps}
        self._deadline = time.monotonic() + (plan.deadline_seconds or math.inf)
        self._scope = {"workflow.name": name}
        self._scope |= {f"workflow.parameters.{k}": value for k, value in plan.arguments.items()}

    def run(self) -> None:
        """Run every step whose turn comes; an interruption ends the running one first."""
        try:
            before = ""
            for track in self.tracks.values():
                self._walk_step(track, before)
                before = track.phase
                self.report()
        except _OutOfTimeError:
            self._stop_all(f"the workflow took more than {self.plan.deadline_seconds:g} s")
            self.report()
        except BaseException:
            self._stop_all("interrupted")
            raise

    @property
    def phase(self) -> str:
        """How it ended: as the last step that ran."""
        ran = [track.phase for track in self.tracks.values() if track.phase in _RAN]
        return ran[-1] if ran else "Succeeded"

    @property
    def message(self) -> str:
        """The message of the first step that failed."""
        # Later failures follow from the first.
        failed = [t for t in self.tracks.values() if t.phase in _RAN - {"Succeeded"}]
        return f"{failed[0].step.name}: {failed[0].message}" if failed else ""

    def _walk_step(self, track: Track, before: str) -> None:
        try:
            if track.step.runs_after and before not in track.step.runs_after:
                track.phase = "Omitted"
            elif not condition_holds(track.step.when, self._scope):
                track.phase = "Skipped"
            while not track.is_over:
                running = self._start(track)
                self.report()
                self._finish(track, self._exit_code(track, running))
        except (Refused, OSError) as error:
            track.phase, track.message = "Error", str(error)

    def _start(self, track: Track) -> Running:
        work = self.folder / track.step.name
        # In a cluster every try is a new pod with an empty folder.
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        given = {k: fill_tags(text, self._scope) for k, text in track.step.environment.items()}
        track.running = start_command(
            [fill_tags(word, self._scope) for word in track.step.command],
            cwd=work,
            environment={**os.environ, "MODELYARD_ROOT": str(self.root), **given},
            output=self.folder / f"{track.step.name}.log",
        )
        track.phase = "Running"
        track.tries += 1
        return track.running

    def _exit_code(self, track: Track, running: Running) -> int | None:
        """The exit code of the running try, or None when it was out of time and stopped."""
        left = max(0.0, self._deadline - time.monotonic())
        limit = track.step.deadline_seconds or math.inf
        seconds = min(left, limit)
        try:
            code = running.wait(seconds if math.isfinite(seconds) else None)
        except TimeoutError:
            self._stop(track)
            # The whole workflow is out of time, not only this step.
            if left <= limit:
                raise _OutOfTimeError from None
            return None
        track.running = None
        return code

    def _finish(self, track: Track, code: int | None) -> None:
        missing = self._collect_outputs(track)
        phase = "Error"
        if code is None:
            track.message = f"out of time after {track.step.deadline_seconds or 0:g} s"
        elif code >= _KILLED:
            track.message = f"killed by signal {code - _KILLED}"
        elif code:
            phase, track.message = "Failed", f"exit code {code}: {self._last_words(track)}"
        elif missing:
            track.message = f"left no {', '.join(missing)}"
        else:
            phase, track.message = "Succeeded", ""
        retry = track.step.retry
        if retry.is_wanted(tries=track.tries, exit_code=code):
            self._pause(retry.wait(tries=track.tries))
        else:
            track.phase = phase

    def _pause(self, seconds: float) -> None:
        left = self._deadline - time.monotonic()
        time.sleep(max(0.0, min(seconds, left)))
        if left < seconds:
            raise _OutOfTimeError

    def _collect_outputs(self, track: Track) -> list[str]:
        """Read the files the step left; the names of those that are missing."""
        missing = []
        for name, output in track.step.outputs.items():
            file = self.folder / track.step.name / output.path
            value = file.read_text().rstrip("\n") if file.is_file() else output.default
            if value is None:
                missing.append(output.path)
            else:
                track.outputs[name] = value
                self._scope[f"tasks.{track.step.name}.outputs.parameters.{name}"] = value
        return missing

    def _last_words(self, track: Track) -> str:
        """The error that the step's log ends with, or its last line."""
        text = (self.folder / f"{track.step.name}.log").read_text(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        # What follows the error is only a hint, such as how to see a traceback.
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return errors[-1] if errors else (lines or ["it said nothing"])[-1]

    def _stop(self, track: Track) -> None:
        if track.running is not None:
            stop_process(track.running.started, grace_seconds=5)
            track.running.release()
            track.running = None

    def _stop_all(self, message: str) -> None:
        for track in self.tracks.values():
            self._stop(track)
            if not track.is_over:
                track.phase, track.message = "Error", message
