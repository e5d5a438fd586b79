"""Keys that sign artifacts: private ones in files that only their owner reads."""

from __future__ import annotations

import base64
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.domain.signatures import public_pem
from modelyard.errors import CannotAnswer, Refused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

SIGNING_KEY = "MODELYARD_SIGNING_KEY"
"""The environment variable with the path of the private key; never the key."""

_MOST_BYTES = 1 << 16
_FOR_OTHERS = stat.S_IRWXO
_NEW = "make one with: modelyard signature new-key FILE"


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """A private key.

    Args:
        public: Its public key, as in `artifact.signed_by`.
    """

    public: str
    _private: EllipticCurvePrivateKey = field(repr=False, compare=False)

    def sign(self, content: bytes) -> bytes:
        """The signature of these bytes."""
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        return self._private.sign(content, ECDSA(SHA256()))


def write_key(path: Path) -> str:
    """Write a new private key that only this user reads; returns its public key.

    Raises:
        CannotAnswer: The file cannot be written.
        Refused: There is a file already.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    private = generate_private_key(SECP256R1())
    content = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        _make_folder(path.absolute().parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except FileExistsError as error:
        raise Refused(
            f"{path} is there already, and may be a key in use", hint="name another file"
        ) from error
    except OSError as error:
        raise CannotAnswer(
            f"{path}: cannot be written: {error.strerror or error}",
            hint="name a file in a folder that you may write to, such as "
            "~/.config/modelyard/signing.pem",
        ) from error
    return _public(private)


def read_key(path: Path) -> SigningKey:
    """The private key in a file.

    Raises:
        CannotAnswer: It cannot be read, is no key on P-256, or everybody on this machine reads it.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        with path.open("rb") as file:
            mode, content = os.fstat(file.fileno()).st_mode, file.read(_MOST_BYTES)
    except OSError as error:
        raise CannotAnswer(
            f"signing key {path}: cannot be read: {error.strerror or error}", hint=_NEW
        ) from error
    if mode & _FOR_OTHERS:
        raise CannotAnswer(
            f"signing key {path}: its mode is {stat.S_IMODE(mode):04o}, so all users of this "
            "machine reach it; the most is 0660",
            hint=f"chmod 600 {path}, and make a new key if somebody may have read it",
        )
    try:
        private = load_pem_private_key(content, None)
    except Exception as error:  # of OpenSSL too; its text might quote the file, so it is left out
        raise CannotAnswer(
            f"signing key {path}: is no private key in PEM without a password", hint=_NEW
        ) from error
    if not isinstance(private, EllipticCurvePrivateKey) or not isinstance(private.curve, SECP256R1):
        raise CannotAnswer(f"signing key {path}: is not a key on the curve P-256", hint=_NEW)
    return SigningKey(public=_public(private), _private=private)


def is_signed(content: bytes, signature: bytes, key: str) -> bool:
    """Whether a public key's owner signed these bytes."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        public = load_pem_public_key(public_pem(key))
        if not isinstance(public, EllipticCurvePublicKey):
            return False
        public.verify(signature, content, ECDSA(SHA256()))
    except (InvalidSignature, ValueError):  # the latter if the key is no point of the curve
        return False
    return True


def _make_folder(folder: Path) -> None:
    """Make what is missing of a path, for its owner alone."""
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _public(private: EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives import serialization

    content = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(content).decode()
