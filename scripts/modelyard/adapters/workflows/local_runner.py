"""Walks a plan: runs its steps one after the other and tries again what may help.

A step of a list runs for all of its words side by side, as many at a time as there are cores.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.adapters.processes.shared_work import count_cores
from modelyard.adapters.processes.start import Running, start_command, stop_process
from modelyard.adapters.workflows.plan import (
    ITEM,
    Plan,
    Step,
    condition_holds,
    fill_tags,
    read_items,
)
from modelyard.errors import Refused

_KILLED = 128  # exit codes from here on are signals
_RAN = frozenset({"Succeeded", "Failed", "Error"})
_POLL_SECONDS = 0.05  # between looks at several processes


@dataclass(kw_only=True)
class Track:
    """Where one step is, or one of the words that it runs for.

    Args:
        name: Its name: the step's, and as in Argo `step(0:word)` of a word.
        step: The step.
        item: The values of `ITEM`, if it runs for a word.
        phase: Argo's word: `Pending`, `Running`, `Succeeded`, `Failed`, `Error`, `Skipped` or
            `Omitted`.
        message: Why, when it failed.
        tries: How often it was started.
        outputs: Its output parameters.
        running: The running try.
        due: When its next try begins, or its running one is out of time.
    """

    name: str
    step: Step
    item: dict[str, str] = field(default_factory=dict)
    phase: str = "Pending"
    message: str = ""
    tries: int = 0
    outputs: dict[str, str] = field(default_factory=dict)
    running: Running | None = None
    due: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it."""
        return self.phase not in {"Pending", "Running"}

    @property
    def has_failed(self) -> bool:
        """Whether it ran, and did not succeed."""
        return self.phase in _RAN - {"Succeeded"}


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
        self.tracks = {step.name: Track(name=step.name, step=step) for step in plan.steps}
        self._most = count_cores(otherwise=os.cpu_count() or 1)
        self._deadline = time.monotonic() + (plan.deadline_seconds or math.inf)
        self._scope = {"workflow.name": name}
        self._scope |= {f"workflow.parameters.{k}": value for k, value in plan.arguments.items()}

    def run(self) -> None:
        """Run every step whose turn comes; an interruption ends the running one first."""
        try:
            before = ""
            for step in self.plan.steps:
                self._walk_step(self.tracks[step.name], before)
                before = self._phase_of(step)
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
        ran = [phase for step in self.plan.steps if (phase := self._phase_of(step)) in _RAN]
        return ran[-1] if ran else "Succeeded"

    @property
    def message(self) -> str:
        """The message of the first step that failed."""
        # Later failures follow from the first.
        failed = [track for track in self.tracks.values() if track.has_failed]
        return f"{failed[0].name}: {failed[0].message}" if failed else ""

    def _phase_of(self, step: Step) -> str:
        """The phase of a step: of its words, that of the one furthest from success."""
        phases = [track.phase for track in self.tracks.values() if track.step is step]
        return next((each for each in ("Error", "Failed") if each in phases), phases[0])

    def _walk_step(self, track: Track, before: str) -> None:
        try:
            if track.step.runs_after and before not in track.step.runs_after:
                track.phase = "Omitted"
            elif not condition_holds(track.step.when, self._scope):
                track.phase = "Skipped"
            elif track.step.items:
                self._walk_side_by_side(self._unfold(track))
            else:
                self._walk_side_by_side([track])
        except Refused as error:
            track.phase, track.message = "Error", str(error)

    def _unfold(self, track: Track) -> Sequence[Track]:
        """Replace a step of a list by its words; without any it is skipped, as in Argo."""
        step = track.step
        items = read_items(step.items, self._scope)
        if not items:
            track.phase = "Skipped"
            return []
        words = [
            Track(name=f"{step.name}({number}:{item})", step=step, item={ITEM: item})
            for number, item in enumerate(items)
        ]
        kept = [words if each is track else [each] for each in self.tracks.values()]
        self.tracks = {each.name: each for group in kept for each in group}
        return words

    def _walk_side_by_side(self, tracks: Sequence[Track]) -> None:
        while open_tracks := [track for track in tracks if not track.is_over]:
            running = [track for track in open_tracks if track.running is not None]
            waiting = [track for track in open_tracks if track.running is None]
            following = min(waiting, key=lambda track: track.due, default=None)
            if following is not None and not running:
                self._pause(following.due - time.monotonic())
                self._start(following)
            elif following is not None and self._may_start(following, len(running)):
                self._start(following)
            else:
                for track in running:
                    self._look(track, _POLL_SECONDS if len(open_tracks) > 1 else math.inf)
            if any(track.has_failed for track in tracks):
                for track in tracks:
                    track.phase = "Omitted" if track.phase == "Pending" else track.phase

    def _may_start(self, track: Track, running: int) -> bool:
        return running < self._most and track.due <= time.monotonic()

    def _start(self, track: Track) -> None:
        """Begin a try."""
        work, scope = self.folder / track.name, self._scope | track.item
        # In a cluster every try is a new pod with an empty folder.
        shutil.rmtree(work, ignore_errors=True)
        try:
            work.mkdir()
            given = {k: fill_tags(text, scope) for k, text in track.step.environment.items()}
            track.running = start_command(
                [fill_tags(word, scope) for word in track.step.command],
                cwd=work,
                environment={**os.environ, "MODELYARD_ROOT": str(self.root), **given},
                output=self.folder / f"{track.name}.log",
            )
        except (Refused, OSError) as error:
            track.phase, track.message = "Error", str(error)
            return
        track.phase = "Running"
        track.tries += 1
        track.due = time.monotonic() + (track.step.deadline_seconds or math.inf)
        self.report()

    def _look(self, track: Track, patience: float) -> None:
        """Wait for the running try, but no longer than this; one that is out of time is stopped."""
        running, until = track.running, min(track.due, self._deadline)
        if running is None:
            return
        seconds = min(patience, max(0.0, until - time.monotonic()))
        try:
            code: int | None = running.wait(seconds if math.isfinite(seconds) else None)
        except TimeoutError:
            if time.monotonic() < until:
                return
            self._stop(track)
            # The whole workflow is out of time, not only this step.
            if self._deadline <= track.due:
                raise _OutOfTimeError from None
            code = None
        track.running = None
        try:
            self._finish(track, code)
        except OSError as error:
            track.phase, track.message = "Error", str(error)
        self.report()

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
            track.due = time.monotonic() + retry.wait(tries=track.tries)
        else:
            track.phase = phase

    def _pause(self, seconds: float) -> None:
        left = self._deadline - time.monotonic()
        if seconds > 0:
            time.sleep(max(0.0, min(seconds, left)))
        if left < seconds:
            raise _OutOfTimeError

    def _collect_outputs(self, track: Track) -> list[str]:
        """Read the files the step left; the names of those that are missing."""
        missing = []
        for name, output in track.step.outputs.items():
            file = self.folder / track.name / output.path
            value = file.read_text().rstrip("\n") if file.is_file() else output.default
            if value is None:
                missing.append(output.path)
            else:
                track.outputs[name] = value
                self._scope[f"tasks.{track.step.name}.outputs.parameters.{name}"] = value
        return missing

    def _last_words(self, track: Track) -> str:
        """The error that the step's log ends with, or its last line."""
        text = (self.folder / f"{track.name}.log").read_text(errors="replace")
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
