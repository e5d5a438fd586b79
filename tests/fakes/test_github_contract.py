from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fakes.clients import Api
from fakes.github.contract import SLICE, BrokenContract, check_answer, check_request, find_operation
from fakes.github.contract.reslice import sliced, text_of
from fakes.github.routing import ROUTES

PULLS = "/repos/acme/yard/pulls"


def test_the_slice_is_what_is_cut_from_the_package_again():
    package = os.environ.get("OCTOKIT_OPENAPI")
    if not package:
        pytest.skip("OCTOKIT_OPENAPI names no folder of @octokit/openapi 23.0.2")
    whole = Path(package) / "generated" / "api.github.com.json"
    assert text_of(sliced(json.loads(whole.read_text()))) == SLICE.read_text()


def test_the_slice_is_small_and_names_its_licence():
    assert SLICE.stat().st_size <= 250_000
    notice = (SLICE.parent / "NOTICE").read_text()
    assert "@octokit/openapi 23.0.2" in notice
    assert "MIT License" in notice


def test_every_route_of_the_fake_is_in_the_slice():
    paths = json.loads(SLICE.read_text())["paths"]
    unknown = [(method, path) for method, path in ROUTES if method.lower() not in paths[path]]
    assert unknown == []


@pytest.mark.parametrize(
    ("method", "path", "body", "problem"),
    [
        ("GET", "/repos/acme/yard/pulls/1/nothing", None, "has no such operation"),
        ("GET", f"{PULLS}?states=all", None, "there is no parameter states"),
        ("GET", f"{PULLS}?state=merged", None, "state: it"),
        ("GET", f"{PULLS}?per_page=many", None, "per_page: it"),
        ("GET", f"{PULLS}/first", None, "pull_number: it"),
        ("POST", PULLS, {"title": "x", "base": "main"}, '"head" is a required property'),
        ("POST", PULLS, {"head": 1, "base": "main"}, "head"),
        ("POST", PULLS, {"head": "b", "base": "main", "label": "x"}, "has no property label"),
        ("POST", PULLS, None, "the body is missing"),
        ("PUT", f"{PULLS}/1/merge", {"merge_method": "fast"}, "merge_method"),
    ],
)
def test_a_request_that_is_none_of_githubs_fails_the_test(fake_github, method, path, body, problem):
    api = Api(fake_github, fake_github.add_person("ada"))
    assert api(method, path, body).status_code in {404, 422}
    api.close()
    with pytest.raises(AssertionError, match=problem):
        fake_github.verify()
    fake_github.verify()  # once


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"sha": "1" * 40}),
        (200, {"sha": None, "merged": True, "message": ""}),
        (200, None),
        (409, {"message": 1}),
        (204, None),
    ],
)
def test_an_answer_that_breaks_the_document_is_found(status, body):
    operation, _ = find_operation("PUT", f"{PULLS}/1/merge")
    with pytest.raises(BrokenContract):
        check_answer(operation, status, body)


def test_a_branch_with_slashes_is_one_name():
    operation, names = find_operation("GET", "/repos/acme/yard/branches/promote/wine/dev")
    assert names["branch"] == "promote/wine/dev"
    check_request(operation, names, query={}, body=b"")
    _, names = find_operation("GET", "/repos/acme/yard/commits/a%2Fb/status")
    assert names["ref"] == "a/b"
