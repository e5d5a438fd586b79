"""Signatures of artifacts in the store, checked before anything in an artifact is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from modelyard.adapters.store.artifacts import Store
from modelyard.adapters.store.signing_keys import SigningKey, is_signed
from modelyard.artifact_digest import file_digests, manifest_digest
from modelyard.domain.signatures import (
    Asked,
    Bundle,
    MalformedSignature,
    Statement,
    find_differences,
    key_hint,
    read_bundle,
    read_statement,
    shown_hint,
    signed_bytes,
    write_bundle,
    write_statement,
)
from modelyard.errors import Refused


def sign_artifact(store: Store, folder: Path, key: SigningKey, *, model: str, version: str) -> str:
    """Sign the artifact in a folder and keep the signature beside it; returns where.

    Args:
        store: The store that has the artifact.
        folder: The artifact.
        key: The key.
        model: The model.
        version: The version that it belongs to.
    """
    files = file_digests(folder)
    subject = Asked(model=model, version=version, keys=()).subject
    payload = write_statement(Statement(subject=subject, files=files))
    bundle = Bundle(
        payload=payload, signature=key.sign(signed_bytes(payload)), hint=key_hint(key.public)
    )
    digest = manifest_digest(files.items())
    return store.put_signature(digest, subject, write_bundle(bundle))


def check_signature(store: Store, digest: str, asked: Asked) -> Mapping[str, str]:
    """The SHA-256 of each file that was signed, once all is as the policy asks.

    Raises:
        CannotAnswer: The store is out of reach.
        Refused: There is no signature, or not this one.
    """
    _, statement = _checked(store, digest, asked)
    return statement.files


def find_signer(store: Store, digest: str, asked: Asked) -> str | None:
    """The key that the signature of an artifact names, as `key_hint`; None if it has none.

    Where keys are asked for, one of them signed it. Without any, nobody here can tell whether the
    key that a signature names made it.

    Raises:
        CannotAnswer: The store is out of reach.
        Refused: It is not signed as the policy asks, or its signature is one of something else.
    """
    if not asked.keys and store.read_signature(digest, asked.subject) is None:
        return None
    bundle, _ = _checked(store, digest, asked)
    return bundle.hint


def _checked(store: Store, digest: str, asked: Asked) -> tuple[Bundle, Statement]:
    """The signature and what it states, which without keys is only that it is of this artifact."""
    where, again = store.signature_uri(digest, asked.subject), _again(asked)
    content = store.read_signature(digest, asked.subject)
    if content is None:
        raise Refused(
            f"{where}: expected a signature of artifact {digest} by key {_wanted(asked)}, as "
            f"artifact.signed_by of {asked.model} asks; found no such file: it is not signed",
            hint=again,
        )
    try:
        bundle = read_bundle(content)
        if asked.keys:
            _refuse_other_key(bundle, asked, where)
        statement = read_statement(bundle.payload)
    except MalformedSignature as error:
        raise Refused(
            f"{where}: expected a signature of OpenSSF Model Signing 1.0; found that {error}",
            hint=again,
        ) from error
    if statement.subject != asked.subject:
        raise Refused(
            f"{where}: expected a signature for {asked.subject}; found one for {statement.subject}",
            hint=again,
        )
    found = manifest_digest(statement.files.items())
    if found != digest:
        raise Refused(
            f"{where}: expected a signature of artifact {digest}; found one of {found}", hint=again
        )
    return bundle, statement


def _refuse_other_key(bundle: Bundle, asked: Asked, where: str) -> None:
    keys, again = {key_hint(each): each for each in asked.keys}, _again(asked)
    if bundle.hint not in keys:
        raise Refused(
            f"{where}: expected a signature by key {_wanted(asked)}, as artifact.signed_by of "
            f"{asked.model} asks; found one by {shown_hint(bundle.hint)}",
            hint=f"{again}; or list that key in model.yaml, with the approvals of a rule",
        )
    if not is_signed(signed_bytes(bundle.payload), bundle.signature, keys[bundle.hint]):
        raise Refused(
            f"{where}: expected that key {shown_hint(bundle.hint)} signed this statement; "
            "found that it did not: statement or signature was changed",
            hint=again,
        )


def _wanted(asked: Asked) -> str:
    return " or ".join(sorted(shown_hint(key_hint(each)) for each in asked.keys))


def fetch_artifact(store: Store, digest: str, folder: Path, asked: Asked | None) -> Path:
    """The folder on this machine that holds the artifact, once its signature is checked.

    Args:
        store: The store.
        digest: The artifact's digest.
        folder: Where it is to be.
        asked: The signature that the policy asks for; None for none.

    Raises:
        YardError: As `Store.fetch_model` and `check_signature`.
        Refused: The store's files are not those that were signed.
    """
    if asked is None:
        return store.fetch_model(digest, folder)
    return store.fetch_model(digest, folder, signed=check_signature(store, digest, asked))


def read_artifact_file(store: Store, digest: str, name: str, asked: Asked | None) -> bytes:
    """One file of an artifact, once its bytes are those that were signed.

    Args:
        store: The store.
        digest: The artifact's digest.
        name: The file's name.
        asked: The signature that the policy asks for; None for none.

    Raises:
        CannotAnswer: The store is out of reach.
        Refused: As `check_signature`, or the file is another one.
    """
    if asked is None:
        return store.read_model_file(digest, name)
    signed = check_signature(store, digest, asked)
    content = store.read_model_file(digest, name)
    wanted = {name: signed[name]} if name in signed else {}
    if differing := find_differences(wanted, {name: hashlib.sha256(content).hexdigest()}):
        where = store.uri_of(f"models/{digest.removeprefix('sha256:')}")
        raise Refused(f"{where}: {differing[0]}", hint="restore it from a copy of the store")
    return content


def _again(asked: Asked) -> str:
    return (
        "if this artifact is the one that training made, whoever has the key runs: modelyard "
        f"signature sign {asked.model} {asked.version}"
    )
