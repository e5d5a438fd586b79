"""Fills in where the platform's bucket, image, database and addresses are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs.documents import dump_documents
from modelyard.adapters.specs.reader import read_specs
from modelyard.adapters.workflows.sources import rendered_workflows
from modelyard.domain.promotion.change import Change, Purpose
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import ENVIRONMENTS, PLATFORM, SETTINGS, WORKFLOW_TEMPLATES
from modelyard.domain.specs.repository import MetricsKind, OrchestratorKind, Repository
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.forge.setup import edit_settings
from modelyard.operations.workspace import Workspace

BRANCH = "platform/configure"
"""The branch of the pull request: of the kind that a person's has, as the change is of rules."""

FOR_PEOPLE = frozenset({"kubeconfig_command", "database_secret", "evidence_role"})
"""Outputs that a person uses, and no file has."""

_FILES = (f"{ENVIRONMENTS}argocd.yaml", f"{PLATFORM}manifests/")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*[A-Za-z0-9]")
_REPOSITORY = re.compile(r"(https://|ssh://)[\w.@:/~-]+|[\w.-]+@[\w.-]+:[\w./~-]+")
_ADDRESS = re.compile(r"https?://[\w.:/-]+")
_DATABASE = re.compile(r"[\w.-]+:\d{1,5}/\w+")
_SHAPES = {
    "bucket": (_BUCKET, "the name of a bucket, such as acme-models"),
    "image": (_IMAGE, "the name of an image, best with its digest"),
    "repository": (_REPOSITORY, "an address that git clones, such as https://host/acme/models.git"),
    "tracking_uri": (_ADDRESS, "an address such as http://mlflow.modelyard:5000"),
    "metrics_uri": (_ADDRESS, "an address such as http://prometheus:9090"),
    "database": (_DATABASE, "host:port/name"),
}


@dataclass(frozen=True, kw_only=True)
class Platform:
    """Where the platform's parts are: the outputs of environments/platform/aws, by their names.

    Args:
        bucket: The bucket of artifacts and of MLflow's files.
        image: The image of modelyard, in which steps, servers and the watcher run.
        repository: Where the cluster clones the repository.
        tracking_uri: MLflow's address inside of the cluster.
        metrics_uri: Prometheus' address inside of the cluster.
        database: MLflow's database as host:port/name. Only the Secret has it, with the password.
    """

    bucket: str
    image: str
    repository: str
    tracking_uri: str
    metrics_uri: str
    database: str


def read_platform(text: str, *, source: str, image: str | None = None) -> Platform:
    """Return what `tofu output -json` says, or a flat JSON object of the same keys.

    Args:
        text: The JSON.
        source: Its name in messages.
        image: The image, in place of the one there.

    Raises:
        Refused: A key is missing or unknown, or a value has another shape; all are named.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise CannotAnswer(
            f"{source} is no JSON: {error}", hint="write it by: tofu output -json > outputs.json"
        ) from error
    if not isinstance(found, dict):
        raise Refused(f"{source} is no JSON object", hint="tofu output -json > outputs.json")
    values = {key: _value_of(value) for key, value in found.items()}
    values |= {"image": image} if image is not None else {}
    if problems := list(_problems(values)):
        raise Refused(
            f"{source}: {'; '.join(problems)}",
            hint="compare it with environments/platform/aws/outputs.tf",
        )
    return Platform(**{each.name: values[each.name] for each in fields(Platform)})


def _value_of(value: Any) -> Any:
    return value["value"] if isinstance(value, dict) and "value" in value else value


def _problems(values: Mapping[str, Any]) -> Iterator[str]:
    wanted = [each.name for each in fields(Platform)]
    if missing := [name for name in wanted if name not in values]:
        yield f"missing: {', '.join(missing)}"
    if unknown := sorted(values.keys() - {*wanted, *FOR_PEOPLE}):
        yield f"unknown: {', '.join(unknown)}"
    for name, (shape, example) in _SHAPES.items():
        value = values.get(name)
        if name in values and not (isinstance(value, str) and shape.fullmatch(value)):
            yield f"{name} is {value!r}, and should be {example}"


def decide_configuration(workspace: Workspace, platform: Platform) -> Change | None:
    """Return the change of the main branch after which its files name this platform.

    None if they do already. What stands there now is read from the files, so that a platform that
    moved is configured the same way. Comments of people stay.
    """
    tree = GitTree(workspace.git, workspace.main())
    specs = read_specs(tree)
    before = specs.repository
    after = replace(
        before,
        orchestrator=OrchestratorKind.ARGO,
        metrics=MetricsKind.PROMETHEUS,
        metrics_uri=platform.metrics_uri,
        tracking_uri=platform.tracking_uri,
        artifacts=f"s3://{platform.bucket}/artifacts",
        server_image=platform.image,
    )
    documents = dict(_filled_in(tree, before, platform))
    documents |= _workflows(workspace.services.root, specs.catalog, platform.image)
    settings = tree.read(SETTINGS).decode()
    edited = edit_settings(settings, before, after, keys=_SETTINGS)
    documents[SETTINGS] = edited.encode()
    changed = {
        path: content
        for path, content in documents.items()
        if not tree.exists(path) or tree.read(path) != content
    }
    return _change(platform, changed) if changed else None


_SETTINGS = (
    "orchestrator", "metrics", "metrics_uri", "tracking_uri", "artifacts", "server_image",
)  # fmt: skip


def _filled_in(
    tree: GitTree, before: Repository, platform: Platform
) -> Iterator[tuple[str, bytes]]:
    """Yield the manifests that people write, with the platform's values in place of the old."""
    text = tree.read(f"{PLATFORM}manifests/settings.yaml").decode()
    bucket = _value_in(text, r"mlflow-artifacts: s3://([^/\s]+)")
    values = {
        _value_in(text, r"repository: (\S+)"): platform.repository,
        f"s3://{bucket}": f"s3://{platform.bucket}",
        before.server_image: platform.image,
    }
    # One pass over all: a new value may contain an old one.
    pattern = re.compile(
        "|".join(rf"(?<![\w.:/-]){re.escape(old)}(?![\w-]|\.\w)" for old in values)
    )
    for path in (path for start in _FILES for path in tree.paths(start)):
        if path.endswith(".yaml") and not path.startswith(WORKFLOW_TEMPLATES):
            written = tree.read(path).decode()
            yield path, pattern.sub(lambda match: values[match[0]], written).encode()


def _value_in(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise CannotAnswer(
            f"{PLATFORM}manifests/settings.yaml has no {pattern.partition(':')[0]}",
            hint="restore the file from the main branch of modelyard",
        )
    return found[1]


def _workflows(root: Path, catalog: Catalog, image: str) -> dict[str, bytes]:
    models = tuple(sorted(name for name, model in catalog.models.items() if model.data.feed))
    found = rendered_workflows(root / "workflows", image=image, models=models)
    return {
        f"{WORKFLOW_TEMPLATES}{name}.yaml": dump_documents([document])
        for name, document in found.items()
    }


def _change(platform: Platform, documents: Mapping[str, bytes | None]) -> Change:
    lines = "\n".join(
        f"| {each.name} | `{getattr(platform, each.name)}` |" for each in fields(Platform)
    )
    return Change(
        purpose=Purpose.SPEC,
        branch=BRANCH,
        title=f"Configure the platform for {platform.bucket}",
        body=f"| what | where |\n|---|---|\n{lines}\n\nThe database stands in no file: the Secret "
        "`modelyard-mlflow` has it, with its password.",
        documents=documents,
    )
