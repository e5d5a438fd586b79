"""The job of a training workflow: its version and commit, and the files between its steps."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from modelyard.adapters.processes.shared_work import count_cores
from modelyard.adapters.runtimes.environments import Runtime
from modelyard.adapters.runtimes.find import find_runtime, lock_of_image
from modelyard.adapters.store.artifacts import Store
from modelyard.adapters.tables.data_files import sha256_of
from modelyard.domain.isolation import Isolation, Unisolated
from modelyard.domain.signatures import Asked, asked_signature
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.record import Record
from modelyard.domain.specs.version import ModelVersion
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.errors import CannotAnswer, Refused, StepCrash
from modelyard.ports import Services
from modelyard.runtime_measure import Measured

logger = logging.getLogger(__name__)

T = TypeVar("T")

MOST_THREADS = 4
"""More threads change sums of floats but do not make small models faster."""

IMAGE = "MODELYARD_IMAGE"
"""The environment variable by which a pod knows the image, with its digest, that it runs."""

OUTCOME = "outcome.json"
"""The run file with the record; reconcile reads it."""

TRAINER = "trainer.json"
"""The run file that says how the trainer was closed in and what it used, once one ran."""

INPUTS = "inputs.json"
"""The run file with the SHA-256 of every file that `fetch` left; its own goes another way."""

CRASH = "crash.json"
"""The run file that says which step crashed; reconcile reads it if there is no outcome."""

# What the code or the data does, and no disk, network or memory: the next try would do it again.
_DEFECTS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RecursionError,
    TypeError, ValueError,
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """The job of one training workflow.

    Args:
        services: The outside world.
        store: The artifact store.
        model_name: The model.
        version: The version.
        attempt: The number of the attempt at the same spec, from 1.
        commit: The commit of the main branch at which the workflow was submitted.
        workflow: The workflow's name.
        inputs: The SHA-256 of `INPUTS`, as the orchestrator was told by `fetch`; empty before that,
            and in workflows that were submitted by an older version.
        is_trial: Whether nothing that it makes is kept, so that nothing is signed.
        specs: The commit to read specs from, if not `commit`: see `leave_readable`.
        follow: Is told the file that the trainer prints to, before it runs on this machine.
    """

    services: Services
    store: Store
    model_name: str
    version: str
    attempt: int
    commit: str
    workflow: str
    inputs: str = ""
    is_trial: bool = False
    specs: str = ""
    follow: Callable[[Path], object] = field(default=Path, repr=False, compare=False)

    @cached_property
    def catalog(self) -> Catalog:
        """The specs of the model at the commit, and every environment."""
        found = self._read_catalog(models={self.model_name})
        # A model that is not there is told apart from those that are.
        return found if self.model_name in found.models else self._read_catalog()

    def all_models(self) -> Iterator[Model]:
        """Every model of the repository at the commit, read only when asked for."""
        yield from self._read_catalog(kinds={"Model"}).models.values()

    def _read_catalog(self, **only: Collection[str]) -> Catalog:
        from modelyard.adapters.git.repository import Git
        from modelyard.adapters.git.trees import GitTree
        from modelyard.adapters.specs.reader import read_specs

        tree = GitTree(Git(self.services.root), self.specs or self.commit)
        return read_specs(tree, **only).catalog

    @property
    def model(self) -> Model:
        """The model at the commit."""
        return self.catalog.require_model(self.model_name, where=self.commit[:10])

    @property
    def spec(self) -> ModelVersion:
        """The version's spec at the commit."""
        where = self.commit[:10]
        return self.catalog.require_version(self.model_name, self.version, where=where)

    @property
    def unisolated(self) -> Unisolated:
        """What follows in a pod that can close nothing in."""
        return self.services.repository.unisolated_trainers

    def asked_signature(self, version: str | None = None) -> Asked | None:
        """The signature that this version's artifact must have, or another version's."""
        return None if self.is_trial else asked_signature(self.model, version or self.version)

    def find_runtime(self, version: str | None = None) -> Runtime:
        """The runtime that this version pins, or another version of the model.

        One that was recorded before runtimes were measured is scored in the platform's, and in an
        image in that of the image.

        Raises:
            CannotAnswer: It cannot be built.
            Refused: This image has another one.
        """
        from modelyard.operations.training.pins import platform_runtime

        spec = self.catalog.require_version(self.model_name, version or self.version)
        record = self.catalog.records.get((self.model_name, spec.version))
        pin = spec.runtime.lock
        if version is not None and record is not None and record.runtime is None:
            pin = lock_of_image() or platform_runtime(self.services.root, self.commit)
        return find_runtime(self.services.root, pin, commit=self.commit, model=self.model_name)

    def describe_runtime(self, measured: Measured) -> dict[str, Any]:
        """What a step ran in, for the record; the list of what is installed becomes evidence."""
        image = os.environ.get(IMAGE, "")
        return {
            "lock": measured.lock,
            "python": measured.python,
            "distributions": self.store.put_evidence(measured.to_evidence()),
            **({"image": image} if "@sha256:" in image else {}),
        }

    def put_file(self, name: str, content: bytes) -> None:
        """Store a file for later steps."""
        self.store.put_run_file(self.workflow, name, content)

    def copy_file(self, name: str, path: Path) -> str:
        """Store a file of this disk for later steps; returns its SHA-256."""
        return self.store.copy_run_file(self.workflow, name, path)

    def put_document(self, name: str, document: dict[str, Any]) -> None:
        """Store a JSON document for later steps."""
        self.put_file(name, dump_document(document))

    def read_file(self, name: str) -> bytes:
        """Return a file that an earlier step stored.

        Raises:
            Refused: `fetch` left another one.
        """
        content = self.store.read_run_file(self.workflow, name)
        self._refuse_changed(name, sha256_of(content), self._fetched.get(name))
        return content

    def fetch_file(self, name: str, path: Path) -> str:
        """Copy a file that an earlier step stored to this disk; returns its SHA-256.

        It is never in memory as a whole.

        Raises:
            Refused: `fetch` left another one.
        """
        found = self.store.fetch_run_file(self.workflow, name, path)
        self._refuse_changed(name, found, self._fetched.get(name))
        return found

    def read_document(self, name: str) -> dict[str, Any]:
        """Return a JSON document that an earlier step stored.

        Raises:
            CannotAnswer: There is none.
            Refused: `fetch` left another one.
        """
        if name in self._fetched:
            document: dict[str, Any] = json.loads(self.read_file(name))
            return document
        found = self.store.read_run_document(self.workflow, name)
        if found is None:
            raise CannotAnswer(f"{self.workflow}: {name} is missing; its step has not run")
        return found

    @cached_property
    def _fetched(self) -> dict[str, str]:
        """The SHA-256 of each file that `fetch` left, by name; empty if nobody says."""
        if not self.inputs:
            return {}
        content = self.store.read_run_file(self.workflow, INPUTS)
        self._refuse_changed(INPUTS, sha256_of(content), self.inputs)
        return dict(json.loads(content))

    def _refuse_changed(self, name: str, found: str, wanted: str | None) -> None:
        if wanted is not None and found != wanted:
            raise Refused(
                f"{self.store.uri_of('runs', self.workflow, name)}: expected what the step fetch "
                f"left, SHA-256 {wanted}; found {found}: it was changed in between",
                hint=self.changed_hint,
            )

    @property
    def changed_hint(self) -> str:
        """What to do when a file of a run was changed between two steps."""
        return (
            "find out who can write there; it is tried again by itself; after the third attempt: "
            f"modelyard retrain {self.model_name} {self.version}"
        )

    def blank_record(self, verdict: Verdict) -> Record:
        """Return a record with a verdict and nothing that training made."""
        ran = self.store.read_run_document(self.workflow, TRAINER)
        return Record(
            model=self.model_name,
            version=self.version,
            spec=self.catalog.digests[self.model_name, self.version],
            workflow=self.workflow,
            attempt=self.attempt,
            seed=self.spec.seed,
            lock=self.spec.runtime.lock,
            threads=count_threads(),
            verdict=verdict,
            isolation=Isolation(ran["isolation"]) if ran else None,
        )

    def refuse(
        self, reason: str, *, hint: str | None = None, folder: Path | None = None
    ) -> Refused:
        """Store a record with the outcome `fail`, and return the error that ends the step.

        Args:
            reason: Why.
            hint: What to do; the record keeps it, since nobody reads the log of a refusal.
            folder: A temporary folder, whose paths mean nothing to who reads the record.
        """
        from modelyard.adapters.specs.documents import document_of

        reason = f"{reason} ({hint})" if hint else reason
        if folder is not None:
            reason = reason.replace(f"{folder}{os.sep}", "").replace(str(folder), ".")
        record = self.blank_record(Verdict(outcome=Outcome.FAIL, reason=reason))
        self.put_document(OUTCOME, document_of(record))
        return Refused(f"{self.model_name} {self.version}: {reason}")


def dump_document(document: Mapping[str, Any]) -> bytes:
    """A JSON document as steps store it."""
    return json.dumps(document, indent=1, sort_keys=True).encode()


def run_step(name: str, run: Callable[[Job], T], job: Job) -> T:
    """Run a step and return what it returns; a defect is stored, so that nothing tries it again.

    Raises:
        YardError: What the step raises.
        StepCrash: It met a defect.
    """
    try:
        return run(job)
    except _DEFECTS as error:
        if isinstance(error, OSError):  # some errors of the network are of both kinds
            raise
        logger.exception("step %s of %s", name, job.workflow)
        line = str(error).partition("\n")[0]
        reason = f"step {name} crashed: {type(error).__name__}: {line}"
        job.put_document(CRASH, {"step": name, "reason": reason})
        raise StepCrash(
            f"{job.model_name} {job.version}: {reason}",
            hint="this is a defect of modelyard, not of the version: report it with this log, and "
            f"run `modelyard retrain {job.model_name} {job.version}` when it is mended",
        ) from error


def count_threads() -> int:
    """The number of threads for a trainer: `OMP_NUM_THREADS`, else its cores, at most four."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) else min(MOST_THREADS, count_cores())
