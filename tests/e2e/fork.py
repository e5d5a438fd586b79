"""A team's fork on the forge of the test cluster, and the commands people type in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import fsspec
import yaml

from modelyard.adapters.cluster.kubernetes_api import (
    APPLICATIONS,
    PODS,
    ROLLOUTS,
    KubernetesApi,
    Object,
    Resource,
)

REPOSITORY = Path(__file__).resolve().parents[2]
PLATFORM = "modelyard"
MODEL_NAMESPACES = ("models-dev", "models-staging", "models-production")
SERVICES = Resource(version="v1", plural="services")
TOLD_SECONDS = 2.0
REFS_AT_ONCE = 500


class NotSoError(AssertionError):
    """Something did not become so in time."""


def until(what: str, holds: Callable[[], Any], *, seconds: float, every: float = 0.5) -> Any:
    """Wait until something holds, and return it; `what` says what was waited for in vain.

    A command that failed is one of the things that may become well. A wait worth telling is told.
    """
    began, why = time.monotonic(), ""
    while True:
        try:
            if found := holds():
                if (waited := time.monotonic() - began) > TOLD_SECONDS:
                    sys.stderr.write(f"  {waited:5.1f} s  {what}\n")
                return found
        except NotSoError as error:
            why = f"; {error}"
        if time.monotonic() - began > seconds:
            raise NotSoError(f"not so within {seconds:g} s: {what}{why}")
        time.sleep(every)


@dataclass(frozen=True)
class Fork:
    """The fork's checkout on this machine.

    Args:
        folder: The checkout.
        cluster: What `cluster.json` says: addresses and credentials.
    """

    folder: Path
    cluster: Mapping[str, str]

    @cached_property
    def kube(self) -> KubernetesApi:
        """The cluster, as its administrator."""
        os.environ["KUBECONFIG"] = self.cluster["kubeconfig"]
        return KubernetesApi()

    @cached_property
    def store(self) -> Any:
        """The file system behind `s3://`."""
        return fsspec.filesystem(
            "s3",
            key=self.cluster["s3_access_key"],
            secret=self.cluster["s3_secret_key"],
            endpoint_url=self.cluster["s3_endpoint"],
        )

    @property
    def environment(self) -> dict[str, str]:
        """What commands on this machine need to reach the forge, the store and the cluster."""
        return {
            **os.environ,
            **self.store_credentials,
            "KUBECONFIG": self.cluster["kubeconfig"],
            "GIT_AUTHOR_NAME": "ada",
            "GIT_AUTHOR_EMAIL": "ada@example.com",
            "GIT_COMMITTER_NAME": "ada",
            "GIT_COMMITTER_EMAIL": "ada@example.com",
        }

    @property
    def store_credentials(self) -> dict[str, str]:
        """Of the artifact store and the data, as environment variables."""
        return {
            "AWS_ACCESS_KEY_ID": self.cluster["s3_access_key"],
            "AWS_SECRET_ACCESS_KEY": self.cluster["s3_secret_key"],
            "AWS_ENDPOINT_URL": self.cluster["s3_endpoint"],
            "AWS_DEFAULT_REGION": self.cluster["s3_region"],
        }

    def make(self, change: Callable[[Path], None], *, models: tuple[str, ...]) -> None:
        """Fork: keep these models, say where everything is, push to an empty forge.

        Args:
            change: Edits the fork's files before its first commit.
            models: Names of the models to keep.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        self._copy(models)
        self._settle_in()
        change(self.folder)
        self._upload(models)
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("remote", "add", "origin", self.cluster["git_url"])
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", "Fork modelyard")
        self.modelyard("render", "--platform")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", "Render the platform")
        self._empty_forge()
        self.git("push", "--quiet", "--force", "--set-upstream", "origin", "main")

    def colleague(self, name: str) -> Fork:
        """Another checkout of the repository, beside this one."""
        folder = self.folder.with_name(name)
        shutil.rmtree(folder, ignore_errors=True)
        self.git("clone", "--quiet", self.cluster["git_url"], str(folder))
        return Fork(folder, self.cluster)

    def install(self) -> None:
        """What a person does once in a new cluster: credentials, and Argo CD's first object."""
        self._clear_away()
        self.kubectl("apply", "-f", "environments/platform/manifests/namespaces/")
        secrets = {
            (PLATFORM, "modelyard-steps"): self.store_credentials,
            (PLATFORM, "modelyard-watch"): self.store_credentials,
            (PLATFORM, "modelyard-judge"): self.store_credentials,
            (PLATFORM, "modelyard-mlflow"): {
                **self.store_credentials,
                "backend-store-uri": self.cluster["postgres_uri"],
            },
            **{(n, "modelyard-artifacts"): self.store_credentials for n in MODEL_NAMESPACES},
        }
        for (namespace, name), values in secrets.items():
            self.apply(
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": name, "namespace": namespace},
                    "stringData": values,
                }
            )
        self.kubectl("apply", "-f", str(self.folder / "environments/argocd.yaml"))

    def git(self, *arguments: str) -> str:
        """Run one git command in the fork."""
        return self._run(["git", *arguments])

    def modelyard(self, *arguments: str, accept: tuple[int, ...] = (0,)) -> str:
        """Run one modelyard command in the fork, as ada types it."""
        program = str(Path(sys.executable).parent / "modelyard")
        return self._run([program, *arguments], accept=accept)

    def answer(self, *arguments: str) -> Any:
        """What a reporting command says."""
        said = self.modelyard(*arguments, "--output", "json", accept=(0, 3))
        return json.loads(said)

    def kubectl(self, *arguments: str) -> str:
        """Run one kubectl command as the administrator."""
        return self._run(["kubectl", *arguments])

    def apply(self, document: Object) -> None:
        """Apply one document."""
        subprocess.run(
            ["kubectl", "apply", "-f", "-"],
            input=yaml.safe_dump(document),
            text=True,
            env=self.environment,
            check=True,
            capture_output=True,
        )

    def feed(self, name: str, path: Path) -> None:
        """Put a data file where specs find it by this name."""
        self.store.pipe_file(f"{self.cluster['s3_bucket']}/data/{name}", path.read_bytes())

    def program(self, verb: str, name: str) -> None:
        """Stop or start one of the cluster's programs, such as `git`."""
        self._run([sys.executable, str(REPOSITORY / "tests/e2e/cluster/cluster.py"), verb, name])

    def main(self) -> str:
        """The main branch's commit at the forge."""
        return self.git("ls-remote", "origin", "refs/heads/main").split("\t")[0]

    def pulls(self) -> list[dict[str, Any]]:
        """The open pull requests."""
        pulls: list[dict[str, Any]] = self.answer("pr", "list")["pulls"]
        return pulls

    def rollout(self, model: str, environment: str) -> Object | None:
        """A Rollout."""
        labels = {"modelyard.dev/model": model, "modelyard.dev/environment": environment}
        namespace = self.namespace(environment)
        found = self.kube.list_objects(ROLLOUTS, namespace, labels=labels)
        return found[0] if found else None

    def runs(self, model: str, environment: str) -> str | None:
        """The version whose pods are ready and promoted there, or None."""
        rollout = self.rollout(model, environment)
        if rollout is None or rollout.get("status", {}).get("phase") != "Healthy":
            return None
        metadata, status = rollout["metadata"], rollout["status"]
        if str(status.get("observedGeneration")) != str(metadata["generation"]):
            return None
        labels: dict[str, str] = rollout["spec"]["template"]["metadata"]["labels"]
        return labels["modelyard.dev/version"]

    def pods(self, namespace: str, **labels: str) -> tuple[Object, ...]:
        """The pods of a namespace with these labels of ours."""
        wanted = {f"modelyard.dev/{name}": value for name, value in labels.items()}
        return self.kube.list_objects(PODS, namespace, labels=wanted)

    def answers(self, namespace: str, **labels: str) -> bool:
        """Whether one of these pods is ready."""
        return any(
            each["type"] == "Ready" and each["status"] == "True"
            for pod in self.pods(namespace, **labels)
            for each in pod["status"].get("conditions", ())
        )

    def application(self, name: str) -> Object | None:
        """One of Argo CD's Applications."""
        return self.kube.get_object(APPLICATIONS, self.cluster["argocd_namespace"], name)

    def has_service(self, namespace: str, name: str) -> bool:
        """Whether there is such a Service."""
        return self.kube.get_object(SERVICES, namespace, name) is not None

    def service_url(self, namespace: str, name: str) -> str:
        """Where a Service is reached from this machine."""
        service = self.kube.get_object(SERVICES, namespace, name)
        assert service is not None, f"no Service {name} in {namespace}"
        return f"http://{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}"

    def alias(self, model: str, alias: str) -> str | None:
        """The version that MLflow's alias points at."""
        query = f"name={model}&alias={alias}"
        path = f"/api/2.0/mlflow/registered-models/alias?{query}"
        try:
            address = self.service_url(PLATFORM, "mlflow") + path
            with urlopen(address, timeout=10) as answer:  # noqa: S310 - our own http address
                tags = json.load(answer)["model_version"]["tags"]
        except OSError:
            return None
        return next((tag["value"] for tag in tags if tag["key"] == "modelyard.version"), None)

    @staticmethod
    def namespace(environment: str) -> str:
        """Where an environment's pods run."""
        return f"models-{'production' if environment == 'canary' else environment}"

    def _run(self, command: list[str], accept: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in accept:
            said = (done.stdout + done.stderr).strip()
            raise NotSoError(f"{' '.join(command)} ended with {done.returncode}: {said}")
        return done.stdout

    def _copy(self, models: tuple[str, ...]) -> None:
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
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, self.folder / name)

    def _settle_in(self) -> None:
        """Fill in what the README asks a team to fill in."""
        filled_in = {
            "https://example.com/team/models.git": self.cluster["git_url"],
            "s3://models": f"s3://{self.cluster['s3_bucket']}",
            "localhost/modelyard:0.1.0": self.cluster["image"],
        }
        for path in (self.folder / "environments").rglob("*.yaml"):
            text = path.read_text()
            for placeholder, value in filled_in.items():
                text = text.replace(placeholder, value)
            path.write_text(text)
        settings = {
            "apiVersion": "modelyard/v1",
            "kind": "Repository",
            "forge": "local",
            "orchestrator": "argo",
            "metrics": "prometheus",
            "metrics_uri": self.cluster["prometheus_url"],
            "tracking_uri": "http://mlflow.modelyard.svc.cluster.local:5000",
            "artifacts": f"s3://{self.cluster['s3_bucket']}/artifacts",
            "data": f"s3://{self.cluster['s3_bucket']}/data",
            "server_image": self.cluster["image"],
            # The tests push bad releases, to see the judge take them out.
            "unreviewed": "tell",
        }
        (self.folder / "modelyard.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        # Two models' servers leave a node of two cores less than a trainer asks for.
        workflow = self.folder / "workflows/train_and_evaluate.py"
        text = workflow.read_text()
        assert 'cpu="500m"' in text
        workflow.write_text(text.replace('cpu="500m"', 'cpu="200m"'))

    def _upload(self, models: tuple[str, ...]) -> None:
        artifacts = f"{self.cluster['s3_bucket']}/artifacts"
        if self.store.exists(artifacts):
            self.store.rm(artifacts, recursive=True)
        for model in models:
            for path in sorted((self.folder / "models" / model / "data").glob("*.[cp]*")):
                self.feed(path.relative_to(self.folder).as_posix(), path)

    def _clear_away(self) -> None:
        """End what an earlier run left in a cluster that was kept."""
        ours = ("-l", "app.kubernetes.io/managed-by=modelyard", "--ignore-not-found")
        argocd = ("-n", self.cluster["argocd_namespace"])
        self.kubectl(*argocd, "delete", "applicationset", "modelyard", "--ignore-not-found")
        self.kubectl(*argocd, "delete", "applications", *ours)
        kinds = "rollouts,analysisruns,services,analysistemplates"
        for namespace in MODEL_NAMESPACES:
            self.kubectl("-n", namespace, "delete", kinds, *ours)
        self.kubectl("-n", PLATFORM, "delete", "workflows", "--all")
        for name in ("modelyard-watch", "modelyard-judge"):  # they cloned the earlier fork
            label = f"app.kubernetes.io/name={name}"
            self.kubectl("-n", PLATFORM, "delete", "pods", "-l", label, "--wait=false")

    def _empty_forge(self) -> None:
        """Take every ref of an earlier run away but main, which is overwritten."""
        listed = self.git("ls-remote", "--refs", "origin")
        refs = [line.partition("\t")[2] for line in listed.splitlines()]
        refs = [ref for ref in refs if ref != "refs/heads/main"]
        for start in range(0, len(refs), REFS_AT_ONCE):
            self.git("push", "--quiet", "--delete", "origin", *refs[start : start + REFS_AT_ONCE])
