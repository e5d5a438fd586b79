"""The repository's own settings: which adapters play which role."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Forge(StrEnum):
    """Where pull requests live."""

    GITHUB = "github"
    LOCAL = "local"


class Orchestrator(StrEnum):
    """What runs workflows."""

    ARGO = "argo"
    LOCAL = "local"


class Metrics(StrEnum):
    """Where serving counts come from."""

    PROMETHEUS = "prometheus"
    SCRAPE = "scrape"


@dataclass(frozen=True, kw_only=True)
class Repository:
    """`modelyard.yaml`. Relative paths are relative to the repository's root.

    Args:
        forge: Where pull requests live.
        orchestrator: What runs workflows, and where releases run.
        metrics: Where serving counts come from.
        metrics_uri: Address of Prometheus; only `metrics: prometheus` needs it.
        tracking_uri: MLflow's tracking and registry URI.
        artifacts: fsspec URI of the artifact store: models, evidence, workflow files.
        data: fsspec URI that relative data URIs are relative to.
        state: Folder of the local forge's, orchestrator's and servers' state.
        remote: The Git remote that is the forge.
        main: The branch that is the truth.
        server_image: The model server's image, by digest; pinned by new releases.
        bot: Name the tool commits and proposes under.
    """

    forge: Forge = Forge.LOCAL
    orchestrator: Orchestrator = Orchestrator.LOCAL
    metrics: Metrics = Metrics.SCRAPE
    metrics_uri: str | None = None
    tracking_uri: str = "sqlite:///.modelyard/mlflow.db"
    artifacts: str = ".modelyard/artifacts"
    data: str = "."
    state: str = ".modelyard"
    remote: str = "origin"
    main: str = "main"
    server_image: str = "localhost/modelyard:0.1.0"
    bot: str = "modelyard[bot]"
