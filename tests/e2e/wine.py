"""The wine model's part in the journey: a better version that breaks on what its requests carry."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from e2e.fork import Fork, until
from e2e.load import Load, bodies_of

MODEL = "wine"
BLANK = "malic_acid"
"""Null in some requests, never in training data; v2 reads it and has no imputer."""

BLANK_SHARE = 0.2
FEATURES = '["flavanoids","color_intensity","proline"]'
FEATURES_AND_BLANK = '["flavanoids","color_intensity","proline","malic_acid"]'


def let_a_column_be_null(folder: Path) -> None:
    """Some wines come without this measurement, says the fork's contract."""
    path = folder / "models" / MODEL / "model.yaml"
    text = path.read_text()
    before = f"  - name: {BLANK}\n    type: number\n"
    assert before in text
    path.write_text(text.replace(before, f"{before}    nullable: true\n"))


def load(
    fork: Fork, *, rate: float, blank: float = 0.0, rows_per_request: int = 20,
    service: str = MODEL,
) -> Load:  # fmt: skip
    """Requests to the Service that production and its canary share, or to one of their own."""
    bodies = bodies_of(
        fork.folder / "models" / MODEL / "data" / "heldout.csv",
        rows_per_request=rows_per_request,
        blank=BLANK,
        share=blank,
    )
    url = fork.service_url(fork.namespace("production"), service)
    return Load(url=url, model=MODEL, bodies=bodies, rate=rate)


def trained(fork: Fork, version: str, *, seconds: float = 600) -> None:
    """Wait until the watcher has trained the version, and its record is on the main branch."""
    path = f"models/{MODEL}/records/{version}.yaml"

    def recorded() -> bool:
        fork.git("fetch", "--quiet", "origin")
        return bool(fork.git("ls-tree", "--name-only", "origin/main", "--", path).strip())

    until(f"{path} is on the main branch", recorded, seconds=seconds, every=2)


def approved(fork: Fork, environment: str, *, seconds: float = 300) -> float:
    """Approve the promotion into an environment once it is proposed; returns when."""

    def waiting() -> dict[str, Any] | None:
        branch = f"modelyard/promote/{environment}/{MODEL}"
        mine = (pull for pull in fork.pulls() if pull["branch"] == branch)
        return next((p for p in mine if "approval" in str(p["statuses"])), None)

    pull = until(f"{environment} waits for an approval", waiting, seconds=seconds, every=1)
    fork.modelyard("pr", "approve", str(pull["number"]), "--as", "grace")
    return time.time()


def verified(fork: Fork, environment: str, version: str, *, seconds: float = 300) -> None:
    """Wait until the version is verified in the environment."""

    def is_verified() -> bool:
        for row in fork.answer("status", MODEL)["releases"]:
            if row["environment"] == environment:
                return bool(row["version"] == version and row["verified"])
        return False

    until(f"{environment} runs {version} verified", is_verified, seconds=seconds, every=2)


def propose(fork: Fork, version: str, parent: str, reason: str, features: str) -> None:
    """Add a version in a pull request and merge it, as ada does."""
    fork.git("fetch", "--quiet", "origin")
    fork.git("switch", "--quiet", "--create", f"add-{version}", "origin/main")
    fork.modelyard(
        *("version", "new", MODEL, version, "--parent", parent, "--reason", reason),
        *("--param", f"features={features}"),
    )
    fork.git("add", "--all")
    fork.git("commit", "--quiet", "-m", f"Add {MODEL} {version}")
    fork.git("push", "--quiet", "--set-upstream", "origin", f"add-{version}")
    fork.modelyard("pr", "open", f"add-{version}", "--title", f"Add {MODEL} {version}")

    def checked() -> dict[str, Any] | None:
        mine = [pull for pull in fork.pulls() if pull["branch"] == f"add-{version}"]
        states = {status["context"]: status["state"] for status in mine[0]["statuses"]}
        return mine[0] if set(states.values()) == {"success"} and len(states) > 1 else None

    pull = until(f"{version} passes its checks", checked, seconds=120, every=1)
    fork.modelyard("pr", "merge", str(pull["number"]))
    fork.git("switch", "--quiet", "main")
    fork.git("pull", "--quiet")
