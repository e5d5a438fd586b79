"""What the judge answers a cluster, which must never disagree with the facts in Git."""

from __future__ import annotations

from modelyard.domain.promotion.facts import ReleaseFacts
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.release import Release
from modelyard.domain.verdict import Outcome, Verdict


def answer_from_facts(
    asked: str,
    facts: ReleaseFacts,
    release: Release | None,
    environment: Environment | None,
) -> Verdict | None:
    """The answer that needs no judge, or None.

    Args:
        asked: Identity of the release in question.
        facts: What was seen there.
        release: What Git names there.
        environment: Where it is.
    """
    if facts.release == asked and (bad := _fail_reason(facts)) is not None:
        return Verdict(outcome=Outcome.FAIL, reason=bad)
    if release is None or environment is None:
        return inconclusive_verdict("Git names no release here")
    if release.identity != asked:
        return inconclusive_verdict(
            f"Git names {release.version} here, as release {release.identity}"
        )
    if facts.release != asked or facts.seen_at is None:
        return inconclusive_verdict("not seen running yet: the watcher has not written it down")
    if not environment.rollout.judged:
        return inconclusive_verdict(f"{environment.name} is not judged: rollout.judged is false")
    return None


def require_recorded_pass(judged: Verdict, facts: ReleaseFacts, *, git: str | None) -> Verdict:
    """The judge's word; a `pass` only if the facts of this release say so too.

    Args:
        judged: What the judge says now.
        facts: What was written down of the release.
        git: Why the facts may be old, or None when they are not.
    """
    if not judged.passed:
        return judged
    if git is not None:
        return inconclusive_verdict(f"{git}; the judge says pass: {judged.reason}", judged)
    if not _has_recorded_pass(facts):
        return inconclusive_verdict(
            f"the watcher has not written the pass down yet: {judged.reason}", judged
        )
    return judged


def inconclusive_verdict(reason: str, judged: Verdict | None = None) -> Verdict:
    """An `inconclusive` verdict, with the numbers of the judge's own if there is one."""
    numbers = judged.numbers if judged is not None else {}
    return Verdict(outcome=Outcome.INCONCLUSIVE, reason=reason, numbers=numbers)


def _fail_reason(facts: ReleaseFacts) -> str | None:
    if facts.verdict is not None and facts.verdict.outcome is Outcome.FAIL:
        return facts.verdict.reason
    return None if facts.aborted is None else f"taken out of traffic: {facts.aborted}"


def _has_recorded_pass(facts: ReleaseFacts) -> bool:
    """What a rollback restored is not judged again: it was verified here before."""
    if facts.verdict is not None:
        return facts.verdict.passed
    return facts.release in facts.verified
