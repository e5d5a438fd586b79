"""Names that are valid as Kubernetes names, Git branches and refs."""

from __future__ import annotations

import hashlib
import re

# 40 characters leave room for prefixes and suffixes in Kubernetes names, which have at most 63.
NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
VERSION = re.compile(r"[a-z]([a-z0-9.-]{0,38}[a-z0-9])?")


def is_name(text: str) -> bool:
    """Whether `text` may name a model, an environment or a held-out set."""
    return NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Whether `text` may name a version: a name that may also have single dots between words."""
    # Git refuses refs that end in `.lock` or contain `..`; Kubernetes refuses a dot next to a dash.
    if VERSION.fullmatch(text) is None or text.endswith(".lock"):
        return False
    return not any(pair in text for pair in ("..", ".-", "-."))


def workflow_name(model: str, version: str, *, spec: str, attempt: int) -> str:
    """The one name of this spec's attempt, so that it is never started twice.

    Args:
        model: The model's name.
        version: The version's name.
        spec: SHA-256 of the version's file.
        attempt: Which try.
    """
    key = hashlib.sha256(f"{model}/{version}/{spec}/{attempt}".encode()).hexdigest()[:10]
    return f"{model[:24].rstrip('-')}-{version[:16].rstrip('-.')}-{key}"
