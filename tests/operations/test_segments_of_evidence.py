from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from modelyard.adapters.tables.frames import scores_to_parquet
from modelyard.domain.canary.segments.cells import SEGMENT, segment_grid, segment_levels
from modelyard.domain.canary.shadow.pairs import grid_key
from modelyard.domain.specs.model import CanaryPolicy
from modelyard.operations.judge.evidence import expected_pairs, expected_segments
from operations.yard import MODEL_SPEC

LEVELS = ["AA", "UA"] * 150


def scored(segments):
    scores = np.linspace(0.01, 0.99, len(LEVELS))
    return scores_to_parquet(scores > 0.5, LEVELS, scores, slices=segments)


def expected(evidence, declared):
    """The promises of a first version whose record names this evidence."""
    record = SimpleNamespace(held_out=[SimpleNamespace(scores="digest")])
    model = replace(MODEL_SPEC, canary=CanaryPolicy(segments=declared))
    catalog = SimpleNamespace(models={"m": model}, records={("m", "v1"): record})
    workspace = SimpleNamespace(
        store=SimpleNamespace(read_evidence=lambda digest: evidence),
        once=lambda what, key, make, *more: make(),
    )
    return expected_segments(workspace, catalog, SimpleNamespace(model="m", version="v1"), None)


def test_segments_are_promised_by_the_levels_kept_beside_the_scores():
    kept = scored({f"{SEGMENT}carrier": segment_levels(LEVELS)})
    assert {one.title for one in expected(kept, ("carrier",))} == {"carrier = AA", "carrier = UA"}
    assert expected(kept, ()) == ()


def test_rows_scored_before_a_segment_was_declared_promise_nothing_of_it():
    assert expected(scored({}), ("carrier",)) == ()
    assert expected(scored({"by carrier": np.array(LEVELS)}), ("carrier",)) == ()


def test_pairs_are_promised_where_both_were_scored_on_the_same_rows_and_copies_are_declared():
    known = SimpleNamespace(scores="digest")
    record = SimpleNamespace(held_out=[known])
    workspace = SimpleNamespace(
        store=SimpleNamespace(read_evidence=lambda digest: scored({})),
        once=lambda what, key, make, *more: make(),
    )

    def promised(share, champion):
        model = replace(MODEL_SPEC, canary=CanaryPolicy(shadow=share))
        catalog = SimpleNamespace(models={"m": model}, records={("m", "v1"): record})
        release = SimpleNamespace(model="m", version="v1")
        return expected_pairs(workspace, catalog, release, champion)

    promise = promised(0.1, "v1")
    assert promise is not None
    assert promise.grid == grid_key(segment_grid(MODEL_SPEC.primary))
    assert promised(0.0, "v1") is None
    assert promised(0.1, None) is None
