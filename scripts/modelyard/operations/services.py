"""Builds the adapters that `modelyard.yaml` chooses."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.domain.specs.paths import SETTINGS
from modelyard.domain.specs.repository import ForgeKind, Repository, WorkflowsKind
from modelyard.errors import CannotAnswer
from modelyard.ports import Services

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from modelyard.adapters.git.repository import Git
    from modelyard.ports import Clock, Cluster, Desk, Metrics, Orchestrator, PullRequests


def services_for(root: Path) -> Services:
    """Return the adapters that `modelyard.yaml` of this checkout chooses.

    Raises:
        CannotAnswer: The file cannot be read, and not because of a commit, or it chooses an adapter
            that does not exist yet.
    """
    from modelyard.adapters.clock import SystemClock
    from modelyard.adapters.git.repository import Git

    repository = _repository_to_work_with(root)
    clock = SystemClock()
    pulls, desk = _forge(Git(root), repository, clock)
    return Services(
        root=root,
        repository=repository,
        pulls=pulls,
        desk=desk,
        orchestrator=_orchestrator(root, repository),
        cluster=_cluster(root, repository, clock),
        metrics=_metrics(root, repository, clock),
        clock=clock,
    )


def repository_of(root: Path) -> Repository:
    """Return the settings of `modelyard.yaml`.

    Raises:
        CannotAnswer: The file cannot be read.
    """
    from modelyard.adapters.specs.documents import read_spec

    file = root / SETTINGS
    try:
        text = file.read_bytes()
    except OSError as error:
        raise CannotAnswer(f"cannot read {file}: {error.strerror}") from error
    return read_spec(Repository, text, name=SETTINGS)


def _repository_to_work_with(root: Path) -> Repository:
    """The settings; where a commit broke the file, as they were before, and a warning.

    A watcher that starts again in such a checkout has to roll back all the same. What goes forward
    is refused by the main branch's own file.
    """
    try:
        return repository_of(root)
    except CannotAnswer as error:
        found = committed_settings(root)
        if found is None:
            raise
        repository, commit = found
        logger.warning("%s; this works by the file before commit %s", error.message, commit[:10])
        return repository


def committed_settings(root: Path) -> tuple[Repository, str] | None:
    """The settings as readable last, and the commit before which; None if no commit broke them."""
    from modelyard.adapters.git.repository import Git
    from modelyard.adapters.specs.last_of_file import read_last
    from modelyard.errors import YardError

    git, file, name = Git(root), root / SETTINGS, f"HEAD:{SETTINGS}"
    try:
        # Somebody who edits the file is told what is wrong with it, and nothing is done by another.
        if git.read_many([name])[name] != (file.read_bytes() if file.exists() else None):
            return None
        return read_last(git, git.rev_parse("HEAD"), "Repository", SETTINGS, name=None)
    except (YardError, OSError):  # it is in no repository
        return None


def _forge(git: Git, repository: Repository, clock: Clock) -> tuple[PullRequests, Desk]:
    if repository.forge != ForgeKind.LOCAL:
        from modelyard.operations.hosted_forges import build_forge

        return build_forge(git, repository, clock)
    from modelyard.adapters.forge.local.forge import LocalForge
    from modelyard.adapters.forge.local.pulls import LocalPulls

    forge = LocalForge(git, repository, clock)
    return LocalPulls(git=git, forge=forge, bot=repository.bot), forge


def _orchestrator(root: Path, repository: Repository) -> Orchestrator:
    if repository.runs_workflows is WorkflowsKind.AIRFLOW:
        if repository.workflows_uri is None:
            raise CannotAnswer(
                f"{SETTINGS}: workflows: airflow needs the address of Airflow",
                hint="set workflows_uri: http://airflow.example.org:8080",
            )
        from modelyard.adapters.workflows.airflow import AirflowWorkflows
        from modelyard.adapters.workflows.airflow_api import AirflowApi

        return AirflowWorkflows(AirflowApi.from_environment(repository.workflows_uri), root)
    if repository.runs_workflows is WorkflowsKind.ARGO:
        from modelyard.adapters.cluster.kubernetes_api import KubernetesApi
        from modelyard.adapters.workflows.argo import ArgoWorkflows

        return ArgoWorkflows(KubernetesApi())
    from modelyard.adapters.workflows.local import LocalWorkflows

    return LocalWorkflows(root, repository)


def _cluster(root: Path, repository: Repository, clock: Clock) -> Cluster:
    if repository.orchestrator == "argo":
        from modelyard.adapters.cluster.kubernetes import KubernetesCluster
        from modelyard.adapters.cluster.kubernetes_api import KubernetesApi

        return KubernetesCluster(KubernetesApi(), clock)
    from modelyard.adapters.cluster.local import LocalCluster
    from modelyard.adapters.store.artifacts import Store
    from modelyard.adapters.store.signatures import fetch_artifact

    fetch = partial(fetch_artifact, Store(repository.artifacts, root))
    return LocalCluster(root, repository, fetch, clock)


def _metrics(root: Path, repository: Repository, clock: Clock) -> Metrics:
    if repository.metrics == "scrape":
        from modelyard.adapters.metrics.scrape import ScrapeMetrics

        return ScrapeMetrics(root, repository, clock)
    if repository.metrics_uri is None:
        raise CannotAnswer(
            f"{SETTINGS}: metrics: prometheus needs the address of Prometheus",
            hint="set metrics_uri: http://prometheus.example.org:9090",
        )
    from modelyard.adapters.metrics.prometheus import PrometheusMetrics

    return PrometheusMetrics(repository.metrics_uri, clock)
