"""One model's repository, forge, facts and cluster in memory, and everybody who acts on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from modelyard.domain.promotion.actions import (
    Action,
    ClosePull,
    GiveUpTraining,
    Merge,
    PlaceHold,
    ProposeRecord,
    ProposeRelease,
    RaiseIncident,
    RemoveAlias,
    RetryTraining,
    RollBack,
    SetAlias,
    SetStatus,
    StartTraining,
)
from modelyard.domain.promotion.change import Purpose
from modelyard.domain.promotion.facts import Freeze, Hold, ModelFacts, ReleaseFacts, TrainingFacts
from modelyard.domain.promotion.incidents import Incident
from modelyard.domain.promotion.plan import plan
from modelyard.domain.promotion.promote import needs_comparison
from modelyard.domain.promotion.pulls import PROMOTE, Status
from modelyard.domain.promotion.world import Run, World
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.version import ModelVersion
from modelyard.domain.verdict import Outcome, Verdict
from unit.domain.promotion.examples import (
    BOT,
    MODEL,
    PATH,
    branch,
    digest_of,
    record,
    release,
    spec,
    verdict,
)
from unit.domain.promotion.simulated_forge import Documents, SimulatedForge


@dataclass(kw_only=True)
class Simulated(SimulatedForge):
    """Does what the real shell, forge, watcher and people do, in the order they do it.

    `entered` lists what each merge brought, for an oracle with rules of its own; `proven` holds the
    (environment, artifact) pairs that really were ready, soaked and passed by the judge.
    """

    environments: Mapping[str, Environment] = field(
        default_factory=lambda: {each.name: each for each in PATH}
    )
    versions: dict[str, ModelVersion] = field(default_factory=dict)
    runs: dict[tuple[str, int], Run] = field(default_factory=dict)
    facts: dict[str, ReleaseFacts] = field(default_factory=dict)
    model_facts: ModelFacts = field(default_factory=ModelFacts)
    freezes: dict[str, Freeze] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    comparisons: dict[tuple[str, str], Verdict] = field(default_factory=dict)
    proven: set[tuple[str, str]] = field(default_factory=set)

    def attempt(self, version: str) -> int:
        return self.model_facts.training.get(version, TrainingFacts()).attempt

    def world(self) -> World:
        """As the shell collects it: comparisons only of what some environment names."""
        runs = {
            name: self.runs[name, self.attempt(name)]
            for name in self.versions
            if name not in self.records and (name, self.attempt(name)) in self.runs
        }
        catalog = Catalog(
            versions={(MODEL, name): each for name, each in self.versions.items()},
            records={(MODEL, name): each for name, each in self.records.items()},
            environments=self.environments,
            releases={(name, MODEL): each for name, each in self.releases.items()},
            digests={(MODEL, name): "spec" for name in self.versions},
        )
        seen = World(
            model=MODEL,
            catalog=catalog,
            now=self.now,
            bot=BOT,
            facts=dict(self.facts),
            model_facts=self.model_facts,
            freezes=dict(self.freezes),
            open_pulls=tuple(self.open_pulls),
            closed_pulls=tuple(self.closed_pulls),
            proposals={number: self.proposal(each) for number, each in self.pulls.items()},
            runs=runs,
            past=dict(self.past),
            aliases=dict(self.aliases),
        )
        asked = {needs_comparison(seen, each.version) for each in self.releases.values()}
        known = {pair: told for pair, told in self.comparisons.items() if pair in asked}
        return replace(seen, comparisons=known)

    def plan(self) -> tuple[Action, ...]:
        return plan(self.world())

    def state(self) -> tuple[object, ...]:
        """Everything anybody can see, to be compared."""
        seen = (self.records, self.releases, self.past, self.pulls, self.runs, self.facts)
        return (*(dict(each) for each in seen), dict(self.aliases), self.model_facts)

    # Reconcile

    def reconcile(self, *, most_rounds: int = 60) -> int:
        """Plan and carry out until nothing changes; returns the rounds that changed something."""
        for rounds in range(most_rounds):
            if not self.one_round():
                return rounds
        raise AssertionError(f"not settled in {most_rounds} rounds, next is {self.plan()}")

    def one_round(self) -> bool:
        """One plan, up to the first change of the main branch, which outdates the rest."""
        changed = False
        for action in self.plan():
            if self.apply_action(action):
                changed = True
                if isinstance(action, Merge | RollBack):
                    break
        return changed

    def apply_action(self, action: Action) -> bool:
        """Carry the action out as the shell does; True if anything is different now."""
        before = self.state()
        match action:
            case ProposeRecord() | ProposeRelease() | ClosePull() | SetStatus() | Merge():
                self._at_the_forge(action)
            case RollBack():
                self.roll_back(action)
            case SetAlias():
                self.aliases[action.alias] = action.version
            case RemoveAlias():
                self.aliases.pop(action.alias, None)
            case _:
                self._write_down(action)
        return self.state() != before

    def _at_the_forge(self, action: Action) -> None:
        match action:
            case ProposeRecord(record=made, environment=where):
                first = release(where, made.version, artifact=digest_of(made)) if where else None
                first_ones = ("release",) if where else ()
                labels = (made.version, f"gate:{made.verdict.outcome}", *first_ones)
                self.propose(
                    branch(Purpose.RECORD, made.version),
                    Documents(record=made, release=first),
                    labels,
                )
            case ProposeRelease(environment=where, version=version, attempt=attempt):
                self.propose_release(where, version, attempt=attempt)
            case ClosePull():
                self.close(action.number, by=BOT)
            case SetStatus():
                status = Status(context=PROMOTE, state=action.state, description=action.description)
                self.say(action.number, action.sha, status)
            case Merge():
                self.merge(action.number, sha=action.sha, by=BOT)

    def _write_down(self, action: Action) -> None:
        told = self.model_facts
        match action:
            case StartTraining():
                self.runs.setdefault((action.version, action.attempt), Run(is_over=False))
            case RetryTraining():
                self.write_training(action.version, TrainingFacts(attempt=action.attempt))
            case GiveUpTraining():
                known = told.training.get(action.version, TrainingFacts())
                self.write_training(action.version, replace(known, failed=action.reason))
            case PlaceHold() if action.version not in told.holds:
                self.hold(action.version, by=BOT, reason=action.reason)
            case RaiseIncident() if all(each.key != action.key for each in told.incidents):
                raised = Incident(what=action.what, at=self.now, key=action.key)
                self.model_facts = replace(told, incidents=(*told.incidents, raised))

    def write_training(self, version: str, facts: TrainingFacts) -> None:
        training = {**self.model_facts.training, version: facts}
        self.model_facts = replace(self.model_facts, training=training)

    def roll_back(self, action: RollBack, *, killed: bool = False) -> None:
        """Remember first, then propose and merge; `killed` stops before the merge."""
        where, target = action.environment, action.target.release
        facts = self.facts.get(where, ReleaseFacts())
        self.facts[where] = replace(facts, rolled_back_to=target.identity)
        labels = (target.version, where, "rollback")
        number = self.propose(branch(Purpose.ROLLBACK, where), Documents(release=target), labels)
        if number is not None and not killed:
            self.merge(number, sha=self.pulls[number].head, by=BOT)

    # People, workflows, the watcher

    def hold(self, version: str, *, by: str, reason: str = "looks wrong") -> None:
        held = Hold(reason=reason, by=by, since=self.now)
        holds = {**self.model_facts.holds, version: held}
        self.model_facts = replace(self.model_facts, holds=holds)

    def lift(self, version: str) -> None:
        """A person lifts a hold."""
        holds = {name: each for name, each in self.model_facts.holds.items() if name != version}
        lifted = {**self.model_facts.lifted, version: self.now}
        self.model_facts = replace(self.model_facts, holds=holds, lifted=lifted)

    def finish(
        self,
        version: str,
        outcome: Outcome | None,
        *,
        champion: str | None = None,
        artifact: str | None = None,
    ) -> None:
        """End the version's workflow; without an outcome it was lost."""
        made = (
            None
            if outcome is None
            else record(version, outcome, champion=champion, artifact=artifact)
        )
        told = "the node went away" if made is None else ""
        key = version, self.attempt(version)
        self.runs[key] = Run(is_over=True, outcome=made, message=told)

    def let_run(self, version: str, *places: str, champion: str | None = None) -> None:
        """The places run the version, and have verified it."""
        self.versions[version] = spec(version)
        self.records.setdefault(version, record(version, champion=champion))
        for where in places:
            self.name(release(where, version), commit=f"{version} in {where}")
            self.watch(where)
            self.wait(self.environments[where].soak_seconds)
            self.watch(where)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def watch(
        self,
        where: str,
        *,
        ready: bool = True,
        judged: Outcome = Outcome.PASS,
        aborted: str | None = None,
    ) -> None:
        """One look of the watcher: what it sees of the release Git names, it writes down."""
        pinned = self.releases.get(where)
        if pinned is None:
            return
        before, rollout = self.facts.get(where, ReleaseFacts()), self.environments[where].rollout
        facts = _begun(before, pinned, self.now)
        facts = replace(
            facts,
            healthy_since=(facts.healthy_since or self.now) if ready else None,
            aborted=facts.aborted or aborted,
        )
        undecided = facts.verdict is None or facts.verdict.outcome is Outcome.INCONCLUSIVE
        if rollout.judged and undecided and pinned.identity not in facts.verified:
            facts = replace(facts, verdict=verdict(judged), judged_at=self.now)
        self.facts[where] = self._proven(where, pinned, facts)

    def _proven(self, where: str, pinned: Release, facts: ReleaseFacts) -> ReleaseFacts:
        """The facts with the release among the verified ones, if it is good, or without it."""
        others = tuple(each for each in facts.verified if each != pinned.identity)
        said = facts.verdict.outcome if facts.verdict else None
        if facts.aborted or said is Outcome.FAIL:
            lost = tuple(set(facts.verified) - set(others))
            return replace(facts, verified=others, withdrawn=(*facts.withdrawn, *lost))
        soak = timedelta(seconds=self.environments[where].soak_seconds)
        soaked = facts.healthy_since is not None and self.now - facts.healthy_since >= soak
        known = pinned.identity in facts.verified
        judged = known or said is Outcome.PASS or not self.environments[where].rollout.judged
        if not (soaked and judged):
            return facts
        self.proven.add((where, pinned.artifact))
        return facts if known else replace(facts, verified=(*others, pinned.identity))


def _begun(facts: ReleaseFacts, pinned: Release, now: datetime) -> ReleaseFacts:
    """Another release than before starts from nothing."""
    if facts.release == pinned.identity:
        return facts
    tried = dict.fromkeys((*facts.tried, pinned.artifact))
    return ReleaseFacts(
        release=pinned.identity,
        version=pinned.version,
        artifact=pinned.artifact,
        seen_at=now,
        verified=facts.verified,
        withdrawn=facts.withdrawn,
        tried=tuple(tried),
        rolled_back_to=facts.rolled_back_to,
    )
