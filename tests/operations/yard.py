"""A whole yard in one folder: a bare remote, clones, a store with real evidence, a faked world."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from built_once import built_once
from git_commits import write_commit
from modelyard.adapters.facts.store import FactStore
from modelyard.adapters.forge.local import propose
from modelyard.adapters.forge.local.forge import LocalForge
from modelyard.adapters.forge.local.pulls import LocalPulls
from modelyard.adapters.forge.local.snapshot import StoredPull
from modelyard.adapters.forge.local.writer import ForgeWriter
from modelyard.adapters.git.remote_refs import RemoteRefs
from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs.documents import document_of, dump_spec, read_spec
from modelyard.adapters.specs.reader import read_specs
from modelyard.adapters.store.artifacts import Store
from modelyard.adapters.tables.frames import scores_from_parquet, scores_to_parquet
from modelyard.domain.canary.prediction_grid import prediction_grid
from modelyard.domain.gate.gate import Comparison, compare_on_set, overall_verdict, with_contract
from modelyard.domain.gate.served_contract import ServedContract
from modelyard.domain.people import Person
from modelyard.domain.promotion.change import parse_branch
from modelyard.domain.promotion.facts import ModelFacts, ReleaseFacts, TrainingFacts
from modelyard.domain.promotion.pulls import PullRequest, PullState
from modelyard.domain.promotion.world import World
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.environment import Approvals, Environment, Rollout, Step
from modelyard.domain.specs.heldout import HeldOut, Role
from modelyard.domain.specs.model import (
    CanaryPolicy,
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
from modelyard.domain.specs.names import workflow_name
from modelyard.domain.specs.record import Artifact, Champion, HeldOutResult, Record, ServerCheck
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.repository import Repository
from modelyard.domain.specs.version import (
    Code,
    DataFile,
    IntendedBreak,
    ModelVersion,
    Runtime,
    TrainingData,
)
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.operations.gate import served_contract_verdict
from modelyard.operations.open_workspace import was_taken_away
from modelyard.operations.reconcile.changes import new_release, release_documents
from modelyard.operations.reconcile.loop import reconcile_model
from modelyard.operations.training.job import OUTCOME
from modelyard.operations.watch.pass_once import run_pass
from modelyard.operations.workspace import Workspace
from modelyard.ports import Phase, Services
from modelyard.serving.documents import Serving, Training
from operations.fakes import (
    FolderRegistry,
    Ledger,
    ScriptedCluster,
    ScriptedMetrics,
    ScriptedOrchestrator,
    StoppedClock,
)

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MODEL = "m"
BOT = Repository().bot
HELD_OUT = "recent"
CLUSTERS, ROWS_OF_ONE = 100, 10

MODEL_SPEC = Model(
    name=MODEL,
    description="Whether x is large.",
    owner=Owner(team="team", contact="team@example.org"),
    task=Task.BINARY,
    target=Target(column="y", above=0.5),
    outputs=(Output(name="late", kind=OutputKind.PROBABILITY, primary=True),),
    trainer=Trainer(command=("python", "train.py")),
    data=DataContract(
        columns=(
            Column(name="x", type="number", nullable=True),
            Column(name="y", type="number", available_at="later"),
        )
    ),
    gate=GatePolicy(metric="auc", margin=0.05),
    canary=CanaryPolicy(least_predictions=1000, least_looks=1, least_seconds=60),
)
DEV = Environment(name="dev", description="First.", namespace="dev")
STAGING = Environment(
    name="staging", description="Second.", namespace="staging", promotes_from="dev"
)
CANARY = Environment(
    name="canary",
    description="A share of production.",
    namespace="production",
    promotes_from="staging",
    joins="production",
    approvals=Approvals(needed=1),
    rollout=Rollout(judged=True, decide_within_seconds=3600, steps=(Step(share=0.2),)),
)
PRODUCTION = Environment(
    name="production",
    description="Last.",
    namespace="production",
    promotes_from="canary",
    approvals=Approvals(needed=1, approvers=("ada", "bob")),
    rollout=Rollout(judged=True, steps=(Step(share=0.5),)),
)
PATH = (DEV, STAGING, CANARY, PRODUCTION)
SHORT = (replace(STAGING, promotes_from=None), CANARY, PRODUCTION)
"""One environment less, and so one rollback less."""

HELD_OUT_SPEC = HeldOut(
    model=MODEL,
    name=HELD_OUT,
    files=(DataFile(uri="data/recent.parquet", sha256="a" * 64),),
    cluster="row",
    role=Role.RECENT,
    max_looks=20,
)


def spec(version: str) -> ModelVersion:
    return ModelVersion(
        model=MODEL,
        version=version,
        reason="somebody asked",
        data=TrainingData(files=(DataFile(uri="data/train.parquet", sha256="b" * 64),)),
        held_out=(HELD_OUT,),
        code=Code(tree="c" * 40),
        runtime=Runtime(lock="d" * 64),
    )


def spec_file(version: str) -> str:
    return f"models/{MODEL}/versions/{version}.yaml"


def record_file(version: str) -> str:
    return f"models/{MODEL}/records/{version}.yaml"


def release_file(environment: str) -> str:
    return f"environments/{environment}/releases/{MODEL}.yaml"


def manifests(environment: str) -> str:
    return f"environments/{environment}/manifests/{MODEL}/"


@cache
def evidence(version: str, skill: float = 1.5, clusters: int = CLUSTERS) -> bytes:
    """Per-row scores of a version on the held-out rows; without skill it knows nothing."""
    rows = clusters * ROWS_OF_ONE
    labels = np.arange(rows) % 2
    noise = np.random.default_rng(int(version[1:])).normal(size=rows)
    scores = 1 / (1 + np.exp(-(skill * (2 * labels - 1) + noise)))
    return scores_to_parquet(labels, np.arange(rows) // ROWS_OF_ONE, scores)


@cache
def histogram(version: str) -> tuple[int, ...]:
    """How a version's predictions on the held-out rows fall into the bins of the grid."""
    scores = scores_from_parquet(evidence(version), digest="").scores
    bins = prediction_grid(MODEL_SPEC.primary)
    places = np.searchsorted(np.asarray(bins.edges), scores, side="right")
    return tuple(int(count) for count in np.bincount(places, minlength=bins.bins))


def artifact_of(version: str) -> str:
    return f"sha256:{hashlib.sha256(version.encode()).hexdigest()}"


@dataclass
class Yard:
    """Everything there is; each `workspace()` is what a process that has just started works with.

    Args:
        folder: Holds the remote, the clones, the store and the world's ledgers.
        environments: Its path to production.
        clock: What time it is.
        broken: Versions that answer errors in traffic.
        never_ready: Versions whose servers do not come up.
        refusing: Versions that answer 400 to most requests in traffic.
        slow: Versions that need ten times as long in traffic.
        old: Versions on a server that does not count refusals.
        inputs: The inputs that a version serves, where they are not the model's.
        out_of_reach: Which of `orchestrator`, `registry` and `metrics` do not answer.
    """

    folder: Path
    environments: tuple[Environment, ...] = PATH
    clock: StoppedClock = field(default_factory=lambda: StoppedClock(AT))
    broken: set[str] = field(default_factory=set)
    never_ready: set[str] = field(default_factory=set)
    out_of_reach: set[str] = field(default_factory=set)
    refusing: set[str] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)
    old: set[str] = field(default_factory=set)
    inputs: dict[str, tuple[Column, ...]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def copy(self, folder: Path) -> Yard:
        """The same yard in another folder; nothing that happens there is seen here."""
        shutil.copytree(self.folder, folder, copy_function=_linked_or_copied)
        return Yard(
            folder=folder,
            environments=self.environments,
            clock=StoppedClock(self.clock.at),
            broken=set(self.broken),
            never_ready=set(self.never_ready),
            inputs=dict(self.inputs),
        )

    def elsewhere(self, place: str, *, never_ready: Iterable[str] = ()) -> Workspace:
        """What a machine with its own clone, servers, workflows and registry works with."""
        if not (self.folder / place).exists():
            clone(self, place)
        workspace = self.workspace(place)
        cluster = ScriptedCluster(self.ledger(f"cluster-{place}"), set(never_ready), place)
        services = replace(
            workspace.services,
            cluster=cluster,
            orchestrator=ScriptedOrchestrator(self.ledger(f"workflows-{place}")),
            metrics=ScriptedMetrics(cluster, histogram, self.broken, silent=True),
        )
        other = replace(workspace, services=services)
        other.__dict__["registry"] = FolderRegistry(self.ledger(f"registry-{place}"))
        return other

    def workspace(self, clone: str = "clone") -> Workspace:
        root = self.folder / clone
        repository = Repository(artifacts=str(self.folder / "store"))
        git = Git(root)
        cluster = ScriptedCluster(self.ledger("cluster"), self.never_ready)
        forge = LocalForge(git, repository, self.clock)
        services = Services(
            root=root,
            repository=repository,
            pulls=LocalPulls(git=git, forge=forge, bot=repository.bot),
            desk=forge,
            orchestrator=self.orchestrator,
            cluster=cluster,
            metrics=ScriptedMetrics(
                cluster,
                histogram,
                self.broken,
                silent="metrics" in self.out_of_reach,
                refusing=self.refusing,
                slow=self.slow,
                old=self.old,
            ),
            clock=self.clock,
        )
        workspace = Workspace(
            services=services,
            facts=FactStore(git, repository, self.clock),
            store=Store(repository.artifacts, root),
            was_taken_away=was_taken_away,
        )
        reachable = "registry" not in self.out_of_reach
        workspace.__dict__["registry"] = FolderRegistry(self.ledger("registry"), reachable)
        return workspace

    def ledger(self, name: str) -> Ledger:
        return Ledger(self.folder / f"{name}.json")

    @property
    def orchestrator(self) -> ScriptedOrchestrator:
        reachable = "orchestrator" not in self.out_of_reach
        return ScriptedOrchestrator(self.ledger("workflows"), reachable)

    @property
    def git(self) -> Git:
        return Git(self.folder / "clone")

    @property
    def pulls(self) -> LocalForge:
        return LocalForge(self.git, Repository(), self.clock)

    # The machines

    def reconcile(self, clone: str = "clone") -> int:
        return reconcile_model(self.workspace(clone), MODEL, wait=False, report=self.said.append)

    def rest(self, clone: str = "clone") -> None:
        """Watch, check and reconcile until nothing changes any more."""
        for _ in range(30):
            if not run_pass(
                self.workspace(clone), report=self.said.append, with_checks=True
            ).changed_or_raise():
                return
        raise AssertionError(f"no rest: {self.said[-10:]}")

    def finish(
        self,
        version: str,
        *,
        skill: float = 1.5,
        champion: str | None = None,
        change: Callable[[Record], Record] = lambda record: record,
    ) -> Record:
        """Let the version's workflow end with its record, the evidence kept."""
        store, name = self.workspace().store, self.workflow(version)
        made = change(self._record(store, version, skill, champion))
        self._keep_model(version)
        store.put_run_file(name, OUTCOME, json.dumps(document_of(made)).encode())
        self.orchestrator.end(name, Phase.SUCCEEDED)
        return made

    def _keep_model(self, version: str) -> None:
        digest = artifact_of(version).removeprefix("sha256:")
        place = self.folder / "store" / "models" / digest
        place.mkdir(parents=True, exist_ok=True)
        serving = Serving(
            model=MODEL,
            task=MODEL_SPEC.task,
            inputs=self.inputs.get(version, MODEL_SPEC.inputs),
            output=MODEL_SPEC.primary,
            training=Training(null={"x": 0.0}, levels={}),
        )
        (place / "serving.json").write_text(json.dumps(asdict(serving)))
        (place / ".complete").touch()

    def workflow(self, version: str) -> str:
        attempt = self.model_facts.training.get(version, TrainingFacts()).attempt
        text = self.git.read_file(self.main(), spec_file(version))
        digest = hashlib.sha256(text).hexdigest()
        return workflow_name(MODEL, version, spec=digest, attempt=attempt)

    def _record(self, store: Store, version: str, skill: float, champion: str | None) -> Record:
        mine = evidence(version, skill)
        theirs = evidence(champion) if champion else None
        rows = f"sha256:{'e' * 64}"
        records = [p for p in self.paths("models/") if "/records/" in p]
        comparison = Comparison(
            name=HELD_OUT,
            challenger=scores_from_parquet(mine, digest=rows),
            champion=scores_from_parquet(theirs, digest=rows) if theirs else None,
            look=len({*records, record_file(version)}),
            max_looks=HELD_OUT_SPEC.max_looks,
        )
        contract = self._contract(version, champion) if champion else None
        found = compare_on_set(MODEL_SPEC, comparison)
        verdict = found.verdict
        return Record(
            model=MODEL,
            version=version,
            spec=hashlib.sha256(self.git.read_file(self.main(), spec_file(version))).hexdigest(),
            workflow=self.workflow(version),
            attempt=1,
            seed=0,
            lock="d" * 64,
            threads=1,
            verdict=with_contract(overall_verdict([HELD_OUT], [verdict]), contract),
            contract=contract,
            training_rows=1000,
            champion=Champion(version=champion, artifact=artifact_of(champion))
            if champion
            else None,
            artifact=Artifact(
                digest=artifact_of(version), size=1000, format="skops", inputs=("x",)
            ),
            held_out=(
                HeldOutResult(
                    name=HELD_OUT,
                    digest=rows,
                    rows=CLUSTERS * ROWS_OF_ONE,
                    unlabelled=0,
                    clusters=CLUSTERS,
                    look=comparison.look,
                    metrics={"auc": verdict.numbers["challenger"]},
                    scores=store.put_evidence(mine),
                    champion_scores=store.put_evidence(theirs) if theirs else None,
                    verdict=verdict,
                    against_baseline=found.baseline,
                    against_champion=found.champion,
                ),
            ),
            server=ServerCheck(golden=20, p95_ms=3.0),
        )

    def _contract(self, version: str, champion: str) -> Verdict:
        text = self.git.read_file(self.main(), spec_file(version))
        before, after = (
            ServedContract(inputs=self.inputs.get(each, MODEL_SPEC.inputs), output="late")
            for each in (champion, version)
        )
        made = read_spec(ModelVersion, text, name=version)
        return served_contract_verdict(before, after, made, champion)

    # The past, written down by hand: quicker than living through it

    def record(
        self,
        version: str,
        *,
        champion: str | None = None,
        skill: float = 1.5,
        breaks: Mapping[str, str] | None = None,
    ) -> None:
        """A version with its record on the main branch."""
        self.add_version(version, breaks)
        record = self._record(self.workspace().store, version, skill, champion)
        self._keep_model(version)
        self.commit({record_file(version): dump_spec("Record", record)}, f"Record {version}")

    def name(self, version: str, environment: str) -> Release:
        """Let the main branch name the version there, and nobody look yet."""
        catalog = read_specs(GitTree(self.git, self.main())).catalog
        world = World(model=MODEL, catalog=catalog, now=AT, bot=BOT)
        record = catalog.records[MODEL, version]
        release = new_release(world, environment, record, server_image="image:1")
        branch = f"modelyard/promote/{environment}/{MODEL}"
        self.land(branch, release_documents(world, release), f"Release {version} to {environment}")
        return release

    def land(
        self,
        branch: str,
        documents: dict[str, bytes | None],
        message: str,
        *,
        number: int | None = None,
        **changes: Any,
    ) -> str:
        """The commit that the merge of the tool's pull request left on the main branch."""
        main = self.main()
        at = {"author": BOT, "at": self.clock.at}
        head = write_commit(self.git, main, documents, parents=[main], message=message, **at)
        tree = self.git.tree_hash(head)
        assert tree is not None
        merge = self.git.commit_tree(tree, parents=[main, head], message=message, **at)
        writer = ForgeWriter(
            git=self.git,
            remote=RemoteRefs(self.git, "origin"),
            main="main",
            bot=BOT,
            clock=self.clock,
        )
        snapshot = writer.read_snapshot()
        pull = PullRequest(
            number=number or max(snapshot.pull_numbers(), default=0) + 1,
            branch=branch,
            title=message.partition("\n")[0],
            body="",
            author=Person.named(BOT),
            base=main,
            head=head,
            state=PullState.MERGED,
            opened_at=self.clock.at,
            merged_as=merge,
            closed_at=self.clock.at,
            closed_by=Person.named(BOT),
        )
        stored = StoredPull(pull=replace(pull, **changes))
        document = writer.pull_update(snapshot, stored, "Merge")
        writer.push({"refs/heads/main": (main, merge), **document}, snapshot)
        return merge

    def put(self, version: str, *environments: str, is_verified: bool = True) -> None:
        """The version named by these environments, running there, and verified or just ready."""
        for environment in environments:
            release, workspace = self.name(version, environment), self.workspace()
            where = workspace.catalog(self.main()).environments[environment]
            workspace.services.cluster.sync(release, model=MODEL_SPEC, environment=where)
            while where.joins is None and self.running()[environment][1] < 1:
                workspace.services.cluster.advance(release, environment=where)
            change = partial(_seen_facts, release, self.clock.at, is_verified=is_verified)
            workspace.facts.update_release(environment, MODEL, change)
            if is_verified:
                workspace.registry.set_alias(MODEL, alias=environment, version=version)

    # People

    def commit(
        self, documents: dict[str, bytes | None], message: str = "By hand", author: str = "Cleo"
    ) -> str:
        """Somebody's commit on the main branch."""
        before = self.main()
        after = write_commit(
            self.git,
            before,
            documents,
            parents=[before],
            message=message,
            author=author,
            at=self.clock.at,
        )
        self.git.push("origin", {"refs/heads/main": (before, after)})
        return after

    def add_version(self, version: str, breaks: Mapping[str, str] | None = None) -> None:
        intended = [IntendedBreak(name=n, reason=r) for n, r in (breaks or {}).items()]
        text = dump_spec("ModelVersion", replace(spec(version), breaks=tuple(intended)))
        self.commit({spec_file(version): text}, f"Add {version}")

    def branch(
        self, name: str, documents: dict[str, bytes | None], author: str = "Mallory"
    ) -> PullRequest:
        """Somebody's branch, and its pull request."""
        main = self.main()
        head = write_commit(
            self.git,
            main,
            documents,
            parents=[main],
            message="By hand",
            author=author,
            at=self.clock.at,
        )
        before = self.git.ls_remote("origin", [f"refs/heads/{name}"]).get(f"refs/heads/{name}")
        self.git.push("origin", {f"refs/heads/{name}": (before, head)})
        return self.open(name, author)

    def open(self, branch: str, author: str) -> PullRequest:
        """Somebody's pull request, opened past the command if the forge would refuse it."""
        if parse_branch(branch) is None:
            return self.pulls.open_branch(branch, title="By hand", body="", author=author)
        other = self.pulls.open_branch
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(propose, "parse_branch", lambda _: None)
            return other(branch, title="By hand", body="", author=author)

    def approve(self, environment: str, by: str = "ada") -> None:
        pull = self.pull(f"modelyard/promote/{environment}/{MODEL}")
        self.pulls.review(pull.number, sha=pull.head, by=by, approved=True)

    # What everybody sees

    def main(self) -> str:
        return self.refs("refs/heads/main")["refs/heads/main"]

    def refs(self, below: str = "refs") -> dict[str, str]:
        """The remote's refs as files: Git is never asked to pack them, and tests ask often."""
        remote = self.folder / "remote.git"
        files = [remote / below, *(remote / below).rglob("*")]
        found = [file for file in files if file.is_file() and file.suffix != ".lock"]
        return {str(file.relative_to(remote)): file.read_text().strip() for file in sorted(found)}

    def paths(self, prefix: str = "") -> tuple[str, ...]:
        return GitTree(self.git, self.main()).paths(prefix)

    def read(self, path: str) -> bytes:
        return self.git.read_file(self.main(), path)

    def names(self) -> dict[str, str]:
        """The version each environment names."""
        releases = read_specs(GitTree(self.git, self.main())).catalog.releases
        return {environment: release.version for (environment, _), release in releases.items()}

    def running(self) -> dict[str, tuple[str, float]]:
        """Version and share by environment, of what is in traffic."""
        known = self.ledger("cluster").read().items()
        return {
            key.partition("/")[0]: (each["version"], each["share"])
            for key, each in known
            if each["aborted"] is None
        }

    def facts(self, environment: str) -> ReleaseFacts:
        return self.workspace().facts.read_release(environment, MODEL)

    @property
    def model_facts(self) -> ModelFacts:
        return self.workspace().facts.read_model(MODEL)

    @property
    def aliases(self) -> dict[str, str]:
        return self.ledger("registry").read().get(MODEL, {})

    def pull(self, branch: str) -> PullRequest:
        """The newest pull request of a branch."""
        return [each for each in self.pulls.list(every=True) if each.branch == branch][-1]

    def titles(self) -> list[tuple[str, str]]:
        """The tool's pull requests, without those by which a test set up its past."""
        found = [(each.title, str(each.state)) for each in self.pulls.list(every=True)]
        return [(title, state) for title, state in found if not title.startswith("Release ")]

    def visible(self) -> tuple[object, ...]:
        """All that a process which has just started can go by."""
        names = ("cluster", "registry", "workflows")
        stored = sorted(str(path) for path in (self.folder / "store").rglob("*"))
        stored = [path.removeprefix(str(self.folder)) for path in stored]
        return (self.refs(), *(self.ledger(name).read() for name in names), stored)

    def end_state(self) -> dict[str, object]:
        """Everything that must be the same whatever happened on the way; no times, no commits."""
        snapshot = self.workspace().facts.read_snapshot()
        return {
            "main": self.git.tree_hash(self.main()),
            "releases": {key: timeless(facts) for key, facts in snapshot.releases.items()},
            "models": {key: timeless(facts) for key, facts in snapshot.models.items()},
            "pulls": [
                (each.number, each.branch, each.title, each.state, each.labels, each.closed_by)
                for each in self.pulls.list(every=True)
            ],
            "branches": sorted(ref for ref in self.refs() if ref.startswith("refs/heads/")),
            "registry": self.ledger("registry").read(),
            "cluster": self.ledger("cluster").read(),
            "workflows": sorted(self.ledger("workflows").read()),
        }


def timeless(value: Any) -> Any:
    """A document of a dataclass without its times."""
    if isinstance(value, datetime):
        return "some time"
    if isinstance(value, dict):
        return {key: timeless(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(timeless(each) for each in value)
    if hasattr(value, "__dataclass_fields__"):
        return {each.name: timeless(getattr(value, each.name)) for each in fields(value)}
    return value


def _linked_or_copied(source: str, target: str) -> None:
    """Git's objects never change, so one file will do for all copies of a yard."""
    if "/objects/" in source:
        try:
            os.link(source, target)
        except OSError:  # another file system
            shutil.copyfile(source, target)
    else:
        shutil.copyfile(source, target)


def _seen_facts(
    release: Release, now: datetime, before: ReleaseFacts, *, is_verified: bool
) -> ReleaseFacts:
    passed = Verdict(outcome=Outcome.PASS, reason="as good as the one before")
    return ReleaseFacts(
        release=release.identity,
        version=release.version,
        artifact=release.artifact,
        seen_at=now,
        healthy_since=now,
        verdict=passed if is_verified else None,
        judged_at=now if is_verified else None,
        verified=(*before.verified, release.identity) if is_verified else before.verified,
        tried=(*before.tried, release.artifact),
    )


def new_yard(folder: Path, environments: tuple[Environment, ...] = PATH) -> Yard:
    """A yard with one model, its environments and nothing trained yet."""
    folder.mkdir()
    remote = folder / "remote.git"
    subprocess.run(
        ["git", "init", "-q", "--template=", "--bare", "-b", "main", str(remote)], check=True
    )
    yard = Yard(folder, environments)
    clone(yard, "clone")
    documents = {
        "modelyard.yaml": dump_spec("Repository", Repository()),
        f"models/{MODEL}/model.yaml": dump_spec("Model", MODEL_SPEC),
        f"models/{MODEL}/heldout/{HELD_OUT}.yaml": dump_spec("HeldOut", HELD_OUT_SPEC),
        **{
            f"environments/{each.name}/environment.yaml": dump_spec("Environment", each)
            for each in environments
        },
    }
    start = write_commit(
        yard.git, None, documents, parents=[], message="Start", author="Cleo", at=AT
    )
    yard.git.push("origin", {"refs/heads/main": (None, start)})
    return yard


def living_yard(folder: Path, environments: tuple[Environment, ...] = PATH) -> Yard:
    """A yard whose v1 is verified everywhere."""
    return _built_once("living", _living_yard, environments).copy(folder)


def contested_yard(folder: Path, environments: tuple[Environment, ...] = SHORT) -> Yard:
    """A yard whose v1 is verified everywhere; v2 has a record, and was never released."""
    return _built_once("contested", _contested_yard, environments).copy(folder)


def _built_once(
    name: str,
    build: Callable[[Path, tuple[Environment, ...]], Yard],
    environments: tuple[Environment, ...],
) -> Yard:
    digest = hashlib.sha256(repr(environments).encode()).hexdigest()[:16]
    return yard_built_once(f"{name}-{digest}", lambda folder: build(folder, environments))


def yard_built_once(name: str, build: Callable[[Path], Yard]) -> Yard:
    """A yard to be copied: its objects are in one file, and not in a folder for two or three."""

    def build_packed(folder: Path) -> Yard:
        yard = build(folder)
        for repository in (folder / "remote.git", folder / "clone"):
            _pack(repository)
        return yard

    return built_once(name, build_packed)


def _pack(repository: Path) -> None:
    # Not `git repack`: what no ref names in a clone, as a pull request's commits, would be lost.
    git = Git(repository)
    every = ("cat-file", "--batch-all-objects", "--unordered", "--batch-check=%(objectname)")
    folder = git.kept_folder.parent / "objects"
    git.run("pack-objects", "-q", str(folder / "pack/pack"), stdin=git.run(*every).stdout)
    git.run("prune-packed", "-q")


def _living_yard(folder: Path, environments: tuple[Environment, ...]) -> Yard:
    yard = new_yard(folder, environments)
    yard.record("v1")
    yard.put("v1", *(environment.name for environment in environments))
    return yard


def _contested_yard(folder: Path, environments: tuple[Environment, ...]) -> Yard:
    yard = living_yard(folder, environments)
    yard.record("v2", champion="v1")
    return yard


def clone(yard: Yard, name: str) -> None:
    """Another checkout; the remote's address is relative, so the folder may be copied."""
    root = yard.folder / name
    subprocess.run(["git", "init", "-q", "--template=", "-b", "main", str(root)], check=True)
    Git(root).run("remote", "add", "origin", "../remote.git")


def model_named(_: Yard | None, name: str, **changes: object) -> dict[str, bytes | None]:
    """The documents of another model, for a commit."""
    other = replace(MODEL_SPEC, name=name, **changes)
    return {f"models/{name}/model.yaml": dump_spec("Model", other)}
