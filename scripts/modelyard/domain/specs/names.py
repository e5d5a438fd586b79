"""Names that are safe as Kubernetes names, Git branches and refs."""

from __future__ import annotations

import re

NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
VERSION = re.compile(r"[a-z]([a-z0-9.-]{0,38}[a-z0-9])?")


def is_name(text: str) -> bool:
    """Whether `text` may name a model, an environment or a held-out set."""
    return NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Whether `text` may name a version: a name that may also hold single dots between words."""
    if VERSION.fullmatch(text) is None or text.endswith(".lock"):
        return False
    return not any(pair in text for pair in ("..", ".-", "-."))
