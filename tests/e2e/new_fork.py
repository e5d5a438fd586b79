"""Makes a team's fork, sets its forge up, and installs its platform in the cluster."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import yaml

from e2e.fork import FORGE_TOKEN, MODEL_NAMESPACES, MODELYARD, PLATFORM, REPOSITORY, Fork
from e2e.team import BOT, OWNER
from modelyard.domain.specs.repository import Repository


def make_fork(fork: Fork, change: Callable[[Path], None], *, models: tuple[str, ...]) -> None:
    """Fork: keep these models, say where everything is, push to a new repository.

    The forge is then set up as the README says, but for ada: she may push to the main branch,
    so that a bad release gets there as a hurried person brings it.

    Args:
        change: Edits the fork's files before its first commit.
        models: Names of the models to keep.
    """
    shutil.rmtree(fork.folder, ignore_errors=True)
    _copy(fork, models)
    _settle_in(fork)
    change(fork.folder)
    _upload(fork, models)
    fork.git("init", "--quiet", "--initial-branch=main")
    fork.git("remote", "add", "origin", fork.team.url)
    fork.git("add", "--all")
    fork.git("commit", "--quiet", "-m", "Fork modelyard")
    fork.modelyard("render", "--platform")
    fork.git("add", "--all")
    fork.git("commit", "--quiet", "--allow-empty", "-m", "Render the platform")
    fork.team.start_afresh()
    fork.git("push", "--quiet", "--set-upstream", "origin", "main")
    as_owner = {FORGE_TOKEN: fork.team.token(OWNER)}
    fork.run([MODELYARD, "init", "--forge", "gitea"], more=as_owner)
    assert not fork.git("status", "--porcelain"), "modelyard.yaml said where the forge is"
    fork.team.let_ada_push()


def install_platform(fork: Fork) -> None:
    """What a person does once in a new cluster: credentials, and Argo CD's first object."""
    _clear_away(fork)
    fork.kubectl("apply", "-f", "environments/platform/manifests/namespaces/")
    # The watcher opens pull requests, and so does a step that proposes to retrain.
    of_the_forge = {FORGE_TOKEN: fork.team.token(BOT)}
    secrets = {
        (PLATFORM, "modelyard-steps"): {**fork.store_credentials, **of_the_forge},
        (PLATFORM, "modelyard-watch"): {**fork.store_credentials, **of_the_forge},
        (PLATFORM, "modelyard-judge"): fork.store_credentials,
        (PLATFORM, "modelyard-mlflow"): {
            **fork.store_credentials,
            "backend-store-uri": fork.cluster["postgres_uri"],
        },
        **{(n, "modelyard-artifacts"): fork.store_credentials for n in MODEL_NAMESPACES},
    }
    for (namespace, name), values in secrets.items():
        fork.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": namespace},
                "stringData": values,
            }
        )
    fork.kubectl("apply", "-f", str(fork.folder / "environments/argocd.yaml"))


def _copy(fork: Fork, models: tuple[str, ...]) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        own = not name.startswith("models/") or name.split("/")[1] in models
        source = REPOSITORY / name
        if own and source.is_file() and not name.startswith("tests/"):
            (fork.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, fork.folder / name)


def _settle_in(fork: Fork) -> None:
    """Fill in what the README asks a team to fill in."""
    filled_in = {
        "https://example.com/team/models.git": fork.team.url,
        "s3://models": f"s3://{fork.cluster['s3_bucket']}",
        Repository().server_image: fork.cluster["image"],
    }
    for path in (fork.folder / "environments").rglob("*.yaml"):
        text = path.read_text()
        for placeholder, value in filled_in.items():
            text = text.replace(placeholder, value)
        path.write_text(text)
    settings = {
        "apiVersion": "modelyard/v1",
        "kind": "Repository",
        "forge": "gitea",
        "forge_uri": f"{fork.cluster['forge_url']}/api/v1",
        "forge_repository": fork.cluster["forge_repository"],
        "bot": fork.team.bot,
        "orchestrator": "argo",
        "metrics": "prometheus",
        "metrics_uri": fork.cluster["prometheus_url"],
        "tracking_uri": "http://mlflow.modelyard.svc.cluster.local:5000",
        "artifacts": f"s3://{fork.cluster['s3_bucket']}/artifacts",
        "data": f"s3://{fork.cluster['s3_bucket']}/data",
        "server_image": fork.cluster["image"],
        # The tests push bad releases, to see the judge take them out.
        "unreviewed": "tell",
    }
    (fork.folder / "modelyard.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    # Two models' servers leave a node of two cores less than a trainer asks for.
    workflow = fork.folder / "workflows/train_and_evaluate.py"
    text = workflow.read_text()
    assert 'cpu="500m"' in text
    workflow.write_text(text.replace('cpu="500m"', 'cpu="200m"'))


def _upload(fork: Fork, models: tuple[str, ...]) -> None:
    artifacts = f"{fork.cluster['s3_bucket']}/artifacts"
    if fork.store.exists(artifacts):
        fork.store.rm(artifacts, recursive=True)
    for model in models:
        for path in sorted((fork.folder / "models" / model / "data").glob("*.[cp]*")):
            fork.feed(path.relative_to(fork.folder).as_posix(), path)


def _clear_away(fork: Fork) -> None:
    """End what an earlier run left in a cluster that was kept."""
    ours = ("-l", "app.kubernetes.io/managed-by=modelyard", "--ignore-not-found")
    argocd = ("-n", fork.cluster["argocd_namespace"])
    fork.kubectl(*argocd, "delete", "applicationset", "modelyard", "--ignore-not-found")
    fork.kubectl(*argocd, "delete", "applications", *ours)
    kinds = "rollouts,analysisruns,services,analysistemplates"
    for namespace in MODEL_NAMESPACES:
        fork.kubectl("-n", namespace, "delete", kinds, *ours)
    fork.kubectl("-n", PLATFORM, "delete", "workflows", "--all")
    for name in ("modelyard-watch", "modelyard-judge"):  # they cloned the earlier fork
        label = f"app.kubernetes.io/name={name}"
        fork.kubectl("-n", PLATFORM, "delete", "pods", "-l", label, "--wait=false")
