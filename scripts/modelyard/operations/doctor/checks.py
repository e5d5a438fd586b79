"""The checks of `modelyard doctor`: small, named as what should be so, and changing nothing."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from modelyard.adapters.processes.fork_client import PRELOADED
from modelyard.errors import YardError
from modelyard.operations.doctor.runner import Check, Patient, Wrong

if TYPE_CHECKING:
    from modelyard.domain.specs.record import Record

LEAST_GIT = (2, 38)
"""The first git that merges two commits without a checkout: `merge-tree --write-tree`."""

_SECONDS_TO_ANSWER = 5.0
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}


def git_merges_without_a_checkout(patient: Patient) -> Iterator[Wrong]:
    """A git that is too old cannot merge pull requests here."""
    said = patient.git.run("version").stdout.decode("utf-8", "replace").strip()
    match = re.search(r"(\d+)\.(\d+)", said)
    if match is None or (int(match[1]), int(match[2])) < LEAST_GIT:
        least = ".".join(map(str, LEAST_GIT))
        yield Wrong(what=f"{said}, but {least} is needed", mend=f"install git {least} or newer")


def git_knows_your_name(patient: Patient) -> Iterator[Wrong]:
    """Holds, approvals and promotions are written down under a name."""
    if patient.git.user_name() is None:
        yield Wrong(what="user.name is not set", mend="git config user.name 'Your Name'")


def the_settings_are_valid(patient: Patient) -> Iterator[Wrong]:
    """`modelyard.yaml` is of its shape, and names adapters there are."""
    from modelyard.adapters.git.trees import WorkingTree
    from modelyard.adapters.specs.reader import read
    from modelyard.domain.specs.paths import SETTINGS

    for problem in read(WorkingTree(patient.root), models=()).problems:
        if problem.file == SETTINGS:
            what = f"{problem.file}:{problem.line}: {problem.message}"
            yield Wrong(what=what, mend="modelyard validate")
    _ = patient.workspace


def the_remote_has_the_main_branch(patient: Patient) -> Iterator[Wrong]:
    """Everything is decided from there."""
    repository = patient.workspace.services.repository
    remote, main = repository.remote, repository.main
    if not patient.git.ls_remote(remote, [f"refs/heads/{main}"]):
        yield Wrong(what=f"{remote} has no branch {main}", mend=f"git push {remote} {main}")


def the_specs_are_valid(patient: Patient) -> Iterator[Wrong]:
    """Reconcile does not plan for a model whose specs are not."""
    for problem in patient.specs.checked():
        what = f"{problem.file}:{problem.line}: {problem.message}"
        yield Wrong(what=what, mend="git pull, then modelyard validate")


def the_workflows_are_rendered(patient: Patient) -> Iterator[Wrong]:
    """Nothing can be trained without its WorkflowTemplate."""
    from modelyard.domain.specs.paths import WORKFLOW_TEMPLATES
    from modelyard.operations.reconcile.apply import TEMPLATE

    file = f"{WORKFLOW_TEMPLATES}{TEMPLATE}.yaml"
    if not (patient.root / file).is_file():
        yield Wrong(what=f"{file} is missing", mend="modelyard render --platform")


def the_facts_are_readable(patient: Patient) -> Iterator[Wrong]:
    """What cannot be read is unknown, and what is unknown is not healthy."""
    missed: list[YardError] = []
    patient.workspace.facts.snapshot(missed=missed.append)
    for error in missed:
        yield Wrong(what=error.message, mend=error.hint or "modelyard status")


def the_pull_requests_are_readable(patient: Patient) -> Iterator[Wrong]:
    """Nothing is proposed that one which cannot be read may be about, and none is merged unread."""
    for error in patient.workspace.services.pulls.unreadable():
        yield Wrong(what=error.message, mend=error.hint or "modelyard pr list --all")


def the_artifact_store_is_writable(patient: Patient) -> Iterator[Wrong]:
    """By its permissions where it is a folder; another store only has to answer."""
    import fsspec

    uri = patient.workspace.store.uri()
    mend = "set `artifacts` in modelyard.yaml to a place you may write to"
    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
        is_folder = "file" in filesystem.protocol
        said = _unwritable(Path(path)) if is_folder else _silent(filesystem, path)
    except Exception as error:  # noqa: BLE001 - every store has its own errors for "no"
        said = str(error)
    if said:
        yield Wrong(what=f"{uri}: {said}", mend=mend)


def _unwritable(folder: Path) -> str | None:
    """Why a folder could not be written to; one that is not there yet could be made."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not there.is_dir():
        return f"{there} is not a folder"
    return None if os.access(there, os.W_OK | os.X_OK) else f"{there} may not be written to"


def _silent(filesystem: object, path: str) -> str | None:
    filesystem.exists(path)  # type: ignore[attr-defined]  # fsspec has no types; raises when silent
    return None


def the_tracking_database_answers(patient: Patient) -> Iterator[Wrong]:
    """A database file opens; a server takes connections. One nobody wrote to yet is fine."""
    uri = patient.workspace.services.repository.tracking_uri
    mend = "start it, or set `tracking_uri` in modelyard.yaml"
    try:
        if (file := _database(patient)) is not None:
            if file.exists():
                _open(file)
        elif (address := urlsplit(uri)).hostname:
            port = address.port or _PORTS.get(address.scheme.partition("+")[0], 80)
            socket.create_connection((address.hostname, port), _SECONDS_TO_ANSWER).close()
    except (OSError, ValueError, sqlite3.Error) as error:
        yield Wrong(what=f"{_without_password(uri)}: {error}", mend=mend)


def _database(patient: Patient) -> Path | None:
    """The file of an SQLite tracking database."""
    uri = patient.workspace.services.repository.tracking_uri
    path = uri.removeprefix("sqlite:///")
    return None if path == uri else patient.root / path


def _open(file: Path) -> None:
    with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as database:
        database.execute("select count(*) from sqlite_master").fetchone()


def _without_password(uri: str) -> str:
    return re.sub(r"//[^/@]*@", "//", uri)


def released_artifacts_are_in_the_store(patient: Patient) -> Iterator[Wrong]:
    """A server that starts again fetches its artifact again."""
    from modelyard.adapters.store.artifacts import COMPLETE

    for (environment, model), release in sorted(patient.specs.catalog.releases.items()):
        try:
            patient.workspace.store.read_model_file(release.artifact, COMPLETE)
        except YardError as error:
            what = f"{environment} {model} {release.version}: {error.message}"
            yield Wrong(what=what, mend=error.hint or "restore it from a copy of the store")


def evidence_of_releases_is_whole(patient: Patient) -> Iterator[Wrong]:
    """Without it, no verdict can be computed again; it is read, and its digest checked."""
    catalog = patient.specs.catalog
    released = {(model, each.version) for (_, model), each in catalog.releases.items()}
    for model, version in sorted(released & set(catalog.records)):
        for digest in _evidence(catalog.records[model, version]):
            try:
                patient.workspace.store.evidence(digest)
            except YardError as error:
                mend = error.hint or "restore it from a copy of the store"
                yield Wrong(what=f"{model} {version}: {error.message}", mend=mend)


def _evidence(record: Record) -> tuple[str, ...]:
    of_sets = [d for each in record.held_out for d in (each.scores, each.champion_scores)]
    return tuple(dict.fromkeys(d for d in (*of_sets, record.profile, record.golden) if d))


def manifests_are_what_releases_render_to(patient: Patient) -> Iterator[Wrong]:
    """Argo CD applies what is committed, whatever the pins say."""
    from modelyard.adapters.git.trees import GitTree
    from modelyard.render.tree import stale_manifests

    for sentence in stale_manifests(GitTree(patient.git, patient.main), patient.specs.catalog):
        yield Wrong(what=sentence, mend="git pull, then modelyard render, and propose what changed")


def aliases_follow_verified_releases(patient: Patient) -> Iterator[Wrong]:
    """Whoever loads a model by its alias gets what runs."""
    from modelyard.domain.promotion.actions import SetAlias
    from modelyard.domain.promotion.plan import plan
    from modelyard.operations.reconcile.collect import collect

    file = _database(patient)
    if file is not None and not file.exists():
        return  # asking would create it
    for model in sorted(patient.specs.catalog.models):
        world = collect(patient.workspace, model)
        for action in plan(world):
            if isinstance(action, SetAlias):
                now = world.aliases.get(action.alias, "nothing")
                what = f"{action.alias} of {model} points at {now}, not at {action.version}"
                yield Wrong(what=what, mend=f"modelyard reconcile {model}")


def servers_belong_to_releases(patient: Patient) -> Iterator[Wrong]:
    """Nothing runs that Git does not name."""
    from modelyard.domain.specs.environment import Environment

    catalog = patient.specs.catalog
    seen = patient.workspace.facts.snapshot().releases
    places = {(env, model) for env in catalog.environments for model in catalog.models} | set(seen)
    for environment, model in sorted(places - set(catalog.releases)):
        # What lost its environment in Git can only be looked for by name.
        unknown = Environment(name=environment, description="", namespace=environment)
        where = catalog.environments.get(environment, unknown)
        if patient.workspace.services.cluster.observe(model=model, environment=where):
            what = f"{environment} runs {model}, but the main branch names no release of it there"
            known = model in catalog.models and environment in catalog.environments
            mend = "modelyard watch --once" if known else "modelyard servers stop"
            yield Wrong(what=what, mend=mend)


def workflows_belong_to_versions(patient: Patient) -> Iterator[Wrong]:
    """Nothing trains whose outcome nobody waits for."""
    from modelyard.domain.promotion.facts import TrainingFacts
    from modelyard.domain.promotion.training import workflow_name

    catalog = patient.specs.catalog
    facts = patient.workspace.facts.snapshot()
    for (model, version), digest in sorted(catalog.digests.items()):
        known = facts.model(model).training.get(version, TrainingFacts())
        is_over = (model, version) in catalog.records or known.failed is not None
        for attempt in range(1, known.attempt + (1 if is_over else 0)):
            name = workflow_name(model, version, spec=digest, attempt=attempt)
            status = patient.workspace.services.orchestrator.status(name)
            if status is not None and not status.phase.is_over:
                what = f"workflow {name} still runs, but attempt {attempt} of {version} is over"
                yield Wrong(what=what, mend=f"stop {name}, or let it end: nobody reads its outcome")


def the_preloaded_process_listens(patient: Patient) -> Iterator[Wrong]:
    """Where one is named; without it every command starts slowly."""
    del patient
    address = os.environ.get(PRELOADED)
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
            asker.settimeout(_SECONDS_TO_ANSWER)
            asker.connect(address)
    except OSError as error:
        mend = f"unset {PRELOADED}, or modelyard preload --socket {address}"
        yield Wrong(what=f"{PRELOADED}={address}: {error.strerror or error}", mend=mend)


_FORGE = (the_settings_are_valid, the_remote_has_the_main_branch)
_STORE = (*_FORGE, the_artifact_store_is_writable)

CHECKS: Mapping[Check, tuple[Check, ...]] = {
    git_merges_without_a_checkout: (),
    git_knows_your_name: (),
    the_settings_are_valid: (),
    the_preloaded_process_listens: (),
    the_remote_has_the_main_branch: (the_settings_are_valid,),
    the_specs_are_valid: _FORGE,
    the_workflows_are_rendered: (the_settings_are_valid,),
    the_facts_are_readable: _FORGE,
    the_pull_requests_are_readable: _FORGE,
    the_artifact_store_is_writable: (the_settings_are_valid,),
    the_tracking_database_answers: (the_settings_are_valid,),
    released_artifacts_are_in_the_store: _STORE,
    evidence_of_releases_is_whole: _STORE,
    manifests_are_what_releases_render_to: _FORGE,
    aliases_follow_verified_releases: (
        *_FORGE,
        the_specs_are_valid,
        the_facts_are_readable,
        the_tracking_database_answers,
    ),
    servers_belong_to_releases: (*_FORGE, the_facts_are_readable),
    workflows_belong_to_versions: (*_FORGE, the_facts_are_readable),
}
"""Every check in order, with those that must be well before it can be asked."""
