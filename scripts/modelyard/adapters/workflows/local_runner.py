"""Walks a plan: starts what is ready, tries again what may help, and says how it all ended."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.adapters.processes.start import Running, start_command, stop_process
from modelyard.adapters.workflows import expressions as argo_expressions
from modelyard.adapters.workflows.plan import Plan, Step, filled
from modelyard.errors import Refused

_TICK_SECONDS = 0.02
_KILLED = 128  # exit codes from here on are signals
_NO_EXIT_CODE = -1
_FAILURES = frozenset({"Failed", "Error"})


@dataclass(kw_only=True)
class Track:
    """Where one step is.

    Args:
        step: The step.
        phase: Argo's word: `Pending`, `Running`, `Succeeded`, `Failed`, `Error`, `Skipped` or
            `Omitted`.
        message: Why, when it failed.
        exit_code: Of its last try; -1 when that had none.
        tries: How often it was started.
        outputs: Its output parameters.
        not_before: When the next try may start.
        out_of_time: When the running try is killed.
        running: The running try.
    """

    step: Step
    phase: str = "Pending"
    message: str = ""
    exit_code: int = _NO_EXIT_CODE
    tries: int = 0
    outputs: dict[str, str] = field(default_factory=dict)
    not_before: float = 0.0
    out_of_time: float = float("inf")
    running: Running | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it."""
        return self.phase not in {"Pending", "Running"}


class Walk:
    """One run of a plan.

    Args:
        plan: What to run.
        name: The workflow's name.
        folder: Where each step has its log and its work folder.
        root: The checkout.
        tell: Called after every change.
    """

    def __init__(
        self, plan: Plan, *, name: str, folder: Path, root: Path, tell: Callable[[], None]
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.root = root
        self.tell = tell
        self.tracks = {step.name: Track(step=step) for step in plan.steps}
        self._out_of_time = time.monotonic() + (plan.deadline_seconds or float("inf"))
        self._scope = {"workflow.name": name}
        self._scope |= {f"workflow.parameters.{k}": value for k, value in plan.arguments.items()}

    def run(self) -> None:
        """Run every step that gets its turn; whatever interrupts it ends the running ones."""
        try:
            while not all(track.is_over for track in self.tracks.values()):
                if self._advance():
                    self.tell()
                else:
                    time.sleep(_TICK_SECONDS)
        except BaseException:
            self._stop_all("interrupted")
            raise

    @property
    def phase(self) -> str:
        """How it ended: steps nobody waits for decide; one that never ran inherits, as in Argo."""
        branches: dict[str, str] = {}
        for track in self.tracks.values():
            inherited = [branches[name] for name in track.step.before]
            own = [track.phase] if track.phase in {"Succeeded", *_FAILURES} else inherited
            branches[track.step.name] = next((p for p in own if p in _FAILURES), "Succeeded")
        followed = {name for track in self.tracks.values() for name in track.step.before}
        last = [
            branches[name]
            for name, track in self.tracks.items()
            if name not in followed and branches[name] not in track.step.continues_on
        ]
        return next((phase for phase in last if phase in _FAILURES), "Succeeded")

    @property
    def message(self) -> str:
        """What the first failed step said."""
        failed = [track for track in self.tracks.values() if track.phase in _FAILURES]
        return f"{failed[0].step.name}: {failed[0].message}" if failed else ""

    def _advance(self) -> bool:
        """One look at everything; whether something changed."""
        now = time.monotonic()
        if now >= self._out_of_time:
            self._stop_all(f"the workflow took more than {self.plan.deadline_seconds:g} s")
            return True
        changed = False
        for track in self.tracks.values():
            if track.running is not None:
                changed |= self._look_after(track, track.running, now)
            elif track.phase == "Pending" and self._decide(track):
                changed = True
            elif not track.is_over:
                changed |= self._start_if_free(track, now)
        return changed

    def _look_after(self, track: Track, running: Running, now: float) -> bool:
        code = running.poll()
        if code is None and now < track.out_of_time:
            return False
        track.running = None
        if code is None:
            stop_process(running.started, grace_seconds=5)
            running.release()
            limit = track.step.deadline_seconds or 0
            track.exit_code = _NO_EXIT_CODE
            self._tried(track, "Error", f"out of time after {limit:g} s")
        else:
            track.exit_code = code
            self._ended(track, code)
        return True

    def _ended(self, track: Track, code: int) -> None:
        missing = self._collect_outputs(track)
        if code >= _KILLED:
            self._tried(track, "Error", f"killed by signal {code - _KILLED}")
        elif code:
            self._tried(track, "Failed", f"exit code {code}: {self._last_line(track)}")
        elif missing:
            self._tried(track, "Error", f"left no {', '.join(missing)}")
        else:
            self._tried(track, "Succeeded", "")

    def _tried(self, track: Track, phase: str, message: str) -> None:
        track.message = message
        retry = track.step.retry
        if retry.wanted(tries=track.tries, phase=phase, exit_code=track.exit_code):
            track.not_before = time.monotonic() + retry.wait(tries=track.tries)
        else:
            track.phase = phase

    def _decide(self, track: Track) -> bool:
        """Whether a step that waits is over without having run."""
        if not all(self.tracks[name].is_over for name in track.step.before):
            if self._is_halted():
                track.phase = "Omitted"
            return self._is_halted()
        try:
            if self._is_halted() or not self._is_met(track.step):
                track.phase = "Omitted"
            elif track.step.when and not argo_expressions.when(self._filled(track.step.when)):
                track.phase = "Skipped"
        except Refused as refusal:
            track.phase, track.message = "Error", refusal.message
        return track.is_over

    def _start_if_free(self, track: Track, now: float) -> bool:
        ready = all(self.tracks[name].is_over for name in track.step.before)
        busy = sum(other.running is not None for other in self.tracks.values())
        if not ready or now < track.not_before or busy >= self.plan.at_once:
            return False
        try:
            self._start(track)
        except (Refused, OSError) as error:
            track.phase, track.message = "Error", str(error)
        return True

    def _start(self, track: Track) -> None:
        step = track.step
        inputs = {f"inputs.parameters.{k}": self._filled(v) for k, v in step.inputs.items()}
        scope = {**self._scope, **inputs}
        work = self.folder / step.name
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        own = {key: filled(value, scope) for key, value in step.environment.items()}
        track.running = start_command(
            [filled(word, scope) for word in step.command],
            cwd=work,
            environment={**os.environ, **own, "MODELYARD_ROOT": str(self.root)},
            output=self.folder / f"{step.name}.log",
        )
        track.phase = "Running"
        track.tries += 1
        track.out_of_time = time.monotonic() + (step.deadline_seconds or float("inf"))

    def _collect_outputs(self, track: Track) -> list[str]:
        """Read the files the step left; the names of those that are missing."""
        missing = []
        for name, output in track.step.outputs.items():
            file = self.folder / track.step.name / output.path
            if file.is_file():
                track.outputs[name] = file.read_text().rstrip("\n")
            elif output.default is not None:
                track.outputs[name] = output.default
            else:
                missing.append(output.path)
        return missing

    def _last_line(self, track: Track) -> str:
        text = (self.folder / f"{track.step.name}.log").read_text(errors="replace")
        return next((line for line in reversed(text.splitlines()) if line.strip()), "")

    def _is_met(self, step: Step) -> bool:
        if not step.depends:
            return True

        def holds(name: str, result: str) -> bool:
            track = self.tracks[name]
            if result:
                return track.phase == {"Errored": "Error"}.get(result, result)
            return track.phase in {"Succeeded", "Skipped", *track.step.continues_on}

        return argo_expressions.depends(step.depends, holds)

    def _is_halted(self) -> bool:
        """Whether a failure that nobody reckoned with keeps further steps from starting."""
        return self.plan.fails_fast and any(
            track.phase in _FAILURES and not self._is_tolerated(track)
            for track in self.tracks.values()
        )

    def _is_tolerated(self, track: Track) -> bool:
        result = "Errored" if track.phase == "Error" else track.phase
        return track.phase in track.step.continues_on or any(
            result in argo_expressions.named_results(step.depends, track.step.name)
            for step in self.plan.steps
        )

    def _filled(self, text: str) -> str:
        return filled(text, {**self._scope, **self._left()})

    def _left(self) -> Mapping[str, str]:
        """The tags of what finished steps left."""
        tags = {}
        for name, track in self.tracks.items():
            if track.is_over:
                tags[f"tasks.{name}.status"] = track.phase
                tags[f"tasks.{name}.exitCode"] = str(track.exit_code)
                for parameter, value in track.outputs.items():
                    tags[f"tasks.{name}.outputs.parameters.{parameter}"] = value
        return tags

    def _stop_all(self, message: str) -> None:
        for track in self.tracks.values():
            if track.running is not None:
                stop_process(track.running.started, grace_seconds=5)
                track.running.release()
                track.running = None
            if not track.is_over:
                track.phase, track.message = "Error", message
