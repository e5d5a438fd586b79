from __future__ import annotations

from typing import Any

import pytest

from fakes.clients import REPOSITORY, Api
from modelyard.adapters.forge.comment_api import CommentApi
from modelyard.domain.chatops.authority import Authority, Role
from modelyard.domain.people import Person
from modelyard.errors import CannotAnswer
from modelyard.operations.chatops.conversation import Reaction


class Failed(CannotAnswer):
    def __init__(self, status: int) -> None:
        super().__init__(f"the forge answered {status}")
        self.status = status


class Rest:
    """`comment_api.Rest` over HTTP."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def get(self, path: str, **_query: Any) -> Any:
        return self.send("GET", path)

    def send(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.api(method, path, body)
        if answer.is_error:
            raise Failed(answer.status_code)
        return answer.json()


@pytest.fixture
def yard(fake_github):
    fake_github.seed({"a.txt": "one\n"})
    return fake_github


@pytest.fixture
def client(yard):
    made: list[Api] = []

    def give(token: str) -> CommentApi:
        made.append(Api(yard, token))
        return CommentApi(rest=Rest(made[-1]), repository=REPOSITORY.removeprefix("/repos/"))

    yield give
    for each in made:
        each.close()


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


@pytest.mark.parametrize("role", list(Role))
def test_a_role_is_the_one_that_the_forge_names(yard, client, bot, role):
    bob = person(yard, client, "bob", str(role))

    assert bot.ask_authority(bob, teams=()) == Authority(role=role)


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
