from __future__ import annotations

import hashlib
import json
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import CannotAnswer, Refused
from modelyard.runtime_measure import (
    Measured,
    applied_pins,
    installed_distributions,
    lock_pins,
    measure_runtime,
    refuse_other_runtime,
    unmet_pins,
)

LOCK = b"""\
# made by a person
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via pandas
numpy==9 ; python_full_version >= '4'
Typing_Extensions==4.1 --hash=sha256:cc
uvicorn[standard]==0.30
torch==2.9.1
--no-binary pandas
"""
FOUND = {"numpy": "2.4.6", "typing-extensions": "4.1", "uvicorn": "0.30", "torch": "2.9.1+cpu"}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_lock_is_met_by_exactly_its_versions_and_its_markers_count():
    assert list(unmet_pins(LOCK, FOUND)) == []
    assert list(unmet_pins(LOCK, {**FOUND, "more": "1"})) == []


def test_every_other_version_and_every_missing_one_is_named():
    del (found := {**FOUND, "numpy": "2.4.5"})["uvicorn"]

    assert list(unmet_pins(LOCK, found)) == [
        "numpy is 2.4.5, pinned 2.4.6",
        "uvicorn is missing, pinned 0.30",
    ]


def test_a_text_that_is_no_lock_is_named():
    with pytest.raises(Refused, match="'a b'"):
        list(unmet_pins(b"a b\n", {}))


@given(st.text().map(str.encode) | st.binary())
def test_whatever_the_text_it_is_read_or_refused(text: bytes):
    with suppress(Refused):
        assert all(isinstance(each, str) for each in unmet_pins(text, {}))


@pytest.mark.parametrize(
    "line",
    [
        *("-r other.txt", "-rother.txt", "--requirement=other.txt", "-c other.txt", "-e ."),
        *("--editable=git+https://example.org/x", "--constraint other.txt", "--config-settings a"),
        *("numpy", "numpy>=2", "numpy==2.*", "numpy==2,>1", "numpy~=2.0", "numpy!=1", "numpy<3"),
        *("./numpy.whl", "git+https://example.org/numpy", "\ufeffnumpy==2.4.6", "numpy==2.4.6\0"),
    ],
)
def test_a_line_that_its_digest_does_not_pin_is_refused_and_named(line):
    text = f"torch==2.9.1 --hash=sha256:aa\n{line} --hash=sha256:aa\n".encode()
    for read in (lock_pins, applied_pins):
        with pytest.raises(Refused) as refused:
            read(text)
        assert hashlib.sha256(text).hexdigest()[:12] in refused.value.message
        assert repr(line) in refused.value.message
        assert "modelyard runtime lock" in (refused.value.hint or "")


@pytest.mark.parametrize(
    "text",
    [
        *("", "# nothing\n", "--index-url https://example.org/simple\n", "\r\n\r\n"),
        "numpy==2.4.6 ; python_version < '3' --hash=sha256:aa\n",
        "numpy==2.4.6 ; sys_platform == 'none'\ntorch==1 ; extra == 'x'\n",
    ],
)
def test_a_lock_that_pins_nothing_here_is_refused(text):
    with pytest.raises(Refused, match="pins nothing on this machine"):
        list(unmet_pins(text.encode(), FOUND))
    with pytest.raises(Refused, match="pins nothing on this machine"):
        refuse_other_runtime(sha(text), text.encode(), FOUND, where="/here")


def test_a_lock_with_line_ends_of_another_system_is_the_same():
    assert list(unmet_pins(LOCK.replace(b"\n", b"\r\n"), FOUND)) == []
    assert list(unmet_pins(LOCK.replace(b"\n", b"\r\n"), {})) == list(unmet_pins(LOCK, {}))


def test_where_packages_come_from_may_be_said():
    lines = b"--index-url https://example.org/simple\n-f wheels\n--only-binary=:all:\n--pre\nx==1\n"
    assert [str(pin) for pin in lock_pins(lines)] == ["x==1"]


def test_another_lock_than_the_pinned_is_refused_with_both():
    with pytest.raises(Refused) as error:
        refuse_other_runtime("a" * 64, b"x==1\n", {}, where="/here")

    assert f"its lock is {sha('x==1' + chr(10))[:12]}..., the version pins {'a' * 12}..." in str(
        error.value
    )


def test_other_packages_than_the_lock_pins_are_refused_and_the_first_are_named():
    lock = "".join(f"p{number}==1\n" for number in range(9))

    with pytest.raises(Refused, match=r"p0 is missing, pinned 1; .* and 4 more") as error:
        refuse_other_runtime(sha(lock), lock.encode(), {}, where="/here")
    assert sha(lock)[:12] in str(error.value)


def test_what_is_measured_is_what_is_installed_here(tmp_path: Path):
    found = installed_distributions(sys.path)
    lock = f"numpy=={found['numpy']}\n"
    (tmp_path / "lock").write_text(lock)

    measured = measure_runtime(sha(lock), tmp_path / "lock")

    assert measured == Measured(
        lock=sha(lock), python=sys.version.partition(" ")[0], distributions=found
    )
    assert json.loads(measured.to_evidence())["distributions"]["numpy"] == found["numpy"]


def test_an_interpreter_without_a_lock_cannot_say_what_it_is(tmp_path: Path):
    with pytest.raises(CannotAnswer, match="nobody knows what runs here"):
        measure_runtime("a" * 64, tmp_path / "lock")
