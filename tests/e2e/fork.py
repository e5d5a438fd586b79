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

from e2e.team import ADA, BOT, Team
from modelyard.adapters.cluster.kubernetes_api import (
    APPLICATIONS,
    PODS,
    ROLLOUTS,
    KubernetesApi,
    Object,
    Resource,
)

REPOSITORY = Path(__file__).resolve().parents[2]
MODELYARD = str(Path(sys.executable).parent / "modelyard")
PLATFORM = "modelyard"
MODEL_NAMESPACES = ("models-dev", "models-staging", "models-production")
SERVICES = Resource(version="v1", plural="services")
FORGE_TOKEN = "MODELYARD_FORGE_TOKEN"
TOLD_SECONDS = 2.0


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
    def team(self) -> Team:
        """The people who work in the repository, on the forge's own pages."""
        return Team(self.cluster)

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
            FORGE_TOKEN: self.team.token(BOT),
            "KUBECONFIG": self.cluster["kubeconfig"],
            "GIT_AUTHOR_NAME": "ada",
            "GIT_AUTHOR_EMAIL": "ada@example.org",
            "GIT_COMMITTER_NAME": "ada",
            "GIT_COMMITTER_EMAIL": "ada@example.org",
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

    def colleague(self, name: str) -> Fork:
        """Another checkout of the repository, beside this one."""
        folder = self.folder.with_name(name)
        shutil.rmtree(folder, ignore_errors=True)
        self.git("clone", "--quiet", self.team.url, str(folder))
        return Fork(folder, self.cluster)

    def git(self, *arguments: str) -> str:
        """Run one git command in the fork, signed in to the forge as ada."""
        return self.run(["git", *arguments], more=self.team.git_environment(ADA))

    def modelyard(self, *arguments: str, accept: tuple[int, ...] = (0,)) -> str:
        """Run one modelyard command in the fork, with the tool's credentials."""
        return self.run([MODELYARD, *arguments], accept=accept)

    def answer(self, *arguments: str) -> Any:
        """What a reporting command says."""
        said = self.modelyard(*arguments, "--output", "json", accept=(0, 3))
        return json.loads(said)

    def kubectl(self, *arguments: str) -> str:
        """Run one kubectl command as the administrator."""
        return self.run(["kubectl", *arguments])

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
        """Stop or start one of the cluster's programs, such as `gitea`."""
        self.run([sys.executable, str(REPOSITORY / "tests/e2e/cluster/cluster.py"), verb, name])

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

    def run(
        self,
        command: list[str],
        *,
        accept: tuple[int, ...] = (0,),
        more: Mapping[str, str] | None = None,
    ) -> str:
        """Run one command in the fork, with more variables than the others have.

        Raises:
            NotSoError: It ended with a code that is not accepted.
        """
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **(more or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in accept:
            said = (done.stdout + done.stderr).strip()
            raise NotSoError(f"{' '.join(command)} ended with {done.returncode}: {said}")
        return done.stdout
