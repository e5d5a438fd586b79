"""Labels that people delete and make again, while the tool runs."""

from __future__ import annotations

import pytest

from contract.stages import BOT, gitea_stage
from contract.test_pull_requests import change


@pytest.mark.parametrize("again", [True, False])
def test_a_label_that_was_deleted_is_set_on_the_next_pull_request_all_the_same(
    gitea_forge, tmp_path, monkeypatch, again
):
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", gitea_forge.token(BOT))
    stage = gitea_stage(gitea_forge, tmp_path)
    stage.pulls.propose(change())
    for row in stage.ask("GET", "/labels", None, "olga"):
        stage.ask("DELETE", f"/labels/{row['id']}", None, "olga")
        if again:
            stage.ask("POST", "/labels", {"name": row["name"], "color": "#ededed"}, "olga")

    other = change(branch="modelyard/promote/staging/m", documents={"docs/x.md": b"x"})
    pull = stage.pulls.propose(other)

    assert set(stage.again().get(pull.number).labels) == {"v2", "dev"}


def test_labels_that_the_forge_has_are_set_when_a_pull_request_is_opened(
    gitea_forge, tmp_path, monkeypatch
):
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", gitea_forge.token(BOT))
    stage = gitea_stage(gitea_forge, tmp_path)
    stage.pulls.propose(change())
    calls = stage.pulls.api.calls
    before = calls.copy()

    other = change(branch="modelyard/promote/staging/m", documents={"docs/x.md": b"x"})
    pull = stage.pulls.propose(other)

    assert set(stage.again().get(pull.number).labels) == {"v2", "dev"}
    assert {each for each in calls - before if not each.startswith("GET ")} == {"POST 201"}
    assert (calls - before)["POST 201"] == 1
