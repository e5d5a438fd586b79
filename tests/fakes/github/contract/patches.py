"""Where GitHub's document is known to be wrong, or says less than GitHub does.

Each is one reviewed exception. Everything else in the slice is taken at its word.
"""

from __future__ import annotations

from typing import Any


def patch(slice_: dict[str, Any]) -> dict[str, Any]:
    """Return the slice with its known faults mended; the file itself stays as it was cut."""
    schemas = slice_["components"]["schemas"]
    # Their default is the empty text, which is no URI.
    for name in ("target_url", "log_url", "environment_url"):
        del schemas["deployment-status"]["properties"][name]["format"]
    # A label without a description has null there, as the schema `label` says.
    pull = schemas["pull-request-simple"]["properties"]["labels"]["items"]["properties"]
    pull["description"]["nullable"] = True
    return slice_
