"""The one table of what the local orchestrator accepts in a WorkflowTemplate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.adapters.specs.schemas import schema_errors
from modelyard.domain.problem import Path, format_path
from modelyard.errors import Refused

ONLY_COULD_NOT_ANSWER = "asInt(lastRetry.exitCode) == 1"
"""Exit code 1 means "could not answer", so another try may help."""

OR_KILLED = (
    "asInt(lastRetry.exitCode) in [-1, 1, 137, 143]"
    " and not (lastRetry.message contains 'specified deadline')"
)
"""The other retry expression: also after something else ended the step, but not out of time."""

_HINT = "leave it out of the workflow, or set workflows: argo in modelyard.yaml"
_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
_WORD = r"(\{\{[\w.-]+\}\}|[A-Za-z_]\w*)"


def _mapping(required: str = "", **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def _list_of(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


def _matching(pattern: str, meaning: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^(?:{pattern})$", "description": meaning}


_TEXT = {"type": "string"}
_SECONDS = {"type": "integer", "minimum": 1}
_DURATION = _matching(r"\d+[smh]", "a duration is written 30s, 5m or 1h")
# Says where and with which rights a pod runs, or how long a cluster remembers it. There are no
# pods here.
_IGNORED: dict[str, Any] = {}

PASSED_ON = ("MODELYARD_INPUTS", "MODELYARD_LEFT", "MODELYARD_SHARDS", "MODELYARD_SUBMITTED")
"""The variables of a container that its step gets here too."""

_CONTAINER = _mapping(
    "command workingDir",
    args=_list_of(_TEXT),
    command={**_list_of(_TEXT), "minItems": 1},
    # Others than those are places in the container's file system; a step here has its own.
    env=_list_of(
        _mapping(
            "name",
            name={
                "enum": [
                    *("HOME", "MODELYARD_APART", "MODELYARD_IMAGE", "MODELYARD_ROOT"),
                    *("MODELYARD_SIGNING_KEY", *PASSED_ON),
                ]
            },
            value=_IGNORED,
        )
    ),
    envFrom=_IGNORED,
    image=_IGNORED,
    resources=_IGNORED,
    securityContext=_IGNORED,
    volumeMounts=_IGNORED,
    workingDir=_TEXT,
)
# A folder of the pod; one that outlives it is refused. Here a Secret is a file of the user's own.
_VOLUMES = _list_of(
    {
        **_mapping("name", name=_TEXT, emptyDir=_IGNORED, secret=_IGNORED),
        "minProperties": 2,
    }
)
_OUTPUT = _mapping(
    "name valueFrom", name=_TEXT, valueFrom=_mapping("path", path=_TEXT, default=_TEXT)
)
_RETRY = _mapping(
    "backoff expression limit",
    backoff=_mapping(
        "cap duration factor",
        cap=_DURATION,
        duration=_DURATION,
        factor={"type": "integer", "minimum": 1},
    ),
    expression={"enum": [ONLY_COULD_NOT_ANSWER, OR_KILLED]},
    limit={"type": "integer", "minimum": 0},
)
_GIVEN = _mapping("name value", name=_TEXT, value=_TEXT)
_TASK = _mapping(
    "name template",
    arguments=_mapping(parameters=_list_of(_GIVEN)),
    name=_matching(_NAME, "letters, digits, - and _"),
    template=_TEXT,
    depends=_matching(
        rf"{_NAME}|{_NAME}\.(Succeeded|Failed)( \|\| {_NAME}\.(Succeeded|Failed))*",
        "a step runs after `a`, or after `a.Succeeded || a.Failed`",
    ),
    when=_matching(
        rf"{_WORD} == {_WORD}( \|\| {_WORD} == {_WORD})*",
        "a condition is written `{{tasks.a.outputs.parameters.b}} == word || ...`",
    ),
    withParam=_matching(
        r"\{\{tasks\.[\w-]+\.outputs\.parameters\.[\w-]+\}\}",
        "a list is written `{{tasks.a.outputs.parameters.b}}`",
    ),
)

SPEC = _mapping(
    "entrypoint templates",
    activeDeadlineSeconds=_SECONDS,
    arguments=_mapping(parameters=_list_of(_mapping("name", name=_TEXT, value=_TEXT))),
    entrypoint=_TEXT,
    podGC=_IGNORED,
    securityContext=_IGNORED,
    serviceAccountName=_IGNORED,
    templates=_list_of(
        _mapping(
            "name",
            activeDeadlineSeconds=_SECONDS,
            container=_CONTAINER,
            dag=_mapping("tasks", tasks={**_list_of(_TASK), "minItems": 1}),
            # They clone the repository, which is here already, make it readable for other images,
            # and keep the trainer apart, as a step does by itself without `MODELYARD_APART`.
            initContainers=_IGNORED,
            inputs=_mapping(parameters=_list_of(_mapping("name", name=_TEXT))),
            metadata=_IGNORED,
            name=_TEXT,
            outputs=_mapping(parameters=_list_of(_OUTPUT)),
            podSpecPatch=_IGNORED,
            retryStrategy=_RETRY,
            volumes=_VOLUMES,
        )
    ),
    ttlStrategy=_IGNORED,
    volumes=_VOLUMES,
)
"""JSON Schema of `spec`: the fields that are followed, and those that are ignored on purpose."""


class Unsupported(Refused):
    """The local orchestrator does not run this.

    Args:
        path: Where in the workflow's spec.
        message: What is there, and what would be accepted.
    """

    def __init__(self, path: Path, message: str) -> None:
        self.path = ("spec", *path)
        where = format_path(self.path)
        super().__init__(f"the local orchestrator does not run {where}: {message}", hint=_HINT)


def refuse_other_fields(spec: Mapping[str, Any]) -> None:
    """Refuse the first thing in a spec that is not in the table, or has another value."""
    for path, message in schema_errors(SPEC, spec):
        raise Unsupported(path, message)
