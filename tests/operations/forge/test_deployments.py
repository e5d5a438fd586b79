from __future__ import annotations

from types import SimpleNamespace

import pytest

from modelyard.adapters.forge.github.check_runs import NAME
from modelyard.adapters.forge.hosted.api import Answered
from modelyard.operations.forge import deployments
from modelyard.operations.forge.deployments import keep_deployments
from modelyard.operations.rollback import apply_rollback, decide_rollback
from modelyard.operations.workspace import Workspace
from operations.hosted_yard import yard_on_github
from operations.yard import MODEL, SHORT, new_yard


@pytest.fixture
def stage(fake_github, tmp_path, monkeypatch):
    for name in ("FORGE_TOKEN", "APP_ID", "APP_KEY_FILE", "APP_INSTALLATION"):
        monkeypatch.setenv(f"MODELYARD_{name}", "set by the yard")
    local = new_yard(tmp_path / "yard", SHORT)
    local.add_version("v1")
    return yard_on_github(local, fake_github, tmp_path, app=True)


def states(fake):
    """The states of each deployment, by environment and version."""
    kept = fake.repository
    return {
        (each["environment"], each["payload"]["version"]): [
            status["state"] for status in kept.deployment_statuses[number]
        ]
        for number, each in kept.deployments.items()
    }


@pytest.mark.long
def test_an_app_shows_what_runs_where_and_a_bad_canary_as_failed(stage, caplog):
    yard, fake = stage.yard, stage.fake
    yard.rest()
    yard.finish("v1")
    yard.rest()
    assert states(fake) == {("staging", "v1"): ["in_progress", "success"]}

    yard.broken.add("v1")
    promotion = stage.pull(f"modelyard/promote/canary/{MODEL}")
    stage.people.review(promotion.number, promotion.head, "ann")
    yard.rest()

    assert yard.model_facts.holds
    found = states(fake)
    assert found["canary", "v1"][-1] == "failure"
    before = fake.calls("POST")
    yard.rest()
    assert fake.calls("POST") == before
    assert "is not shown" not in caplog.text


@pytest.mark.long
def test_what_a_person_took_out_is_shown_no_more(stage):
    yard, fake = stage.yard, stage.fake
    yard.rest()
    yard.finish("v1")
    yard.rest()
    workspace = yard.workspace()
    assert states(fake) == {("staging", "v1"): ["in_progress", "success"]}

    taken = decide_rollback(workspace, "staging", MODEL, reason="retired", by="ann", remove=True)
    apply_rollback(workspace, taken, yard.said.append)
    yard.rest()

    assert states(fake) == {("staging", "v1"): ["in_progress", "success", "inactive"]}
    before = fake.calls("POST")
    yard.rest()
    assert fake.calls("POST") == before


class Pulls:
    """A forge that answers each request with this status, and counts them."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.asked = 0

    def show_deployment(self, wanted) -> None:
        self.asked += 1
        raise Answered("POST /deployments: no", status=self.status)


@pytest.mark.parametrize(("status", "asked"), [(403, 1), (404, 1), (502, 2)])
def test_what_the_forge_forbids_stops_nothing_and_is_not_asked_for_again(
    monkeypatch, caplog, status, asked
):
    pulls = Pulls(status)
    workspace = Workspace(services=SimpleNamespace(pulls=pulls), facts=None, store=None)
    wanted = SimpleNamespace(
        environment="staging", model="m", release="a", commit="b", state="success"
    )
    monkeypatch.setattr(deployments, "find_deployments", lambda *_: (wanted,))

    for _ in range(2):
        keep_deployments(workspace, world=None, environments=())

    assert pulls.asked == asked
    assert "deployment staging m is not shown" in caplog.text


@pytest.mark.long
def test_what_is_wrong_with_a_spec_is_shown_at_its_line(stage):
    path = f"models/{MODEL}/model.yaml"
    text = stage.yard.git.read_file(stage.yard.main(), path).replace(
        b"kind: Model", b"kind: Muddle"
    )
    stage.people.push("wrong", {path: text}, "ann")
    number = stage.people.open("wrong", "ann")

    stage.yard.rest()

    (run,) = stage.fake.repository.check_runs.values()
    (note,) = stage.fake.repository.annotations[run["id"]]
    assert (run["name"], note["path"]) == (NAME, path)
    lines = text.decode().splitlines()
    assert lines[note["start_line"] - 1].startswith("kind:")
    pull = stage.people.again().get(number)
    assert str(pull.statuses["modelyard/checks"].state) == "failure"
    (comment,) = pull.comments
    assert "its author: the statuses of this page" in comment.body
    assert "This pull request changes rules." in comment.body
