"""Finds the key that signs, where neither Git nor a trainer can reach it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from modelyard.adapters.isolation.confinement import SYSTEM, WAYS, Reach, find_means
from modelyard.adapters.isolation.credentials import in_pod
from modelyard.adapters.store.signing_keys import SIGNING_KEY, SigningKey, read_key
from modelyard.domain.artifact_formats import CODE_FORMATS
from modelyard.domain.isolation import Isolation
from modelyard.domain.signatures import Asked, key_hint, shown_hint
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.repository import OrchestratorKind, Repository
from modelyard.errors import CannotAnswer

POD_KEY = "/signing/key.pem"
"""What a pod names whether or not its namespace has the Secret; no other path may lead nowhere."""

_NEW = (
    f"set {SIGNING_KEY} to the path of the private key, which `modelyard signature new-key` makes"
)


def find_key(root: Path, asked: Asked | None) -> SigningKey | None:
    """The key of this process; None if there is none and none is asked for.

    Args:
        root: The checkout's root.
        asked: The signature that the policy asks for; None for none.

    Raises:
        CannotAnswer: There is none, it is not among those asked for, or it is in the checkout.
    """
    path = _path()
    if path is None:
        if asked is None:
            return None
        named = os.environ.get(SIGNING_KEY)
        found = f"{named} is no file" if named else f"{SIGNING_KEY} is not set"
        raise CannotAnswer(
            f"artifact.signed_by of {asked.model} asks for a signature by {_shown(asked.keys)}, "
            f"but {found}",
            hint=_NEW,
        )
    if _is_within(path, [root]):
        raise CannotAnswer(
            f"signing key {path}: it is in the checkout, from where it can get into Git",
            hint=f"move it out of {root}",
        )
    key = read_key(path)
    if asked is not None and key.public not in asked.keys:
        raise CannotAnswer(
            f"signing key {path}: it is {_shown([key.public])}; artifact.signed_by of "
            f"{asked.model} asks for {_shown(asked.keys)}",
            hint=f"{_NEW}; or list its public key in model.yaml, with the approvals of a rule",
        )
    return key


def refuse_reachable_key(
    reaches: Iterable[Reach], place: Path, *, ways: tuple[str, ...] = WAYS
) -> None:
    """Refuse to train where a trainer or a model could read the key that signs for them.

    Args:
        reaches: What they may reach.
        place: An empty folder, in which the means of closing them in are tried.
        ways: The ways to try.

    Raises:
        CannotAnswer: One could.
    """
    path = _path()
    if path is None:
        return
    place.mkdir()
    if find_means(Reach(readable=(), writable=()), place, ways).isolation is Isolation.NONE:
        raise CannotAnswer(
            f"signing key {path}: nothing on this machine closes a trainer in, so it could read it",
            hint="sign on Linux 6.2 or later, or with user namespaces; or unset "
            f"{SIGNING_KEY} to train a model whose policy asks for no signature",
        )
    for reach in reaches:
        seen = [Path(each) for each in (*SYSTEM, *reach.readable, *reach.writable)]
        if (within := _is_within(path, seen)) is not None:
            raise CannotAnswer(
                f"signing key {path}: it is in {within}, which a trainer may read",
                hint=f"move it to a folder of its own, and set {SIGNING_KEY} to its path there",
            )


def refuse_key_beside_code(repository: Repository, models: Iterable[Model]) -> None:
    """Refuse to sign on a machine whose model servers may run code of an artifact.

    Nothing closes them in here, and they run as the user who has the key.

    Args:
        repository: Where releases run.
        models: All models of the repository: the server of any of them could read the key.

    Raises:
        CannotAnswer: One could.
    """
    path = _path()
    if path is None or in_pod() or repository.orchestrator is not OrchestratorKind.LOCAL:
        return
    for model in models:
        if code := sorted(set(CODE_FORMATS).intersection(model.artifact.accepted_formats)):
            raise CannotAnswer(
                f"signing key {path}: model.yaml of {model.name} accepts {' and '.join(code)}, "
                "whose code runs in model servers of this machine, which nothing closes in, as "
                "the same user: it could read the key",
                hint=f"unset {SIGNING_KEY}, keep no key on this machine, and sign in a clone on a "
                "machine that runs no model servers: modelyard signature sign MODEL VERSION",
            )


def _path() -> Path | None:
    named = os.environ.get(SIGNING_KEY)
    if not named:
        return None
    if named == POD_KEY:
        try:
            Path(named).stat()
        except FileNotFoundError:
            return None
        except OSError:  # whoever reads it says why it cannot be read
            pass
    return Path(named)


def _is_within(path: Path, folders: Iterable[Path]) -> Path | None:
    """The folder that a file is in, wherever links lead."""
    places = {path.absolute(), path.resolve()}
    for folder in folders:
        if any(place.is_relative_to(each) for each in {folder.absolute(), folder.resolve()}
               for place in places):  # fmt: skip
            return folder
    return None


def _shown(keys: Iterable[str]) -> str:
    return "key " + " or ".join(sorted(shown_hint(key_hint(each)) for each in keys))
