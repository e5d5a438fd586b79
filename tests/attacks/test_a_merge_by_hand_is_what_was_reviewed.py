"""The promise: what is merged by hand stays only if it is what was reviewed and approved."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attacks.pull_requests import PROMOTION, incidents, open_promotion, pin_of
from modelyard.adapters.specs.documents import dump_spec
from modelyard.domain.promotion.pulls import CHECKS, PullState, Status, StatusState
from operations.yard import (
    manifests,
    release_file,
)
from operations.yard_with_history import run, world_of


@pytest.mark.long
@pytest.mark.parametrize("how", ["fast-forwarded", "merged", "squashed", "branch deleted"])
def test_an_approved_pull_request_that_is_merged_by_hand_is_recorded_as_merged(yard, how):
    pull = open_promotion(yard)
    main = yard.main()
    if how in {"fast-forwarded", "branch deleted"}:
        landed = pull.head
        yard.git.push("origin", {"refs/heads/main": (main, landed)})
    elif how == "merged":
        tree = yard.git.tree_hash(pull.head)
        landed = yard.git.commit_tree(
            tree, parents=[main, pull.head], message="Merge", author="Ada", at=yard.clock.at
        )
        yard.git.push("origin", {"refs/heads/main": (main, landed)})
    else:
        landed = yard.commit(pin_of(yard, "v2", "canary"), "Squashed")
    if how == "branch deleted":
        yard.git.push("origin", {f"refs/heads/{PROMOTION}": (pull.head, None)})

    yard.rest()

    after = yard.pull(PROMOTION)
    assert (after.number, after.state, after.by_hand) == (pull.number, PullState.MERGED, True)
    assert after.merged_as == landed
    assert yard.names()["canary"] == "v2"
    assert incidents(yard) == []


@pytest.mark.long
@pytest.mark.parametrize("lacks", ["approval", "checks"])
def test_a_pull_request_that_is_pushed_before_it_was_complete_goes_back(yard, lacks):
    yard.put("v2", "staging")
    yard.rest()
    if lacks == "checks":
        yard.approve("canary")
    pull = yard.pull(PROMOTION)
    if lacks == "checks":
        red = Status(context=CHECKS, state=StatusState.FAILURE, description="no")
        yard.pulls.set_status(pull, red)
    yard.git.push("origin", {"refs/heads/main": (yard.main(), pull.head)})
    run(yard, "pr", "merge", str(pull.number), "--as", "mallory")

    yard.reconcile()

    assert yard.names()["canary"] == "v1"
    assert incidents(yard)


@pytest.mark.long
def test_a_merge_by_hand_that_changes_what_was_reviewed_goes_back(yard):
    pull = open_promotion(yard)
    evil = pin_of(yard, "v2", "canary", server_image="evil:1")
    tree = yard.git.write_tree(pull.head, evil)
    parents = [yard.main(), pull.head]
    merge = yard.git.commit_tree(
        tree, parents=parents, message="Merge", author="Mallory", at=yard.clock.at
    )
    yard.git.push("origin", {"refs/heads/main": (parents[0], merge)})

    yard.rest()

    assert b"evil" not in yard.read(release_file("canary"))


def test_a_release_rendered_again_by_a_persons_pull_request_is_reviewed(yard):
    more = {f"{manifests('production')}more.yaml": b"kind: ConfigMap\n"}
    yard.land("ada/render", {**more, **manifested(yard, "production", "e" * 64)}, "Render again")

    yard.reconcile()

    assert f"{manifests('production')}more.yaml" in yard.paths(manifests("production"))
    assert incidents(yard) == []


def manifested(yard, where, digest):
    """The pin that is there, with another digest of its manifests."""
    release = world_of(yard).release(where)
    return {release_file(where): dump_spec("Release", replace(release, manifests=digest))}
