"""The local orchestrator: runs the rendered WorkflowTemplates as processes on this machine."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from modelyard.adapters.processes.process_table import Started, find_process, find_processes_in
from modelyard.adapters.processes.start import (
    is_process_alive,
    start_modelyard,
    stop_process,
    unwinding_on_signals,
)
from modelyard.adapters.replaced_file import replace_file
from modelyard.adapters.specs.documents import dump_documents, load_yaml
from modelyard.adapters.workflows.fields import Unsupported
from modelyard.adapters.workflows.local_runner import Walk
from modelyard.adapters.workflows.patience import NoWorkflow
from modelyard.adapters.workflows.template import read_plan
from modelyard.domain.specs.paths import WORKFLOW_TEMPLATES
from modelyard.domain.specs.repository import Repository
from modelyard.errors import Refused
from modelyard.ports import Phase, WorkflowStatus

# Also a Kubernetes name, so that the same names work with Argo; no `/` and no leading dot.
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?\Z")
_POLL_SECONDS = 0.05
# A runner writes its status first; one that has not after this was never started.
_SECONDS_TO_START = 60.0
_LOST = "lost: its process is gone"
_DAMAGED = "lost: its status.json cannot be read"


@dataclass(frozen=True, kw_only=True)
class _State:
    """What is in `status.json`.

    Args:
        phase: Of the whole.
        message: Why, when it failed.
        steps: Phase by step, of those that ran.
        runner: The process that walks the plan; None before it started.
        running: The processes of running steps, by step.
    """

    phase: str = Phase.PENDING
    message: str = ""
    steps: Mapping[str, str] = field(default_factory=dict)
    runner: Started | None = None
    running: Mapping[str, Started] = field(default_factory=dict)


class LocalWorkflows:
    """Runs workflows as processes; implements `ports.Orchestrator`.

    Args:
        root: The checkout, whose rendered templates are run.
        repository: Its settings; `state` is where workflows leave their status and logs.
    """

    def __init__(self, root: Path, repository: Repository) -> None:
        self._root = root
        self._folder = root / repository.state / "workflows"
        self._over: dict[str, tuple[int, bool]] = {}

    def submit(self, name: str, *, template: str, parameters: Mapping[str, str]) -> None:
        """Start the workflow `name`, unless one of that name exists already.

        Raises:
            Refused: The template is unknown, or asks for what only a cluster does.
        """
        folder = self._workflow(name)
        if not folder.exists():
            self._create(name, self._workflow_document(name, template, parameters))
        # A submitter that died before this point left a workflow that no process runs.
        if self._read_state(folder) == _State():
            start_modelyard(
                ["workflow", "run", name],
                cwd=self._root,
                log=folder / "_runner.log",
                environment={**os.environ, "MODELYARD_ROOT": str(self._root)},
            )

    def status(self, name: str) -> WorkflowStatus | None:
        """The workflow's status, or None when there is none of that name.

        Skipped steps are left out. A workflow whose process died is `Error`.
        """
        folder = self._workflow(name)
        state = self._read_state(folder)
        if state is None:
            return None
        if self._is_lost(folder, state):
            state = self._write_off(folder)
        steps = {step: Phase(phase) for step, phase in state.steps.items()}
        failed = [step for step, phase in steps.items() if phase in {Phase.FAILED, Phase.ERROR}]
        log = folder / f"{failed[0]}.log" if failed else folder / "_runner.log"
        return WorkflowStatus(
            name=name,
            phase=Phase(state.phase),
            message=state.message,
            steps=steps,
            log=str(log.relative_to(self._root)),
        )

    def wait(self, name: str, *, progress: Callable[[WorkflowStatus], None]) -> WorkflowStatus:
        """Follow until it is over, and report every change of a step.

        Raises:
            NoWorkflow: There is no workflow of that name.
        """
        reported: Mapping[str, Phase] | None = None
        while True:
            status = self.status(name)
            if status is None:
                raise NoWorkflow(name)
            if status.steps != reported or status.phase.is_over:
                progress(status)
                reported = status.steps
            if status.phase.is_over:
                return status
            time.sleep(_POLL_SECONDS)

    def pulse(self) -> str:
        """A digest of the workflows that are over; only a status written since is read again."""
        found: dict[str, tuple[int, bool]] = {}
        for status in self._folder.glob("*/status.json"):
            name = status.parent.name
            with suppress(FileNotFoundError):
                written = status.stat().st_mtime_ns
                is_over = self._over.get(name, (0, False))
                if is_over[0] != written:
                    state = self._read_state(status.parent)
                    is_over = written, state is not None and Phase(state.phase).is_over
                found[name] = is_over
        self._over = found
        ended = sorted((name, at) for name, (at, is_over) in found.items() if is_over)
        return hashlib.sha256(repr(ended).encode()).hexdigest()

    def run(self, name: str) -> WorkflowStatus | None:
        """Walk a submitted workflow in this process, unless another process does or did."""
        folder = self._workflow(name)
        if folder.exists():
            with _try_lock(folder) as is_locked:
                if is_locked and self._read_state(folder) == _State():
                    self._walk(name, folder)
        return self.status(name)

    def _walk(self, name: str, folder: Path) -> None:
        text = (folder / "workflow.yaml").read_bytes()
        document: Any = load_yaml(text, name=f"{name}/workflow.yaml").document
        plan = read_plan(document["spec"], {})
        runner = find_process(os.getpid())

        def report(phase: str = Phase.RUNNING, message: str = "") -> None:
            tracks = walk.tracks.items()
            state = _State(
                phase=phase,
                message=message,
                steps={n: t.phase for n, t in tracks if t.phase not in {"Skipped", "Omitted"}},
                runner=runner,
                running={n: t.running.started for n, t in tracks if t.running is not None},
            )
            replace_file(folder / "status.json", json.dumps(asdict(state), indent=1).encode())

        walk = Walk(plan, name=name, folder=folder, root=self._root, report=report)
        report()
        with unwinding_on_signals():
            try:
                walk.run()
            except BaseException:
                report(Phase.ERROR, walk.message)
                raise
        report(walk.phase, walk.message if walk.phase != Phase.SUCCEEDED else "")

    def _workflow(self, name: str) -> Path:
        if not _NAME.match(name):
            raise Refused(f"{name!r} cannot name a workflow: lower-case letters, digits, - and .")
        return self._folder / name

    def _workflow_document(
        self, name: str, template: str, parameters: Mapping[str, str]
    ) -> dict[str, object]:
        """The workflow with its parameters, checked to be one that runs here."""
        path = f"{WORKFLOW_TEMPLATES}{template}.yaml"
        try:
            text = (self._root / path).read_bytes()
        except OSError as error:
            message = f"{path}: {error.strerror}"
            raise Refused(message, hint="modelyard render --platform") from error
        loaded = load_yaml(text, name=path)
        document: Any = loaded.document
        if not isinstance(document, dict) or document.get("kind") != "WorkflowTemplate":
            raise Refused(f"{path} is not a WorkflowTemplate", hint="modelyard render --platform")
        try:
            plan = read_plan(document.get("spec", {}), parameters)
        except Refused as refusal:
            line = loaded.line_of(refusal.path) if isinstance(refusal, Unsupported) else 1
            raise Refused(f"{path}:{line}: {refusal.message}", hint=refusal.hint) from refusal
        values = [{"name": key, "value": value} for key, value in plan.arguments.items()]
        return {
            "apiVersion": document["apiVersion"],
            "kind": "Workflow",
            "metadata": {"name": name},
            "spec": {**document["spec"], "arguments": {"parameters": values}},
        }

    def _create(self, name: str, document: dict[str, object]) -> None:
        """Make the workflow's folder, complete or not at all; an existing one stays."""
        beside = self._folder / f".{name}.{os.getpid()}"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        (beside / "workflow.yaml").write_bytes(dump_documents([document]))
        (beside / "status.json").write_text(json.dumps(asdict(_State())))
        try:
            beside.rename(self._folder / name)
        except OSError:  # another process was first
            shutil.rmtree(beside)

    @staticmethod
    def _read_state(folder: Path) -> _State | None:
        try:
            document = json.loads((folder / "status.json").read_text())
            if document["runner"]:
                document["runner"] = Started(**document["runner"])
            running = document["running"].items()
            return _State(**document | {"running": {n: Started(**p) for n, p in running}})
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            # A machine that lost power may leave an empty file: the next attempt trains again.
            return _State(phase=Phase.ERROR, message=_DAMAGED)

    @staticmethod
    def _is_lost(folder: Path, state: _State) -> bool:
        if Phase(state.phase).is_over:
            return False
        if state.runner is None:
            age = time.time() - (folder / "status.json").stat().st_mtime
            # From the future: the clock was set back, and nobody knows its age.
            return not 0 <= age <= _SECONDS_TO_START
        return not is_process_alive(state.runner)

    def _write_off(self, folder: Path) -> _State:
        """Record that no process runs the workflow any more, and stop the steps it left behind."""
        with _try_lock(folder) as is_locked:
            state = self._read_state(folder)
            if state is None or not is_locked or not self._is_lost(folder, state):
                return state or _State()
            # A runner that was killed right after a start had no time to write it down.
            unwritten = find_processes_in(folder.absolute())
            for started in dict.fromkeys((*state.running.values(), *unwritten)):
                stop_process(started, grace_seconds=2)
            steps = {
                name: phase if Phase(phase).is_over else Phase.ERROR
                for name, phase in state.steps.items()
            }
            lost = _State(phase=Phase.ERROR, message=_LOST, steps=steps, runner=state.runner)
            with suppress(OSError):  # a full disk: it is lost all the same, as the next look finds
                replace_file(folder / "status.json", json.dumps(asdict(lost), indent=1).encode())
            return lost


@contextmanager
def _try_lock(folder: Path) -> Iterator[bool]:
    """Whether this process got the lock that one must hold to run the workflow or write it off."""
    with (folder / ".lock").open("wb") as lock:
        is_locked = False
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_locked = True
        yield is_locked
