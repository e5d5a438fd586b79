"""MLflow: runs, registered versions and aliases; each is written at most once."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from modelyard.errors import CannotAnswer

logger = logging.getLogger(__name__)

WORKFLOW_TAG = "modelyard.workflow"
VERSION_TAG = "modelyard.version"
ARTIFACT_TAG = "modelyard.artifact"

_PATIENCE = {
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""By default the client retries for minutes, and during that no rollback would be made."""


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """What is logged of one training.

    Args:
        workflow: The workflow's name; its run is logged only once.
        params: The version's parameters, seed and pins, as text.
        metrics: Finite numbers by name.
        tags: The Git commit, the trainer's tree, the digests.
        datasets: SHA-256 by file address.
    """

    workflow: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    datasets: Mapping[str, str]


class Registry:
    """The tracking server and model registry at a tracking URI.

    Every call raises `CannotAnswer` when MLflow fails.

    Args:
        uri: MLflow's tracking URI; a relative SQLite path is relative to `root`.
        root: The checkout's root.
    """

    def __init__(self, uri: str, root: Path) -> None:
        relative = uri.removeprefix("sqlite:///")
        is_relative = relative != uri and not relative.startswith("/")
        self.uri = f"sqlite:///{root / relative}" if is_relative else uri
        if self.uri.startswith("sqlite:///"):
            Path(self.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)

    @cached_property
    def _client(self) -> Any:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        # It logs 80 lines of traceback for what is raised here in one, such as a full disk.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        from mlflow.tracking import MlflowClient

        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def log_run(self, model: str, run: TrainingRun) -> str:
        """Log a run under the model's experiment, once; returns the run's id."""
        with self._client_errors() as client:
            return self._log_once(client, model, run)

    def _log_once(self, client: Any, model: str, run: TrainingRun) -> str:
        experiment = client.get_experiment_by_name(model)
        experiment_id = experiment.experiment_id if experiment else client.create_experiment(model)
        # A killed call leaves a RUNNING run; only a finished one counts as logged.
        found = client.search_runs(
            [experiment_id],
            f"tags.`{WORKFLOW_TAG}` = '{run.workflow}' and attributes.status = 'FINISHED'",
        )
        if found:
            return str(found[0].info.run_id)
        return self._log_new(client, experiment_id, run)

    def _log_new(self, client: Any, experiment_id: str, run: TrainingRun) -> str:
        import time

        from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag

        created = client.create_run(
            experiment_id, run_name=run.workflow, tags={WORKFLOW_TAG: run.workflow, **run.tags}
        )
        run_id = str(created.info.run_id)
        now = int(time.time() * 1000)
        client.log_batch(
            run_id,
            metrics=[Metric(name, value, now, 0) for name, value in sorted(run.metrics.items())],
            params=[Param(name, value) for name, value in sorted(run.params.items())],
            tags=[RunTag(name, value) for name, value in sorted(run.tags.items())],
        )
        client.log_inputs(
            run_id,
            datasets=[
                DatasetInput(
                    _dataset(uri, digest), tags=[InputTag("mlflow.data.context", "training")]
                )
                for uri, digest in sorted(run.datasets.items())
            ],
        )
        client.set_terminated(run_id, "FINISHED")
        return run_id

    def register_version(
        self, model: str, *, version: str, artifact: str, source: str, run_id: str
    ) -> str:
        """Register the artifact as a version of the model, once; returns its number."""
        with self._client_errors() as client:
            _ensure_model(client, model)
            for known in client.search_model_versions(f"name = '{model}'"):
                same = known.tags.get(VERSION_TAG) == version and known.run_id == run_id
                if same and known.tags.get(ARTIFACT_TAG) == artifact:
                    return str(known.version)
            tags = {VERSION_TAG: version, ARTIFACT_TAG: artifact}
            created = client.create_model_version(model, source, run_id=run_id, tags=tags)
            return str(created.version)

    def read_aliases(self, model: str) -> dict[str, str]:
        """The version that each alias points at; empty for a model that is not registered."""
        with self._client_errors() as client:
            found = client.search_registered_models(f"name = '{model}'")
            known = client.search_model_versions(f"name = '{model}'") if found else []
            versions = {str(each.version): each.tags.get(VERSION_TAG, "") for each in known}
            return {
                alias: versions[str(number)]
                for registered in found
                for alias, number in registered.aliases.items()
                if str(number) in versions
            }

    def has_version(self, model: str, version: str) -> bool:
        """Whether a version of this name is registered."""
        with self._client_errors() as client:
            known = client.search_model_versions(f"name = '{model}'")
            return any(each.tags.get(VERSION_TAG) == version for each in known)

    def register_again(self, model: str, *, version: str, artifact: str, source: str) -> str:
        """Register a version that was deleted, without its run, which may be gone as well."""
        with self._client_errors() as client:
            _ensure_model(client, model)
            tags = {VERSION_TAG: version, ARTIFACT_TAG: artifact}
            return str(client.create_model_version(model, source, tags=tags).version)

    def set_alias(self, model: str, *, alias: str, version: str) -> None:
        """Point an alias at a version; `CannotAnswer` when the version was never registered."""
        with self._client_errors() as client:
            known = [
                each
                for each in client.search_model_versions(f"name = '{model}'")
                if each.tags.get(VERSION_TAG) == version
            ]
            if not known:
                raise CannotAnswer(
                    f"MLflow at {self._shown} has no registered version for {model} {version}",
                    hint=f"modelyard retrain {model} {version}",
                )
            # A version that was trained again is registered again; its last artifact runs.
            newest = max(known, key=lambda each: int(each.version))
            client.set_registered_model_alias(model, alias, newest.version)

    def remove_alias(self, model: str, *, alias: str) -> None:
        """Remove an alias; one that is not there is fine."""
        with self._client_errors() as client:
            client.delete_registered_model_alias(model, alias)

    @contextmanager
    def _client_errors(self) -> Iterator[Any]:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield self._client
        # A proxy in between may answer with a page of its own.
        except (MlflowException, SQLAlchemyError, JSONDecodeError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CannotAnswer(
                f"MLflow at {self._shown}: {why}",
                hint="check `tracking_uri` in modelyard.yaml; modelyard doctor names full disks",
            ) from error

    @property
    def _shown(self) -> str:
        """The address without credentials."""
        return re.sub(r"//[^/@]*@", "//", self.uri)


def _ensure_model(client: Any, model: str) -> None:
    from mlflow.exceptions import MlflowException

    # Create first: to look and then create would race with another step.
    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _dataset(uri: str, digest: str) -> Any:
    from mlflow.entities import Dataset

    return Dataset(
        name=uri.rpartition("/")[2],
        digest=digest[:32],  # MLflow keeps at most 36 characters; the whole one is in the tags
        source_type="uri",
        source=f'{{"uri": "{uri}"}}',
    )
