"""Where each spec lives."""

from __future__ import annotations

SETTINGS = "modelyard.yaml"
"""The repository's own settings; it marks the root of a checkout."""


def model_file(model: str) -> str:
    """Path of a model's own file."""
    return f"models/{model}/model.yaml"


def version_file(model: str, version: str) -> str:
    """Path of a version's spec."""
    return f"models/{model}/versions/{version}.yaml"


def record_file(model: str, version: str) -> str:
    """Path of a version's record."""
    return f"models/{model}/records/{version}.yaml"


def held_out_file(model: str, name: str) -> str:
    """Path of a held-out set."""
    return f"models/{model}/heldout/{name}.yaml"


def environment_file(environment: str) -> str:
    """Path of an environment's own file."""
    return f"environments/{environment}/environment.yaml"


def release_file(environment: str, model: str) -> str:
    """Path of a model's release in an environment."""
    return f"environments/{environment}/releases/{model}.yaml"
