"""The container of every step: one call of modelyard in a clone of the repository."""

from __future__ import annotations

from collections.abc import Mapping

from hera.workflows import (
    Container,
    Parameter,
    Resources,
    RetryStrategy,
    UserContainer,
    WorkflowTemplate,
)
from hera.workflows.models import (
    Backoff,
    Capabilities,
    ConfigMapKeySelector,
    EmptyDirVolumeSource,
    EnvFromSource,
    EnvVar,
    EnvVarSource,
    IntOrString,
    PodGC,
    PodSecurityContext,
    SeccompProfile,
    SecretEnvSource,
    SecurityContext,
    TTLStrategy,
    Volume,
    VolumeMount,
)

CHECKOUT = "/checkout/repository"
"""Below the volume's root, which root owns: git refuses a repository that another user owns."""

WORK = "/work"
SERVICE_ACCOUNT = "modelyard-steps"

# Exit code 1 is "could not answer": the network, the store, a full disk. Exit code 3 is the answer
# "no", and a retry would give the same.
_COULD_NOT_ANSWER = "asInt(lastRetry.exitCode) == 1"

_SECRET = EnvFromSource(secret_ref=SecretEnvSource(name=SERVICE_ACCOUNT, optional=True))
_UNPRIVILEGED = SecurityContext(
    allow_privilege_escalation=False,
    capabilities=Capabilities(drop=["ALL"]),
    read_only_root_filesystem=True,
)
_MOUNTS = [
    VolumeMount(name="checkout", mount_path="/checkout"),
    VolumeMount(name="tmp", mount_path="/tmp"),  # noqa: S108 - an empty volume of the pod's own
    VolumeMount(name="work", mount_path=WORK),
]


def workflow(
    name: str,
    *,
    parameters: tuple[str, ...],
    pods: tuple[str, ...] = (),
    defaults: Mapping[str, str] | None = None,
    deadline_seconds: int,
) -> WorkflowTemplate:
    """A workflow with unprivileged pods; its entrypoint is the DAG of the same name.

    Args:
        name: The workflow's name.
        parameters: Names of its required parameters.
        pods: Names of parameters that are merged into pods; by default nothing is.
        defaults: Further parameters with their default values.
        deadline_seconds: The whole workflow is stopped after this time. A step's own deadline does
            not run while its pod waits for a node.
    """
    return WorkflowTemplate(
        name=name,
        active_deadline_seconds=deadline_seconds,
        entrypoint=name,
        arguments=[
            *(Parameter(name=each) for each in parameters),
            *(Parameter(name=each, value="{}") for each in pods),
            *(Parameter(name=name, value=value) for name, value in (defaults or {}).items()),
        ],
        service_account_name=SERVICE_ACCOUNT,
        security_context=PodSecurityContext(
            run_as_non_root=True,
            run_as_user=10001,
            fs_group=10001,
            seccomp_profile=SeccompProfile(type="RuntimeDefault"),
        ),
        volumes=[Volume(name=each.name, empty_dir=EmptyDirVolumeSource()) for each in _MOUNTS],
        # Pods of failed workflows are kept for a week, for their logs. Evidence is in the store.
        ttl_strategy=TTLStrategy(seconds_after_success=86_400, seconds_after_failure=604_800),
        pod_gc=PodGC(strategy="OnWorkflowSuccess"),
    )


def step(
    name: str,
    arguments: list[str],
    *,
    image: str,
    deadline_seconds: int,
    retries: int = 2,
    cpu: str = "200m",
    memory: str = "1Gi",
    outputs: tuple[Parameter, ...] = (),
    pod: str | None = None,
) -> Container:
    """A step that runs `modelyard ARGUMENTS` in a clone of the repository.

    Args:
        name: The step's name.
        arguments: The arguments of modelyard.
        image: The image with modelyard and git, by digest.
        deadline_seconds: The step is killed after this time, without a retry.
        retries: How often it is retried when it could not answer.
        cpu: Its CPU request; it has no limit.
        memory: Its memory request and limit.
        outputs: Parameters that it writes as files in its work folder.
        pod: Name of the workflow's parameter that is merged into the spec of its pod.
    """
    return Container(
        name=name,
        image=image,
        command=["modelyard"],
        args=arguments,
        working_dir=WORK,
        env=[
            EnvVar(name="HOME", value=WORK),
            EnvVar(name="MODELYARD_IMAGE", value=image),
            EnvVar(name="MODELYARD_ROOT", value=CHECKOUT),
        ],
        env_from=[_SECRET],
        outputs=list(outputs),
        init_containers=[_clone(image)],
        resources=Resources(cpu_request=cpu, memory_request=memory, memory_limit=memory),
        pod_spec_patch=None if pod is None else f"{{{{workflow.parameters.{pod}}}}}",
        security_context=_UNPRIVILEGED,
        volume_mounts=_MOUNTS,
        active_deadline_seconds=deadline_seconds,
        retry_strategy=RetryStrategy(
            limit=retries,
            expression=_COULD_NOT_ANSWER,
            backoff=Backoff(duration="5s", factor=IntOrString(3), cap="1m"),
        ),
    )


def _clone(image: str) -> UserContainer:
    """The init container that clones the repository."""
    # Steps read history and refs, so the clone is not shallow. The working tree has the settings.
    address = ConfigMapKeySelector(name="modelyard", key="repository")
    return UserContainer(
        name="checkout",
        image=image,
        command=["git"],
        args=["clone", "--quiet", "$(REPOSITORY)", CHECKOUT],
        env=[
            EnvVar(name="HOME", value=WORK),
            EnvVar(name="REPOSITORY", value_from=EnvVarSource(config_map_key_ref=address)),
        ],
        env_from=[_SECRET],
        security_context=_UNPRIVILEGED,
        resources=Resources(cpu_request="50m", memory_request="64Mi", memory_limit="256Mi"),
        volume_mounts=_MOUNTS,
    )
