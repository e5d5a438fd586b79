"""How often drift asks for a version, and whether it is better: feeds followed night by night.

A model is trained on a year of days and followed for two more. Each night drift compares the last
windows; a proposal is merged at once, trained, judged by the gate, and in production three days
later. Detection, days, answers and gate are the product's; feed and model are simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from typing import Any

import numpy as np

from error_rates import running
from error_rates.rates import Rate
from error_rates.stopping import FixedRuns
from modelyard.domain.drift.answers import drift_shown, existing_answer
from modelyard.domain.drift.column_checks import ColumnCheck
from modelyard.domain.drift.detection import check_in_season, confirm_drift, count_window
from modelyard.domain.drift.profile import Profile
from modelyard.domain.drift.profiling.build import build_profile
from modelyard.domain.drift.regime import (
    Regime,
    RetrainingDays,
    drifted_windows,
    longest_regime,
    plan_days,
)
from modelyard.domain.drift.retraining import RetrainingInputs, current_sets, plan_retraining
from modelyard.domain.gate.gate import Comparison, Scores, gate_verdict
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.interval import Interval, count_days
from modelyard.domain.specs.model import (
    DataContract,
    GatePolicy,
    Model,
    Output,
    OutputKind,
    Owner,
    Target,
    Task,
    Trainer,
)
from modelyard.domain.specs.record import Record
from modelyard.domain.specs.version import Code, ModelVersion, Runtime, TrainingData

ROWS, YEAR, FOLLOWED, CANARY = 100, 364, 728, 3
RUNS, QUICK_RUNS = 40, 2
PROMISED = 0.9
"""The promised part of models with so many proposals."""
DAY_ONE = date(2024, 1, 1)
COLUMNS = (
    Column(name="day", type="timestamp"),
    Column(name="x", type="number"),
    Column(name="z", type="number"),
    Column(name="place", type="category"),
    Column(name="y", type="number", available_at="later"),
)
MODEL = Model(
    name="m",
    description="m",
    owner=Owner(team="t", contact="t@example.org"),
    task=Task.REGRESSION,
    target=Target(column="y"),
    outputs=(Output(name="y", kind=OutputKind.VALUE, primary=True, minimum=-10, maximum=30),),
    trainer=Trainer(command=("train",)),
    data=DataContract(columns=COLUMNS, timestamp="day"),
    gate=GatePolicy(metric="mae", margin=0.05),
)
BY_ROW = "with 100 clusters a day"

Shift = Callable[[np.ndarray], np.ndarray]
"""How far x is moved on each day, in standard deviations; day 0 is the first after training."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A case of drift.

    Args:
        name: What happens to the feed.
        shift: How far x moves.
        proposals: The least and the most proposals in two years.
        clusters_a_day: 1 if rows of a day are one cluster, else each row is one.
    """

    name: str
    shift: Shift
    proposals: tuple[int, int]
    clusters_a_day: float = 1.0


def step(size: float, since: int = 100, until: int = 10_000) -> Shift:
    """A step on one day, which may go back on another."""
    return lambda days: np.where((days >= since) & (days < until), size, 0.0)


CASES = (
    Case(name="nothing drifts", shift=step(0), proposals=(0, 2)),
    Case(name="a season of 1.5 sd, known from a year", proposals=(0, 2),
         shift=lambda days: 1.5 * np.sin(2 * np.pi * days / YEAR)),
    Case(name="a step of 1 sd on a season of 1.5 sd", proposals=(0, 2),
         shift=lambda days: step(1)(days) + 1.5 * np.sin(2 * np.pi * days / YEAR)),
    Case(name="a step of .5 sd", shift=step(0.5), proposals=(0, 2)),
    Case(name="a step of 1 sd", shift=step(1), proposals=(1, 2)),
    Case(name="a step of 3 sd", shift=step(3), proposals=(1, 1)),
    Case(name=f"a step of 3 sd, {BY_ROW}", shift=step(3), proposals=(1, 1),
         clusters_a_day=ROWS),
    Case(name="two steps of 3 sd, a year apart", proposals=(2, 2),
         shift=lambda days: step(3)(days) + step(3, 464)(days)),
    Case(name="a slow trend of 2 sd a year", proposals=(1, 5),
         shift=lambda days: 2 * np.maximum(days, 0) / YEAR),
    Case(name="a spike of 3 sd for a fortnight, twice", proposals=(0, 1),
         shift=lambda days: step(3, 100, 114)(days) + step(3, 300, 314)(days)),
    Case(name=f"a spike of 3 sd for 60 days, twice, {BY_ROW}", proposals=(1, 1),
         clusters_a_day=ROWS,
         shift=lambda days: step(3, 100, 160)(days) + step(3, 300, 360)(days)),
)  # fmt: skip
QUICK_CASES = tuple(case for case in CASES if case.name in ("nothing drifts", "a step of 3 sd"))


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model: the mean of y in bins of x, as a tree would learn it."""

    edges: np.ndarray
    means: np.ndarray

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The predictions."""
        return np.asarray(self.means[np.searchsorted(self.edges, x)])


@dataclass
class Story:
    """What happened to a model in two years."""

    proposals: list[int] = field(default_factory=list)
    better: list[int] = field(default_factory=list)
    trained_on: list[int] = field(default_factory=list)


class Feed:
    """A feed of which days share effects, and days depend on the day before."""

    def __init__(self, shift: Shift, seed: int) -> None:
        random = np.random.default_rng(seed)
        days = np.arange(YEAR + FOLLOWED) - YEAR
        level = np.zeros(len(days))
        for day in range(1, len(days)):
            level[day] = 0.7 * level[day - 1] + random.normal(0, 0.25)
        moved = np.repeat(level + shift(days), ROWS)
        size = len(moved)
        x = 0.93 * random.normal(size=size) + moved
        noise = np.repeat(random.normal(0, 0.1, len(days)), ROWS) + random.normal(0, 0.5, size)
        self.table: dict[str, np.ndarray] = {
            "x": x,
            "z": random.normal(size=size) + np.repeat(random.normal(0, 0.2, len(days)), ROWS),
            "place": np.array(["a", "b", "c", "d"], dtype=object)[random.integers(0, 4, size)],
            "y": 0.5 * np.abs(x) * x + noise,
        }

    def rows(self, since: int, until: int) -> dict[str, np.ndarray]:
        """The rows of some days, counted from the first of training."""
        return {name: values[since * ROWS : until * ROWS] for name, values in self.table.items()}


class Follower:
    """One model in production, and the repository around it."""

    def __init__(self, case: Case, seed: int) -> None:
        self.case, self.feed, self.story = case, Feed(case.shift, seed), Story()
        first = ModelVersion(
            model="m",
            version="v1",
            reason="First",
            data=TrainingData(files=(), window=Interval(since=DAY_ONE, until=day_of(YEAR))),
            held_out=(),
            code=Code(tree="0"),
            runtime=Runtime(lock="0"),
        )
        self.catalog = Catalog(models={"m": MODEL}, versions={("m", "v1"): first})
        self.evidence: dict[str, dict[str, Any]] = {}
        self.models: dict[str, Trained] = {"v1": self.train(first)}
        self.production, self.waiting = first, []  # type: ignore[var-annotated]
        self.profile, self.checks = self.profile_of(first), {}  # type: ignore[var-annotated]

    def follow(self) -> Story:
        """Follow the feed for two years."""
        for today in range(YEAR + 28, YEAR + FOLLOWED + 1):
            for version, when in self.waiting:
                if when == today:
                    self.production, self.checks = version, {}
                    self.profile = self.profile_of(version)
                    self.story.better.append(today - YEAR)
            self.look(today)
        return self.story

    def look(self, today: int) -> None:
        """What a night does."""
        policy = MODEL.drift
        drifted = [self.drifted(today - 7 * age) for age in reversed(range(policy.of))]
        confirmed = confirm_drift(drifted, needed=policy.needed, of=policy.of)
        if not confirmed:
            return
        digest = self.keep_evidence(today, confirmed)
        if self.answer(digest, None):
            return
        sets = current_sets(self.catalog, "m")
        days = plan_days(MODEL, self.production, sets, self.regime(today, confirmed))
        if isinstance(days, RetrainingDays) and not self.answer(digest, count_days(days.new)):
            self.propose(today, days, digest)

    def answer(self, digest: str, new_days: int | None) -> str | None:
        """What answers the drift already."""
        shown = drift_shown(self.evidence[digest])
        return existing_answer(
            self.catalog,
            self.production,
            holds={},
            repeats=lambda *all_: shown.repeats(
                *(drift_shown(self.evidence[each]) for each in all_)
            ),
            new_days=new_days,
        )

    def drifted(self, until: int) -> tuple[ColumnCheck, ...] | None:
        """The checks of the window before a day that drifted."""
        if until < YEAR + 7:
            return None
        if until not in self.checks:
            rows = self.feed.rows(until - 7, until)
            days = Interval(since=day_of(until - 7), until=day_of(until))
            counts = count_window(self.profile, rows)
            found = check_in_season(self.profile, counts, days, least_rows=500)
            self.checks[until] = (found, tuple(check for check in found if check.drifted))
        return self.checks[until][1]  # type: ignore[no-any-return]

    def regime(self, today: int, confirmed: tuple[ColumnCheck, ...]) -> Regime:
        """As `operations.drift.regime` finds it."""
        regime = Regime(since=day_of(today - 7), until=day_of(today),
                        clusters_a_day=self.case.clusters_a_day)  # fmt: skip
        end = number_of(self.production.data.spans[-1].until)
        longest = min(longest_regime(MODEL, regime) + 28, today - end)
        windows = [self.drifted(today - 7 * age) for age in reversed(range(-(-longest // 7)))]
        known = drifted_windows(windows, confirmed, gap=MODEL.drift.of - MODEL.drift.needed)
        return replace(regime, since=day_of(today - 7 * known))

    def propose(self, today: int, days: RetrainingDays, digest: str) -> None:
        """Merge, train and judge the next version."""
        inputs = RetrainingInputs(
            model=MODEL, parent=self.production, catalog=self.catalog, days=days, training=(),
            judging=(), reason="Drift", evidence=digest, code=Code(tree="0"),
            runtime=Runtime(lock="0"),
        )  # fmt: skip
        made = plan_retraining(inputs)
        self.story.proposals.append(today - YEAR)
        self.story.trained_on.append(count_days(days.regime))
        version, name = made.version, made.version.version
        self.models[name] = self.train(version)
        sets = {("m", each.name): each for each in (made.held_out, *made.aged, *made.retired)}
        catalog = replace(self.catalog, held_out={**self.catalog.held_out, **sets},
                          versions={**self.catalog.versions, ("m", name): version})  # fmt: skip
        comparisons = [self.compare(catalog, version, each) for each in version.held_out]
        verdict, _ = gate_verdict(MODEL, comparisons)
        record = Record(model="m", version=name, spec="0", workflow="w", attempt=1, seed=0,
                        lock="0", threads=1, verdict=verdict)  # fmt: skip
        self.catalog = replace(catalog, records={**catalog.records, ("m", name): record})
        if verdict.passed:
            self.waiting.append((version, today + CANARY))

    def compare(self, catalog: Catalog, version: ModelVersion, name: str) -> Comparison:
        """The scores of both models on a held-out set."""
        days = catalog.held_out["m", name].window
        assert days is not None
        rows = self.feed.rows(number_of(days.since), number_of(days.until))
        count = len(rows["y"])
        step = ROWS if self.case.clusters_a_day == 1 else 1
        clusters = np.arange(count) // step

        def scores(who: str) -> Scores:
            return Scores(digest="d", labels=rows["y"], clusters=clusters,
                          scores=self.models[who].predict(rows["x"]))  # fmt: skip

        return Comparison(
            name=name,
            challenger=scores(version.version),
            champion=scores(self.production.version),
            look=1,
            max_looks=20,
            must_be_better=name in version.better_on,
        )

    def training(self, version: ModelVersion) -> dict[str, np.ndarray]:
        """The rows of a version."""
        parts = [
            self.feed.rows(number_of(span.since), number_of(span.until))
            for span in version.data.spans
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def train(self, version: ModelVersion) -> Trained:
        """The model of a version's rows."""
        rows = self.training(version)
        edges = np.quantile(rows["x"], np.linspace(0, 1, 101)[1:-1])
        bins = np.searchsorted(edges, rows["x"])
        sums = np.bincount(bins, rows["y"], minlength=len(edges) + 1)
        return Trained(edges=edges, means=sums / np.bincount(bins, minlength=len(edges) + 1))

    def profile_of(self, version: ModelVersion) -> Profile:
        """The profile of a version's rows."""
        rows = self.training(version)
        days = np.concatenate([
            np.arange(number_of(span.since), number_of(span.until)) for span in version.data.spans
        ])  # fmt: skip
        times = np.repeat(np.datetime64(DAY_ONE, "us") + days * np.timedelta64(1, "D"), ROWS)
        return build_profile(rows, MODEL.inputs[1:], np.repeat(days // 7, ROWS), times=times)

    def keep_evidence(self, today: int, confirmed: tuple[ColumnCheck, ...]) -> str:
        """Keep what the night's evidence would show; returns its digest."""
        digest = f"{self.production.version}-{today}"
        self.evidence[digest] = {
            "version": self.production.version,
            "confirmed": [{"column": each.column} for each in confirmed],
            "windows": [{"columns": [vars(check) for check in self.checks[today][0]]}],
        }
        return digest


def tasks(*, quick: bool) -> list[running.Task]:
    """What is simulated."""
    runs = QUICK_RUNS if quick else RUNS
    return [
        running.Task(name=case.name, run=partial(_rates, case, runs))
        for case in (QUICK_CASES if quick else CASES)
    ]


def _rates(case: Case, planned: int) -> list[Rate]:
    stories: list[Story] = []

    def outcomes() -> Iterator[bool]:
        for seed in range(planned):
            stories.append(Follower(case, seed).follow())
            yield case.proposals[0] <= len(stories[-1].proposals) <= case.proposals[1]

    fixed = FixedRuns(promised=PROMISED, runs=planned, is_least=True)
    hits, runs = fixed.draw(outcomes())
    least, greatest = case.proposals
    counts = [len(story.proposals) for story in stories]
    first = [story.better[0] - 100 for story in stories if story.better]
    trained = [story.trained_on[0] for story in stories if story.trained_on]
    wanted = str(least) if least == greatest else f"{least} to {greatest}"
    return [
        Rate(
            case=case.name,
            what=f"{wanted} proposals in two years",
            hits=hits,
            runs=runs,
            planned=planned,
            least=PROMISED,
            beside=(
                ("proposals (mean)", f"{np.mean(counts):.2g}"),
                (
                    "new days trained on, first proposal",
                    f"{np.median(trained):.0f}" if trained else "",
                ),
                (
                    "a better version in production",
                    f"{np.mean([bool(s.better) for s in stories]):.0%}",
                ),
                ("days until then (median)", f"{np.median(first):.0f}" if first else ""),
            ),
        )
    ]


def day_of(number: int) -> date:
    """The date of a day, counted from the first of training."""
    return DAY_ONE + timedelta(days=number)


def number_of(day: date) -> int:
    """The number of a date."""
    return (day - DAY_ONE).days
