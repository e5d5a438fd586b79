"""The path of a version, as people walk it in pull requests, waiting for the watcher's part."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from e2e.fork import Fork, until
from e2e.team import ADA, GRACE


def trained(fork: Fork, model: str, version: str, *, seconds: float = 600) -> None:
    """Wait until the watcher has trained the version, and its record is on the main branch."""
    path = f"models/{model}/records/{version}.yaml"

    def recorded() -> bool:
        fork.git("fetch", "--quiet", "origin")
        return bool(fork.git("ls-tree", "--name-only", "origin/main", "--", path).strip())

    until(f"{path} is on the main branch", recorded, seconds=seconds, every=2)


def approved(fork: Fork, model: str, environment: str, *, seconds: float = 300) -> float:
    """Approve the promotion into an environment, as grace does on its page; returns when.

    She does so once its status asks for an approval. Before that the forge may not have recorded
    who pushed it, and then nobody's approval counts.
    """

    def waiting() -> dict[str, Any] | None:
        branch = f"modelyard/promote/{environment}/{model}"
        mine = (pull for pull in fork.pulls() if pull["branch"] == branch)
        return next((p for p in mine if "approval" in str(p["statuses"])), None)

    pull = until(
        f"{model} waits for an approval in {environment}", waiting, seconds=seconds, every=1
    )
    at = time.time()
    fork.team.approve(pull["number"], pull["head"], by=GRACE)
    return at


def verified(
    fork: Fork, model: str, environment: str, version: str, *, seconds: float = 300
) -> None:
    """Wait until the version is verified in the environment."""

    def is_verified() -> bool:
        for row in fork.answer("status", model)["releases"]:
            if row["environment"] == environment:
                return bool(row["version"] == version and row["verified"])
        return False

    until(f"{model} {version} is verified in {environment}", is_verified, seconds=seconds, every=2)


def add(
    fork: Fork, model: str, version: str, *steps: tuple[str, ...] | Callable[[], object]
) -> None:
    """Add a version in a pull request and merge it on its page, as ada does.

    Args:
        fork: The fork.
        model: The model.
        version: The version.
        steps: The modelyard commands that write its files, and what a person edits.
    """
    branch = f"add-{model}-{version}"
    fork.git("fetch", "--quiet", "origin")
    fork.git("switch", "--quiet", "--force-create", branch, "origin/main")
    for step in steps:
        step() if callable(step) else fork.modelyard(*step)
    fork.git("add", "--all", "models")
    fork.git("commit", "--quiet", "-m", f"Add {model} {version}")
    fork.git("push", "--quiet", "--set-upstream", "origin", branch)
    number = fork.team.open_pull(branch, title=f"Add {model} {version}", by=ADA)

    def checked() -> dict[str, Any] | None:
        (mine,) = (pull for pull in fork.pulls() if pull["number"] == number)
        states = {status["context"]: status["state"] for status in mine["statuses"]}
        return mine if set(states.values()) == {"success"} and len(states) > 1 else None

    pull = until(f"{model} {version} passes its checks", checked, seconds=180, every=1)
    until(
        f"#{number} is merged",
        lambda: fork.team.merge(number, pull["head"], by=ADA),
        seconds=60,
    )
    fork.git("switch", "--quiet", "main")
    fork.git("pull", "--quiet")
