from __future__ import annotations

from dataclasses import replace

from modelyard.domain.specs.record import MeasuredRuntime
from unit.domain.checks.small_catalog import GOOD, RECORD, RELEASE, THREE, TWO, said


def measured(lock: str) -> MeasuredRuntime:
    return MeasuredRuntime(lock=lock, distributions=f"sha256:{TWO}", python="3.11.7")


def test_a_record_of_another_runtime_than_its_version_pins_is_refused():
    record = replace(RECORD, runtime=measured(TWO))
    found = said(replace(GOOD, records={("m", "v1"): record}))

    message = f"it ran in lock {TWO}, but the version pins {THREE}"
    assert ("recorded-runtimes-are-the-pinned", "models/m/records/v1.yaml", message) in [
        (check, file if file.startswith("models/") else f"models/m/{file}", text)
        for check, file, text in found
    ]


def test_a_release_names_the_lock_that_its_record_measured():
    record = replace(RECORD, runtime=measured(THREE))
    catalog = replace(GOOD, records={("m", "v1"): record})
    right = {("dev", "m"): replace(RELEASE, lock=THREE)}
    for releases, found in (
        (right, []),
        ({("dev", "m"): RELEASE}, ["none"]),
        ({("dev", "m"): replace(RELEASE, lock=TWO)}, [TWO]),
    ):
        messages = [text for _, _, text in said(replace(catalog, releases=releases))]
        assert messages == [
            f"lock is {each}, but models/m/records/v1.yaml says {THREE}" for each in found
        ]
