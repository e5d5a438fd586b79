"""Trains the working tree in a yard that is thrown away: no record, version or look is left.

The yard is a clone that shares the objects of the checkout, with what the checkout holds committed
on top, and with a store and a registry of its own. So the steps are those of every training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelyard.adapters.clock import SystemClock
from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.trees import GitTree, WorkingTree
from modelyard.adapters.isolation.removal import scratch_folder
from modelyard.adapters.specs.documents import dump_spec
from modelyard.adapters.specs.reader import read_specs, read_valid_catalog
from modelyard.adapters.store.artifacts import Store
from modelyard.adapters.store.signatures import fetch_artifact
from modelyard.domain import checks
from modelyard.domain.signatures import asked_signature
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import ENVIRONMENTS, SETTINGS, model_folder
from modelyard.domain.specs.repository import ForgeKind, MetricsKind, OrchestratorKind, Repository
from modelyard.domain.specs.version import ModelVersion
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.models.step_progress import Output, telling
from modelyard.operations.services import repository_of, services_for
from modelyard.operations.training.evaluate import find_champion, score_held_out_sets
from modelyard.operations.training.fetch import UNDECIDED, fetch_inputs
from modelyard.operations.training.job import Job, run_step
from modelyard.operations.training.new_version import draft_spec
from modelyard.operations.training.train import train_model
from modelyard.operations.training.verify import verify_server

VERSION = "working-tree"
"""The name that a trial has in messages; no file of this name is ever written."""

LOG = "trainer.log"

MOST_LINES = 50
"""So many last lines of what a trainer printed are shown: more would hide what is said of it."""

_WIDEST = 500

_DATA_STEPS: Mapping[str, Callable[[Job], object]] = {"fetch": fetch_inputs}
_STEPS: Mapping[str, Callable[[Job], object]] = {
    **_DATA_STEPS,
    "train": train_model,
    "evaluate": score_held_out_sets,
    "verify": verify_server,
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came out of a trial.

    Args:
        data: The run file of `fetch`: rows that train, and those of each held-out set.
        artifact: The run file of `train`; None if only the data was tried.
        evaluation: The run file of `evaluate`; None if only the data was tried.
        server: The run file of `verify`; None if only the data was tried.
    """

    data: Mapping[str, Any]
    artifact: Mapping[str, Any] | None = None
    evaluation: Mapping[str, Any] | None = None
    server: Mapping[str, Any] | None = None

    @property
    def is_undecided(self) -> bool:
        """Whether the gate can decide something for no version on one of the held-out sets."""
        return any(held[UNDECIDED] for held in self.data["held_out"].values())


def try_model(
    root: Path,
    model: str,
    compose: Callable[[Path, Catalog], ModelVersion],
    *,
    data_only: bool,
    tell: Callable[[str], None],
) -> Trial:
    """Run the steps of a training on the working tree, and keep nothing.

    Args:
        root: The checkout's root.
        model: The model.
        compose: Makes the version to train, from a yard and its specs.
        data_only: Whether to stop after the data was read and checked.
        tell: Is told the progress, line by line, and the trainer's log if it fails.

    Raises:
        Refused: A step refuses the version; or it would not be valid.
        CannotAnswer: Something is out of reach.
    """
    output = Output()
    with _open_yard(root, model, compose, output) as job:
        if not data_only:
            _bring_champion(root, job)
        for name, run in (_DATA_STEPS if data_only else _STEPS).items():
            tell(f"{name} ...")
            start = time.monotonic()
            try:
                with telling(name, tell, output if name == "train" else Output()):
                    run_step(name, run, job)
            except Refused:
                _tell_log(job, name, tell)
                raise
            tell(f"{name}: done in {time.monotonic() - start:.1f} s")
            if name == "fetch" and not data_only:  # the training may take an hour
                _tell_undecided(job, tell)
                _build_runtime(job, tell)
        if data_only:
            return Trial(data=job.read_document("data.json"))
        return Trial(
            data=job.read_document("data.json"),
            artifact=job.read_document("artifact.json"),
            evaluation=job.read_document("evaluation.json"),
            server=job.read_document("server.json"),
        )


@contextmanager
def _open_yard(
    root: Path, model: str, compose: Callable[[Path, Catalog], ModelVersion], output: Output
) -> Iterator[Job]:
    """The job of a training in a yard of its own, which is gone afterwards."""
    read_specs(WorkingTree(root)).catalog.require_model(model, where=str(root))
    with scratch_folder("modelyard-try-") as folder:
        yard = folder.resolve() / "yard"
        repository = _own_settings(root, repository_of(root))
        commit = _copy_checkout(root, yard, model)
        settings = dump_spec("Repository", repository)
        (yard / SETTINGS).write_bytes(settings)
        catalog = read_valid_catalog(GitTree(Git(yard), commit), models=[model])
        _refuse_invalid(catalog, model)
        draft = draft_spec(yard, catalog, compose(yard, catalog), called=f"this trial of {model}")
        commit = _commit(yard, {draft.path: draft.content, SETTINGS: settings}, commit)
        services = services_for(yard)
        store = Store(services.repository.artifacts, yard)
        yield Job(
            services=services,
            store=store,
            model_name=model,
            version=VERSION,
            attempt=1,
            commit=commit,
            workflow="try",
            is_trial=True,
            follow=output.follow,
        )


def _refuse_invalid(catalog: Catalog, model: str) -> None:
    """Refuse a model that `modelyard validate` would not accept."""
    folder = model_folder(model)
    for problem in checks.find_problems(catalog):
        if problem.file.startswith(folder):
            hint = "run `modelyard validate` for all problems"
            raise Refused(f"{problem.file}: {problem.message}", hint=hint)


def _own_settings(root: Path, repository: Repository) -> Repository:
    """The settings of the yard: data where it is, everything else in the yard."""
    own = Repository()
    here = "://" not in repository.data
    return replace(
        repository,
        forge=ForgeKind.LOCAL,
        forge_uri=None,
        forge_repository=None,
        orchestrator=OrchestratorKind.LOCAL,
        metrics=MetricsKind.SCRAPE,
        metrics_uri=None,
        tracking_uri=own.tracking_uri,
        artifacts=own.artifacts,
        state=own.state,
        data=str((root / repository.data).resolve()) if here else repository.data,
    )


def _copy_checkout(root: Path, yard: Path, model: str) -> str:
    """Clone the checkout, and commit there what its folders hold; returns the commit."""
    Git(root).run("clone", "--quiet", "--shared", "--no-checkout", str(root.resolve()), str(yard))
    # The clone's index and objects, and the checkout's files: nothing of the checkout is written.
    env = {
        "GIT_DIR": str(yard / ".git"),
        "GIT_INDEX_FILE": str(yard / ".git" / "index"),
        "GIT_WORK_TREE": str(root.resolve()),
    }
    git = Git(root)
    git.run("read-tree", "HEAD", env=env)
    locks = sorted(path.name for path in root.glob("requirements*.lock"))
    paths = [path for path in (model_folder(model), ENVIRONMENTS, SETTINGS, *locks)
             if (root / path).exists()]  # fmt: skip
    git.run("add", "--all", "--", *(path.rstrip("/") for path in paths), env=env)
    tree = git.run("write-tree", env=env).stdout.decode().strip()
    commit = _commit_of(yard, tree, Git(yard).rev_parse("HEAD"))
    checked_out = [path.rstrip("/") for path in (model_folder(model), *locks)]
    Git(yard).run("update-ref", "--no-deref", "HEAD", commit)
    Git(yard).run("checkout", "--quiet", "HEAD", "--", *checked_out)
    return commit


def _commit(yard: Path, documents: Mapping[str, bytes], parent: str) -> str:
    return _commit_of(yard, Git(yard).write_tree(parent, documents), parent)


def _commit_of(yard: Path, tree: str, parent: str) -> str:
    return Git(yard).commit_tree(
        tree, parents=[parent], message="The working tree", author="try", at=SystemClock().now()
    )


def _bring_champion(root: Path, job: Job) -> None:
    """Copy the champion's artifact into the yard's own store."""
    champion = find_champion(job)
    if champion is None:
        return
    kept = Store(repository_of(root).artifacts, root)
    with scratch_folder("modelyard-champion-") as place:
        asked = asked_signature(job.model, champion.version)
        folder = fetch_artifact(kept, champion.artifact, place / "artifact", asked)
        job.store.put_model(folder, champion.artifact)


def _build_runtime(job: Job, tell: Callable[[str], None]) -> None:
    """Build the runtime before it is needed: a first one takes minutes, which are not training."""
    start = time.monotonic()
    with telling("runtime", tell, Output()):
        job.find_runtime()
    if (seconds := time.monotonic() - start) >= 1:
        tell(f"runtime: built in {seconds:.1f} s, once for all yards of this machine")


def _tell_undecided(job: Job, tell: Callable[[str], None]) -> None:
    for held in job.read_document("data.json")["held_out"].values():
        for each in held[UNDECIDED]:
            tell(f"the gate cannot decide: {each}")


def _tell_log(job: Job, step: str, tell: Callable[[str], None]) -> None:
    if step != "train":
        return
    try:
        log = job.read_file(LOG).decode("utf-8", "replace")
    except CannotAnswer:
        return
    lines = log.splitlines()
    if len(lines) > MOST_LINES:
        tell(f"  {len(lines) - MOST_LINES:,} lines of the trainer's output are left out")
    for line in lines[-MOST_LINES:]:
        tell(f"  {line[:_WIDEST]}")
