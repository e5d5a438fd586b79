"""Whatever people, health, time and lost events do, reconcile keeps its promises."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modelyard.domain.promotion.actions import Merge, RollBack
from modelyard.domain.promotion.facts import Freeze
from modelyard.domain.promotion.pulls import PROMOTE, PullState, StatusState
from modelyard.domain.specs.environment import FreezeWindow
from modelyard.domain.verdict import Outcome
from unit.domain.promotion.audited import NOTHING, Audited
from unit.domain.promotion.examples import BOT, CANARY, PATH, START, spec, verdict

PEOPLE = ("ada", "bob", "cy", "dee")
MOST_VERSIONS = 6
MOST_ROUNDS = 15
MOST_DAYS = 12
LATE = 25
WINDOW = FreezeWindow(
    since=START + timedelta(days=2), until=START + timedelta(days=3), reason="holidays"
)

people = st.sampled_from(PEOPLE)
outcomes = st.sampled_from([Outcome.PASS, Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.FAIL])
environments = st.sampled_from([each.name for each in PATH])
index = st.integers(0, 30)
every = st.integers(1, 6)


class Delivery(RuleBasedStateMachine):
    """One model, four environments, four people, and a reconcile that may die at any action."""

    def __init__(self) -> None:
        super().__init__()
        path = {each.name: each for each in PATH}
        path["canary"] = replace(CANARY, freeze_windows=(WINDOW,))
        self.sim = Audited(environments=path)
        self.events, self.every = 0, 1

    def pick(self, choices, number):
        return choices[number % len(choices)]

    # People

    @precondition(lambda self: len(self.sim.versions) < MOST_VERSIONS)
    @rule(worse=st.booleans(), unknown=st.booleans())
    def write_a_spec(self, worse, unknown):
        version = f"v{len(self.sim.versions) + 1}"
        for other in self.sim.versions:
            if not unknown:
                said = Outcome.FAIL if worse else Outcome.PASS
                self.sim.comparisons[version, other] = verdict(said)
                self.sim.comparisons[other, version] = verdict(Outcome.PASS)
        self.sim.versions[version] = spec(version)

    @precondition(lambda self: self.sim.open_pulls)
    @rule(who=st.sampled_from([PEOPLE, PEOPLE, ("ada",), ("dee",), (BOT,)]), approved=st.booleans())
    def review(self, who, approved):
        for pull in self.sim.open_pulls:
            for each in who:
                self.sim.review(pull.number, each, approved=approved)

    @precondition(lambda self: self.sim.open_pulls)
    @rule(number=index, who=people)
    def close(self, number, who):
        self.sim.close(self.pick(self.sim.open_pulls, number).number, by=who)

    @precondition(lambda self: any(p.state is PullState.CLOSED for p in self.sim.pulls.values()))
    @rule(number=index)
    def open_again(self, number):
        closed = [p for p in self.sim.pulls.values() if p.state is PullState.CLOSED]
        pull = self.pick(closed, number)
        if all(each.branch != pull.branch for each in self.sim.open_pulls):
            self.sim.pulls[pull.number] = replace(
                pull, state=PullState.OPEN, closed_at=None, closed_by=None
            )

    @precondition(lambda self: self.sim.open_pulls)
    @rule(number=index)
    def push_the_same_again(self, number):
        pull = self.pick(self.sim.open_pulls, number)
        head = f"{pull.head}x"
        self.sim.documents[head] = self.sim.documents[pull.head]
        self.sim.pulls[pull.number] = replace(pull, head=head, statuses={})

    @precondition(lambda self: self.sim.open_pulls)
    @rule(number=index, who=people)
    def merge_by_force(self, number, who):
        pull = self.pick(self.sim.open_pulls, number)
        if any(label in self.sim.model_facts.holds for label in pull.labels):
            self.sim.merge_by_force(pull.number, who)

    @precondition(lambda self: self.sim.records)
    @rule(number=index, where=environments, who=people, attempt=st.sampled_from([1, 2]))
    def ask_for(self, number, where, who, attempt):
        source = self.sim.releases.get(self.sim.environments[where].promotes_from)
        version = self.pick(list(self.sim.records), number)
        if source is not None and number % 2:
            version = source.version
        self.sim.propose_release(where, version, attempt=attempt, requester=who)

    @precondition(lambda self: self.sim.versions)
    @rule(number=index, who=people)
    def hold(self, number, who):
        named = [each.version for each in self.sim.releases.values()]
        version = self.pick([*named, *self.sim.versions], number)
        self.sim.hold(version, by=who, reason=f"{who} says so")

    @precondition(lambda self: self.sim.model_facts.holds)
    @rule(number=index)
    def lift_a_hold(self, number):
        self.sim.lift(self.pick(list(self.sim.model_facts.holds), number))

    @rule(where=environments, who=people)
    def freeze_or_open(self, where, who):
        if self.sim.freezes.pop(where, None) is None:
            self.sim.freezes[where] = Freeze(reason="busy", by=who, since=self.sim.now)

    @precondition(lambda self: self.sim.records)
    @rule(number=index, alias=environments)
    def move_an_alias_by_hand(self, number, alias):
        self.sim.aliases[alias] = self.pick(list(self.sim.records), number)

    # The world

    @precondition(lambda self: self.unfinished())
    @rule(number=index, outcome=st.one_of(outcomes, st.none()), copies=st.booleans())
    def end_a_workflow(self, number, outcome, copies):
        self.end(self.pick(self.unfinished(), number), outcome, copies=copies)

    @rule()
    def the_checks_break(self):
        self.sim.check(state=StatusState.FAILURE)

    @rule(where=environments, ready=st.booleans(), judged=outcomes, aborts=st.integers(0, 2))
    def watch(self, where, ready, judged, aborts):
        aborted = None if aborts else "somebody pressed abort"
        self.sim.watch(where, ready=ready, judged=judged, aborted=aborted)

    @rule(seconds=st.sampled_from([30, 400, 4000, 90_000]))
    def wait(self, seconds):
        self.sim.wait(seconds)

    @rule(days=st.integers(1, 3), seconds=st.sampled_from([0, 400]), judged=outcomes)
    def everybody_does_their_part(self, days, seconds, judged):
        for _ in range(days):
            self.a_day(seconds, judged)

    @precondition(lambda self: self.events > LATE)
    @rule()
    def a_good_version_reaches_production_once_nobody_objects(self):
        """However it went until now: no state is a dead end."""
        self.events = 1
        self.sim.freezes.clear()
        self.sim.wait(timedelta(days=5).total_seconds())
        for pull in self.sim.open_pulls:
            if pull.requester is not None:
                self.sim.close(pull.number, by="ada")
        version = f"v{len(self.sim.versions) + 1}"
        for other in self.sim.versions:
            self.sim.comparisons[version, other] = verdict(Outcome.PASS)
        self.sim.versions[version] = spec(version)
        for _ in range(MOST_DAYS):
            self.a_day()
            named = {name: each.version for name, each in self.sim.releases.items()}
            if named == dict.fromkeys(self.sim.environments, version):
                break
        assert named == dict.fromkeys(self.sim.environments, version)
        for (finished, _), run in self.sim.runs.items():
            assert finished in {*self.sim.records, *self.sim.model_facts.holds} or not run.outcome

    # Reconcile

    @initialize(days=st.integers(0, 6), more=st.integers(0, 4), worse=st.booleans(), every=every)
    def something_runs_already(self, days, more, worse, every):
        self.every = every
        self.write_a_spec(worse=False, unknown=False)
        self.everybody_does_their_part(days, 400, Outcome.PASS)
        self.write_a_spec(worse=worse, unknown=False)
        self.everybody_does_their_part(more, 400, Outcome.PASS)

    @invariant()
    def events_arrive_or_are_lost(self):
        self.events += 1
        if self.events % self.every == 0:
            self.reconcile()

    @rule()
    def reconcile(self):
        self.settle()
        self.nothing_changes_again()
        self.nothing_is_left_undone()

    @rule(carried=st.integers(0, 8), inside=st.booleans())
    def reconcile_is_killed(self, carried, inside):
        for number, action in enumerate(self.sim.plan()):
            if number >= carried:
                if inside and isinstance(action, RollBack):
                    self.sim.roll_back(action, killed=True)
                return
            if self.sim.apply_action(action) and isinstance(action, Merge | RollBack):
                return

    @invariant()
    def nothing_unproven_is_named(self):
        for pinned in self.sim.releases.values():
            if pinned.identity in self.sim.forced:
                continue
            before = self.sim.environments[pinned.environment].promotes_from
            assert before is None or (before, pinned.artifact) in self.sim.proven
            assert self.sim.records[pinned.version].verdict.passed

    def nothing_changes_again(self):
        assert self.sim.plan() == ()

    def nothing_is_left_undone(self):
        """What must be so once reconcile is done."""
        for pinned in self.sim.releases.values():
            assert not self.sim.must_go(pinned) or self.sim.is_told(pinned), pinned
        for where in self.sim.environments:
            assert self.sim.aliases.get(where) == self.last_verified(where) or (
                self.last_verified(where) is None
            )
        keys = [each.key for each in self.sim.model_facts.incidents]
        assert len(keys) == len(set(keys)), "the same incident twice"
        brought = [self.sim.documents[each.head].release for each in self.sim.open_pulls]
        places = [each.environment for each in brought if each is not None]
        assert len(places) == len(set(places)), "two pull requests for one environment"
        for pull in self.sim.open_pulls:
            green = pull.statuses[PROMOTE].state is StatusState.SUCCESS
            assert not green, f"{pull.branch} is green and not merged"

    # What the rules above are made of

    def unfinished(self):
        return [v for (v, a), run in self.sim.runs.items() if not run.is_over]

    def last_verified(self, where):
        verified = self.sim.facts.get(where, NOTHING).verified
        named = [each.release for each in self.sim.past.get(where, ())]
        good = [each.version for each in named if each.identity in verified]
        return next((v for v in good if v not in self.sim.model_facts.holds), None)

    def end(self, version, outcome, *, copies=False):
        """End a workflow whose champion is the first one production ever had, mostly stale."""
        past = self.sim.past.get("production", ())
        champion = past[-1].release.version if past else None
        artifact = past[0].release.artifact if past and copies else None
        self.sim.finish(version, outcome, champion=champion, artifact=artifact)

    def settle(self):
        assert self.sim.reconcile() <= MOST_ROUNDS
        self.sim.check()
        assert self.sim.reconcile() <= MOST_ROUNDS

    def a_day(self, seconds=400, judged=Outcome.PASS):
        for version in self.unfinished():
            self.end(version, Outcome.PASS)
        self.settle()
        for pull in self.sim.open_pulls:
            for who in PEOPLE:
                self.sim.review(pull.number, who)
        assert self.sim.reconcile() <= MOST_ROUNDS
        for where in self.sim.environments:
            self.sim.watch(where, judged=judged)
        self.sim.wait(seconds)
        for where in self.sim.environments:
            self.sim.watch(where, judged=judged)


class LongDelivery(Delivery):
    """The same rules, in more orders."""


TestDelivery = pytest.mark.slow(Delivery.TestCase)
TestDelivery.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
TestLongDelivery = pytest.mark.long(LongDelivery.TestCase)
TestLongDelivery.settings = settings(max_examples=400, stateful_step_count=40, deadline=None)
