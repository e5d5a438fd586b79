"""What every step's container is: one call of modelyard, with a checkout and little else."""

from __future__ import annotations

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
"""Below the volume's root, which is root's: git refuses a repository that is another user's."""

WORK = "/work"
SERVICE_ACCOUNT = "modelyard-steps"

# Exit code 1 is "could not answer": the network, the store, a full disk. A 3 is the answer "no",
# and asking again gives the same.
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


def workflow(name: str, *, parameters: tuple[str, ...], deadline_seconds: int) -> WorkflowTemplate:
    """A workflow whose pods have no rights, and whose entrypoint is the DAG of its name.

    Args:
        name: The workflow's name.
        parameters: Names of what it must be given.
        deadline_seconds: After this all of it is stopped: a step's own deadline does not count
            while its pod waits for a node.
    """
    return WorkflowTemplate(
        name=name,
        active_deadline_seconds=deadline_seconds,
        entrypoint=name,
        arguments=[Parameter(name=each) for each in parameters],
        service_account_name=SERVICE_ACCOUNT,
        security_context=PodSecurityContext(
            run_as_non_root=True,
            run_as_user=10001,
            fs_group=10001,
            seccomp_profile=SeccompProfile(type="RuntimeDefault"),
        ),
        volumes=[Volume(name=each.name, empty_dir=EmptyDirVolumeSource()) for each in _MOUNTS],
        # Logs of what failed are worth a week; the evidence itself lies in the artifact store.
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
) -> Container:
    """A step that runs `modelyard ARGUMENTS` in a clone of the repository.

    Args:
        name: The step's name.
        arguments: What modelyard is told.
        image: The image that holds modelyard and git, by digest.
        deadline_seconds: After this it is killed, and not tried again.
        retries: How often it is tried again when it could not answer.
        cpu: What it is promised; it takes more where the node has more.
        memory: What it is promised, and its limit.
        outputs: Parameters it leaves as files in its work folder.
    """
    return Container(
        name=name,
        image=image,
        command=["modelyard"],
        args=arguments,
        working_dir=WORK,
        env=[EnvVar(name="HOME", value=WORK), EnvVar(name="MODELYARD_ROOT", value=CHECKOUT)],
        env_from=[_SECRET],
        outputs=list(outputs),
        init_containers=[_clone(image)],
        resources=Resources(cpu_request=cpu, memory_request=memory, memory_limit=memory),
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
    """Git history and refs are what steps read; the working tree only gives the settings."""
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
