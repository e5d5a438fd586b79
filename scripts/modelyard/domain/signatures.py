"""What a signature says of an artifact, in the format of OpenSSF Model Signing 1.0.

A Sigstore bundle holds an in-toto statement: the files of one model, each with its SHA-256. The
bundle is signed by a key on the curve P-256; `model_signing verify key` reads the same file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.domain.specs.model import Model

_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_LINE = 64
_SHOWN = 12
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


class MalformedSignature(ValueError):  # noqa: N818 - reads as what it is
    """A file is no signature in this format."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The signature that a model's policy asks for.

    Args:
        model: The model.
        version: The version that the artifact must have been signed for.
        keys: Public keys, one of which must have signed: what a PEM file has between its first and
            last line.
    """

    model: str
    version: str
    keys: tuple[str, ...]

    @property
    def subject(self) -> str:
        """What the signature names, which no name of a model or version can contain."""
        return subject_of(self.model, self.version)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A signature as it is kept, before anything in it is believed.

    Args:
        payload: The signed statement.
        signature: The signature of it.
        hint: Which key signed, as `key_hint`.
    """

    payload: bytes
    signature: bytes
    hint: str


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What was signed.

    Args:
        subject: Whose artifact it is.
        files: The SHA-256 of each file of it, by name.
    """

    subject: str
    files: Mapping[str, str]


def asked_signature(model: Model, version: str) -> Asked | None:
    """The signature that a model's policy asks for; None if it asks for none."""
    keys = model.artifact.signed_by
    return Asked(model=model.name, version=version, keys=keys) if keys else None


def subject_of(model: str, version: str) -> str:
    """What the signature of a version's artifact names."""
    return f"{model}@{version}"


def public_pem(key: str) -> bytes:
    """A public key as a PEM file."""
    lines = [key[start : start + _LINE] for start in range(0, len(key), _LINE)]
    return "\n".join(
        ["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""]
    ).encode()


def key_hint(key: str) -> str:
    """The SHA-256 by which bundles name a public key."""
    return hashlib.sha256(public_pem(key)).hexdigest()


def shown_hint(hint: str) -> str:
    """The beginning of a hint, for people."""
    return f"{hint[:_SHOWN]}..." if len(hint) > _SHOWN else hint or "no key"


def describe_signer(hint: str, model: Model | None = None) -> str:
    """Who signed an artifact when it was trained; with a model, also whether it asks for that key.

    Args:
        hint: The key, as `key_hint` names it.
        model: The model as it is now.
    """
    told = f"signed in training by the key {shown_hint(hint)}"
    if model is None or not (keys := model.artifact.signed_by):
        return told
    is_listed = hint in map(key_hint, keys)
    return f"{told}, which artifact.signed_by {'lists' if is_listed else 'does not list'}"


def signed_bytes(payload: bytes) -> bytes:
    """What is signed of a payload: its type and length too (DSSE)."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD), _PAYLOAD.encode(), len(payload), payload)


def write_statement(statement: Statement) -> bytes:
    """The payload of a signature."""
    resources = [
        {"name": name, "algorithm": "sha256", "digest": digest}
        for name, digest in sorted(statement.files.items())
    ]
    document = {
        "_type": _STATEMENT,
        "subject": [{"name": statement.subject, "digest": {"sha256": _root(resources)}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [],
            },
            "resources": resources,
        },
    }
    return json.dumps(document, indent=1).encode()


def read_statement(payload: bytes) -> Statement:
    """What a payload says, once its signature is found to be right.

    Raises:
        MalformedSignature: It says nothing about files, or contradicts itself.
    """
    try:
        document = json.loads(payload)
        kinds = document["_type"], document["predicateType"]
        _require(kinds == (_STATEMENT, _PREDICATE), "it states no files of a model")
        (subject,) = document["subject"]
        resources = document["predicate"]["resources"]
        same = _root(resources) == subject["digest"]["sha256"]
        _require(same, "its list of files has another digest than it names")
        files = {str(each["name"]): str(each["digest"]) for each in resources}
        _require(len(files) == len(resources), "it lists a file twice")
        hashed = all(each["algorithm"] == "sha256" for each in resources)
        _require(hashed, "it lists a file without its SHA-256")
        return Statement(subject=str(subject["name"]), files=files)
    except MalformedSignature:
        raise
    except _MALFORMED as error:
        raise MalformedSignature(f"its statement cannot be read: {error}") from error


def write_bundle(bundle: Bundle) -> bytes:
    """A signature as it is kept."""
    document = {
        "mediaType": _BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": bundle.hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(bundle.payload).decode(),
            "payloadType": _PAYLOAD,
            "signatures": [{"sig": base64.b64encode(bundle.signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(document).encode()


def read_bundle(content: bytes) -> Bundle:
    """A signature from its file; nothing in it is believed yet.

    Raises:
        MalformedSignature: It is none, or one by other means than a key.
    """
    try:
        document = json.loads(content)
        envelope = document["dsseEnvelope"]
        kinds = document["mediaType"], envelope["payloadType"]
        _require(kinds == (_BUNDLE, _PAYLOAD), "it is no Sigstore bundle of an in-toto statement")
        (signature,) = envelope["signatures"]
        return Bundle(
            payload=_decoded(envelope["payload"]),
            signature=_decoded(signature["sig"]),
            hint=str(document["verificationMaterial"]["publicKey"]["hint"]),
        )
    except MalformedSignature:
        raise
    except _MALFORMED as error:
        raise MalformedSignature(f"it cannot be read: {error}") from error


def find_differences(signed: Mapping[str, str], found: Mapping[str, str]) -> tuple[str, ...]:
    """How the files of a folder differ from those that were signed, in words."""
    words = []
    for name in sorted({*signed, *found}):
        wanted, present = signed.get(name), found.get(name)
        if wanted is None:
            words.append(f"{name} is extra: expected no such file, found SHA-256 {present}")
        elif present is None:
            words.append(f"{name} is missing: expected SHA-256 {wanted}, found no such file")
        elif wanted != present:
            words.append(f"{name} is another one: expected SHA-256 {wanted}, found {present}")
    return tuple(words)


def _require(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - the one question it answers
    if not holds:
        raise MalformedSignature(otherwise)


def _root(resources: list[dict[str, Any]]) -> str:
    found = hashlib.sha256()
    for each in resources:
        found.update(bytes.fromhex(each["digest"]))
    return found.hexdigest()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise MalformedSignature(f"it is not base64: {error}") from error
