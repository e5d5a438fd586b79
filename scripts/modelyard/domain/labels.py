"""The labels and annotations that say, on everything in a cluster, what it belongs to."""

from __future__ import annotations

PREFIX = "modelyard.dev"
"""Of labels and annotations that are ours."""

MODEL = f"{PREFIX}/model"
VERSION = f"{PREFIX}/version"
ENVIRONMENT = f"{PREFIX}/environment"

RELEASE = f"{PREFIX}/release"
"""Identity of the release a pod belongs to: of its pins and its attempt."""

ARTIFACT = f"{PREFIX}/artifact"
"""As a label the first twelve digits of the artifact's digest, as an annotation all of it."""

COMMIT = f"{PREFIX}/commit"
"""Annotation: the commit of the main branch that named the release."""

PULL_REQUEST = f"{PREFIX}/pull-request"
"""Annotation: the pull request that brought that commit."""

ABORTED = f"{PREFIX}/aborted"
"""Annotation: identity of the release that the judge took out of traffic."""

ABORT_REASON = f"{PREFIX}/abort-reason"
"""Annotation: why."""
