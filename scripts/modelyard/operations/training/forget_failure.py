"""Forgets that a training failed for good, so that reconcile tries it again."""

from __future__ import annotations

from dataclasses import replace

from modelyard.domain.promotion.facts import ModelFacts, TrainingFacts
from modelyard.errors import Refused
from modelyard.operations.workspace import Workspace


def forget_failure(workspace: Workspace, model: str, version: str, *, dry_run: bool) -> int:
    """Forget that training a version failed, and return the next attempt.

    Raises:
        CannotAnswer: The main branch has no such version.
        Refused: It has a record, or its training has not failed.
    """
    catalog = workspace.catalog(workspace.main())
    catalog.require_version(model, version)
    if (model, version) in catalog.records:
        raise Refused(
            f"{model} {version} has a record already, and records never change",
            hint=f"modelyard version new {model} VERSION --parent {version} --reason TEXT",
        )

    def change(before: ModelFacts) -> ModelFacts:
        # Checked inside the update: reconcile may write at the same time.
        known = before.training.get(version, TrainingFacts())
        if known.failed is None:
            raise Refused(
                f"training of {model} {version} has not failed; it is at attempt {known.attempt}",
                hint=f"modelyard status {model}",
            )
        again = TrainingFacts(attempt=known.attempt + 1)
        return replace(before, training={**before.training, version: again})

    if dry_run:
        after = change(workspace.facts.read_model(model))
    else:
        after = workspace.facts.update_model(model, change)
    return after.training[version].attempt
