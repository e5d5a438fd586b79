"""Keeps the forge's page of environments: what runs where, and how it does."""

from __future__ import annotations

import logging
from collections.abc import Collection
from http import HTTPStatus

from modelyard.adapters.forge.hosted.api import Answered
from modelyard.domain.deployments import Deployment, find_deployments
from modelyard.domain.promotion.world import World
from modelyard.errors import YardError
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)

_FORBIDDEN = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})


def keep_deployments(workspace: Workspace, world: World, environments: Collection[str]) -> None:
    """Show the releases of a model in the environments that this site runs.

    It is for the eye: a forge that refuses it stops nothing. A watcher asks the forge only for
    what changed since it started.
    """
    for wanted in find_deployments(world, sorted(environments)):
        _show(workspace, wanted)


def _show(workspace: Workspace, wanted: Deployment) -> None:
    what = f"deployment {wanted.environment} {wanted.model}"
    known = f"{wanted.release} {wanted.commit} {wanted.state}"
    if workspace.remember(what, known) == known:
        return
    try:
        workspace.services.pulls.show_deployment(wanted)
    except YardError as error:
        logger.warning("%s is not shown: %s", what, error.message)
        # What is not allowed is not asked for in each pass.
        if not (isinstance(error, Answered) and error.status in _FORBIDDEN):
            workspace.remember(what, None)
