"""Versions of a model on their way to production and back, with a real Gitea as the forge.

Training, servers and traffic are those of the tests' yard; everything of the forge is real.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import pytest

from contract.stages import BOT, HostedStage, checkout, settled
from e2e.forge.site import Site
from modelyard.adapters.specs.documents import dump_spec
from modelyard.domain.promotion.change import parse_branch
from modelyard.domain.promotion.pulls import STATUS_COMMENT, PullState
from modelyard.domain.specs.repository import ForgeKind, Repository
from modelyard.operations.history import read_history
from modelyard.operations.hosted_forges import build_forge
from operations.hosted_yard import HostedYard
from operations.yard import MODEL, SHORT, new_yard, spec, spec_file


@dataclass
class Stage:
    """A yard on Gitea, and people who use its API."""

    yard: HostedYard
    people: HostedStage

    def pull(self, branch: str):
        found = [p for p in self.people.again().open() if p.branch == branch]
        assert found, "\n".join([branch, *self.yard.said])
        return found[-1]

    def approve(self, environment: str, by: str) -> float:
        """Approve a promotion on the forge; returns the seconds until it is merged."""
        pull = settled(self.people, self.pull(f"modelyard/promote/{environment}/{MODEL}"))
        self.people.review(pull.number, pull.head, by)
        began = time.monotonic()
        self.yard.rest()
        return time.monotonic() - began

    def add_version(self, version: str, by: str) -> None:
        """Propose a version as a person, who merges it once the tool says that it may be."""
        text = dump_spec("ModelVersion", spec(version))
        head = self.people.push(f"add-{version}", {spec_file(version): text}, by)
        number = self.people.open(f"add-{version}", by)
        self.yard.rest()
        self.people.merge(number, head, by)

    def release(self, environment: str) -> str | None:
        workspace = self.yard.workspace()
        catalog = workspace.catalog(workspace.main())
        found = catalog.releases.get((environment, MODEL))
        return found.version if found else None


@pytest.fixture
def stage(gitea_forge: Site, tmp_path, monkeypatch):
    local = new_yard(tmp_path / "yard", SHORT)
    local.add_version("v1")
    repository = gitea_forge.new_repository(local.folder / "remote.git")
    repository.protect_main(statuses=["modelyard/checks", "modelyard/promote"])
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", gitea_forge.token(BOT))
    settings = Repository(
        forge=ForgeKind.GITEA,
        forge_uri=f"{gitea_forge.url}/api/v1",
        forge_repository=f"acme/{repository.name}",
        bot=BOT,
    )
    local.git.run("remote", "set-url", "origin", repository.clone_url(BOT))
    yard = HostedYard(folder=local.folder, environments=SHORT, settings=settings)
    pulls, desk = build_forge(yard.git, settings, yard.clock)
    people = HostedStage(
        git=checkout(tmp_path / "people", repository.clone_url(BOT)),
        pulls=pulls,
        desk=desk,
        repository=settings,
        tokens={name: gitea_forge.token(name) for name in (BOT, "ann", "bob")},
        urls={name: repository.clone_url(name) for name in ("ann", "bob")},
        api=f"{gitea_forge.url}/api/v1",
        folder=tmp_path,
        words={True: "APPROVED", False: "REQUEST_CHANGES"},
    )
    assert os.environ["MODELYARD_FORGE_TOKEN"]
    return Stage(yard=yard, people=people)


def test_a_version_reaches_production_by_approvals_and_a_bad_one_goes_back_by_itself(stage):
    yard = stage.yard
    yard.rest()
    yard.finish("v1")
    yard.rest()
    assert (stage.release("staging"), stage.release("canary")) == ("v1", None)

    promotion = stage.pull(f"modelyard/promote/canary/{MODEL}")
    (page,) = (each.body for each in promotion.comments if each.marker == STATUS_COMMENT)
    assert f"/approve {promotion.head}" in page
    seconds = stage.approve("canary", "ann")
    assert stage.release("canary") == "v1"
    # ann is none of production's approvers.
    stage.approve("production", "ann")
    assert stage.release("production") is None
    stage.approve("production", "bob")
    assert stage.release("production") == "v1"

    stage.add_version("v2", "ann")
    yard.rest()
    yard.finish("v2", champion="v1")
    yard.broken.add("v2")
    yard.rest()
    # ann wrote v2, so her approval does not count.
    stage.approve("canary", "ann")
    assert stage.release("canary") == "v1"
    assert "v2" not in yard.model_facts.holds
    stage.approve("canary", "bob")

    assert (stage.release("canary"), stage.release("production")) == ("v1", "v1")
    assert "v2" in yard.model_facts.holds
    closed = stage.people.again().closed()
    back = [p for p in closed if (b := parse_branch(p.branch)) and b.purpose == "rollback"]
    assert {str(parse_branch(p.branch).subject) for p in back} == {"canary", "staging"}
    assert all((p.state, str(p.author)) == (PullState.MERGED, BOT) for p in back)
    events = [event.what for event in read_history(yard.workspace(), MODEL).events]
    assert any("canary" in what for what in events)
    print(f"{seconds:.1f} s from an approval to merged and observed")  # noqa: T201
