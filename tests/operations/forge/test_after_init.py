"""The first days of a repository that `modelyard init` has set up on GitHub."""

from __future__ import annotations

import httpx
import pytest

from modelyard.operations.forge.setup import apply_setting, read_settings
from operations.hosted_yard import yard_on_github
from operations.yard import SHORT, new_yard

RULE = b"apiVersion: modelyard/v1\nkind: Repository\nforge: github\nforge_repository: acme/yard\n"


@pytest.fixture
def stage(fake_github, tmp_path, monkeypatch):
    for name in ("FORGE_TOKEN", "APP_ID", "APP_KEY_FILE", "APP_INSTALLATION"):
        monkeypatch.setenv(f"MODELYARD_{name}", "set by the yard")
    local = new_yard(tmp_path / "yard", SHORT)
    local.add_version("v1")
    made = yard_on_github(local, fake_github, tmp_path, app=True)
    settings = made.yard.settings
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", fake_github.add_person("olga", "admin"))
    for each in read_settings(settings, SHORT, as_person=True):
        if each.requests:
            apply_setting(settings, each)
    return made


def merge_on_the_page(stage, number, sha, by):
    return httpx.put(
        f"{stage.people.api}/repos/acme/yard/pulls/{number}/merge",
        json={"sha": sha},
        headers={"Authorization": f"token {stage.people.tokens[by]}"},
        timeout=30,
    ).status_code


@pytest.mark.slow
def test_the_first_approval_is_a_persons_and_promotions_are_merged_by_the_app(stage):
    yard, people = stage.yard, stage.people
    head = people.push("forge", {"modelyard.yaml": RULE}, "ann")
    number = people.open("forge", "ann")
    yard.rest()
    page = next(c.body for c in people.again().get(number).comments if c.marker.endswith("status"))
    assert "an approver: a review, or the line below" in page
    assert f"/approve {head}" in page
    # Statuses that ann sets herself count neither for modelyard nor for GitHub.
    for context in ("modelyard/checks", "modelyard/promote"):
        people.set_status(head, context, "ann")
    assert merge_on_the_page(stage, number, head, "ann") == 405

    for who in ("bob", "ada"):
        people.review(number, head, who)
    yard.rest()
    assert merge_on_the_page(stage, number, head, "ann") == 200

    # No person has reviewed the record: only the App may merge it, by its bypass.
    yard.finish("v1")
    yard.rest()
    releases = yard.workspace().catalog(yard.workspace().main()).releases
    assert [name for name, _ in releases] == ["staging"]
    assert people.again().unreadable() == ()
