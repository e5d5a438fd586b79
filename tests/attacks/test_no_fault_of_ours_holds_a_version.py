"""The promise: only what a version itself did puts it on hold."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import modelyard.artifact_digest
from adapters.cluster.test_local import CANARY, DEV, PRODUCTION, Yard, ready
from modelyard.adapters.cluster.claim import claim_end, hold_claim
from modelyard.adapters.cluster.local import LocalCluster
from modelyard.adapters.cluster.pod_faults import release_fault
from modelyard.adapters.cluster.rollout_state import rollout_state_of
from modelyard.adapters.processes.start import start_command
from modelyard.adapters.store.artifacts import Store
from modelyard.artifact_digest import artifact_digest
from modelyard.domain.canary.traffic import RolloutState
from modelyard.domain.server_fault import Blame, ServerFault
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer, VersionFault
from modelyard.operations.doctor.checks import servers_can_start
from modelyard.operations.doctor.runner import Checkout
from operations.yard import AT, MODEL, SHORT, living_yard
from serving.artifacts import TRUSTED, shared_artifact
from serving.running import preloaded_socket

OURS, ITS_OWN = Blame.INFRASTRUCTURE, Blame.VERSION


def _truncate(folder: Path) -> None:
    os.truncate(folder / "model" / "model.skops", 100)


def _flip_a_bit(folder: Path) -> None:
    file = folder / "model" / "model.skops"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _put_a_folder_in_place(folder: Path) -> None:
    (folder / "model" / "MLmodel").unlink()
    (folder / "model" / "MLmodel").mkdir()


def _link_to_another(folder: Path) -> None:
    (folder / "golden.json").unlink()
    (folder / "golden.json").symlink_to("/etc/passwd")


def _put_a_file_in_place(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_bytes(b"")


DAMAGE: dict[str, Callable[[Path], None]] = {
    "truncated": _truncate,
    "a bit flipped": _flip_a_bit,
    "a file missing": lambda folder: (folder / "serving.json").unlink(),
    "a folder missing": lambda folder: shutil.rmtree(folder / "model"),
    "a file more": lambda folder: (folder / "model" / "more.py").write_bytes(b""),
    "a folder for a file": _put_a_folder_in_place,
    "a link for a file": _link_to_another,
    "a file for the folder": _put_a_file_in_place,
    "a link for the folder": lambda folder: (
        folder.rename(folder.with_name("x")) and folder.symlink_to("/nowhere")
    ),
    "empty": lambda folder: [shutil.rmtree(folder), folder.mkdir()],
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "store"), tmp_path)
    store.put_model(*shared_artifact())
    return store


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_copy_is_fetched_again(how: str, store: Store, tmp_path: Path):
    digest = shared_artifact()[1]
    here = store.fetch_model(digest, tmp_path / "cache" / "artifact")
    DAMAGE[how](here)

    assert artifact_digest(store.fetch_model(digest, here)) == digest

    assert {path.name for path in here.parent.iterdir()} <= {"artifact", "x"}


def test_a_copy_that_cannot_be_read_is_fetched_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    digest = shared_artifact()[1]
    here = store.fetch_model(digest, tmp_path / "artifact")
    before = (here / "golden.json").stat().st_ino
    real = modelyard.artifact_digest._file_digest

    def refused(path: Path) -> str:
        if path.stat().st_ino == before:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr("modelyard.artifact_digest._file_digest", refused)

    store.fetch_model(digest, here)

    assert (here / "golden.json").stat().st_ino != before


def test_a_whole_copy_is_used_while_the_store_is_down(store: Store, tmp_path: Path):
    digest = shared_artifact()[1]
    here = store.fetch_model(digest, tmp_path / "artifact")
    shutil.rmtree(tmp_path / "store")

    assert store.fetch_model(digest, here) == here


@pytest.mark.parametrize("how", ["truncated", "a bit flipped", "a file missing", "a file more"])
def test_a_damaged_copy_in_the_store_is_named_and_never_comes_into_the_cache(
    how: str, store: Store, tmp_path: Path
):
    digest = shared_artifact()[1]
    DAMAGE[how](tmp_path / "store" / "models" / digest.removeprefix("sha256:"))

    with pytest.raises(CannotAnswer, match="its files do not have the digest") as caught:
        store.fetch_model(digest, tmp_path / "cache" / "artifact")

    assert caught.value.hint == "restore it from a copy of the store"
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_full_disk_leaves_no_part_of_an_artifact(store: Store, tmp_path: Path):
    digest = shared_artifact()[1]
    here = tmp_path / "cache" / "artifact"
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            store.fetch_model(digest, here)
        except CannotAnswer as error:
            os._exit(42 if "cannot be written: File too large" in error.message else 1)
        os._exit(0)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42

    assert list((tmp_path / "cache").iterdir()) == []
    assert artifact_digest(store.fetch_model(digest, here)) == digest


# On one machine


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    monkeypatch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))
    yard = Yard(tmp_path)
    yield yard
    yard.cluster.stop_all()


def with_store(yard: Yard) -> Store:
    """Let the yard's cluster fetch from a real store."""
    store = Store(str(yard.root / "store"), yard.root)
    for digest, folder in yard.artifacts.items():
        store.put_model(folder, digest)
    yard.cluster = LocalCluster(
        yard.root, Repository(), store.fetch_model, yard.clock, patience_seconds=30
    )
    return store


def cache(yard: Yard, digest: str) -> Path:
    name = digest.removeprefix("sha256:")
    return yard.root / ".modelyard" / "cluster" / "artifacts" / name


def test_servers_that_restart_on_a_damaged_copy_serve_again(yard: Yard):
    with_store(yard)
    stable, canary = yard.sync("v1", PRODUCTION), yard.sync("v2", CANARY)
    yard.cluster.stop_all()
    _truncate(cache(yard, stable.artifact))

    yard.sync("v1", PRODUCTION)
    yard.sync("v2", CANARY)

    assert yard.observe(PRODUCTION) == ready(stable)
    assert yard.observe(CANARY) == ready(canary, 0.2)


def unreachable(digest: str, _: Path) -> Path:
    raise CannotAnswer(f"s3://models/{digest}: out of reach: <connection at 0x7f00>")


def full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device", "server.log")


@pytest.mark.parametrize("served", [False, True], ids=["at its first start", "after it served"])
@pytest.mark.parametrize("what", ["the store", "the disk", "the port"])
def test_a_server_that_cannot_start_is_tried_again_for_ever_and_starts_once_it_can(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, what: str, *, served: bool
):
    if served:
        yard.sync("v2", CANARY)
        yard.cluster.stop_all()
    blocker = socket.socket()
    with monkeypatch.context() as patch:
        if what == "the store":
            patch.setattr(yard.cluster, "_fetch", unreachable)
        elif what == "the disk":
            patch.setattr("modelyard.adapters.cluster.local_servers.start_modelyard", full)
        else:
            blocker.bind(("127.0.0.1", 0))
            taken = blocker.getsockname()[1]
            patch.setattr("modelyard.adapters.cluster.local.free_port", lambda _: taken)
        for _ in range(4):
            try:
                release = yard.sync("v2", CANARY)
            except CannotAnswer:
                release = yard.release("v2", CANARY)
            state = yard.observe(CANARY)
            assert state is not None
            assert (state.ready, state.aborted) == (False, None)
            assert state.fault is not None
            assert state.fault.blame is OURS
            yard.clock.passes(3600)
    blocker.close()

    yard.sync("v2", CANARY)

    assert yard.observe(CANARY) == ready(release, 0.2)


def test_a_start_that_fails_is_tried_later_each_time(yard: Yard, monkeypatch: pytest.MonkeyPatch):
    tried: list[float] = []

    def count(digest: str, folder: Path) -> Path:
        tried.append((yard.clock.now() - start).total_seconds())
        return unreachable(digest, folder)

    start = yard.clock.now()
    monkeypatch.setattr(yard.cluster, "_fetch", count)
    for _ in range(300):
        try:
            yard.sync("v1", DEV)
        except CannotAnswer as error:
            assert "out of reach" in error.message  # noqa: PT017 - most calls only wait
        yard.clock.passes(1)

    assert tried == [0, 5, 15, 35, 75, 135, 195, 255]


def broken_artifact(folder: Path, change: Callable[[Path], object]) -> str:
    """An artifact whose bytes are pinned as they are, and which does not work."""
    shutil.copytree(shared_artifact()[0], folder)
    change(folder)
    return artifact_digest(folder)


def _worse_golden(folder: Path) -> None:
    document = json.loads((folder / "golden.json").read_text())
    document["scores"][0] += 0.1
    (folder / "golden.json").write_text(json.dumps(document))


def _edit(folder: Path, entry: str, change: Callable[[bytes], bytes]) -> None:
    """Change some entries of a skops file, which is a zip archive."""
    file = folder / "model" / "model.skops"
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    changed = {name: change(each) for name, each in entries.items() if name.endswith(entry)}
    assert changed
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in {**entries, **changed}.items():
            archive.writestr(name, content)


OWN_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "differs on its golden rows": (_worse_golden, "golden scores differ by up to 0.1"),
    "fails on its golden rows": (
        lambda folder: _edit(folder, "json", lambda text: text.replace(b'"coef_"', b'"coeff_"')),
        "its golden rows fail",
    ),
    "cannot be opened": (
        lambda folder: _edit(folder, ".npy", lambda _: b""),
        "MLflow cannot load it",
    ),
}


@pytest.mark.parametrize("how", OWN_FAULTS)
def test_a_model_that_fails_by_itself_is_aborted_at_once_and_is_to_blame(yard: Yard, how: str):
    stable = yard.sync("v1", PRODUCTION)
    folder = yard.root / "broken"
    change, why = OWN_FAULTS[how]
    pin = broken_artifact(folder, change)
    yard.artifacts[pin] = folder

    release = yard.sync("v2", PRODUCTION, pin)

    state = yard.observe(PRODUCTION)
    assert state is not None
    assert (state.release, state.ready) == (release.identity, False)
    assert state.fault is not None
    assert state.fault.blame is ITS_OWN
    assert state.aborted == state.fault.why
    assert why in state.aborted
    assert yard.shares(PRODUCTION) == {"v1": 1.0}
    assert yard.sync("v1", PRODUCTION) == stable


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (OWN_FAULTS["fails on its golden rows"][0], VersionFault.exit_code),
        (OWN_FAULTS["cannot be opened"][0], VersionFault.exit_code),
        (lambda folder: (folder / "serving.json").unlink(), 1),
        (lambda folder: (folder / "golden.json").write_text("{"), 1),
    ],
    ids=["fails on its golden rows", "cannot be opened", "no serving.json", "broken golden.json"],
)
def test_the_exit_code_of_a_server_says_whose_fault_it_is(
    yard: Yard, tmp_path: Path, change: Callable[[Path], object], code: int
):
    folder = tmp_path / "broken"
    pin = broken_artifact(folder, change)
    command = [
        *("modelyard", "serve", "--model", "late", "--version", "v1", "--release", "r"),
        *("--artifact", pin, "--folder", str(folder), "--port", "18000"),
        *("--claim", str(tmp_path / "r.claim"), *(f"--trusted-type={name}" for name in TRUSTED)),
    ]

    running = start_command(
        command, cwd=tmp_path, environment=dict(os.environ), output=tmp_path / "log"
    )

    assert running.wait(60) == code
    ended = claim_end(tmp_path / "r.claim")
    assert ended is not None
    assert ended.exit_code == code


@pytest.mark.parametrize("error", [MemoryError(), OSError(28, "No space left"), ImportError("x")])
def test_what_the_machine_lacks_is_not_the_models_fault(
    error: Exception, monkeypatch: pytest.MonkeyPatch
):
    import mlflow.pyfunc

    from modelyard.serving.predictor import load_predictor

    def load(*_: object, **__: object) -> None:
        try:
            fails(error)
        except Exception as cause:
            raise ValueError("cannot load") from cause

    monkeypatch.setattr(mlflow.pyfunc, "load_model", load)

    with pytest.raises(CannotAnswer, match="MLflow cannot load it") as caught:
        load_predictor(*shared_artifact(), TRUSTED)

    assert not isinstance(caught.value, VersionFault)


def fails(error: Exception) -> None:
    raise error


def test_a_server_that_was_killed_leaves_no_word_that_blames_its_version(tmp_path: Path):
    claim = tmp_path / "r.claim"
    code = (
        "import os, pathlib, signal; from modelyard.adapters.cluster.claim import hold_claim\n"
        f"with hold_claim(pathlib.Path({str(claim)!r}), port=1): os.kill(os.getpid(), 9)"
    )
    with pytest.raises(VersionFault), hold_claim(claim, port=1):
        raise VersionFault("its own")
    assert claim_end(claim) is not None

    subprocess.run([sys.executable, "-c", code], check=False)

    assert claim_end(claim) is None


# In the yard


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory):
    yard = living_yard(tmp_path_factory.mktemp("start") / "yard", SHORT)
    yard.record("v2", champion="v1")
    return yard


@pytest.fixture
def delivery(start, tmp_path: Path):
    """v1 is verified everywhere; v2 runs in canary, too."""
    yard = start.copy(tmp_path / "yard")
    yard.put("v2", "staging")
    yard.put("v2", "canary", is_verified=False)
    return yard


def fail(yard, environment: str, blame: Blame | None, why: str, **options: str) -> Release:
    workspace = yard.workspace()
    release = workspace.catalog(workspace.main()).releases[environment, MODEL]
    workspace.services.cluster.fail(release, blame, why, **options)
    return release


@pytest.mark.parametrize("environment", ["staging", "canary", "production"])
def test_servers_that_cannot_start_are_told_to_people_and_nothing_goes_back(
    delivery, environment: str
):
    names = delivery.names()
    fail(delivery, environment, OURS, "store: out of reach: <connection at 0x7f1>")
    delivery.rest()
    assert delivery.model_facts.incidents == ()
    delivery.clock.wait(91)
    fail(delivery, environment, OURS, "store: out of reach: <connection at 0x7f2>")
    delivery.rest()

    version = names[environment]
    (incident,) = delivery.model_facts.incidents
    assert incident.what == (
        f"{environment} cannot start {version} of m, by no fault of the version; it is tried again:"
        " store: out of reach: <connection at 0x7f1>"
    )
    assert delivery.model_facts.holds == {}
    assert delivery.names() == names
    (finding,) = servers_can_start(Checkout(delivery.git.root, delivery.workspace))
    assert finding.what == f"{environment} m {version}: {delivery.facts(environment).fault.why}"

    fail(delivery, environment, None, "")
    delivery.rest()
    facts = delivery.facts(environment)
    assert (facts.fault, facts.fault_since, facts.healthy_since) == (None, None, delivery.clock.at)
    assert list(servers_can_start(Checkout(delivery.git.root, delivery.workspace))) == []


def test_what_a_cluster_gave_up_goes_back_without_a_hold(delivery):
    why = "not ready within 90 s: pod: Unschedulable: 0/3 nodes are available"
    fail(delivery, "canary", OURS, why, aborted=why)

    delivery.rest()

    assert delivery.model_facts.holds == {}
    assert delivery.names() == {"staging": "v2", "canary": "v1", "production": "v1"}
    delivery.clock.wait(3600)
    delivery.rest()
    assert delivery.names() == {"staging": "v2", "canary": "v1", "production": "v1"}


def test_a_model_that_fails_by_itself_is_taken_out_of_traffic_and_put_on_hold(delivery):
    fail(delivery, "canary", ITS_OWN, "container server: Error (exit code 4)")

    delivery.rest()

    assert delivery.model_facts.holds["v2"].reason == (
        "canary: container server: Error (exit code 4)"
    )
    assert set(delivery.names().values()) == {"v1"}


def test_a_verified_release_that_fails_on_another_machine_is_not_to_blame(delivery):
    fail(delivery, "production", ITS_OWN, "container server: Error (exit code 4)")

    delivery.rest()

    assert delivery.model_facts.holds == {}
    assert delivery.facts("production").fault.blame is OURS
    assert delivery.names()["production"] == "v1"


def test_facts_of_the_first_version_of_the_tool_still_hold_what_was_aborted(delivery):
    fail(delivery, "canary", None, "", aborted="not ready within 90 s")

    delivery.rest()

    assert list(delivery.model_facts.holds) == ["v2"]


# On Kubernetes


def container(name: str, *, init: bool = False, last: bool = False, **state: object):
    kind = "initContainerStatuses" if init else "containerStatuses"
    return {kind: [{"name": name, "ready": False, "lastState" if last else "state": state}]}


POD_FAULTS = [
    *(
        (container("server", waiting={"reason": reason, "message": "why"}), OURS)
        for reason in (
            *("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerError"),
            *("CreateContainerConfigError", "RunContainerError", "ErrImageNeverPull"),
        )
    ),
    ({"reason": "Evicted", "message": "low on resource: ephemeral-storage"}, OURS),
    ({"reason": "NodeLost"}, OURS),
    (
        {
            "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"},
            ]
        },
        OURS,
    ),
    (container("fetch", init=True, terminated={"exitCode": 1, "reason": "Error"}), OURS),
    (container("fetch", init=True, terminated={"exitCode": 4, "reason": "Error"}), OURS),
    (container("istio-proxy", terminated={"exitCode": 4, "reason": "Error"}), OURS),
    (container("server", terminated={"exitCode": 137, "reason": "OOMKilled"}), OURS),
    (container("server", terminated={"exitCode": 4, "reason": "OOMKilled"}), OURS),
    *(
        (container("server", last=True, terminated={"exitCode": code, "reason": "Error"}), OURS)
        for code in (1, 2, 3, 128, 139)
    ),
    (container("server", terminated={"exitCode": 4, "reason": "Error"}), ITS_OWN),
    (container("server", last=True, terminated={"exitCode": 4, "reason": "Error"}), ITS_OWN),
    (container("server", waiting={"reason": "ContainerCreating"}), None),
    (container("server", running={}), None),
    ({}, None),
]


@pytest.mark.parametrize(("status", "blame"), POD_FAULTS)
def test_a_pods_state_says_whose_fault_it_is(status: dict[str, object], blame: Blame | None):
    fault = release_fault([{"metadata": {}, "status": status}])

    assert (fault and fault.blame) is blame


def rollout(*, stable: str = "old", **status: object):
    return {
        "metadata": {"generation": 1},
        "spec": {
            "progressDeadlineSeconds": 75,
            "template": {"metadata": {"labels": {"modelyard.dev/release": "1" * 16}}},
        },
        "status": {
            "observedGeneration": "1",
            "stableRS": stable,
            "currentPodHash": "new",
            **status,
        },
    }


def pending_pod(message: str = "0/3 nodes are available"):
    labels = {"modelyard.dev/release": "1" * 16, "modelyard.dev/environment": "production"}
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return {
        "metadata": {"labels": labels},
        "status": {"phase": "Pending", "conditions": [{**condition, "message": message}]},
    }


LATE = [{"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "timed out"}]


def test_a_rollout_that_was_given_up_for_lack_of_room_is_not_the_versions_fault():
    why = "pod: Unschedulable: 0/3 nodes are available"

    state = rollout_state_of(rollout(conditions=LATE, abort=True), [pending_pod()], PRODUCTION)

    assert state == RolloutState(
        release="1" * 16,
        ready=False,
        share=0.0,
        aborted=f"not ready within 75 s: {why}",
        fault=ServerFault(blame=OURS, why=why),
    )


def test_a_rollout_that_was_given_up_without_a_word_of_its_pods_blames_nobody():
    state = rollout_state_of(rollout(conditions=LATE, abort=True), [], PRODUCTION)

    assert state.fault == ServerFault(blame=OURS, why="not ready within 75 s")


def test_a_first_release_without_room_waits_for_it():
    state = rollout_state_of(rollout(stable="", conditions=LATE), [pending_pod()], PRODUCTION)

    assert (state.aborted, state.fault and state.fault.blame) == (None, OURS)


def test_a_judge_that_does_not_answer_is_not_the_versions_fault():
    message = (
        "RolloutAborted: Rollout aborted update to revision 2: Step-based analysis phase"
        ' error/failed: Metric "judge" assessed Error due to consecutiveErrors (5) >'
        " consecutiveErrorLimit (4)"
    )

    state = rollout_state_of(rollout(abort=True, message=message), [], PRODUCTION)

    assert state.fault is not None
    assert state.fault.blame is OURS


def test_an_incident_is_raised_again_when_it_happens_again(delivery):
    for _ in range(2):
        fail(delivery, "staging", OURS, "disk full")
        delivery.rest()
        delivery.clock.wait(91)
        delivery.rest()
        fail(delivery, "staging", None, "")
        delivery.rest()
        delivery.clock.wait(10)

    assert len(delivery.model_facts.incidents) == 2
    assert delivery.model_facts.incidents[1].at > AT + timedelta(seconds=91)
