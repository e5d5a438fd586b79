"""The container of every step: one call of modelyard in a clone of the repository."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from _checkout import MOUNTS, SECRET, SERVICE_ACCOUNT, UNPRIVILEGED, WORK, clone, environment_of
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
    EmptyDirVolumeSource,
    EnvVar,
    IntOrString,
    PodGC,
    PodSecurityContext,
    SeccompProfile,
    SecretVolumeSource,
    TTLStrategy,
    Volume,
    VolumeMount,
)

APART, INPUTS, TRAINED = "/apart", "/apart/inputs", "/apart/trained"
"""What the containers of a pod that trains pass on; see `training_step`."""

TRAINER = "trainer"
"""The container of such a pod that runs the trainer, and has no credentials."""

# Exit code 1 is "could not answer": the network, the store, a full disk. Exit code 3 is the answer
# "no", and a retry would give the same.
_COULD_NOT_ANSWER = "asInt(lastRetry.exitCode) == 1"
# -1 is a pod that left no exit code, as its node went away; 137 and 143 are signals. A pod out of
# time ends by one of these too, and would be again: Kubernetes says why in the message.
_OR_KILLED = (
    "asInt(lastRetry.exitCode) in [-1, 1, 137, 143]"
    " and not (lastRetry.message contains 'specified deadline')"
)

_APART = [
    VolumeMount(name="inputs", mount_path=INPUTS),
    VolumeMount(name="trained", mount_path=TRAINED),
]
# Kubernetes mounts no token where something is mounted already.
_NO_TOKEN = VolumeMount(
    name="no-token", mount_path="/var/run/secrets/kubernetes.io/serviceaccount", read_only=True
)
# The key that signs artifacts, in the last container of such a pod alone; without it nothing is
# signed. The Secret's own mode, 0440, lets the pod's user read it.
SIGNING = "/signing"
_SIGNING = VolumeMount(name="signing", mount_path=SIGNING, read_only=True)
_SIGNING_KEY = Volume(
    name="signing",
    secret=SecretVolumeSource(
        secret_name="modelyard-signing",  # noqa: S106 - a name
        optional=True,
        default_mode=0o440,
    ),
)
# What gives the pods of an account their rights on AWS leaves this container out.
_NO_CLOUD = {"eks.amazonaws.com/skip-containers": TRAINER}


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
        volumes=[_volume(each) for each in MOUNTS],
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
    inputs: tuple[Parameter, ...] = (),
    outputs: tuple[Parameter, ...] = (),
    environment: Mapping[str, str] | None = None,
    pod: str | None = None,
    retry_killed: bool = False,
    specs: UserContainer | None = None,
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
        inputs: Parameters that its task gives it.
        outputs: Parameters that it writes as files in its work folder.
        environment: Further variables. A version may pin an older image, which refuses an option
            that it does not know and ignores a variable.
        pod: Name of the workflow's parameter that is merged into the spec of its pod.
        retry_killed: Whether it is also tried again when something else ended it, such as a node
            that went away. Otherwise that ends the workflow, and the next attempt begins anew.
        specs: Where its image may be an older one: see `_checkout.readable_specs`.
    """
    return Container(
        name=name,
        image=image,
        command=["modelyard"],
        args=arguments,
        working_dir=WORK,
        env=environment_of(image, environment),
        env_from=[SECRET],
        inputs=list(inputs),
        outputs=list(outputs),
        init_containers=(
            [clone(image)] if specs is None else [clone(image, keeps_schemas=True), specs]
        ),
        resources=Resources(cpu_request=cpu, memory_request=memory, memory_limit=memory),
        pod_spec_patch=None if pod is None else f"{{{{workflow.parameters.{pod}}}}}",
        security_context=UNPRIVILEGED,
        volume_mounts=MOUNTS,
        active_deadline_seconds=deadline_seconds,
        retry_strategy=RetryStrategy(
            limit=retries,
            expression=_OR_KILLED if retry_killed else _COULD_NOT_ANSWER,
            backoff=Backoff(duration="5s", factor=IntOrString(3), cap="1m"),
        ),
    )


def training_step(name: str, bring: list[str], arguments: list[str], **options: Any) -> Container:
    """A step of three containers that run one after the other, of which the trainer has one alone.

    The first brings the inputs with the step's credentials. The trainer's has none, no token of
    Kubernetes and no checkout, and can only read the inputs. The last is the step itself, which
    alone has the key that signs.

    Args:
        name: The step's name.
        bring: The arguments of modelyard that bring the inputs.
        arguments: Those that seal what the trainer left.
        options: As of `step`.
    """
    made = step(name, arguments, **options)
    image, memory = str(made.image), options["memory"]
    apart = EnvVar(name="MODELYARD_APART", value=APART)
    environment = [*environment_of(image, options.get("environment")), apart]
    signing = EnvVar(name="MODELYARD_SIGNING_KEY", value=f"{SIGNING}/key.pem")
    made.env = [*environment, signing]
    made.volume_mounts = [*MOUNTS, *_APART, _SIGNING]
    made.volumes = [*(_volume(each) for each in (*_APART, _NO_TOKEN)), _SIGNING_KEY]
    made.annotations = _NO_CLOUD
    made.labels = {"modelyard.dev/step": name}  # of its network policy
    inputs, trained = _APART
    made.init_containers = [
        *(made.init_containers or ()),
        UserContainer(
            name="bring",
            image=image,
            command=["modelyard"],
            args=bring,
            working_dir=WORK,
            env=[*environment],
            env_from=[SECRET],
            security_context=UNPRIVILEGED,
            resources=Resources(cpu_request="50m", memory_request="1Gi", memory_limit=memory),
            volume_mounts=[*MOUNTS, inputs],
        ),
        UserContainer(
            name=TRAINER,
            image=image,
            command=["modelyard"],
            args=["step", "trainer"],
            working_dir=TRAINED,
            env=[
                *(EnvVar(name=each, value=TRAINED) for each in ("HOME", "TMPDIR")),
                apart,
            ],
            security_context=UNPRIVILEGED,
            resources=made.resources,
            volume_mounts=[inputs.model_copy(update={"read_only": True}), trained, _NO_TOKEN],
        ),
    ]
    return made


def _volume(mount: VolumeMount) -> Volume:
    return Volume(name=mount.name, empty_dir=EmptyDirVolumeSource())
