"""The suite: which metrics appear, under which names, and what no choice may touch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.evaluation import suite
from counterpoint.evaluation.clustering import cluster_agreement
from counterpoint.evaluation.fewshot import few_shot
from counterpoint.evaluation.geometry import alignment, feature_std, rankme, uniformity
from counterpoint.evaluation.knn import knn_classify
from counterpoint.evaluation.linear import linear_probe
from counterpoint.evaluation.retrieval import retrieval, view_retrieval
from counterpoint.evaluation.suite import evaluate_arrays, neighbour_counts

pytestmark = pytest.mark.unit

Splits = dict[str, Tensor]


def data(spread: float = 1.5, train: int = 120) -> tuple[Splits, Splits]:
    features, labels = {}, {}
    for seed, (split, n) in enumerate({"train": train, "val": 40, "test": 60}.items()):
        labels[split] = torch.arange(n) % 4
        noise = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
        features[split] = torch.randn(4, 8, generator=torch.Generator().manual_seed(9))[labels[split]] + spread * noise
    return features, labels


GEOMETRY = {"rankme", "uniformity", "anisotropy", "std"}
BALANCED = {
    "knn[k=20,T=0.07]",
    "linear[lbfgs]",
    *(f"fewshot[k={k},draws=10]" for k in (1, 5, 10, 20)),
    *(f"fewshot[k={k},draws=10,ci]" for k in (1, 5, 10, 20)),
    *("recall@1", "recall@5", "map", "nmi", "ari"),
}


def test_names_carry_the_protocol() -> None:
    assert set(evaluate_arrays(*data(), split="test")) == BALANCED | GEOMETRY
    assert set(evaluate_arrays(*data(), split="val")) == BALANCED | GEOMETRY


def test_each_number_is_that_of_its_evaluator() -> None:
    x, y = data()
    found = evaluate_arrays(x, y, split="test", seed=3)

    def share(predictions: Tensor) -> float:
        return (predictions == y["test"]).double().mean().item()

    near = knn_classify(x["train"], y["train"], x["test"], k=20)
    probe = linear_probe(x["train"], y["train"], x["test"], val=(x["val"], y["val"]), seed=3)
    shots = few_shot(x["train"], y["train"], x["test"], y["test"], k=5, seed=3)
    ranked = retrieval(x["test"], y["test"], x["train"], y["train"])
    expected = {
        "knn[k=20,T=0.07]": share(near),
        "linear[lbfgs]": share(probe.predictions),
        "fewshot[k=5,draws=10]": shots.mean,
        "fewshot[k=5,draws=10,ci]": shots.half,
        "recall@1": ranked["recall@1"],
        "map": ranked["map"],
        **cluster_agreement(x["test"], y["test"], seed=3),
        "rankme": rankme(x["test"]),
        "uniformity": uniformity(x["test"]),
        "std": feature_std(x["test"]),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_val_never_touches_test_and_chooses_nothing_on_val(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data()
    clean = evaluate_arrays({s: x[s] for s in ("train", "val")}, {s: y[s] for s in ("train", "val")}, split="val")
    x["test"] = torch.full_like(x["test"], torch.nan)
    y["test"] = torch.tensor([99])
    given: list[object] = []
    probe = suite.linear_probe
    monkeypatch.setattr(
        suite, "linear_probe", lambda *a, val, seed: (given.append(val), probe(*a, val=val, seed=seed))[1]
    )
    assert evaluate_arrays(x, y, split="val") == clean
    assert given == [None]


def test_choices_for_test_do_not_see_test_labels() -> None:
    """Labels of test decide the score alone: predictions with other test labels are the same."""
    x, y = data()
    right = evaluate_arrays(x, y, split="test")
    wrong = evaluate_arrays(x, y | {"test": (y["test"] + 1) % 4}, split="test")
    both = right["linear[lbfgs]"] + wrong["linear[lbfgs]"]
    probe = linear_probe(x["train"], y["train"], x["test"], val=(x["val"], y["val"])).predictions
    assert both == pytest.approx(((probe - y["test"]) % 4 < 2).double().mean().item())


def test_test_without_val_holds_out_train_rows() -> None:
    x, y = data(spread=0.05)
    del x["val"], y["val"]
    assert evaluate_arrays(x, y, split="test")["linear[lbfgs]"] == 1.0


def test_without_labels_there_is_geometry_and_with_views_more() -> None:
    x, _ = data()
    assert set(evaluate_arrays(x, split="val")) == GEOMETRY
    views = (x["test"], x["test"] + 0.3)
    found = evaluate_arrays(x, split="test", views=views)
    assert set(found) == GEOMETRY | {"alignment", "view_recall@1[n=60]"}
    assert found["alignment"] == alignment(*views)
    assert found["view_recall@1[n=60]"] == view_retrieval(*views)


@pytest.mark.parametrize("missing", ["train", "test"])
def test_labels_on_one_side_alone_are_as_none(missing: str) -> None:
    x, y = data()
    unknown = torch.full_like(y[missing], -1)
    assert set(evaluate_arrays(x, y | {missing: unknown}, split="test")) == GEOMETRY
    del y[missing]
    assert set(evaluate_arrays(x, y, split="test")) == GEOMETRY


def test_unknown_rows_are_left_out_of_label_metrics() -> None:
    x, y = data()
    expected = evaluate_arrays(x, y, split="test")
    noise = torch.randn(30, 8, generator=torch.Generator().manual_seed(4))
    more = {s: torch.cat([x[s], noise]) for s in x}
    marked = {s: torch.cat([y[s], torch.full((30,), -1)]) for s in y}
    found = evaluate_arrays(more, marked, split="test")
    same = set(BALANCED) - {n for n in BALANCED if n.startswith("fewshot")}  # those standardise by all train rows
    assert {n: found[n] for n in same} == pytest.approx({n: expected[n] for n in same})


def test_imbalance_adds_balanced_accuracy() -> None:
    x, y = data()
    keep = torch.arange(60) % 4 < 1
    keep[:30] = True
    found = evaluate_arrays(x | {"test": x["test"][keep]}, y | {"test": y["test"][keep]}, split="test")
    assert {"knn[k=20,T=0.07,balanced]", "linear[lbfgs,balanced]"} <= set(found)


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ([30, 30], [20]),
        ([1000, 1000], [20, 200]),
        ([999, 1000], [20]),
        ([5, 5, 5], [4]),
        ([1, 1], [1]),
        ([150] * 20, [20, 149]),
    ],
)
def test_neighbours_stay_below_the_typical_class_size(sizes: list[int], counts: list[int]) -> None:
    assert neighbour_counts(torch.tensor(sizes)) == counts


def test_small_classes_clip_k_and_the_names_say_so() -> None:
    found = evaluate_arrays(*data(train=12), split="test")
    assert {"knn[k=2,T=0.07]", "fewshot[k=1,draws=10]", "fewshot[k=3,draws=10]"} <= set(found)
    assert not any("k=5" in name or "k=20" in name for name in found)


def test_two_neighbour_counts_from_one_search() -> None:
    n = 2000
    g = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 4
    x = torch.randn(4, 4, generator=g)[y] + torch.randn(n, 4, generator=g)
    found = evaluate_arrays({"train": x, "val": x[:50]}, {"train": y, "val": y[:50]}, split="val", shots=[1], draws=2)
    for k in (20, 200):
        expected = (knn_classify(x, y, x[:50], k=k) == y[:50]).double().mean().item()
        assert found[f"knn[k={k},T=0.07]"] == pytest.approx(expected)


def test_very_wide_features_have_no_linear_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "WIDEST_PROBE", 7)
    assert set(evaluate_arrays(*data(), split="test")) == (BALANCED - {"linear[lbfgs]"}) | GEOMETRY


def test_classes_that_train_lacks_are_wrong_answers() -> None:
    x, y = data(spread=0.01)
    found = evaluate_arrays(x, y | {"test": torch.full((60,), 9)}, split="test")
    assert (found["knn[k=20,T=0.07]"], found["linear[lbfgs]"]) == (0.0, 0.0)
    assert "recall@1" not in found  # no query has a match


def test_one_class_constant_features_half_precision_and_one_row() -> None:
    x, y = data()
    one = evaluate_arrays(x, {s: v * 0 for s, v in y.items()}, split="test")
    assert one["knn[k=20,T=0.07]"] == one["linear[lbfgs]"] == 1.0
    flat = evaluate_arrays({s: torch.ones_like(v).half() for s, v in x.items()}, y, split="test")
    assert flat["std"] == pytest.approx(0)
    assert flat["nmi"] == pytest.approx(0)
    assert flat["linear[lbfgs]"] == 0.25
    single = evaluate_arrays(x | {"test": x["test"][:1]}, y | {"test": y["test"][:1]}, split="test")
    assert GEOMETRY.isdisjoint(single)


def test_seeds_repeat_to_the_bit() -> None:
    assert evaluate_arrays(*data(), split="test", seed=1) == evaluate_arrays(*data(), split="test", seed=1)


@pytest.mark.parametrize(
    ("change", "split", "error", "text"),
    [
        ({}, "train", ConfigError, 'split: found \'train\'; allowed: "val" or "test". Metrics on train rows are not'),
        ({"test": None}, "test", ConfigError, "features: found splits train, val; allowed: with 'test'"),
        ({"train": None}, "val", ConfigError, "features: found splits val, test; allowed: with 'train'"),
        ({"test": torch.empty(0, 8)}, "test", ShapeError, r"features\['test'\]: found 0 rows"),
        (
            {"val": torch.full((40, 8), torch.nan)},
            "val",
            ShapeError,
            r"features\['val'\]: found NaN or infinity in row 0",
        ),
    ],
)
def test_errors(change: dict[str, Tensor | None], split: str, error: type[Exception], text: str) -> None:
    x, y = data()
    features = {s: v for s, v in (x | change).items() if v is not None}
    with pytest.raises(error, match=text):
        evaluate_arrays(features, y, split=split)


def test_quick_is_the_knn_and_geometry() -> None:
    features, labels = data()
    quick = evaluate_arrays(features, labels, split="test", quick=True)
    whole = evaluate_arrays(features, labels, split="test")
    assert quick == {name: whole[name] for name in quick}
    assert any(name.startswith("knn") for name in quick)
    assert not any(name.startswith(("linear", "fewshot", "recall", "nmi")) for name in quick)


def test_of_very_many_queries_retrieval_draws_some_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = data()
    monkeypatch.setattr(suite, "_RETRIEVAL_QUERIES", 10)
    found = evaluate_arrays(features, labels, split="test")
    assert "recall@1[queries=10]" in found
    assert "map[queries=10]" in found
    assert found == evaluate_arrays(features, labels, split="test")
