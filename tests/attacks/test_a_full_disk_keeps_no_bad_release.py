"""Promise: a full disk keeps no bad release in traffic."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters.cluster.test_local import CANARY, DEV, PRODUCTION, Yard, ready
from adapters.small_disk import fill, mounted, use_up_inodes
from modelyard.adapters.kept_room import KeptRoom
from modelyard.domain.canary.traffic import RolloutState
from serving.running import preloaded_socket, until

WHY = "predictions differ by 0.32 from the expected ones, 0.15 is allowed"


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    monkeypatch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))
    with mounted(tmp_path / "disk", "size=64m,nr_inodes=4000") as disk:
        yard = Yard(disk)
        yield yard
        yard.cluster.stop_all()


@pytest.mark.parametrize(
    ("exhaust", "is_kept"), [(fill, True), (fill, False), (use_up_inodes, False)]
)
def test_a_canary_leaves_traffic_on_a_full_disk_and_stays_out(
    yard: Yard, exhaust: Callable[[Path], Path], *, is_kept: bool
):
    stable, canary = yard.sync("v1", PRODUCTION), yard.sync("v2", CANARY)
    if is_kept:
        KeptRoom(yard.root / ".modelyard").keep()
    ballast = exhaust(yard.root)

    yard.cluster.abort(canary, environment=CANARY, reason=WHY)

    assert yard.shares(PRODUCTION) == {"v1": 1.0}
    gone = RolloutState(release=canary.identity, ready=False, share=0.0, aborted=WHY)
    assert yard.observe(CANARY) == gone
    assert yard.process(canary) is None
    yard.sync("v2", CANARY)  # as each pass does until Git has the rollback
    assert yard.observe(CANARY) == gone
    assert yard.observe(PRODUCTION) == ready(stable)
    if ballast.is_file():
        ballast.unlink()
        yard.sync("v1", CANARY)
        assert yard.observe(CANARY) == ready(yard.release("v1", CANARY), 0.2)


def test_the_release_before_it_is_started_again_on_a_full_disk(yard: Yard):
    yard.sync("v1", DEV)
    second = yard.sync("v2", DEV)
    KeptRoom(yard.root / ".modelyard").keep()
    fill(yard.root)

    yard.cluster.abort(second, environment=DEV, reason=WHY)
    yard.sync("v2", DEV)

    until(lambda: yard.observe(DEV) is not None and yard.shares(DEV) == {"v1": 1.0})


def test_what_was_kept_is_not_spent_on_a_release_that_comes(yard: Yard):
    yard.sync("v1", PRODUCTION)
    KeptRoom(yard.root / ".modelyard").keep()
    fill(yard.root)

    yard.sync("v1", PRODUCTION)  # nothing is new, so nothing is written
    with pytest.raises(OSError, match="No space left"):
        yard.sync("v2", CANARY)

    assert KeptRoom(yard.root / ".modelyard").give_back()
    assert yard.shares(PRODUCTION) == {"v1": 1.0}


def test_a_state_that_was_written_over_in_place_is_read_as_any_other(yard: Yard):
    yard.sync("v1", PRODUCTION)
    canary = yard.sync("v2", CANARY)
    fill(yard.root)
    yard.cluster.abort(canary, environment=CANARY, reason="x")

    for file in (yard.root / ".modelyard" / "cluster").rglob("*.json"):
        json.loads(file.read_bytes())
    assert list((yard.root / ".modelyard" / "cluster").rglob(".*.json.*")) == []
