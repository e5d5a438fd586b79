"""The containers that bring the repository into the pod of a step, and what they share with it."""

from __future__ import annotations

from collections.abc import Mapping

from hera.workflows import Resources, UserContainer
from hera.workflows.models import (
    Capabilities,
    ConfigMapKeySelector,
    EnvFromSource,
    EnvVar,
    EnvVarSource,
    SecretEnvSource,
    SecurityContext,
    VolumeMount,
)

CHECKOUT = "/checkout/repository"
"""Below the volume's root, which root owns: git refuses a repository that another user owns."""

SCHEMAS = "/checkout/schemas"
"""Where the image of a step leaves the schemas that it has, for `specs`."""

WORK = "/work"
"""Its home, and where a step leaves what its workflow reads."""

SERVICE_ACCOUNT = "modelyard-steps"

SECRET = EnvFromSource(secret_ref=SecretEnvSource(name=SERVICE_ACCOUNT, optional=True))
UNPRIVILEGED = SecurityContext(
    allow_privilege_escalation=False,
    capabilities=Capabilities(drop=["ALL"]),
    read_only_root_filesystem=True,
)
MOUNTS = [
    VolumeMount(name="checkout", mount_path="/checkout"),
    VolumeMount(name="tmp", mount_path="/tmp"),  # noqa: S108 - an empty volume of the pod's own
    VolumeMount(name="work", mount_path=WORK),
]

# Without `$(...)`, in which Kubernetes looks for a variable. An image that has no such folder reads
# the specs as they are.
_COPY = f'shutil.copytree(modelyard.__path__[0] + "/schemas", "{SCHEMAS}")'
_CLONE_AND_KEEP = f"""\
git clone --quiet "$REPOSITORY" {CHECKOUT} || exit
python -c 'import modelyard, shutil; {_COPY}' || true
"""


def readable_specs(image: str, arguments: list[str]) -> UserContainer:
    """The init container of the platform that leaves the specs as the step's image can read them.

    Args:
        image: The platform's image.
        arguments: The arguments of modelyard.
    """
    return UserContainer(
        name="specs",
        image=image,
        command=["modelyard"],
        args=[*arguments, f"--schemas={SCHEMAS}"],
        working_dir=WORK,
        env=[*environment_of(image, None)],
        env_from=[SECRET],
        security_context=UNPRIVILEGED,
        resources=Resources(cpu_request="50m", memory_request="128Mi", memory_limit="1Gi"),
        volume_mounts=MOUNTS,
    )


def environment_of(image: str, further: Mapping[str, str] | None) -> list[EnvVar]:
    """The variables of every container that calls modelyard in the clone."""
    return [
        EnvVar(name="HOME", value=WORK),
        EnvVar(name="MODELYARD_IMAGE", value=image),
        EnvVar(name="MODELYARD_ROOT", value=CHECKOUT),
        *(EnvVar(name=name, value=value) for name, value in (further or {}).items()),
    ]


def clone(image: str, *, keeps_schemas: bool = False) -> UserContainer:
    """The init container that clones the repository.

    Args:
        image: The image of the step.
        keeps_schemas: Whether it also leaves the schemas that the image has as `SCHEMAS`.
    """
    # Steps read history and refs, so the clone is not shallow. The working tree has the settings.
    command, arguments = ["git"], ["clone", "--quiet", "$(REPOSITORY)", CHECKOUT]
    if keeps_schemas:
        command, arguments = ["sh", "-c"], [_CLONE_AND_KEEP]
    address = ConfigMapKeySelector(name="modelyard", key="repository")
    return UserContainer(
        name="checkout",
        image=image,
        command=command,
        args=arguments,
        env=[
            EnvVar(name="HOME", value=WORK),
            EnvVar(name="REPOSITORY", value_from=EnvVarSource(config_map_key_ref=address)),
        ],
        env_from=[SECRET],
        security_context=UNPRIVILEGED,
        resources=Resources(cpu_request="50m", memory_request="64Mi", memory_limit="256Mi"),
        volume_mounts=MOUNTS,
    )
