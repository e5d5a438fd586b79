"""The repository's own settings: the adapter for each role, and addresses."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from modelyard.domain.isolation import Unisolated
from modelyard.domain.machines.placement import Placement


class ForgeKind(StrEnum):
    """The forge, which has the pull requests."""

    GITEA = "gitea"
    GITHUB = "github"
    LOCAL = "local"


class OrchestratorKind(StrEnum):
    """Where releases run, and workflows unless `workflows` says otherwise."""

    ARGO = "argo"
    LOCAL = "local"


class WorkflowsKind(StrEnum):
    """What runs the workflows."""

    AIRFLOW = "airflow"
    ARGO = "argo"
    LOCAL = "local"


class MetricsKind(StrEnum):
    """The source of serving counts."""

    PROMETHEUS = "prometheus"
    SCRAPE = "scrape"


DATA_ROOTS = ("s3://", "gs://", "https://")
"""Where data may come from besides `data`, unless modelyard.yaml says otherwise."""


class OnUnreviewed(StrEnum):
    """What follows on what a push brought to the main branch without a review."""

    ROLLBACK = "rollback"
    TELL = "tell"


@dataclass(frozen=True, kw_only=True)
class Repository:
    """`modelyard.yaml`. Relative paths are relative to the repository's root.

    Args:
        forge: The forge, which has the pull requests.
        forge_uri: Address of the forge's API; GitHub's own if there is none.
        forge_repository: Owner and name of the repository there, such as `acme/yard`.
        orchestrator: Where releases run, and workflows unless `workflows` says otherwise.
        workflows: What runs the workflows; as `orchestrator` if there is none.
        workflows_uri: Address of Airflow; only `workflows: airflow` needs it.
        metrics: The source of serving counts.
        metrics_uri: Address of Prometheus; only `metrics: prometheus` needs it.
        tracking_uri: MLflow's tracking and registry URI.
        artifacts: fsspec URI of the artifact store: models, evidence, workflow files.
        data: fsspec URI to which relative data URIs are relative.
        data_roots: Where data may come from besides `data`: protocols, or beginnings of URIs.
        state: Folder for the state of the local forge, orchestrator and servers.
        remote: The Git remote of the forge.
        main: The main branch.
        server_image: The model server's image, by digest; new releases pin it.
        bot: The author of the tool's commits and pull requests.
        unreviewed: Whether a release without a merged pull request goes back, or people are told.
        reviewed_rules: The commit of the main branch up to which rules that were pushed are
            accepted; counts only where a merged pull request sets it.
        placements: The classes of nodes that trainers may ask for.
        unisolated_trainers: Whether a trainer may run, or a model that runs code be opened, in a
            pod whose kernel cannot close it in.
    """

    forge: ForgeKind = ForgeKind.LOCAL
    forge_uri: str | None = None
    forge_repository: str | None = None
    orchestrator: OrchestratorKind = OrchestratorKind.LOCAL
    workflows: WorkflowsKind | None = None
    workflows_uri: str | None = None
    metrics: MetricsKind = MetricsKind.SCRAPE
    metrics_uri: str | None = None
    tracking_uri: str = "sqlite:///.modelyard/mlflow.db"
    artifacts: str = ".modelyard/artifacts"
    data: str = "."
    data_roots: tuple[str, ...] = DATA_ROOTS
    state: str = ".modelyard"
    remote: str = "origin"
    main: str = "main"
    server_image: str = "localhost/modelyard:0.2.0"
    bot: str = "modelyard[bot]"
    unreviewed: OnUnreviewed = OnUnreviewed.ROLLBACK
    reviewed_rules: str | None = None
    placements: tuple[Placement, ...] = ()
    unisolated_trainers: Unisolated = Unisolated.REFUSED

    @property
    def runs_workflows(self) -> WorkflowsKind:
        """What runs the workflows."""
        return self.workflows or WorkflowsKind(self.orchestrator)
