from __future__ import annotations

import pytest

from modelyard.domain.machines.shards import Shard

MODELS = [f"model-{number}" for number in range(2000)]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_model_is_in_exactly_one_shard_and_no_shard_has_far_more_than_its_part(count):
    shards = [Shard(number, count) for number in range(1, count + 1)]
    sizes = [sum(map(shard.covers, MODELS)) for shard in shards]
    assert sum(sizes) == len(MODELS)
    assert all(sum(shard.covers(model) for shard in shards) == 1 for model in MODELS[:50])
    assert max(sizes) < 1.3 * len(MODELS) / count


def test_one_shard_more_takes_models_from_the_others_and_moves_none_between_them():
    def owner(model, count):
        return next(n for n in range(1, count + 1) if Shard(n, count).covers(model))

    moved = [model for model in MODELS if owner(model, 4) != owner(model, 5)]
    assert {owner(model, 5) for model in moved} == {5}
    assert len(moved) < 1.3 * len(MODELS) / 5


def test_each_shard_stands_for_a_lease_of_its_own():
    assert Shard().lease("modelyard/watch") == "modelyard/watch"
    assert Shard(2, 3).lease("modelyard/watch") == "modelyard/watch-2-of-3"
