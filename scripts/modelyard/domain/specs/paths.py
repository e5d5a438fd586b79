"""The paths of the repository. No other module spells them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from modelyard.domain.specs.names import is_name

SETTINGS = "modelyard.yaml"
"""The repository's own settings; it marks the root of a checkout."""

MODELS = "models/"
ENVIRONMENTS = "environments/"

PLATFORM_LOCK = "requirements-runtime.lock"
"""The runtime of every model without a lock of its own."""

FIRST_LOCK = "requirements.lock"
"""The lock of developers, which versions pinned before there were runtimes."""

PLATFORM = f"{ENVIRONMENTS}platform/"
"""The platform in a cluster; people and `modelyard render --platform` write it."""

WORKFLOW_TEMPLATES = f"{PLATFORM}manifests/workflows/"
"""The rendered workflows."""

DASHBOARD = f"{PLATFORM}manifests/dashboards/modelyard.yaml"
"""The rendered dashboard of Grafana, beside which a team may have its own."""


def model_folder(model: str) -> str:
    """Folder of everything about a model; ends in a slash."""
    return f"{MODELS}{model}/"


def model_file(model: str) -> str:
    """Path of a model's own file."""
    return f"{model_folder(model)}model.yaml"


def trainer_folder(model: str) -> str:
    """Folder of a model's trainer; without a slash at the end, as Git has trees."""
    return f"{model_folder(model)}trainer"


def trainer_wishes(model: str) -> str:
    """Path of what a model's trainer asks for, in the form of requirements."""
    return f"{trainer_folder(model)}/requirements.in"


def trainer_lock(model: str) -> str:
    """Path of the lock of a model's own runtime."""
    return f"{trainer_folder(model)}/requirements.lock"


def versions_folder(model: str) -> str:
    """Folder of a model's versions; ends in a slash."""
    return f"{model_folder(model)}versions/"


def version_file(model: str, version: str) -> str:
    """Path of a version's spec."""
    return f"{versions_folder(model)}{version}.yaml"


def records_folder(model: str) -> str:
    """Folder of a model's records; ends in a slash."""
    return f"{model_folder(model)}records/"


def record_file(model: str, version: str) -> str:
    """Path of a version's record."""
    return f"{records_folder(model)}{version}.yaml"


def held_out_folder(model: str) -> str:
    """Folder of a model's held-out sets; ends in a slash."""
    return f"{model_folder(model)}heldout/"


def held_out_file(model: str, name: str) -> str:
    """Path of a held-out set."""
    return f"{held_out_folder(model)}{name}.yaml"


def environment_file(environment: str) -> str:
    """Path of an environment's own file."""
    return f"{ENVIRONMENTS}{environment}/environment.yaml"


def releases_folder(environment: str) -> str:
    """Folder of an environment's releases; ends in a slash."""
    return f"{ENVIRONMENTS}{environment}/releases/"


def release_file(environment: str, model: str) -> str:
    """Path of a model's release in an environment."""
    return f"{releases_folder(environment)}{model}.yaml"


def manifests_root(environment: str) -> str:
    """Folder of the rendered manifests of all of an environment's releases; ends in a slash."""
    return f"{ENVIRONMENTS}{environment}/manifests/"


def manifests_folder(environment: str, model: str) -> str:
    """Folder of a release's rendered manifests; ends in a slash."""
    return f"{manifests_root(environment)}{model}/"


def _pattern(path: str) -> re.Pattern[str]:
    """The pattern of a path in which `@` stands for each name; the groups are the names."""
    return re.compile(re.escape(path).replace("@", "([^/]+)"))


_SPECS = (
    ("ModelVersion", _pattern(version_file("@", "@"))),
    ("Record", _pattern(record_file("@", "@"))),
    ("HeldOut", _pattern(held_out_file("@", "@"))),
    ("Model", _pattern(model_file("@"))),
    ("Release", _pattern(release_file("@", "@"))),
    ("Environment", _pattern(environment_file("@"))),
)
_RELEASES = release_file("@", "@").removesuffix("@.yaml")
_FOLDERS = tuple(
    _pattern(folder)
    for folder in (versions_folder("@"), records_folder("@"), held_out_folder("@"), _RELEASES)
)
_MANIFESTS = _pattern(manifests_folder("@", "@"))
_WRITTEN_BY_TOOL = tuple(
    _pattern(folder) for folder in (records_folder("@"), _RELEASES, f"{ENVIRONMENTS}@/manifests/")
)
# A file or a link may have the name of a folder, and a folder that of a pin.
_PLACES: tuple[tuple[re.Pattern[str], Callable[..., str]], ...] = tuple(
    (re.compile(rf"{_pattern(path.rstrip('/')).pattern}(?:/|\Z)"), folder)
    for path, folder in (
        (manifests_folder("@", "@"), manifests_folder),
        (release_file("@", "@"), manifests_folder),
        (model_folder("@"), model_folder),
    )
)
_OWN_FILES = (_pattern(model_file("@")), _pattern(environment_file("@")))


def environment_names(folders: Iterable[str]) -> tuple[str, ...]:
    """The environments among the names of folders in `ENVIRONMENTS`: all but the platform."""
    return tuple(name for name in folders if f"{ENVIRONMENTS}{name}/" != PLATFORM)


def parse_spec_path(path: str) -> tuple[str, tuple[str, ...]] | None:
    """The kind of spec at this path, and the names in the path; None if no spec may be there."""
    if path.startswith(PLATFORM):
        return None
    for kind, pattern in _SPECS:
        if match := pattern.fullmatch(path):
            return kind, match.groups()
    return None


def model_of_spec(path: str) -> str | None:
    """The model that a spec is about; None if it is about all of them, and where no spec may be."""
    kind, key = parse_spec_path(path) or ("", ())
    if kind in {"", "Environment"}:
        return None
    return key[1] if kind == "Release" else key[0]


def parse_manifests_path(path: str) -> tuple[str, str] | None:
    """The environment and model of a rendered manifest; None for any other path."""
    match = _MANIFESTS.match(path)
    return (match[1], match[2]) if match and not path.startswith(PLATFORM) else None


def place_of(path: str) -> str | None:
    """The folder of the model, or of a release's manifests, that a path is about; None if none.

    A release's pin is about the same place as its manifests, and so is whatever has the path of one
    or of the folder. What has no valid name has no place.
    """
    if path.startswith(PLATFORM):
        return None
    for pattern, folder in _PLACES:
        if (match := pattern.match(path)) and all(map(is_name, match.groups())):
            return folder(*match.groups())
    return None


def is_place_of(place: str, model: str) -> bool:
    """Whether a place that `place_of` found is about a model, in whatever environment."""
    return place == model_folder(model) or place.endswith(f"/manifests/{model}/")


def holds_only_specs(path: str) -> bool:
    """Whether only a spec may have this path, because of its folder or its name."""
    if any((match := folder.match(path)) and match.end() < len(path) for folder in _FOLDERS):
        return True
    as_yaml = path.removesuffix(".yml") + ".yaml" if path.endswith(".yml") else path
    return any(pattern.fullmatch(as_yaml) for pattern in _OWN_FILES)


def is_written_by_tool(path: str) -> bool:
    """Whether only the tool writes this path: releases, their manifests, and records."""
    # People render the folder of the platform when they change workflows.
    is_tool_folder = any(folder.match(path) for folder in _WRITTEN_BY_TOOL)
    return is_tool_folder and not path.startswith(PLATFORM)
