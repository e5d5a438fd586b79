"""What GitHub's merge queue tries waits for the required statuses; the tool says them."""

from __future__ import annotations

import pytest

from contract.test_pull_requests import change, ready
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, Status, StatusState
from modelyard.operations.open_workspace import workspace_of
from modelyard.operations.services import services_for
from modelyard.operations.watch.merge_queue import report_merge_queue


class Queue:
    """The queue of the fake GitHub, whose commits this test makes as GitHub does."""

    def __init__(self, stage):
        stage.write_settings()
        self.stage = stage
        self.workspace = workspace_of(services_for(stage.git.root))
        self.said = []

    def approved(self, name, *, is_ready=True):
        """A pull request of the tool that may be merged."""
        document = {f"environments/{name}/releases/m.yaml": b"version: v2\n"}
        wanted = change(branch=f"modelyard/promote/{name}/m", documents=document)
        pull = self.stage.pulls.propose(wanted)
        if is_ready:
            ready(self.stage, pull)
        return pull

    def tries(self, pull, *, after=None, parents=None, documents=None):
        """The commit with a pull request on top of the main branch, or of another commit."""
        git = self.stage.git
        before = after or self.workspace.main()
        tree = git.merge_tree(before, pull.head).tree
        commit = git.commit_tree(
            git.write_tree(tree, documents) if documents else tree,
            parents=parents or [before, pull.head],
            message="Merge",
            author="GitHub",
            at=self.workspace.services.clock.now(),
        )
        name = f"gh-readonly-queue/main/pr-{pull.number}-{before}"
        git.push("origin", {f"refs/heads/{name}": (None, commit)})
        return commit

    def report(self):
        return report_merge_queue(self.workspace, self.said.append)

    def states(self, commit):
        rows = self.stage.ask("GET", f"/commits/{commit}/statuses", None, "ann")
        newest = {row["context"]: row["state"] for row in reversed(rows)}
        return [newest.get(CHECKS), newest.get(PROMOTE)]


@pytest.fixture
def queue(stage):
    return Queue(stage)


GOOD, BAD, SILENT = ["success"] * 2, ["failure"] * 2, [None] * 2


@pytest.mark.long
def test_what_may_be_merged_passes_also_behind_another_and_fails_once_it_may_not(queue):
    dev, canary = queue.approved("dev"), queue.approved("canary")
    first = queue.tries(dev)
    second = queue.tries(canary, after=first)

    assert queue.report()
    assert (queue.states(first), queue.states(second)) == (GOOD, GOOD)
    assert not queue.report()

    # A hold, say: the one behind it would bring it along.
    red = Status(context=PROMOTE, state=StatusState.FAILURE, description="on hold")
    queue.stage.pulls.set_status(queue.stage.pulls.get(dev.number), red)
    assert queue.report()
    assert (queue.states(first), queue.states(second)) == (BAD, BAD)


def test_what_is_not_ready_fails_with_what_is_behind_it_and_other_branches_are_left_alone(queue):
    ready_one = queue.approved("canary")
    commit = queue.tries(queue.approved("dev", is_ready=False))
    behind, alone = queue.tries(ready_one, after=commit), queue.tries(ready_one)
    other = queue.stage.push("gh-readonly-queue/main/pr-1-short", {"a.txt": b"a\n"}, "ann")

    assert queue.report()
    assert [queue.states(each) for each in (commit, behind, alone)] == [BAD, BAD, GOOD]
    assert queue.states(other) == SILENT


@pytest.mark.sample(1)
@pytest.mark.parametrize("how", ["content", "ancestor", "base", "itself"])
def test_a_commit_that_only_has_the_name_of_one_the_queue_tries_never_passes(queue, how):
    pull = queue.approved("dev")
    mine = queue.stage.push("mine", {"environments/production/environment.yaml": b"x\n"}, "ann")
    main = queue.workspace.main()
    queue.workspace.ensure([mine])
    made = {
        "content": {"documents": {"environments/production/environment.yaml": b"x\n"}},
        "ancestor": {"parents": [main, pull.head, mine]},
        "base": {"after": mine},
        "itself": {"parents": [main, mine]},
    }

    commit = queue.tries(pull, **made[how])

    assert queue.report()
    assert queue.states(commit) == BAD
