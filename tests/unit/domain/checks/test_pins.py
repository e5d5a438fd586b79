from __future__ import annotations

from dataclasses import replace

import pytest

from modelyard.domain.checks import find_problems
from modelyard.domain.problem import Problem
from modelyard.domain.specs.record import Record
from modelyard.domain.specs.repository import Repository
from modelyard.domain.specs.version import DataFile
from unit.domain.checks.small_catalog import (
    GOOD,
    MODEL,
    ONE,
    RECORD,
    RELEASE,
    THREE,
    TWO,
    said,
    with_model,
    with_pending,
    with_training,
)

COPY = "copy the file below `data` of modelyard.yaml and write its path from there"
LEAVES = f"leaves its folder with `..`: {COPY}"


@pytest.mark.parametrize(
    ("uri", "fault"),
    [
        ("memory://a", "has protocol memory: use a relative path, file, s3, gs, https"),
        ("http://a/b", "has protocol http: use a relative path, file, s3, gs, https"),
        ("data:text/plain,x", "has protocol data: use a relative path, file, s3, gs, https"),
        ("zip://a::s3://b", "chains file systems with `::`: use one"),
        ("simplecache::s3://b", "chains file systems with `::`: use one"),
        ("../secret", LEAVES),
        ("a/../../b", LEAVES),
        ("s3://bucket/../b", "leaves its folder with `..`"),
        ("a\\..\\b", LEAVES),
        (
            "/etc/passwd",
            f"is a path of one machine: {COPY}",
        ),
        (
            "~/x",
            f"is a path of one machine: {COPY}",
        ),
        ("a/*.parquet", "has a wildcard: a pin is of one file"),
        (
            "https://ada:secret@example.org/x",
            "has credentials, which everybody who can read the repository could use",
        ),
        ("a\u202eb", "has invisible characters"),
        ("a ", "has invisible characters"),
    ],
)
def test_refuses_an_address_that_is_not_plain(uri: str, fault: str):
    catalog = with_training(files=(DataFile(uri=uri, sha256=ONE),))
    assert said(catalog) == [("uris-are-allowed", "versions/v2.yaml", f"{uri!r} {fault}")]


@pytest.mark.parametrize(
    "uri",
    ["a.parquet", "a b/c", "s3://b/a@1", "gs://b/a", "a..b", "https://a.org/b?c=1", "100%.csv"],
)
def test_accepts_a_plain_address(uri: str):
    assert said(with_training(files=(DataFile(uri=uri, sha256=ONE),))) == []


ONE_MACHINE = f"is a path of one machine: {COPY}, or list its folder in `data_roots` there"
ENCODED = "has a dot or a slash in percent-encoding: write the character"


@pytest.mark.parametrize(
    ("uri", "fault"),
    [
        ("file:///etc/passwd", ONE_MACHINE),
        ("file:///mnt/rides-of-others/a.csv", ONE_MACHINE),
        ("file:///mnt", ONE_MACHINE),
        ("file://localhost/etc/passwd", ONE_MACHINE),
        ("file://mnt/rides/a.csv", ONE_MACHINE),
        ("file:///mnt/rides/../../etc/passwd", "leaves its folder with `..`"),
        ("file:///mnt/rides/%2e%2e/passwd", ENCODED),
        ("file:///mnt/rides/%2E%2E%2fpasswd", ENCODED),
        ("a/%2e%2e/b.csv", ENCODED),
        ("s3://bucket/%2e%2e/b.csv", ENCODED),
        ("FILE:///etc/passwd", "has protocol FILE: use a relative path, file, s3, gs, https"),
        ("File:///etc/passwd", "has protocol File: use a relative path, file, s3, gs, https"),
        ("file:/etc/passwd", "has protocol file: use a relative path, file, s3, gs, https"),
        ("https://169.254.169.254/a", "is in no place of `data_roots` in modelyard.yaml: "
         "file:///mnt/rides/, s3://team/"),
        ("s3://teammate/a", "is in no place of `data_roots` in modelyard.yaml: "
         "file:///mnt/rides/, s3://team/"),
    ],
)  # fmt: skip
def test_a_file_of_a_machine_is_read_only_where_the_settings_say(uri: str, fault: str):
    places = Repository(data_roots=("file:///mnt/rides/", "s3://team/"))
    catalog = replace(with_training(files=(DataFile(uri=uri, sha256=ONE),)), repository=places)
    if uri.startswith("s3://bucket"):
        catalog = replace(catalog, repository=Repository())
    assert ("uris-are-allowed", "versions/v2.yaml", f"{uri!r} {fault}") in said(catalog)


@pytest.mark.parametrize(
    ("uri", "places"),
    [
        ("file:///mnt/rides/2026/a.csv", Repository(data_roots=("file:///mnt/rides",))),
        ("file:///mnt/rides/a.csv", Repository(data="file:///mnt/rides/")),
        ("file:///mnt/rides/a.csv", Repository(data="/mnt/rides")),
        ("s3://team/a.csv", Repository(data_roots=("s3://team/",))),
        ("s3://team/a.csv", Repository(data="s3://team/", data_roots=())),
    ],
)
def test_what_the_settings_name_may_be_read(uri: str, places: Repository):
    catalog = with_training(files=(DataFile(uri=uri, sha256=ONE),))
    assert said(replace(catalog, repository=places)) == []


def test_a_feed_may_hold_wildcards_but_not_leave():
    assert said(with_model(data=replace(MODEL.data, feed="s3://b/*/[0-9].parquet"))) == []
    assert said(with_model(data=replace(MODEL.data, feed="../*"))) == [
        ("uris-are-allowed", "model.yaml", f"'../*' {LEAVES}")
    ]


def test_refuses_one_address_with_two_contents():
    catalog = with_training(files=(DataFile(uri="data/spring.parquet", sha256=THREE),))
    assert list(find_problems(catalog)) == [
        Problem(
            file="models/m/versions/v2.yaml",
            path=("data", "files", 0, "sha256"),
            message=(
                "data/spring.parquet is pinned as 333333333333... here and as 111111111111... in "
                "models/m/versions/v1.yaml: data that changed needs a new name"
            ),
            check="a-file-has-one-content",
            involves=("models/m/versions/v1.yaml",),
        )
    ]


def test_refuses_a_spec_that_changed_after_its_record():
    catalog = replace(GOOD, digests={**GOOD.digests, ("m", "v1"): TWO})
    assert said(catalog) == [
        (
            "recorded-versions-never-change",
            "versions/v1.yaml",
            "v1 has a record, so its spec cannot change: put it back as it was, and "
            "add a new version",
        )
    ]


def test_a_set_that_was_looked_at_stays():
    catalog = replace(with_pending(held_out=()), held_out={})
    assert said(catalog) == [
        (
            "held-out-sets-exist",
            "versions/v1.yaml",
            "there is no held-out set april: models/m/heldout/april.yaml is missing",
        ),
        (
            "recorded-held-out-sets-exist",
            "records/v1.yaml",
            "held-out set april is gone: restore models/m/heldout/april.yaml, or retire it",
        ),
    ]


@pytest.mark.parametrize(
    ("changes", "records", "message"),
    [
        ({"version": "v2"}, {("m", "v1"): RECORD}, "version v2 has no record: models/m/records/v2"),
        (
            {},
            {("m", "v1"): replace(RECORD, artifact=None)},
            "version v1 has no trained model: see models/m/records/v1.yaml",
        ),
        (
            {"artifact": f"sha256:{TWO}"},
            {("m", "v1"): RECORD},
            f"artifact is sha256:{TWO}, but models/m/records/v1.yaml says sha256:{ONE}",
        ),
    ],
)
def test_refuses_a_release_of_what_no_record_speaks_of(
    changes: dict[str, str], records: dict[tuple[str, str], Record], message: str
):
    releases = {("dev", "m"): replace(RELEASE, **changes)}
    found = said(replace(GOOD, releases=releases, records=records))
    assert [(check, file) for check, file, _ in found] == [
        ("releases-run-recorded-artifacts", "environments/dev/releases/m.yaml")
    ]
    assert found[0][2].startswith(message)
