"""A simulated world that checks each act of reconcile by rules written a second time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelyard.domain.promotion.actions import Action, Merge, ProposeRelease, RollBack
from modelyard.domain.promotion.facts import ReleaseFacts
from modelyard.domain.promotion.pulls import CHECKS, PullRequest, PullState, StatusState
from modelyard.domain.specs.release import Release
from modelyard.domain.verdict import Outcome
from unit.domain.promotion.examples import BOT
from unit.domain.promotion.simulated import Simulated

NOTHING = ReleaseFacts()


@dataclass(kw_only=True)
class Audited(Simulated):
    """Refuses what reconcile must never do.

    `better` says which version really is at least as good as which; `forced` holds the identities
    of releases that a person merged against a red status.
    """

    better: Mapping[tuple[str, str], bool] = field(default_factory=dict)
    forced: set[str] = field(default_factory=set)

    def apply_action(self, action: Action) -> bool:
        if isinstance(action, Merge):
            self._audit_merge(self.pulls[action.number], action.sha)
        if isinstance(action, RollBack):
            self._audit_rollback(action)
        if isinstance(action, ProposeRelease):
            asked = self.world().requested_promotion(self.environments[action.environment])
            assert asked is None, "overwrites what a person asked for"
        changed = super().apply_action(action)
        assert not super().apply_action(action), f"another result the second time: {action}"
        return changed

    def merge_by_force(self, number: int, by: str) -> None:
        pull = self.pulls[number]
        pinned = self.documents[pull.head].release
        if pinned is not None:
            self.forced.add(pinned.identity)
        self.merge(number, sha=pull.head, by=by)

    def _audit_merge(self, pull: PullRequest, sha: str) -> None:
        if pull.state is not PullState.OPEN or pull.head != sha:
            return
        assert pull.statuses[CHECKS].state is StatusState.SUCCESS
        pinned = self.documents[sha].release
        if pinned is None:
            return
        where = self.environments[pinned.environment]
        assert pinned.version not in self.model_facts.holds, f"merges {pinned.version}, on hold"
        assert pinned.environment not in self.freezes, "merges into a frozen environment"
        for window in where.freeze_windows:
            assert not window.since <= self.now < window.until, "merges inside a freeze window"
        assert self.has_passed(pinned), f"{pinned.version} did not pass its gate"
        self._audit_source(pinned)
        self._audit_approvals(pull, pinned.environment)
        if pull.requester is None:
            named = {each.release.artifact for each in self.past.get(pinned.environment, ())}
            assert pinned.artifact not in named, f"brings {pinned.version} back by itself"
            current = self.releases.get(pinned.environment) if where.promotes_from is None else None
            assert current is None or number_of(pinned) > number_of(current), "an older one wins"

    def has_passed(self, pinned: Release) -> bool:
        """Whether the gate said yes, in the last two environments against production's of now."""
        made = self.records.get(pinned.version)
        champion = self.releases.get("production")
        if made is not None and not made.verdict.passed:
            return False
        if pinned.environment not in {"canary", "production"} or made is None or champion is None:
            return True
        named = made.champion.version if made.champion else None
        if champion.version in {pinned.version, named}:
            return True
        return self.comparisons[pinned.version, champion.version].passed

    def _audit_source(self, pinned: Release) -> None:
        before = self.environments[pinned.environment].promotes_from
        if before is None:
            return
        source, facts = self.releases[before], self.facts[before]
        assert source.artifact == pinned.artifact, f"{before} runs something else"
        assert (before, pinned.artifact) in self.proven, f"never verified in {before}"
        assert facts.release == source.identity, f"{before} was not seen running it"
        assert facts.healthy_since is not None, f"not healthy in {before}"
        assert not self.is_bad(source), f"bad in {before}"

    def _audit_approvals(self, pull: PullRequest, environment: str) -> None:
        asked = self.environments[environment].approvals
        last = {str(each.author): each.approved for each in pull.reviews if each.sha == pull.head}
        people = {who for who, yes in last.items() if yes} - {
            str(pull.author),
            str(pull.requester),
            BOT,
        }
        if asked.approvers:
            people &= set(asked.approvers)
        assert len(people) >= asked.needed, f"{people} is not enough for {environment}"

    def _audit_rollback(self, action: RollBack) -> None:
        target, now = action.target.release, self.releases[action.environment]
        if now == target:
            return
        facts = self.facts.get(action.environment, NOTHING)
        # What a person merged without its approvals goes back as well.
        is_unreviewed = now.identity in self.forced
        assert is_unreviewed or self.is_faulty(now), f"takes {now.version} back for nothing"
        assert facts.rolled_back_to != now.identity, "rolls a rollback back"
        assert target.version not in self.model_facts.holds, "goes back to what is on hold"
        assert target.identity in facts.verified, "goes back to what was never verified"
        for name, pinned in self.releases.items():
            if self.environments[name].joins == now.environment and pinned.version == now.version:
                assert self.is_told(pinned), f"{name} stays on what {now.environment} left"

    def is_bad(self, pinned: Release) -> bool:
        """Whether this very release was taken out of traffic or judged bad."""
        facts = self.facts.get(pinned.environment, NOTHING)
        failed = facts.verdict is not None and facts.verdict.outcome is Outcome.FAIL
        return facts.release == pinned.identity and (failed or facts.aborted is not None)

    def is_faulty(self, pinned: Release) -> bool:
        """Whether it must go, or what it joins must."""
        where = self.environments[pinned.environment]
        joined = self.releases.get(where.joins) if where.joins else None
        same = joined is not None and joined.version == pinned.version
        return self.must_go(pinned) or (joined is not None and same and self.must_go(joined))

    def must_go(self, pinned: Release) -> bool:
        """Whether it is bad, on hold, or undecided for too long."""
        if self.is_bad(pinned) or pinned.version in self.model_facts.holds:
            return True
        facts = self.facts.get(pinned.environment, NOTHING)
        where = self.environments[pinned.environment]
        passed = facts.verdict is not None and facts.verdict.passed
        if where.rollout.judged and facts.release == pinned.identity and facts.seen_at:
            waited = (self.now - facts.seen_at).total_seconds()
            late = waited > where.rollout.decide_within_seconds
            if late and not passed and pinned.identity not in facts.verified:
                return True
        return False

    def is_told(self, pinned: Release) -> bool:
        """Whether an incident says that people must decide about this release."""
        about = f"stuck/{pinned.environment}/{pinned.version}/"
        return any(each.key.startswith(about) for each in self.model_facts.incidents)


def number_of(pinned: Release) -> int:
    return int(pinned.version.removeprefix("v"))
