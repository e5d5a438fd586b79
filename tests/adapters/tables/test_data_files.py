from __future__ import annotations

import pytest

from modelyard.adapters.tables.data_files import data_address, read_uri, sha256_of
from modelyard.errors import CannotAnswer


def test_a_relative_address_is_below_the_data_root(tmp_path):
    assert data_address("a.csv", base="data", root=tmp_path) == f"{tmp_path}/data/a.csv"
    assert data_address("a.csv", base="s3://b/data/", root=tmp_path) == "s3://b/data/a.csv"
    assert data_address("s3://c/a.csv", base="data", root=tmp_path) == "s3://c/a.csv"
    assert data_address("a.csv", base="/data", root=tmp_path) == "/data/a.csv"


def test_data_comes_by_its_address_or_is_out_of_reach(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_bytes(b"x\n1\n")

    assert read_uri("a.csv", base="data", root=tmp_path) == b"x\n1\n"
    for uri in ("b.csv", "nothing://a.csv"):
        with pytest.raises(CannotAnswer, match=f"^{uri}: out of reach at "):
            read_uri(uri, base="data", root=tmp_path)


def test_a_sha256_is_lower_case_hexadecimal():
    assert sha256_of(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
