from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fakes.clients import REPOSITORY
from modelyard.adapters.forge.comment_api import CommentApi
from modelyard.adapters.forge.gitea.dialect import GiteaDialect
from modelyard.adapters.forge.github.dialect import GitHubDialect
from modelyard.adapters.forge.hosted.api import ForgeApi, LimitReached
from modelyard.domain.chatops.authority import Authority, Role
from modelyard.domain.people import Person
from modelyard.errors import CannotAnswer
from modelyard.operations.chatops.conversation import Reaction


@pytest.fixture
def yard(fake_github):
    fake_github.seed({"a.txt": "one\n"})
    return fake_github


@pytest.fixture
def client(yard):
    def give(token: str) -> CommentApi:
        rest, name = ForgeApi(url=yard.url, auth=token), REPOSITORY.removeprefix("/repos/")
        dialect = GitHubDialect(api=rest, repository=name, web=yard.url)
        return CommentApi(rest=rest, repository=name, is_member=dialect.is_in_team)

    return give


@pytest.fixture
def bot(yard, client):
    return client(yard.add_person("the-tool", "admin"))


def person(yard, client, login: str, role: str) -> Person:
    """A person with a role, as the API knows them."""
    row = client(yard.add_person(login, role)).rest.get("/user")
    return Person(login=login, id=str(row["id"]))


def comment_of(yard, client, token: str, body: str) -> str:
    issue = client(token).rest.send("POST", f"{REPOSITORY}/issues", {"title": "x"})
    path = f"{REPOSITORY}/issues/{issue['number']}/comments"
    return str(client(token).rest.send("POST", path, {"body": body})["id"])


@pytest.mark.sample(1)
@pytest.mark.parametrize("role", list(Role))
def test_a_role_is_the_one_that_the_forge_names(yard, client, bot, role):
    bob = person(yard, client, "bob", str(role))

    assert bot.ask_authority(bob, teams=()) == Authority(role=role)


@pytest.mark.parametrize(
    ("units", "members", "role"),
    [
        ({"repo.code": "write"}, {"bob"}, Role.WRITE),
        ({"repo.code": "write"}, {"ann"}, Role.NONE),
        ({"repo.code": "read", "repo.issues": "write"}, {"bob"}, Role.NONE),
    ],
)
def test_a_team_of_gitea_that_may_write_code_gives_its_members_that_role(units, members, role):
    """Gitea names no role for who has one by a team with units."""
    bob = Person(login="bob", id="7")
    answers = {
        "/repos/acme/yard/collaborators/bob/permission": {"permission": "none", "user": {"id": 7}},
        "/repos/acme/yard/teams": [{"id": 3, "permission": "none", "units_map": units}],
        "/teams/3/members/bob": {"id": 7 if "bob" in members else 8, "login": "bob"},
    }
    rest = SimpleNamespace(get=lambda path, **_: answers[path])
    dialect = GiteaDialect(api=cast("Any", rest), repository="acme/yard", web="")
    api = CommentApi(
        rest=cast("Any", rest),
        repository="acme/yard",
        is_member=dialect.is_in_team,
        may_write_by_team=dialect.may_write_by_team,
    )

    assert api.ask_authority(bob, teams=()).role is role


def test_somebody_else_with_the_login_has_no_role(yard, client, bot):
    person(yard, client, "bob", "admin")

    found = bot.ask_authority(Person(login="bob", id="999999"), teams=())

    assert found == Authority(role=None, teams=None)


def test_only_an_active_membership_counts(yard, client, bot):
    bob = person(yard, client, "bob", "write")
    yard.add_team("leads", "bob")
    yard.add_team("others", pending=["bob"])

    teams = ["acme/leads", "acme/others", "acme/nobody"]

    assert bot.ask_authority(bob, teams=teams).teams == {"acme/leads"}


@pytest.mark.parametrize(
    ("error", "fault"),
    [(LimitReached("reached until 13:00"), "reached until 13:00"), (CannotAnswer("no such"), "")],
)
def test_a_team_that_the_limit_hides_is_not_one_that_is_not_there(yard, client, bot, error, fault):
    bob = person(yard, client, "bob", "write")

    def is_member(team, _):
        if team == "acme/leads":
            raise error
        return True

    found = replace(bot, is_member=is_member).ask_authority(bob, teams=["acme/leads", "acme/all"])

    assert (found.role, found.teams) == (Role.WRITE, {"acme/all"})
    assert found.unknown_teams == {"acme/leads"}
    assert (found.fault, found.is_at_limit) == (fault, bool(fault))


def test_a_comment_is_fetched_as_it_was_written(yard, client, bot):
    token = yard.add_person("bob")
    number = comment_of(yard, client, token, "/why\r\n\n`x`")

    found = bot.fetch_comment(number)

    assert found is not None
    assert (found.id, found.author.login, found.body) == (number, "bob", "/why\r\n\n`x`")
    assert (found.is_bot, found.created_at) == (False, found.updated_at)
    assert bot.fetch_comment("424242") is None


def test_a_reaction_is_there_once(yard, client, bot):
    number = comment_of(yard, client, yard.add_person("bob"), "/why")

    bot.react(number, Reaction.SEEN)
    bot.react(number, Reaction.SEEN)

    found = bot.rest.get(f"{REPOSITORY}/issues/comments/{number}/reactions")
    assert [(row["content"], row["user"]["login"]) for row in found] == [("eyes", "the-tool")]
