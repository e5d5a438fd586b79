"""Whole steps, the watcher and the judge, with the keys that AWS gives the pods they run in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fakes.aws import REGION, ROLES, Account, running_aws
from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs.reader import read_specs
from modelyard.adapters.store.artifacts import Store
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer
from modelyard.operations.gate import check_record
from modelyard.operations.judge.evidence import judge_release
from modelyard.operations.reconcile.runs import outcome_of
from modelyard.operations.training.evaluate import score_held_out_sets
from modelyard.operations.training.fetch import fetch_inputs
from modelyard.operations.training.job import Job
from modelyard.operations.training.record import record_training
from modelyard.operations.training.train import train_model
from modelyard.operations.training.verify import verify_server
from modelyard.operations.workspace import Workspace
from operations.wine_repository import WINE, job_at, make_repository
from operations.yard import AT, MODEL, Yard, contested_yard
from serving.running import preloaded_socket

pytestmark = pytest.mark.long  # a whole training with each role's keys takes half a minute

STEPS: tuple[Callable[[Job], None], ...] = (
    fetch_inputs, train_model, score_held_out_sets, verify_server, record_training,
)  # fmt: skip
SETTINGS = Repository(
    artifacts="s3://models/artifacts", data="s3://models/data", tracking_uri="sqlite:///mlflow.db"
)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with running_aws(REGION) as patch:
        patch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))
        made = Account(patch, "models")
        made.copy(WINE / "data", "data/models/wine/data")
        yield made


@pytest.fixture(scope="module")
def trained(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A version whose steps all ran with the keys of their pods."""
    root = tmp_path_factory.mktemp("wine") / "yard"
    root.mkdir()
    job = job_at(root, make_repository(root, settings=SETTINGS), SETTINGS)
    account.become("steps")
    for step in STEPS:
        step(job)
    return job


def test_every_step_of_a_training_does_its_work(account: Account, trained: Job):
    before = account.versions()
    assert {key.split("/")[1] for key, _ in before if key.startswith("artifacts/")} == {
        "evidence", "models", "runs",
    }  # fmt: skip
    account.become("watch")
    record = outcome_of(trained.store, "w")
    assert record is not None
    assert record.verdict.passed
    account.become("evidence")
    checked = check_record(trained.store, trained.catalog, record, check=True)
    assert checked.verdict == record.verdict
    assert account.versions() == before


# With the watcher's keys a step reads all that it needs, and so works before it is refused.
OTHERS = [
    pytest.param(role, marks=[pytest.mark.long] * (role == "watch"))
    for role in ROLES
    if role != "steps"
]


@pytest.mark.parametrize("role", OTHERS)
def test_no_step_works_for_another_role_or_leaves_anything(
    account: Account, trained: Job, role: str
):
    before = account.versions()
    again = replace(trained)  # whatever it knows of the store, it asks for itself
    account.become(role)
    vars(again)["store"] = Store(SETTINGS.artifacts, trained.services.root)
    for step in STEPS:
        # That is exit code 1: it holds nothing against the version.
        with pytest.raises(CannotAnswer, match="out of reach"):
            step(again)
    assert account.versions() == before


@dataclass
class OnAws(Yard):
    """A yard whose machines have their store in the bucket."""

    def workspace(self, clone: str = "clone") -> Workspace:
        made = super().workspace(clone)
        other = replace(made, store=Store(SETTINGS.artifacts, made.services.root))
        vars(other)["registry"] = made.registry
        return other


@pytest.fixture(scope="module")
def judged(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Yard:
    """v2 runs in canary, and the workflow of v3 has ended."""
    yard = contested_yard(tmp_path_factory.mktemp("start") / "yard")
    yard.put("v2", "staging")
    yard.put("v2", "canary", is_verified=False)
    yard.add_version("v3")
    workflow = yard.workflow("v3")
    yard.orchestrator.submit(workflow, template="train-and-evaluate", parameters={})
    yard.finish("v3", champion="v1")
    account.copy(yard.folder / "store", "artifacts")
    return yard


def on_aws(yard: Yard, folder: Path) -> OnAws:
    copy = yard.copy(folder)
    return OnAws(folder=copy.folder, environments=copy.environments, clock=copy.clock)


def test_the_watcher_does_with_its_keys_what_it_does_with_a_store_of_its_own(
    account: Account, judged: Yard, tmp_path: Path
):
    here, there = judged.copy(tmp_path / "here"), on_aws(judged, tmp_path / "there")
    here.rest()
    before = account.versions()
    account.become("watch")
    there.rest()
    assert there.end_state() == here.end_state()
    assert there.end_state() != judged.end_state()
    assert account.versions() == before


@pytest.mark.parametrize("role", ["server", "mlflow", "evidence"])
def test_a_watcher_with_keys_of_others_proposes_nothing(
    account: Account, judged: Yard, tmp_path: Path, role: str
):
    yard = on_aws(judged, tmp_path / "yard")
    account.become(role)
    yard.reconcile()
    assert [title for title, _ in yard.titles() if "v3" in title] == []


@pytest.mark.parametrize("role", ROLES)
def test_only_who_reads_models_and_evidence_judges(
    account: Account, judged: Yard, tmp_path: Path, role: str
):
    yard = on_aws(judged, tmp_path / "yard")
    catalog = read_specs(GitTree(yard.git, yard.main())).catalog
    asked = (catalog, catalog.environments["canary"], catalog.releases["canary", MODEL], AT)
    account.become(role)
    if role in {"steps", "watch", "judge", "evidence"}:
        expected = judge_release(judged.workspace(), *asked)
        assert judge_release(yard.workspace(), *asked) == expected
        assert expected.passed
    else:
        with pytest.raises(CannotAnswer, match="out of reach"):
            judge_release(yard.workspace(), *asked)
