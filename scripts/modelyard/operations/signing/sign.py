"""Signs the recorded artifact of a version, and asks whether one is signed as its policy asks."""

from __future__ import annotations

import tempfile
from pathlib import Path

from modelyard.adapters.git.repository import Git
from modelyard.adapters.store.signatures import fetch_artifact, sign_artifact
from modelyard.adapters.store.signing_keys import SIGNING_KEY, write_key
from modelyard.domain.signatures import Asked, asked_signature
from modelyard.domain.specs.catalog import Catalog
from modelyard.errors import CannotAnswer, Refused, YardError
from modelyard.operations.signing.keys import find_key, refuse_key_beside_code
from modelyard.operations.workspace import Workspace


def make_key(path: Path) -> str:
    """Write a new private key outside of every checkout; returns its public key.

    Raises:
        CannotAnswer: The file cannot be written.
        Refused: It is there already, or would be in a checkout.
    """
    if _is_in_checkout(path.absolute().parent):
        raise Refused(
            f"{path} would be in a checkout, from where a key can get into Git",
            hint="name a file elsewhere, such as ~/.config/modelyard/signing.pem",
        )
    return write_key(path)


def sign_version(workspace: Workspace, model: str, version: str) -> str:
    """Sign the artifact that the main branch records for a version; returns where that is kept.

    Raises:
        CannotAnswer: There is no record, no artifact in the store, or no key that may sign.
        Refused: Training was refused, so that there is no artifact.
    """
    catalog = workspace.catalog(workspace.main())
    digest = _recorded(catalog, model, version)
    asked = asked_signature(catalog.models[model], version)
    key = find_key(workspace.services.root, asked)
    if key is None:
        raise CannotAnswer(
            "there is no key to sign with",
            hint=f"set {SIGNING_KEY} to the path of the private key",
        )
    if workspace.services.cluster.site() is not None:
        refuse_key_beside_code(workspace.services.repository, catalog.models.values())
    with tempfile.TemporaryDirectory(prefix="modelyard-sign-") as name:
        folder = workspace.store.fetch_model(digest, Path(name) / "artifact")
        return sign_artifact(workspace.store, folder, key, model=model, version=version)


def check_version(workspace: Workspace, model: str, version: str) -> Asked:
    """Check the signature of a version's artifact and every file of it.

    Raises:
        CannotAnswer: There is no record, or the store is out of reach.
        Refused: It is not signed as the policy asks, or a file differs; or no policy asks.
    """
    catalog = workspace.catalog(workspace.main())
    digest = _recorded(catalog, model, version)
    asked = asked_signature(catalog.models[model], version)
    if asked is None:
        raise Refused(
            f"model.yaml of {model} asks for no signature",
            hint=f"list public keys under artifact.signed_by in models/{model}/model.yaml",
        )
    with tempfile.TemporaryDirectory(prefix="modelyard-sign-") as name:
        fetch_artifact(workspace.store, digest, Path(name) / "artifact", asked)
    return asked


def _recorded(catalog: Catalog, model: str, version: str) -> str:
    record = catalog.require_record(model, version, hint=f"modelyard record {model} {version}")
    if record.artifact is None:
        raise Refused(f"{model} {version} has no artifact: {record.verdict.reason}")
    return record.artifact.digest


def _is_in_checkout(folder: Path) -> bool:
    # Folders that are missing are made.
    there = next(each for each in (folder, *folder.parents) if each.is_dir())
    try:
        return Git(there).run("rev-parse", "--git-dir").stdout != b""
    except (YardError, OSError):
        return False
