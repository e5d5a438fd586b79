"""What attackers do to releases and pull requests, and what is seen of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, Status, StatusState
from modelyard.errors import Refused
from modelyard.operations.reconcile.changes import new_release, release_documents
from modelyard.operations.reconcile.human_pulls import set_human_pull_statuses
from modelyard.operations.watch.run_checks import run_checks
from operations.yard import MODEL
from operations.yard_with_history import world_of

OLD_WORDS = "changes no environment"
PROMOTION = f"modelyard/promote/canary/{MODEL}"


def pin_of(yard, version, environment="production", **changes):
    """The documents that release a version, as the tool itself would write them."""
    world = world_of(yard)
    release = new_release(world, environment, world.record(version), server_image="image:1")
    return release_documents(world, replace(release, **changes))


def judged(yard):
    """Everything that a pass says of pull requests."""
    run_checks(yard.workspace(), yard.said.append)
    set_human_pull_statuses(yard.workspace(), yard.said.append)
    yard.reconcile()


def forged(yard, pull):
    """Statuses that people who may push write for themselves."""
    for context in (CHECKS, PROMOTE):
        yard.pulls.set_status(
            pull, Status(context=context, state=StatusState.SUCCESS, description=OLD_WORDS)
        )


def refused_merge(yard, pull, by="Mallory"):
    """Why the forge does not merge it."""
    before = yard.main()
    with pytest.raises(Refused) as caught:
        yard.pulls.merge(pull.number, sha=pull.head, by=by)
    assert yard.main() == before
    return caught.value.message


def due(yard):
    return yard.pull(f"modelyard/promote/canary/{MODEL}")


def incidents(yard):
    return [incident.what for incident in yard.model_facts.incidents]


def open_promotion(yard):
    """v2 verified in staging, its promotion to canary open, checked, and approved by ada."""
    yard.put("v2", "staging")
    yard.rest()
    yard.approve("canary")
    return yard.pull(PROMOTION)
