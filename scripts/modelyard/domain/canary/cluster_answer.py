"""What the judge answers a cluster. The answer must never contradict the facts in Git."""

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
    """The answer if the facts alone decide it; None if the judge must be asked.

    Args:
        asked: Identity of the release in question.
        facts: The facts of the environment and model.
        release: The release that Git has there.
        environment: The environment.
    """
    # A recorded fail stands alone, whatever Git has now: a fail only makes traffic safer.
    if facts.release == asked and (reason := _fail_reason(facts)) is not None:
        return Verdict(outcome=Outcome.FAIL, reason=reason)
    if release is None or environment is None:
        return inconclusive_verdict("Git has no release here")
    if release.identity != asked:
        current = f"Git has {release.version} here, as release {release.identity}"
        return inconclusive_verdict(current)
    if facts.release != asked or facts.seen_at is None:
        return inconclusive_verdict("not seen running yet: the watcher has not recorded it")
    if not environment.rollout.judged:
        return inconclusive_verdict(f"{environment.name} is not judged: rollout.judged is false")
    return None


def require_recorded_pass(judged: Verdict, facts: ReleaseFacts, *, git: str | None) -> Verdict:
    """The judge's verdict, but a `pass` only if the facts of this release have a pass too.

    Args:
        judged: The judge's verdict now.
        facts: The facts of the release.
        git: Why the facts may be out of date, or its rules unknown; None if neither.
    """
    if not judged.passed:
        return judged
    if git is not None:
        return inconclusive_verdict(f"{git}; the judge's verdict is pass: {judged.reason}", judged)
    if not _has_recorded_pass(facts):
        reason = f"the watcher has not recorded the pass yet: {judged.reason}"
        return inconclusive_verdict(reason, judged)
    return judged


def inconclusive_verdict(reason: str, judged: Verdict | None = None) -> Verdict:
    """An `inconclusive` verdict, with the numbers of the judge's own verdict if there is one."""
    numbers = judged.numbers if judged is not None else {}
    return Verdict(outcome=Outcome.INCONCLUSIVE, reason=reason, numbers=numbers)


def _fail_reason(facts: ReleaseFacts) -> str | None:
    if facts.verdict is not None and facts.verdict.outcome is Outcome.FAIL:
        return facts.verdict.reason
    return None if facts.aborted is None else f"taken out of traffic: {facts.aborted}"


def _has_recorded_pass(facts: ReleaseFacts) -> bool:
    # A release that a rollback restores is not judged again: it was verified here before.
    if facts.verdict is not None:
        return facts.verdict.passed
    return facts.release in facts.verified
