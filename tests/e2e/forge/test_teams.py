"""Teams of a real forge, as approvers."""

from __future__ import annotations

import pytest

from contract.stages import gitea_stage
from e2e.forge.site import BOT
from modelyard.adapters.forge.hosted.conversation import HostedConversation
from modelyard.domain.chatops.authority import Role
from modelyard.errors import CannotAnswer


@pytest.fixture
def dialect(gitea_forge, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", "set by the stage")
    return gitea_stage(gitea_forge, tmp_path).pulls.dialect


def add_team(site, name, *logins):
    made = site.owner.post("orgs/crew/teams", name=name, permission="read", units=["repo.code"])
    for login in logins:
        site.owner.put(f"teams/{made['id']}/members/{login}")


def test_a_team_has_its_members_and_one_that_cannot_be_seen_has_none(gitea_forge, dialect):
    ann, bob = dialect.person("ann"), dialect.person("bob")
    # An organisation of its own: who is in a team of another has other rights in its repositories.
    gitea_forge.owner.post("orgs", username="crew")
    add_team(gitea_forge, "leads", "ann")
    with pytest.raises(CannotAnswer):  # the tool is not in the organisation
        dialect.is_in_team("crew/leads", ann)

    add_team(gitea_forge, "judges", "ann", BOT)

    assert dialect.is_in_team("crew/judges", ann)
    assert dialect.is_in_team("crew/Judges", ann)
    assert not dialect.is_in_team("crew/judges", bob)
    for team in ("crew/leads", "crew/nobody"):  # one that the tool is not in, and none
        with pytest.raises(CannotAnswer, match="crew has no team"):
            dialect.is_in_team(team, ann)


def test_who_may_write_by_a_team_alone_may_command(gitea_forge, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", "set by the stage")
    stage = gitea_stage(gitea_forge, tmp_path)
    talk = HostedConversation(pulls=stage.pulls)
    place, owner = f"repos/{stage.repository.forge_repository}", gitea_forge.owner
    rex = stage.pulls.dialect.person("rex")
    assert talk.ask_authority(rex, teams=()).role is Role.READ

    owner.delete(f"{place}/collaborators/rex")
    made = owner.post(
        "orgs/acme/teams",
        name=f"writers-{stage.repository.forge_repository.partition('/')[2]}",
        units_map={"repo.code": "write", "repo.pulls": "write", "repo.issues": "write"},
    )
    owner.put(f"teams/{made['id']}/members/rex")
    owner.put(f"teams/{made['id']}/{place}")
    # Gitea shows the members of a team to the team alone.
    assert talk.ask_authority(rex, teams=()).role is Role.NONE

    owner.put(f"teams/{made['id']}/members/{BOT}")

    assert talk.ask_authority(rex, teams=()).role is Role.WRITE
