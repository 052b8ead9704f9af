"""Charts: ticks, gaps, labels, and text that stays text."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.report.bars import StackedBars
from counterpoint.report.charts import (
    MOST_POINTS,
    Line,
    LineChart,
    Ridges,
    _ends,
    _Frame,
    level,
    nice_ticks,
    thinned,
    tick_label,
)
from counterpoint.report.maps import LARGEST_MATRIX, Confusion, Dot, EmbeddingMap
from counterpoint.report.scatter import Scatter
from counterpoint.report.section import Entry, Gallery, Lists, Picture, Table, Tile, cosine, measure, number, percent
from counterpoint.training.scores import BINS, Histogram

pytestmark = pytest.mark.unit

EVIL = "</script><script>alert(1)</script>'\"><img src=x>"


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_round_and_span_the_values(low: float, width: float) -> None:
    ticks = nice_ticks(low, low + width)
    assert 2 <= len(ticks) <= 8
    slack = 1e-6 * (abs(low) + width)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + width - slack
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (math.nan, "not a number"), (-math.inf, "−∞"), (0, "0.00"), (0.0559, "0.056"), (4.4711, "4.47"),
        (56.04, "56.0"), (814.9, "815"), (12800, "12\u202f800"), (-1.4649, "−1.46"), (0.00001, "1.0e−05"),
    ],
)  # fmt: skip
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("value", "text"), [(-7.2e-4, "0.00"), (-0.006, "−0.01"), (0.7411, "0.74"), (-1, "−1.00")])
def test_a_mean_cosine_near_nothing_has_no_minus(value: float, text: str) -> None:
    assert cosine(value) == text


def test_shares_are_percentages() -> None:
    assert (percent(0.5684), percent(None), percent(math.nan)) == ("56.8%", "–", "not a number")


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [("accuracy", 0.5, "50.0%"), ("r2", -2.377, "−2.38"), ("pearson", math.nan, "–"), ("spearman", 0.5, "0.50"),
     ("mae", 12.04, "12.0"), ("accuracy", None, "–")],
)  # fmt: skip
def test_metrics_are_shown_in_their_own_scale(metric: str, value: float | None, text: str) -> None:
    assert measure(metric, value) == text


def test_a_value_that_is_no_number_leaves_a_gap_and_no_trace() -> None:
    html = LineChart("Loss", [Line("loss", [(1, 4.0), (2, math.nan), (3, 3.0), (4, 2.0)])]).__html__()
    path = re.search(r' d="([^"]+)"', html)
    assert path is not None
    assert path[1].count("M") == 2
    assert "nan" not in path[1].lower()
    assert "not a number" in html, "hovering says so"


def test_a_chart_without_any_number_says_so() -> None:
    html = LineChart("Loss", [Line("loss", [(1, math.nan), (2, math.inf)])]).__html__()
    assert "no value that is a number" in html
    assert "<svg" not in html


def test_an_axis_that_begins_at_0_makes_no_fall_of_little() -> None:
    lines = [Line("batch", [(1, 0.999), (2, 0.996)])]
    low = [re.findall(r"<i>([^<]+)</i>", LineChart("Spread", lines, zero=zero).__html__())[0] for zero in (True, False)]
    assert low == ["0.00", "0.996"]


def test_one_moment_is_a_dot() -> None:
    html = LineChart("Loss", [Line("loss", [(7, 4.0)])]).__html__()
    assert 'class="plot lone"' in html
    assert "h0.01" in html
    assert '<span class="x0"></span><span class="x1">update 7</span>' in html, "the moment is told once, below the dot"


def test_a_point_without_a_neighbour_is_a_dot_beside_longer_lines() -> None:
    long, gaps = Line("batch", [(1, 1.0), (2, 2.0)]), Line("held out", [(1, 3.0), (2, math.nan), (3, 1.0), (4, 2.0)], 2)
    html = LineChart("Spread", [long, Line("one look", [(4, 3.0)], 3), gaps]).__html__()
    assert re.findall(r'<path class="line (c\d) point" d="([^"]+)"', html) == [
        ("c3", "M100.00 0.00h0.01"),
        ("c2", "M0.00 0.00h0.01"),
    ]


@pytest.mark.parametrize(
    ("ticks", "texts"),
    [
        ([100.0, 102.5, 105.0], ["100.0", "102.5", "105.0"]),
        ([0.1, 0.105, 0.11], ["0.100", "0.105", "0.110"]),
        ([-5.0, 0.0, 5.0], ["−5", "0", "5"]),
        ([1990.0, 2000.0], ["1\u202f990", "2\u202f000"]),
        ([750_000.0, 1_000_000.0, 1_250_000.0], ["7.5e+05", "1e+06", "1.25e+06"]),
        ([0.0, 2.5e-06, 5e-06], ["0", "2.5e−06", "5e−06"]),
    ],
)
def test_no_two_ticks_say_the_same(ticks: list[float], texts: list[str]) -> None:
    assert [tick_label(tick, ticks) for tick in ticks] == texts


def test_the_axes_of_predicted_and_true_tell_their_ticks_apart() -> None:
    html = Scatter("Predicted by true", [(100.0, 101.0), (109.0, 110.0)]).__html__()
    under = re.findall(r'class="under"[^>]*>([^<]+)<', html)
    assert under == ["100.0", "102.5", "105.0", "107.5", "110.0"]


def test_values_that_are_nearly_nothing_have_an_axis_that_can_be_read() -> None:
    html = LineChart("Alignment", [Line("batch", [(1, 3e-13), (2, 1e-13)])]).__html__()
    assert max(map(len, re.findall(r"<i>([^<]+)</i>", html))) < 8


def test_a_level_line_that_never_changes_is_in_the_middle_of_its_frame() -> None:
    frame = _Frame.around([Line("flat", [(0, 0.0), (9, 0.0)])], zero=False)
    assert frame.low < 0 < frame.high


def test_names_at_the_ends_do_not_lie_on_each_other() -> None:
    lines = [Line(str(i), [(0, 0.0), (1, 1.0 + i / 1000)]) for i in range(6)] + [Line("x", [(0, 0.0), (1, 5.0)])]
    places = [at for _, at in _ends(lines, _Frame.around(lines, zero=False))]
    assert min(np.diff(places)) > 8.9
    assert max(places) <= 100


def test_long_lines_are_thinned_without_losing_their_mean() -> None:
    points = [(i, float(i % 2)) for i in range(10_000)]
    short = thinned(points)
    assert len(short) <= MOST_POINTS
    assert short[-1][0] == 9_999
    assert np.mean([y for _, y in short]) == pytest.approx(0.5, abs=0.01)


def test_a_level_is_as_wide_as_the_lines() -> None:
    assert level("chance", 2.0, [Line("a", [(3, 1.0), (9, 1.0)])]).points == [(3, 2.0), (9, 2.0)]


def test_charts_tell_what_they_show_to_those_who_do_not_see_it() -> None:
    line = Line("loss", [(1, 6.0), (150, 4.47)])
    html = LineChart("Loss", [line, level("chance", 6.24, [line])]).__html__()
    assert 'aria-label="Loss by update: loss 6.00 to 4.47; chance 6.24"' in html


def test_an_axis_of_something_else_than_updates_says_of_what() -> None:
    html = LineChart("Tail", [Line("shown", [(0, 0.0), (100, 1.0)])], share=True, unit="% of the items").__html__()
    assert '<span class="x1">100% of the items</span>' in html
    assert "0% of the items" in html
    assert "update 100" not in html


def test_bars_are_as_long_as_their_parts_beside_the_longest() -> None:
    bars = StackedBars(
        "Recall", ["rare", "popular"], {"learnt": [0.1, 0.2], "floor": [0.0, 0.4], "none": [0, 0]}, marked="learnt"
    )
    html = bars.__html__()
    assert re.findall(r"width:([\d.]+)%", html) == ["25.00", "50.00", "100.00"]
    assert 'aria-label="learnt: rare 10.0%, popular 20.0%"' in html
    assert re.findall(r'class="value">([^<]+)<', html) == ["30.0%", "40.0%", "0.0%"]
    assert html.count("stack marked") == 1
    assert "width" not in StackedBars("Recall", ["rare"], {"none": [0.0]}).__html__()


def test_a_table_without_headings_has_no_row_of_them() -> None:
    assert "<thead>" not in Table(("", ""), [["seed", "0"]], "Facts").__html__()
    assert "<thead>" in Table(("", "run"), [["seed", "0"]], "Facts").__html__()


@pytest.mark.parametrize(
    ("caption", "shown"),
    [("/data/photos/holidays/12.png", "12.png"), ("train/000208", "train/000208"), ("either that / or this one", None)],
)
def test_of_a_long_path_the_end_is_shown(caption: str, shown: str | None) -> None:
    html = Tile("text", caption).__html__()
    assert f'<span title="{caption}">{shown or caption}</span>' in html


def test_lists_mark_what_was_looked_for() -> None:
    cases = [("user 3", "1 of 2 found", [Entry("Fargo")], [Entry("Heat", "had by 9", right=True), Entry("Babe")])]
    html = Lists("had", "is shown", cases, "examples").__html__()
    assert html.count('class="right"') == 1
    assert re.search(r"✓ </b>Heat</span><small>had by 9", html)
    assert (html.count("<ul>"), html.count("<ol>")) == (1, 1)


def test_ridges_draw_each_epoch_with_both_kinds() -> None:
    counts = tuple(range(BINS))
    both = [Histogram(10, e, pair, counts) for e in (0, 4) for pair in ("positive", "negative")]
    html = Ridges(both).__html__()
    assert html.count('class="area') == 4
    assert "epoch 5: positives mean" in html and "memory" not in html
    queued = Ridges([*both, Histogram(10, 4, "queue", counts)]).__html__()
    assert queued.count('class="area') == 5 and "key c3" in queued
    assert re.search(r"negatives mean 0\.\d+, queue mean 0\.\d+", queued)


@pytest.mark.parametrize(
    "part",
    [
        LineChart(EVIL, [Line(EVIL, [(1, 2.0), (2, 3.0)])], EVIL),
        EmbeddingMap([Dot(0, 0, EVIL, EVIL, EVIL), Dot(1, 1, "b")], [EVIL]),
        Confusion(np.eye(2, dtype=int), [EVIL, "b"]),
        Gallery([[Tile(EVIL, EVIL, EVIL, "same"), Tile(Picture(b"x"), EVIL)]], EVIL),
        Table((EVIL, EVIL), [[EVIL, EVIL]], EVIL),
        StackedBars(EVIL, [EVIL], {EVIL: [0.5]}, EVIL, EVIL),
        Lists(EVIL, EVIL, [(EVIL, EVIL, [Entry(EVIL, EVIL)], [Entry(EVIL, EVIL, right=True)])], EVIL),
    ],
    ids=lambda part: type(part).__name__,
)
def test_no_text_becomes_markup(part: object) -> None:
    html = part.__html__()  # type: ignore[attr-defined]
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert html.count("</script>") == html.count("<script ")


def test_a_map_of_one_place_stays_inside() -> None:
    html = EmbeddingMap([Dot(3, 3, "a"), Dot(3, 3, "b")]).__html__()
    assert html.count("translate(320.0 220.0)") == 2


def test_classes_differ_by_shape_where_colours_come_again() -> None:
    names = [f"c{i}" for i in range(16)]
    html = EmbeddingMap([Dot(i, i, name, name) for i, name in enumerate(names)], names).__html__()
    marks = re.findall(r'<path class="spot (c\d)" transform="[^"]*" d="([^"]+)"', html)
    assert len(set(marks)) == 16


def test_many_classes_are_listed_by_their_largest_confusions() -> None:
    counts = np.eye(LARGEST_MATRIX + 1, dtype=int) * 5
    counts[3, 7] = 4
    html = Confusion(counts, [f"c{i}" for i in range(LARGEST_MATRIX + 1)]).__html__()
    assert 'class="confusion"' not in html
    assert html.index("c3") < html.index("c7")
    assert "44.4%" in html
