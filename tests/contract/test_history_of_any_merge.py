"""What history tells of a pull request, however people merged it on a page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contract.stages import settled
from contract.test_pull_requests import change, ready
from git_commits import write_commit
from modelyard.adapters.forge.hosted.deeds import HostedDeeds
from modelyard.adapters.git.process import Rejected
from modelyard.domain.people import Person
from modelyard.operations.history import read_history
from modelyard.operations.open_workspace import workspace_of
from modelyard.operations.services import services_for
from operations.yard import AT

HOW = {"dev": "merge", "staging": "squash", "canary": "rebase"}


def proposed(stage, environment, **more):
    """A promotion that bob asked for."""
    trailers = {
        "Modelyard-Model": "m",
        "Modelyard-Version": "v2",
        "Modelyard-Environment": environment,
        **more,
    }
    wanted = replace(
        change(branch=f"modelyard/promote/{environment}/m", trailers=trailers),
        documents={f"environments/{environment}/releases/m.yaml": b"version: v2\n"},
    )
    pull = stage.pulls.propose(wanted, requester=Person.named("bob"))
    ready(stage, settled(stage, pull))
    return pull


@pytest.mark.long
def test_a_merge_a_squash_and_a_rebase_by_a_person_are_releases_with_their_requester(stage):
    stage.write_settings()
    pulls = {where: proposed(stage, where) for where in HOW}
    for where, how in HOW.items():
        stage.merge(pulls[where].number, pulls[where].head, "ann", how)

    workspace = workspace_of(services_for(stage.git.root))
    events = read_history(workspace, "m").events

    assert [(each.environment, each.version, each.pull) for each in events] == [
        (where, "v2", pulls[where].number) for where in HOW
    ]
    forge = workspace.services.pulls
    deeds = HostedDeeds(dialect=forge.dialect, heads=forge.heads)
    for event in events:
        (entry,) = workspace.git.log(event.commit, limit=1)
        assert {"bob", "ann"} <= {str(person) for person in deeds(entry)}


@pytest.mark.long
def test_who_approved_is_nothing_that_a_head_or_a_typed_message_can_say(stage):
    stage.write_settings()
    typed = {"Modelyard-Approved-By": "olga", "Modelyard-Break-Glass": "olga, #1: down"}
    by_person, by_tool = (proposed(stage, where, **typed) for where in ("dev", "staging"))
    text = "Modelyard-Pull: 1\nModelyard-Approved-By: olga"
    stage.merge(by_person.number, by_person.head, "ann", how="squash", text=text)
    stage.pulls.merge(by_tool.number, sha=by_tool.head)

    workspace = workspace_of(services_for(stage.git.root))
    events = read_history(workspace, "m").events

    assert [(each.environment, each.approved_by) for each in events] == [
        ("dev", None),
        ("staging", None),
    ]
    stage.git.fetch("origin", ["+refs/heads/*:refs/seen/*"])
    (entry,) = stage.git.log(events[-1].commit, limit=1)
    assert "Modelyard-Break-Glass" not in entry.trailers
    forge = workspace.services.pulls
    deeds = HostedDeeds(dialect=forge.dialect, heads=forge.heads)
    (squashed,) = stage.git.log(events[0].commit, limit=1)
    assert "bob" in {str(person) for person in deeds(squashed)}


def test_a_push_to_main_proves_no_approval_no_pull_request_and_no_release(stage):
    stage.write_settings()
    pull = proposed(stage, "dev")
    pushed = {
        # A number that exists, and one that does not; a pin that moved, and one that did not.
        "staging": (b"version: v3\n", str(pull.number)),
        "canary": (None, "77"),
        "../../etc": (None, ""),
    }
    for where, (pin, number) in pushed.items():
        trailers = (
            f"Modelyard-Model: m\nModelyard-Version: v2\nModelyard-Environment: {where}\n"
            f"Modelyard-Pull: {number}\nModelyard-Approved-By: olga\nModelyard-Break-Glass: olga"
        )
        stage.git.fetch("origin", ["+refs/heads/main:refs/remotes/origin/main"])
        main = stage.git.rev_parse("refs/remotes/origin/main")
        files = {f"environments/{where}/releases/m.yaml": pin} if pin else {f"x{number}": b"x"}
        commit = write_commit(
            stage.git,
            main,
            files,
            parents=[main],
            message=f"Now\n\n{trailers}",
            author="ann",
            at=AT,
        )
        try:
            stage.git.push("origin", {"refs/heads/main": (main, commit)})
        except Rejected:
            pytest.skip("main is protected on this forge: it takes no push")

    events = read_history(workspace_of(services_for(stage.git.root)), "m").events

    (event,) = events  # of what changed no pin, there is nothing to tell
    assert (event.environment, event.version) == ("staging", "v3")
    assert (event.pull, event.approved_by) == (None, None)
    assert "v3 was released to staging; said by the commit, not proven: " in event.what
    assert "approved by olga" in event.what
