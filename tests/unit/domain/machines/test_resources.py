from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.machines.resources import Resources, parse_bytes, parse_cpus, quantity_faults


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500m", 0.5), ("2", 2.0), ("1.5", 1.5), ("0.25", 0.25), ("1m", 0.001)],
)
def test_cpus_are_read_as_kubernetes_reads_them(text: str, expected: float):
    assert parse_cpus(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("64Mi", 64 * 1024**2),
        ("4Gi", 4 * 1024**3),
        ("1.5Gi", 3 * 512 * 1024**2),
        ("2G", 2 * 10**9),
        ("100k", 100_000),
    ],
)
def test_bytes_are_read_as_kubernetes_reads_them(text: str, expected: int):
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "0", "0m", "-1", "1e3", "two", "1.5m", "1 ", "\uff11"])
def test_what_is_no_number_of_cpus_is_refused(text: str):
    with pytest.raises(ValueError, match="CPUs"):
        parse_cpus(text)


@pytest.mark.parametrize(
    "text", ["", "4", "4096", "512m", "4 Gi", "4GB", "-4Gi", "4gi", "\uff14Gi"]
)
def test_a_size_without_a_unit_of_bytes_is_refused(text: str):
    with pytest.raises(ValueError, match="is no size with its unit"):
        parse_bytes(text)


@given(st.text(max_size=12))
def test_no_text_is_read_as_a_negative_or_broken_quantity(text: str):
    resources = Resources(cpu=text, memory=text, ephemeral_storage=text)
    faults = quantity_faults(resources, of_trainer=True)
    if "cpu" not in faults:
        assert parse_cpus(text) > 0
    if "memory" not in faults:
        assert parse_bytes(text) >= 64 * 1024**2
    if "ephemeral_storage" not in faults:
        assert parse_bytes(text) >= 16 * 1024**2
    assert {"cpu", "memory"} & set(faults)  # nothing is both


def test_too_little_memory_for_python_is_taken_for_a_mistake():
    assert quantity_faults(Resources(memory="4Mi")) == {
        "memory": "4Mi is less than any Python process needs: write at least 64Mi"
    }
    assert quantity_faults(Resources(memory="4Gi", cpu="2", ephemeral_storage="1Gi")) == {}


@pytest.mark.parametrize("text", ["0Gi", "0.000Gi", "1Ki", "15.9Mi", "16M"])
def test_no_room_for_files_is_taken_for_a_mistake_and_not_for_the_default(text: str):
    assert quantity_faults(Resources(ephemeral_storage=text), of_trainer=True) == {
        "ephemeral_storage": f"{text} is no room for a model and its log: write at least 16Mi"
    }
