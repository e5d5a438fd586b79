from __future__ import annotations

from datetime import date
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from modelyard.adapters.store.evidently_page import ColumnScore
from modelyard.domain.drift.column_checks import ColumnCheck
from modelyard.domain.drift.profiling.build import build_profile
from modelyard.domain.specs.contract import Column
from modelyard.operations.drift.charts import Bars, Cell, bar_chart, heat_map, line_chart
from modelyard.operations.drift.page_content import column_bars, difference_in_words
from modelyard.operations.site.drift import drift_table

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "&<script>x</script>"


def texts(svg):
    return [each.text for each in ET.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314 - our own


def test_a_heat_map_has_each_number_and_its_detail_and_no_markup_from_outside():
    cells = [[Cell(ratio=0.2, detail=HOSTILE), Cell(ratio=250.0, drifted=True), Cell(ratio=None)]]
    svg = heat_map([HOSTILE], [date(2026, 6, day) for day in (1, 8, 15)], cells)
    assert texts(svg) == ["01 Jun", "08 Jun", "15 Jun", HOSTILE, "0.2", ">99", "-"]
    assert "<script>" not in svg


def test_bars_are_as_tall_as_their_shares():
    svg = bar_chart(Bars(names=(HOSTILE, "b"), before=(0.5, 0.25), now=(0.0, 1.0)))
    tall = [float(each.get("height") or 0) for each in ET.fromstring(svg).iter(f"{SVG}rect")]  # noqa: S314 - our own
    assert tall == pytest.approx([63, 0, 31.5, 126])
    assert "<script>" not in svg


def test_a_line_of_one_day_and_of_none_is_drawn():
    assert texts(line_chart([date(2026, 6, 1)], [0.5], 0.4)) == ["2026-06-01", "2026-06-01"]
    assert texts(line_chart([], [], 0.4)) == [None, None]


def test_a_number_is_compared_by_bins_and_a_category_by_levels():
    random = np.random.default_rng(1)
    table = {
        "x": random.normal(size=5000),
        "place": np.array(["a"] * 4000 + ["b"] * 1000, dtype=object),
    }
    columns = [Column(name="x", type="number"), Column(name="place", type="category")]
    number, level = build_profile(table, columns, np.zeros(5000, dtype=np.int64)).columns
    bars = column_bars(number, table["x"])
    assert np.abs(np.subtract(bars.before, bars.now)).max() < 0.01
    assert sum(bars.now) == pytest.approx(1)
    bars = column_bars(level, np.array(["b"] * 3 + ["new"], dtype=object))
    assert (bars.names, bars.before, bars.now) == (
        ("a", "b", "new"),
        (0.8, 0.2, 0.0),
        (0.0, 0.75, 0.25),
    )
    assert column_bars(number, np.full(3, np.nan)).now == (0.0,) * 24


def check(effect, p, reason="shape"):
    return ColumnCheck(
        column="x",
        reason=reason,
        measure="W1",
        effect=effect,
        floor=0.2,
        p=p,
        limit=0.001,
        rows=900,
        enough_blocks=True,
        detail="d",
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (check(0.1, 0.0), False, ""),
        (check(0.3, 0.0), True, ""),
        (check(0.1, 0.0), True, "it moved, but no further than the calendar moves it"),
        (check(0.3, 0.5), True, "the rows are too few to tell it from chance"),
        (check(0.3, 0.0, "null"), False, "a fixed line at 0.1 on a sample does not see it (null)"),
    ],
)
def test_it_says_why_our_answer_and_evidentlys_differ(ours, theirs, words):
    score = ColumnScore(column="x", method="w", score=0.2, threshold=0.1, drifted=theirs)
    assert difference_in_words([ours], score) == words
    assert difference_in_words([ours], None) == ""


def test_the_site_names_the_seasonal_columns_and_those_that_are_hardly_watched():
    evidence = {"windows": [], "version": "v1", "feed": "f", "confirmed": []}
    hidden = {"column": "*", "measure": "all", "why": "training has 2 blocks"}
    known = {"not_watched": [hidden], "seasonal": ["temp"]}
    table = drift_table("v2", {**evidence, **known})
    assert table.not_watched == ("every column: training has 2 blocks",)
    assert table.seasonal == ("temp",)
    without_reasons = {"not_watched": [{"column": "dew", "measure": "KS D"}]}
    (old,) = drift_table("v2", {**evidence, **without_reasons}).not_watched
    assert old == "dew (KS D): the calendar alone moves it nearly as far as the measure can show"
    older = drift_table("v2", evidence)
    assert (older.not_watched, older.seasonal) == ((), ())


@pytest.mark.parametrize("sign", ["\u202e", "\x1b[2J", "\u2066", "\x00", "\u200b"])
def test_a_chart_shows_no_character_that_turns_or_hides_its_text(sign):
    name = f"{sign}<b>"
    bars = bar_chart(Bars(names=(name,), before=(0.5,), now=(0.5,)))
    heat = heat_map([name], [date(2013, 1, 1)], [[Cell(ratio=1.0, detail=name)]])
    for drawn in (bars, heat):
        assert sign not in drawn
        assert "&lt;b&gt;" in drawn
