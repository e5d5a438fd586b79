"""A change of rules that a person merged on the page of a forge, with statuses of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from contract.stages import HostedStage, settled
from contract.test_pull_requests import ready
from modelyard.adapters.clock import SystemClock
from modelyard.adapters.specs.documents import dump_spec
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, Pulls
from modelyard.domain.specs.environment import Approvals, Environment
from modelyard.domain.specs.repository import ForgeKind
from modelyard.operations.reconcile.rule_reviews import find_pushed_rules
from modelyard.operations.workspace import Workspace
from modelyard.ports import Services

FILE = "environments/production/environment.yaml"


@pytest.fixture
def yard(stage):
    """Production asks for an approval since a first pull request, merged on its page."""
    number, head = proposed(stage, rules(needed=1))
    stage.merge(number, head, "ann")
    assert pushed(stage) == []
    return stage


def rules(**approvals: Any) -> dict[str, bytes]:
    spec = Environment(
        name="production",
        description="Live.",
        namespace="live",
        approvals=Approvals(**approvals),
    )
    return {FILE: dump_spec("Environment", spec)}


def proposed(stage: HostedStage, documents: dict[str, bytes], branch: str = "rules"):
    """A pull request of ann, once the forge knows who pushed it, with statuses that she set."""
    head = stage.push(branch, documents, "ann")
    number = stage.open(branch, "ann")
    settled(stage, replace(stage.pulls.get(number), head=head))
    for context in (CHECKS, PROMOTE):
        stage.set_status(head, context, "ann")
    return number, head


def pushed(stage: HostedStage, forge: Any = None) -> list[str]:
    """What another process of the tool says of the rules in force."""
    forge = forge or stage.again()
    services = Services(
        root=stage.git.root,
        repository=stage.repository,
        pulls=forge,
        desk=stage.desk,
        clock=SystemClock(),
        **dict.fromkeys(("orchestrator", "cluster", "metrics"), cast("Any", None)),
    )
    workspace = Workspace(services=services, facts=cast("Any", None), store=cast("Any", None))
    pulls = Pulls(open=forge.open(), closed=forge.closed())
    return [str(rule) for rule in find_pushed_rules(workspace, pulls)]


@pytest.mark.long
def test_a_change_that_nobody_but_its_author_approved_is_named(yard):
    number, head = proposed(yard, rules(needed=0))
    yard.merge(number, head, "ann")

    (said,) = pushed(yard)

    assert f"by #{number}, which lacked approvals when it was merged" in said
    assert said.endswith("approvals.needed: 1 -> 0")


@pytest.mark.long
def test_a_change_that_another_person_approved_is_not_named(yard):
    number, head = proposed(yard, rules(needed=0))
    yard.review(number, head, "bob")
    yard.merge(number, head, "ann")

    assert pushed(yard) == []


@pytest.mark.long
def test_an_approval_of_another_head_or_of_a_reader_is_none(yard):
    number, first = proposed(yard, rules(needed=2))
    yard.review(number, first, "bob")
    yard.review(number, first, "rex")
    head = yard.push("rules", rules(needed=0), "ann")
    settled(yard, replace(yard.pulls.get(number), head=head))
    yard.review(number, head, "rex")
    yard.merge(number, head, "ann")

    (said,) = pushed(yard)
    assert said.endswith("approvals.needed: 1 -> 0")


@pytest.mark.long
def test_an_approval_after_the_merge_comes_too_late(yard, request):
    if yard.repository.forge != ForgeKind.GITHUB:
        pytest.skip("a real forge would have to be waited for")
    number, head = proposed(yard, rules(needed=0))
    yard.merge(number, head, "ann")
    request.getfixturevalue("fake_github").clock.advance(5)
    yard.review(number, head, "bob")

    assert len(pushed(yard)) == 1


@pytest.mark.long
def test_what_the_tool_allowed_itself_stays_allowed_when_the_approver_has_left(yard):
    number, head = proposed(yard, rules(needed=0))
    # Nobody's approval is on record any more; the status of the tool says that one counted then.
    ready(yard, yard.pulls.get(number), PROMOTE)
    yard.merge(number, head, "ann")

    assert pushed(yard) == []


def test_a_change_of_no_rule_is_not_asked_about(yard):
    head = yard.push("pages", {"docs/page.md": b"x\n"}, "ann")
    number = yard.open("pages", "ann")
    yard.merge(number, head, "ann")

    forge = yard.again()
    assert pushed(yard, forge) == []
    # The lists of open and closed ones, and who the tool is.
    assert sum(forge.api.calls.values()) <= 3
