"""The promise: only what a version itself did puts it on hold."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from modelyard.adapters.cluster.claim import claim_end, hold_claim
from modelyard.domain.server_fault import Blame
from modelyard.domain.specs.release import Release
from modelyard.errors import CannotAnswer, VersionFault
from modelyard.operations.doctor.checks import servers_can_start
from modelyard.operations.doctor.runner import Checkout
from operations.yard import AT, MODEL, contested_yard
from serving.artifacts import TRUSTED, shared_artifact

OURS, ITS_OWN = Blame.INFRASTRUCTURE, Blame.VERSION


@pytest.mark.long
@pytest.mark.parametrize("error", [MemoryError(), OSError(28, "No space left"), ImportError("x")])
def test_what_the_machine_lacks_is_not_the_models_fault(
    error: Exception, monkeypatch: pytest.MonkeyPatch
):
    from modelyard.serving import predictor

    def load(*_: object, **__: object) -> None:
        try:
            fails(error)
        except Exception as cause:
            raise ValueError("cannot load") from cause

    monkeypatch.setattr(predictor, "load_skops", load)

    with pytest.raises(CannotAnswer, match="skops cannot load it") as caught:
        predictor.load_predictor(*shared_artifact(), TRUSTED)

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
    return contested_yard(tmp_path_factory.mktemp("start") / "yard")


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


@pytest.mark.long
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


@pytest.mark.long
def test_what_a_cluster_gave_up_goes_back_without_a_hold(delivery):
    why = "not ready within 90 s: pod: Unschedulable: 0/3 nodes are available"
    fail(delivery, "canary", OURS, why, aborted=why)

    delivery.rest()

    assert delivery.model_facts.holds == {}
    assert delivery.names() == {"staging": "v2", "canary": "v1", "production": "v1"}
    delivery.clock.wait(3600)
    delivery.rest()
    assert delivery.names() == {"staging": "v2", "canary": "v1", "production": "v1"}


@pytest.mark.long
def test_a_model_that_fails_by_itself_is_taken_out_of_traffic_and_put_on_hold(delivery):
    fail(delivery, "canary", ITS_OWN, "container server: Error (exit code 4)")

    delivery.rest()

    assert delivery.model_facts.holds["v2"].reason == (
        "canary: container server: Error (exit code 4)"
    )
    assert set(delivery.names().values()) == {"v1"}


@pytest.mark.long
def test_a_verified_release_that_fails_on_another_machine_is_not_to_blame(delivery):
    fail(delivery, "production", ITS_OWN, "container server: Error (exit code 4)")

    delivery.rest()

    assert delivery.model_facts.holds == {}
    assert delivery.facts("production").fault.blame is OURS
    assert delivery.names()["production"] == "v1"


@pytest.mark.long
def test_facts_of_the_first_version_of_the_tool_still_hold_what_was_aborted(delivery):
    fail(delivery, "canary", None, "", aborted="not ready within 90 s")

    delivery.rest()

    assert list(delivery.model_facts.holds) == ["v2"]


@pytest.mark.long
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
