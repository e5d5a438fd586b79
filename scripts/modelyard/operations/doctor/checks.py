"""The checks of `modelyard doctor`: each is named after what should hold, and changes nothing."""

from __future__ import annotations

import os
import re
import shlex
import socket
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from modelyard.adapters.processes.fork_client import PRELOADED
from modelyard.domain.server_fault import Blame
from modelyard.errors import YardError
from modelyard.operations.doctor.fact_checks import (
    facts_are_in_one_place,
    the_facts_are_readable,
    this_site_runs_the_environments,
)
from modelyard.operations.doctor.forge_checks import (
    the_account_has_its_permissions,
    the_credentials_are_those_of_the_tool,
    the_forge_accepts_the_credentials,
    the_forge_has_labels_and_environments,
    the_forge_protects_the_branches,
    the_forge_runs_workflows,
)
from modelyard.operations.doctor.machine_checks import (
    the_disks_have_room,
    the_signing_key_is_out_of_reach,
    trainers_are_closed_in,
)
from modelyard.operations.doctor.password_checks import (
    nobody_else_may_read_saved_passwords,
    the_configuration_of_git_has_no_password,
)
from modelyard.operations.doctor.runner import Check, Checkout, Finding
from modelyard.operations.doctor.workflow_checks import (
    airflow_runs_the_workflows,
    the_workflows_are_rendered,
    workflows_belong_to_versions,
)

if TYPE_CHECKING:
    from modelyard.domain.specs.record import Record

LEAST_GIT = (2, 38)
"""The first git that merges two commits without a checkout: `merge-tree --write-tree`."""

_SECONDS_TO_ANSWER = 5.0
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}


def git_merges_without_a_checkout(checkout: Checkout) -> Iterator[Finding]:
    """The local forge merges with `git merge-tree`; an old git cannot."""
    installed = checkout.git.run("version").stdout.decode("utf-8", "replace").strip()
    match = re.search(r"(\d+)\.(\d+)", installed)
    if match is None or (int(match[1]), int(match[2])) < LEAST_GIT:
        least = ".".join(map(str, LEAST_GIT))
        yield Finding(
            what=f"{installed}, but {least} is needed", fix=f"install git {least} or newer"
        )


def git_knows_your_name(checkout: Checkout) -> Iterator[Finding]:
    """Holds, approvals and promotions are recorded under a name."""
    if checkout.git.user_name() is None:
        yield Finding(what="user.name is not set", fix="git config user.name 'Your Name'")


def the_settings_are_valid(checkout: Checkout) -> Iterator[Finding]:
    """`modelyard.yaml` has its format, and names adapters that exist."""
    from modelyard.adapters.git.trees import WorkingTree
    from modelyard.adapters.specs.reader import read_specs
    from modelyard.domain.specs.paths import SETTINGS

    for problem in read_specs(WorkingTree(checkout.root), models=()).problems:
        if problem.file == SETTINGS:
            what = f"{problem.file}:{problem.line}: {problem.message}"
            yield Finding(what=what, fix="modelyard validate")
    # Building the adapters fails for a setting that is not supported yet.
    _ = checkout.workspace


def the_remote_has_the_main_branch(checkout: Checkout) -> Iterator[Finding]:
    """Every decision reads it."""
    repository = checkout.workspace.services.repository
    remote, main = repository.remote, repository.main
    if not checkout.git.ls_remote(remote, [f"refs/heads/{main}"]):
        yield Finding(what=f"{remote} has no branch {main}", fix=f"git push {remote} {main}")


def the_specs_are_valid(checkout: Checkout) -> Iterator[Finding]:
    """Reconcile does nothing for a model with an invalid spec."""
    for problem in checkout.specs.all_problems():
        what = f"{problem.file}:{problem.line}: {problem.message}"
        yield Finding(what=what, fix="git pull, then modelyard validate")


def git_keeps_every_byte(checkout: Checkout) -> Iterator[Finding]:
    """Pins are of bytes, and a setting of Git may change line endings in a checkout."""
    from modelyard.domain.specs.paths import SETTINGS
    from modelyard.operations.training.kept_pins import ATTRIBUTES, SPECS_RULE, unguarded_data

    for path, rule in unguarded_data(checkout.root, checkout.specs):
        what = f"{ATTRIBUTES} does not keep the line endings of {path}"
        yield Finding(what=what, fix=f"echo '{rule}' >> {ATTRIBUTES}")
    asked = checkout.git.run("config", "--get", "core.autocrlf", accept=(0, 1)).stdout.strip()
    if asked.lower() in {b"true", b"input"}:
        given = checkout.git.run("check-attr", "eol", "--", SETTINGS, "models/m/model.yaml").stdout
        if given.count(b": lf") != given.count(b"\n"):
            what = f"core.autocrlf is {asked.decode()}, and {ATTRIBUTES} lets it change specs"
            yield Finding(what=what, fix=f"echo '{SPECS_RULE}' >> {ATTRIBUTES}")


def the_pull_requests_are_readable(checkout: Checkout) -> Iterator[Finding]:
    """An unreadable pull request blocks what it may be about."""
    for error in checkout.workspace.services.pulls.unreadable():
        yield Finding(what=error.message, fix=error.hint or "modelyard pr list --all")


def no_branch_occupies_a_name_that_the_tool_needs(checkout: Checkout) -> Iterator[Finding]:
    """A branch such as `modelyard/rollback` keeps every rollback's branch from being created."""
    from modelyard.adapters.forge.local.room import make_aside
    from modelyard.domain.promotion.change import occupies_tool_name

    remote, folder = checkout.workspace.services.repository.remote, "refs/heads/"
    refs = checkout.git.ls_remote(remote, [f"{folder}*"])
    for ref in sorted(refs):
        name = ref.removeprefix(folder)
        if not occupies_tool_name(name):
            continue
        moves = make_aside(refs, [ref])
        pushed = [f"{new or ''}:{moved}" for moved, (_, new) in moves.items()]
        lease = f"--force-with-lease={ref}:{refs[ref]}"
        yield Finding(
            what=f"the branch {name} stands where the tool needs a name",
            fix=shlex.join(["git", "push", "--atomic", lease, remote, *pushed]),
        )


def the_artifact_store_is_writable(checkout: Checkout) -> Iterator[Finding]:
    """A folder must be writable by its permissions; any other store must answer."""
    import fsspec

    uri = checkout.workspace.store.uri_of()
    fix = "set `artifacts` in modelyard.yaml to a place you may write to"
    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
        is_folder = "file" in filesystem.protocol
        reason = _unwritable(Path(path)) if is_folder else _unanswered(filesystem, path)
    except Exception as error:  # noqa: BLE001 - every store raises its own errors
        reason = str(error)
    if reason:
        yield Finding(what=f"{uri}: {reason}", fix=fix)


def _unwritable(folder: Path) -> str | None:
    """Return why a folder is not writable, or None. A missing folder can be created."""
    # The nearest folder that exists decides whether the missing ones can be created.
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not there.is_dir():
        return f"{there} is not a folder"
    return None if os.access(there, os.W_OK | os.X_OK) else f"{there} is not writable"


def _unanswered(filesystem: object, path: str) -> str | None:
    filesystem.exists(path)  # type: ignore[attr-defined]  # fsspec has no types; raises by itself
    return None


def the_tracking_database_answers(checkout: Checkout) -> Iterator[Finding]:
    """A database file opens, a server accepts connections. A file that is not there yet is fine."""
    uri = checkout.workspace.services.repository.tracking_uri
    fix = "start it, or set `tracking_uri` in modelyard.yaml"
    try:
        if (file := _database(checkout)) is not None:
            if file.exists():
                _open(file)
        elif (address := urlsplit(uri)).hostname:
            port = address.port or _PORTS.get(address.scheme.partition("+")[0], 80)
            # Only a connection: a request would need credentials, and MLflow's client retries.
            socket.create_connection((address.hostname, port), _SECONDS_TO_ANSWER).close()
    except (OSError, ValueError, sqlite3.Error) as error:
        yield Finding(what=f"{_without_password(uri)}: {error}", fix=fix)


def _database(checkout: Checkout) -> Path | None:
    """Return the file of an SQLite tracking database, or None."""
    uri = checkout.workspace.services.repository.tracking_uri
    path = uri.removeprefix("sqlite:///")
    return None if path == uri else checkout.root / path


def _open(file: Path) -> None:
    # Read-only, because a check changes nothing.
    with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as database:
        database.execute("select count(*) from sqlite_master").fetchone()


def _without_password(uri: str) -> str:
    return re.sub(r"//[^/@]*@", "//", uri)


def released_artifacts_are_in_the_store(checkout: Checkout) -> Iterator[Finding]:
    """A server that restarts fetches its artifact again, with the signature that is asked for."""
    from modelyard.adapters.store.artifacts import COMPLETE
    from modelyard.adapters.store.signatures import check_signature
    from modelyard.domain.signatures import asked_signature

    for (environment, model), release in sorted(checkout.specs.catalog.releases.items()):
        try:
            # This file is written last, so it stands for the whole artifact.
            checkout.workspace.store.read_model_file(release.artifact, COMPLETE)
            spec = checkout.specs.catalog.models.get(model)  # another check says what is missing
            if spec and (asked := asked_signature(spec, release.version)):
                check_signature(checkout.workspace.store, release.artifact, asked)
        except YardError as error:
            what = f"{environment} {model} {release.version}: {error.message}"
            yield Finding(what=what, fix=error.hint or "restore it from a copy of the store")


def evidence_of_releases_is_whole(checkout: Checkout) -> Iterator[Finding]:
    """No verdict can be computed again without it. Its digest is checked."""
    catalog = checkout.specs.catalog
    released = {(model, each.version) for (_, model), each in catalog.releases.items()}
    for model, version in sorted(released & set(catalog.records)):
        for digest in _evidence(catalog.records[model, version]):
            try:
                checkout.workspace.store.read_evidence(digest)
            except YardError as error:
                fix = error.hint or "restore it from a copy of the store"
                yield Finding(what=f"{model} {version}: {error.message}", fix=fix)


def _evidence(record: Record) -> tuple[str, ...]:
    of_sets = [d for each in record.held_out for d in (each.scores, each.champion_scores)]
    return tuple(dict.fromkeys(d for d in (*of_sets, record.profile, record.golden) if d))


def releases_came_with_pull_requests(checkout: Checkout) -> Iterator[Finding]:
    """A merged pull request brought what each environment has; a plain push deploys nothing."""
    from modelyard.operations.reconcile.unreviewed import list_unreviewed

    for each in list_unreviewed(checkout.workspace, checkout.specs.catalog):
        yield Finding(what=each.what, fix=each.command)


def rules_came_with_pull_requests(checkout: Checkout) -> Iterator[Finding]:
    """People approved each rule that is in force; a plain push changes none in silence."""
    from modelyard.operations.reconcile.unreviewed import list_pushed_rules

    for rule in list_pushed_rules(checkout.workspace):
        yield Finding(what=str(rule), fix=rule.command)


def manifests_are_what_releases_render_to(checkout: Checkout) -> Iterator[Finding]:
    """Argo CD applies the committed manifests, not the pins."""
    from modelyard.adapters.git.trees import GitTree
    from modelyard.operations.render import find_restored
    from modelyard.render.tree import stale_manifests

    # The main branch, not the checkout: Argo CD applies that.
    tree, restored = (
        GitTree(checkout.git, checkout.main),
        find_restored(checkout.git, checkout.main),
    )
    for sentence in stale_manifests(tree, checkout.specs.catalog, restored=restored):
        yield Finding(
            what=sentence, fix="git pull, then modelyard render, and propose what changed"
        )


def aliases_follow_verified_releases(checkout: Checkout) -> Iterator[Finding]:
    """A client that loads a model by its alias gets what runs."""
    from modelyard.domain.promotion.actions import RemoveAlias, SetAlias
    from modelyard.domain.promotion.plan import plan
    from modelyard.operations.reconcile.collect import collect_world

    file = _database(checkout)
    if file is not None and not file.exists():
        return  # MLflow would create the file
    for model in sorted(checkout.specs.catalog.models):
        world = collect_world(checkout.workspace, model)
        for action in plan(world):
            if isinstance(action, SetAlias):
                now = world.aliases.get(action.alias, "nothing")
                what = f"{action.alias} of {model} points to {now}, not to {action.version}"
                yield Finding(what=what, fix=f"modelyard reconcile {model}")
            if isinstance(action, RemoveAlias):
                what = (
                    f"{action.alias} of {model} points to {action.version}, which is not verified"
                )
                yield Finding(what=f"{what} there", fix=f"modelyard reconcile {model}")


def servers_belong_to_releases(checkout: Checkout) -> Iterator[Finding]:
    """Nothing runs without a release in Git."""
    from modelyard.domain.specs.environment import Environment

    catalog = checkout.specs.catalog
    seen = checkout.workspace.facts.read_snapshot().releases
    # Facts too: they know environments that are no longer in Git.
    places = {(env, model) for env in catalog.environments for model in catalog.models} | set(seen)
    for environment, model in sorted(places - set(catalog.releases)):
        # An environment that is no longer in Git can only be found by its name.
        unknown = Environment(name=environment, description="", namespace=environment)
        where = catalog.environments.get(environment, unknown)
        if checkout.workspace.services.cluster.observe(model=model, environment=where):
            what = f"{environment} runs {model}, but has no release of it on the main branch"
            known = model in catalog.models and environment in catalog.environments
            fix = "modelyard watch --once" if known else "modelyard servers stop"
            yield Finding(what=what, fix=fix)


def servers_can_start(checkout: Checkout) -> Iterator[Finding]:
    """No disk, image, port, store or network keeps a release's servers from starting."""
    seen = checkout.workspace.facts.read_snapshot().releases
    for (environment, model), release in sorted(checkout.specs.catalog.releases.items()):
        facts = seen.get((environment, model))
        if facts and facts.release == release.identity and facts.fault and not facts.healthy_since:
            what = f"{environment} {model} {release.version}: {facts.fault.why}"
            is_own = facts.fault.blame is Blame.VERSION
            fix = "modelyard watch --once, once that is repaired"
            yield Finding(what=what, fix=f"modelyard status {model}" if is_own else fix)


def the_preloaded_process_listens(checkout: Checkout) -> Iterator[Finding]:
    """Only if one is configured; without it every command starts slowly."""
    del checkout
    address = os.environ.get(PRELOADED)
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
            asker.settimeout(_SECONDS_TO_ANSWER)
            asker.connect(address)
    except OSError as error:
        fix = f"unset {PRELOADED}, or modelyard preload --socket {address}"
        yield Finding(what=f"{PRELOADED}={address}: {error.strerror or error}", fix=fix)


_FORGE = (
    the_settings_are_valid,
    the_remote_has_the_main_branch,
    the_forge_accepts_the_credentials,
)
_STORE = (*_FORGE, the_artifact_store_is_writable)

CHECKS: Mapping[Check, tuple[Check, ...]] = {
    git_merges_without_a_checkout: (),
    git_knows_your_name: (),
    the_configuration_of_git_has_no_password: (),
    nobody_else_may_read_saved_passwords: (),
    the_settings_are_valid: (),
    the_preloaded_process_listens: (),
    trainers_are_closed_in: (),
    the_disks_have_room: (the_settings_are_valid,),
    the_remote_has_the_main_branch: (the_settings_are_valid,),
    the_forge_accepts_the_credentials: (the_settings_are_valid,),
    the_credentials_are_those_of_the_tool: _FORGE,
    the_forge_protects_the_branches: _FORGE,
    the_forge_has_labels_and_environments: _FORGE,
    the_forge_runs_workflows: _FORGE,
    the_account_has_its_permissions: _FORGE,
    the_specs_are_valid: _FORGE,
    the_signing_key_is_out_of_reach: _FORGE,
    git_keeps_every_byte: _FORGE,
    the_workflows_are_rendered: (the_settings_are_valid,),
    airflow_runs_the_workflows: (the_settings_are_valid, the_workflows_are_rendered),
    the_facts_are_readable: _FORGE,
    facts_are_in_one_place: (*_FORGE, the_facts_are_readable),
    this_site_runs_the_environments: (*_FORGE, the_facts_are_readable),
    the_pull_requests_are_readable: _FORGE,
    no_branch_occupies_a_name_that_the_tool_needs: _FORGE,
    the_artifact_store_is_writable: (the_settings_are_valid,),
    the_tracking_database_answers: (the_settings_are_valid,),
    released_artifacts_are_in_the_store: _STORE,
    evidence_of_releases_is_whole: _STORE,
    releases_came_with_pull_requests: (
        *_FORGE,
        the_facts_are_readable,
        the_pull_requests_are_readable,
    ),
    rules_came_with_pull_requests: (*_FORGE, the_pull_requests_are_readable),
    manifests_are_what_releases_render_to: _FORGE,
    aliases_follow_verified_releases: (
        *_FORGE,
        the_specs_are_valid,
        the_facts_are_readable,
        the_tracking_database_answers,
    ),
    servers_belong_to_releases: (*_FORGE, the_facts_are_readable),
    servers_can_start: (*_FORGE, the_facts_are_readable),
    workflows_belong_to_versions: (*_FORGE, the_facts_are_readable),
}
"""Every check in order, with the checks that must pass before it."""

HOSTED_ONLY = frozenset(
    {
        the_credentials_are_those_of_the_tool,
        the_forge_protects_the_branches,
        the_forge_has_labels_and_environments,
        the_forge_runs_workflows,
        the_account_has_its_permissions,
    }
)
"""Checks that say nothing of a local forge, which has no settings of its own."""
