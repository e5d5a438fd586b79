from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

import pytest

from modelyard.domain.canary.cluster_answer import answer_from_facts, require_recorded_pass
from modelyard.domain.promotion.facts import ReleaseFacts
from modelyard.domain.specs.environment import Environment, Rollout
from modelyard.domain.specs.release import Release
from modelyard.domain.verdict import Outcome, Verdict

AT = datetime(2026, 3, 1, tzinfo=UTC)
CANARY = Environment(name="canary", description="x", namespace="x", rollout=Rollout(judged=True))
RELEASE = Release(
    model="m",
    environment="canary",
    version="v2",
    artifact=f"sha256:{'a' * 64}",
    server_image="i",
    renderer=1,
    manifests="b" * 64,
)
ASKED = RELEASE.identity
SEEN = ReleaseFacts(release=ASKED, version="v2", seen_at=AT)
PASS, FAIL, DOUBT = (
    Verdict(outcome=outcome, reason=outcome.value, numbers={"rows": 7.0}) for outcome in Outcome
)


@pytest.mark.parametrize("release", [RELEASE, replace(RELEASE, version="v3"), None])
@pytest.mark.parametrize("bad", [{"verdict": FAIL}, {"aborted": "by ada"}])
def test_a_release_the_facts_call_bad_has_failed_whatever_git_names_now(release, bad):
    found = answer_from_facts(ASKED, replace(SEEN, **bad), release, CANARY)
    assert found is not None
    assert found.outcome is Outcome.FAIL


def test_bad_facts_of_another_release_say_nothing_of_this_one():
    other = replace(SEEN, release="another", verdict=FAIL, aborted="by ada")
    found = answer_from_facts(ASKED, other, RELEASE, CANARY)
    assert found is not None
    assert found.outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("facts", "release", "environment", "said"),
    [
        (SEEN, None, CANARY, "Git has no release here"),
        (SEEN, RELEASE, None, "Git has no release here"),
        (SEEN, replace(RELEASE, attempt=2), CANARY, "Git has v2 here, as release "),
        (ReleaseFacts(), RELEASE, CANARY, "not seen running yet"),
        (replace(SEEN, seen_at=None), RELEASE, CANARY, "not seen running yet"),
        (SEEN, RELEASE, replace(CANARY, rollout=Rollout()), "canary is not judged"),
    ],
)
def test_what_cannot_be_judged_is_inconclusive_with_a_reason(facts, release, environment, said):
    found = answer_from_facts(ASKED, facts, release, environment)
    assert found is not None
    assert found.outcome is Outcome.INCONCLUSIVE
    assert said in found.reason


def test_what_was_seen_and_is_named_is_left_to_the_judge():
    assert answer_from_facts(ASKED, SEEN, RELEASE, CANARY) is None


def test_a_pass_needs_the_judge_the_facts_and_git():
    everything = product((PASS, FAIL, DOUBT), (PASS, FAIL, DOUBT, None), (None, "Git is away"))
    for judged, written, git in everything:
        found = require_recorded_pass(judged, replace(SEEN, verdict=written), git=git)
        if judged is not PASS:
            assert found == judged
        elif written is PASS and git is None:
            assert found == PASS
        else:
            assert found.outcome is Outcome.INCONCLUSIVE
            assert found.numbers == PASS.numbers


def test_what_was_verified_before_and_restored_has_its_pass():
    assert require_recorded_pass(PASS, replace(SEEN, verified=(ASKED,)), git=None) == PASS
