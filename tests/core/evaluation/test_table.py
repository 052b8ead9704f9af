"""Results side by side."""

from __future__ import annotations

import io
import json
import math

import pytest
from rich.console import Console

from counterpoint.evaluation.table import chance, compared, comparison, from_json, markdown, share, to_json, with_chance

pytestmark = pytest.mark.unit

ROWS = {
    "learnt": {"knn[k=20,T=0.07]": 0.71, "linear[lbfgs]": 0.8, "rankme": 91.23, "uniformity": -3.1},
    "untrained": {"knn[k=20,T=0.07]": 0.4, "linear[lbfgs]": 0.80001, "rankme": 12.0, "uniformity": -0.2},
    "raw|input": {"knn[k=20,T=0.07]": 0.3, "rankme": 3.0, "uniformity": -0.4},
}


def shown(table: object, styles: bool = False) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=styles, color_system="standard" if styles else None)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_markdown_has_best_in_bold_gaps_as_dashes_and_the_chance_level() -> None:
    assert markdown(ROWS, classes=10).splitlines() == [
        r"| metric | learnt | untrained | raw\|input | chance |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| `knn[k=20,T=0.07]` | **0.7100** | 0.4000 | 0.3000 | 0.1000 |",
        "| `linear[lbfgs]` | **0.8000** | **0.8000** | – | 0.1000 |",  # the same to four digits: both are best
        "| `rankme` | 91.2 | 12.0 | 3.0 | – |",
        "| `uniformity` | -3.1000 | -0.2000 | -0.4000 | – |",
    ]


def test_the_shell_shows_names_whole_and_the_best_in_bold() -> None:
    text = shown(comparison(ROWS, classes=10, title="test split"))
    assert "test split" in text
    assert "knn[k=20,T=0.07]" in text  # square brackets are not taken for markup
    assert "0.1000" in text
    styled = shown(comparison(ROWS, classes=10), styles=True)
    assert "\x1b[1m0.7100" in styled
    assert "\x1b[1m0.4000" not in styled


def test_one_row_alone_is_not_the_best() -> None:
    assert "**" not in markdown({"learnt": ROWS["learnt"]})


def test_order_of_metrics_is_that_of_the_fullest_row() -> None:
    rows = {"few": {"map": 0.1}, "many": {"knn": 0.2, "map": 0.3}}
    assert [line.split("|")[1].strip() for line in markdown(rows).splitlines()[2:]] == ["`knn`", "`map`"]


def test_json_holds_everything_and_no_nan() -> None:
    found = json.loads(to_json({"a": {"map": 0.5, "ci": math.nan}}, classes=3, digest="abc", seed=0))
    assert found == {"digest": "abc", "seed": 0, "classes": 3, "metrics": {"a": {"map": 0.5, "ci": None}}}
    again = from_json(found["metrics"])["a"]
    assert again["map"] == 0.5 and math.isnan(again["ci"])


def test_what_may_be_negative_is_no_share() -> None:
    assert [name for name in ("accuracy", "r2", "pearson", "spearman", "mae", "map") if share(name)] == [
        "accuracy",
        "map",
    ]


@pytest.mark.parametrize(
    ("metric", "level"),
    [
        ("knn[k=20,T=0.07]", 0.25),
        ("knn[k=20,T=0.07,balanced]", 0.25),
        ("linear[lbfgs]", 0.25),
        ("fewshot[k=5,draws=10]", 0.25),
        ("fewshot[k=5,draws=10,ci]", None),
        ("recall@1", 0.25),
        ("zero_shot@1", 0.25),
        ("recall@10", None),
        ("map", None),
        ("nmi", 0.0),
        ("view_recall@1[n=50]", 0.02),
        ("rankme", None),
    ],
)
def test_chance(metric: str, level: float | None) -> None:
    assert chance(metric, 4) == level
    assert chance(metric, None) == (level if metric in ("nmi", "view_recall@1[n=50]") else None)


def test_a_protocol_brings_its_own_chance_which_comes_last_and_is_never_the_best() -> None:
    rows = {
        "chance": {"recall@1": 0.02, "std": 0.0},
        "learnt": {"recall@1": 0.01, "texts": 1234.0},
        "floor": {"recall@1": 0.0},
    }
    assert markdown(rows, classes=4).splitlines() == [
        "| metric | learnt | floor | chance |",
        "| --- | ---: | ---: | ---: |",
        "| `recall@1` | **0.0100** | 0.0000 | 0.0200 |",
        "| `texts` | 1,234 | – | – |",
        "| `std` | – | – | 0.0000 |",
    ]
    assert list(with_chance(rows, 4)) == ["learnt", "floor", "chance"]
    assert list(with_chance({"learnt": {"rankme": 3.0}}, 4)) == ["learnt"]


def test_geometry_and_widths_of_intervals_have_no_best() -> None:
    better = ["knn[k=20,T=0.07]", "fewshot[k=5,draws=10]", "recall@5", "map", "nmi", "view_recall@1[n=9]"]
    assert all(compared(metric) for metric in better)
    neither = ["rankme", "uniformity", "alignment", "std", "anisotropy", "fewshot[k=5,draws=10,ci]"]
    assert not any(compared(metric) for metric in neither)


def test_an_interval_stands_behind_its_mean_and_drawn_queries_keep_their_chance_level() -> None:
    rows = {"a": {"fewshot[k=1,draws=10]": 0.5, "fewshot[k=1,draws=10,ci]": 0.021, "recall@1[queries=9]": 0.4}}
    text = markdown(rows, classes=4)
    assert "0.5000 ± 0.021" in text
    assert ",ci]" not in text
    assert "| `recall@1[queries=9]` | 0.4000 | 0.2500 |" in text
