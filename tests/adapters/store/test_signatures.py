"""Signatures as OpenSSF Model Signing writes them; `make test-frameworks` asks its own program."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.adapters.store.signing_keys import is_signed
from modelyard.domain.signatures import (
    MalformedSignature,
    Statement,
    key_hint,
    read_bundle,
    read_statement,
    signed_bytes,
    write_bundle,
    write_statement,
)

# Made by model-signing 1.1.1 of a folder m@v1 with the files a/f and g.
THEIRS = Path(__file__).with_name("signature_of_model_signing.json").read_bytes()
KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEOHuCrUxsAqDJWhvjuc4Lwd80Avq7PsZU7+meGWjusaqry9vRUr2k/HHR"
    "1985jjXe+gpgtvz/BCkGTCBGOj03RA=="
)


def test_a_signature_of_the_reference_program_is_read_and_found_right():
    bundle = read_bundle(THEIRS)
    statement = read_statement(bundle.payload)

    assert bundle.hint == key_hint(KEY)
    assert is_signed(signed_bytes(bundle.payload), bundle.signature, KEY)
    assert statement.subject == "m@v1"
    assert sorted(statement.files) == ["a/f", "g"]
    assert read_bundle(write_bundle(bundle)) == bundle


def test_what_is_written_is_read_again():
    statement = Statement(subject="m@v1", files={"b": "0" * 64, "a": "1" * 64})

    assert read_statement(write_statement(statement)) == statement


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"dsseEnvelope": 1}', b"[" * 9999]
)
def test_what_is_no_signature_is_malformed(content):
    with pytest.raises(MalformedSignature):
        read_bundle(content)
    with pytest.raises(MalformedSignature):
        read_statement(content)


@pytest.mark.parametrize(("name", "digest"), [("a", "1" * 64), ("c", "xyz"), ("c", None)])
def test_a_statement_that_contradicts_itself_is_malformed(name, digest):
    written = write_statement(Statement(subject="m@v1", files={"a": "0" * 64, "b": "0" * 64}))
    odd = written.replace(b'"b"', f'"{name}"'.encode(), 1)
    other = f'"{digest}"'.encode() if digest else b"null"
    odd = odd.replace(b'"' + b"0" * 64 + b'"', other, 1) if name == "c" else odd

    with pytest.raises(MalformedSignature):
        read_statement(odd)


def test_a_key_that_is_no_point_of_the_curve_signed_nothing():
    assert not is_signed(b"", b"", KEY[:36] + "A" * 86 + "==")
