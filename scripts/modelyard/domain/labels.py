"""Labels and annotations of everything in a cluster, which say what it belongs to."""

from __future__ import annotations

PREFIX = "modelyard.dev"
"""The prefix of our labels and annotations."""

MODEL = f"{PREFIX}/model"
VERSION = f"{PREFIX}/version"
ENVIRONMENT = f"{PREFIX}/environment"

RELEASE = f"{PREFIX}/release"
"""Identity of the release that a pod belongs to."""

ARTIFACT = f"{PREFIX}/artifact"
"""The artifact's digest: its first twelve digits as a label, all of it as an annotation."""

COMMIT = f"{PREFIX}/commit"
"""Annotation: the commit of the main branch that has the release."""

PULL_REQUEST = f"{PREFIX}/pull-request"
"""Annotation: the pull request of that commit."""

ABORTED = f"{PREFIX}/aborted"
"""Annotation: identity of the release that was taken out of traffic."""

ABORT_REASON = f"{PREFIX}/abort-reason"
"""Annotation: why."""
