"""What GitHub shows of the tool's work: deployments, and problems at their lines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fakes.github import bad_gateway
from modelyard.adapters.forge.gitea.dialect import GiteaDialect
from modelyard.adapters.forge.github.check_runs import MOST_ANNOTATIONS, NAME
from modelyard.adapters.forge.github.dialect import GitHubDialect
from modelyard.adapters.forge.hosted.api import ForgeApi
from modelyard.domain.deployments import Deployment, DeploymentState
from modelyard.domain.problem import Problem
from modelyard.errors import CannotAnswer


@pytest.fixture
def head(fake_github, stage):
    return fake_github.repository.git.branch("main")


@pytest.fixture
def first(head):
    return Deployment(
        model="wine",
        environment="production",
        version="v1",
        release="a" * 16,
        commit=head,
        pull=3,
        state=DeploymentState.IN_PROGRESS,
        why="v1: not ready",
        is_production=True,
    )


def shown(fake):
    """The deployments, oldest first: model, version and all their states."""
    kept = fake.repository
    return [
        (
            each["task"].removeprefix("deploy:"),
            each["payload"].get("version"),
            *(status["state"] for status in kept.deployment_statuses[number]),
        )
        for number, each in sorted(kept.deployments.items())
    ]


def posts(fake):
    return fake.calls("POST", "/deployments")


def test_a_deployment_follows_its_release_and_the_same_again_costs_no_request_that_writes(
    stage, fake_github, first
):
    stage.pulls.show_deployment(first)
    stage.pulls.show_deployment(replace(first, state=DeploymentState.SUCCESS))
    before = posts(fake_github)
    stage.again().show_deployment(replace(first, state=DeploymentState.SUCCESS))

    assert posts(fake_github) == before
    assert shown(fake_github) == [("wine", "v1", "in_progress", "success")]
    (document,) = fake_github.repository.deployments.values()
    assert (document["environment"], document["production_environment"]) == ("production", True)


def test_the_next_release_ends_the_one_before_and_none_of_another_model(stage, fake_github, first):
    done = DeploymentState.SUCCESS
    other = replace(first, model="flights", release="f" * 16)
    for each in (first, replace(first, state=done), other, replace(other, state=done)):
        stage.pulls.show_deployment(each)

    second = replace(first, version="v2", release="b" * 16, state=DeploymentState.SUCCESS)
    stage.pulls.show_deployment(second)

    assert shown(fake_github) == [
        ("wine", "v1", "in_progress", "success", "inactive"),
        ("flights", "v1", "in_progress", "success"),
        ("wine", "v2", "success"),
    ]


def test_a_release_that_was_rolled_back_has_failed(stage, fake_github, first):
    stage.pulls.show_deployment(replace(first, version="v2", release="b" * 16))

    stage.pulls.show_deployment(
        replace(first, state=DeploymentState.SUCCESS, bad=frozenset({"v2"}))
    )

    assert shown(fake_github) == [
        ("wine", "v2", "in_progress", "failure"),
        ("wine", "v1", "success"),
    ]


@pytest.mark.parametrize(
    ("states", "bad", "shows"),
    [
        ((DeploymentState.IN_PROGRESS, DeploymentState.SUCCESS), {"v1"}, "inactive"),
        ((DeploymentState.IN_PROGRESS,), {"v1"}, "failure"),
        ((DeploymentState.IN_PROGRESS,), set(), "inactive"),
        ((DeploymentState.FAILURE,), {"v1"}, None),
    ],
)
def test_what_was_taken_out_is_ended_once_and_nothing_is_created_for_it(
    stage, fake_github, first, states, bad, shows
):
    gone = replace(first, state=DeploymentState.INACTIVE, bad=frozenset(bad))
    stage.pulls.show_deployment(gone)
    assert shown(fake_github) == []
    other = replace(first, model="flights", state=DeploymentState.SUCCESS)
    for each in (other, *(replace(first, state=state) for state in states)):
        stage.pulls.show_deployment(each)

    for _ in range(2):
        stage.again().show_deployment(gone)

    ended = () if shows is None else (shows,)
    assert shown(fake_github) == [("flights", "v1", "success"), ("wine", "v1", *states, *ended)]


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("lost", range(5))
def test_a_kill_between_any_two_requests_makes_nothing_twice(
    stage, fake_github, first, lost, after
):
    second = replace(first, version="v2", release="b" * 16, state=DeploymentState.SUCCESS)
    wanted = (first, replace(first, state=DeploymentState.SUCCESS), second)
    fake_github.queue(bad_gateway("POST", "/deployments", skip=lost, after=after))

    for each in wanted:
        try:
            stage.pulls.show_deployment(each)
        except CannotAnswer:
            stage.again().show_deployment(each)

    assert shown(fake_github) == [
        ("wine", "v1", "in_progress", "success", "inactive"),
        ("wine", "v2", "success"),
    ]


def test_deployments_of_others_are_left_alone(stage, fake_github, first):
    made = {
        "ref": first.commit,
        "task": "deploy:wine",
        "environment": "production",
        "payload": {"release": first.release, "version": "v1"},
        "required_contexts": [],
    }
    stage.ask("POST", "/deployments", made, "ann")

    stage.pulls.show_deployment(first)

    assert shown(fake_github) == [("wine", "v1"), ("wine", "v1", "in_progress")]


def test_gitea_has_neither_and_is_not_asked():
    dialect = GiteaDialect(api=None, repository="acme/yard", web="https://git.example.org")

    dialect.show_problems("1" * 40, [Problem(file="x", message="y")])
    dialect.show_deployment(None)


# Problems.


@pytest.fixture
def as_app(stage, fake_github):
    """What the tool is as a GitHub App."""
    app = fake_github.add_app("modelyard", checks="write", contents="read")
    api = ForgeApi(url=fake_github.url, auth=fake_github.installation_token(app))
    return GitHubDialect(api=api, repository="acme/yard", web=fake_github.url, app="modelyard")


def problems(count):
    return [
        Problem(file=f"models/m/{n}.yaml", line=n, message=f"wrong <b>{n}</b>")
        for n in range(count)
    ]


def test_the_first_ten_problems_are_at_their_lines_and_all_of_them_in_the_summary(
    as_app, fake_github, head
):
    as_app.show_problems(head, [Problem(file="", message="the whole is wrong"), *problems(12)])

    ((number, run),) = fake_github.repository.check_runs.items()
    notes = fake_github.repository.annotations[number]
    assert (run["name"], run["conclusion"], run["output"]["title"]) == (
        NAME,
        "failure",
        "13 problems",
    )
    assert len(notes) == MOST_ANNOTATIONS
    assert (notes[0]["path"], notes[0]["start_line"], notes[9]["start_line"]) == (
        "models/m/0.yaml",
        1,
        9,
    )
    summary = run["output"]["summary"]
    assert summary.count("\n") == 12
    assert "the whole is wrong" in summary
    assert "&lt;b>11" in summary


def test_the_same_problems_are_shown_once_and_gone_ones_are_taken_back(as_app, fake_github, head):
    as_app.show_problems(head, [])
    assert fake_github.repository.check_runs == {}
    fake_github.queue(bad_gateway("POST", "/check-runs$", after=True))
    with pytest.raises(CannotAnswer):
        as_app.show_problems(head, problems(1))
    as_app.show_problems(head, problems(1))
    as_app.show_problems(head, problems(1))
    assert [each["conclusion"] for each in fake_github.repository.check_runs.values()] == [
        "failure"
    ]

    as_app.show_problems(head, [])
    as_app.show_problems(head, [])

    kept = fake_github.repository.check_runs.values()
    assert [each["conclusion"] for each in kept] == ["failure", "success"]


def test_a_thousand_long_problems_fit_into_what_github_takes(as_app, fake_github, head):
    long = [Problem(file="a", line=1, message="\N{SNOWMAN}" * 300)] * 1000

    as_app.show_problems(head, long)

    (run,) = fake_github.repository.check_runs.values()
    assert "more: `modelyard validate`" in run["output"]["summary"]


def test_an_account_that_is_no_app_shows_no_problems(stage, fake_github, head):
    stage.pulls.dialect.show_problems(head, problems(1))

    assert fake_github.calls("POST", "/check-runs") == 0
