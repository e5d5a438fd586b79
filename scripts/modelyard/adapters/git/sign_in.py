"""Lets git sign in to a forge with the tool's own token, which is written to no file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

_USER = "x-access-token"
"""The name that GitHub wants beside a token; Gitea takes any."""

_PASSWORD = "MODELYARD_GIT_PASSWORD"
# The shell expands the variable itself, so that the token is no argument of a process.
_HELPER = (
    """!f() { test "$1" = get && printf 'username=%s\\npassword=%s\\n' """
    f"""{_USER} "${_PASSWORD}"; }}; f"""
)


_signed_in: dict[Path, tuple[str, Callable[[], str]]] = {}


def sign_in(root: Path, origin: str, token: Callable[[], str]) -> None:
    """Answer git in a checkout with a token where a server of this origin asks who it is.

    Git asks a helper only for the scheme, host and port that the helper is for, and only where the
    remote's address has no answer. The person's own helpers for this origin are left out: what the
    tool pushes would be theirs.

    Args:
        root: The checkout.
        origin: Scheme, host and port, such as `https://github.com`.
        token: Returns the token; asked before each command that needs the network.
    """
    _signed_in[root] = (origin.rstrip("/"), token)


def credentials_of(root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that let a git command in a checkout sign in, on top of `environ`."""
    if root not in _signed_in:
        return {}
    origin, token = _signed_in[root]
    number = int(environ.get("GIT_CONFIG_COUNT") or 0)
    return {
        "GIT_CONFIG_COUNT": str(number + 2),
        # An empty helper drops those that were configured before it.
        f"GIT_CONFIG_KEY_{number}": f"credential.{origin}.helper",
        f"GIT_CONFIG_VALUE_{number}": "",
        f"GIT_CONFIG_KEY_{number + 1}": f"credential.{origin}.helper",
        f"GIT_CONFIG_VALUE_{number + 1}": _HELPER,
        _PASSWORD: token(),
    }
