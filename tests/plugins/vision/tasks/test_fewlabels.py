"""Few labels: what is learnt from them and how it is measured."""

from __future__ import annotations

import pytest
import torch

from counterpoint.errors import ConfigError, ShapeError
from counterpoint_vision.tasks import FewLabels

pytestmark = pytest.mark.unit


def clusters(count: int, noise: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Three classes around three random points of an 8-dimensional space."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    centres = torch.randn(3, 8, generator=torch.Generator().manual_seed(9))
    features = centres[labels] + noise * torch.randn(count, 8, generator=generator)
    return features, labels


def test_separate_classes_are_learnt_from_few():
    features, labels = clusters(30, 0.05)
    few = torch.where(torch.arange(30) < 6, labels, -1)
    queries, wanted = clusters(60, 0.05, seed=1)
    task = FewLabels().fit(features, few)
    assert torch.equal(task.predict(queries), wanted)
    assert task.evaluate(queries, wanted)["few_labels[n=6]"] == 1.0


def test_metrics_name_their_protocol_and_more_labels_help():
    features, labels = clusters(90, 1.5)
    queries, wanted = clusters(300, 1.5, seed=1)
    metrics = FewLabels(draws=4).fit(features, labels).evaluate(queries, wanted)
    names = [f"{kind}[k={k},draws=4]" for k in (1, 5, 10, 20) for kind in ("few_shot", "few_shot_ci95")]
    assert list(metrics) == [*names, "few_labels[n=90]"]
    assert 0.34 < metrics["few_shot[k=1,draws=4]"] < metrics["few_shot[k=20,draws=4]"] <= 1
    assert metrics["few_shot_ci95[k=1,draws=4]"] > 0
    assert abs(metrics["few_labels[n=90]"] - metrics["few_shot[k=20,draws=4]"]) < 0.1


def test_noise_is_measured_as_chance():
    features, labels = torch.randn(90, 8, generator=torch.Generator().manual_seed(0)), torch.arange(90) % 3
    queries = torch.randn(600, 8, generator=torch.Generator().manual_seed(1))
    accuracy = FewLabels(shots=[10]).fit(features, labels).evaluate(queries, torch.arange(600) % 3)
    assert 0.25 < accuracy["few_shot[k=10,draws=10]"] < 0.42


def test_shots_are_those_that_the_smallest_class_allows():
    features, labels = clusters(21, 0.1)
    metrics = FewLabels().fit(features, labels).evaluate(*clusters(9, 0.1, seed=1))
    assert [name for name in metrics if name.startswith("few_shot[")] == [
        "few_shot[k=1,draws=10]",
        "few_shot[k=5,draws=10]",
    ]
    with pytest.raises(ConfigError, match="k: found 8; allowed: 1 to 7, the size of the smallest class"):
        FewLabels(shots=[8]).fit(features, labels).evaluate(features, labels)


def test_queries_without_label_do_not_count():
    features, labels = clusters(30, 0.05)
    queries, wanted = clusters(30, 0.05, seed=1)
    wrong = torch.cat([queries, torch.randn(10, 8)])
    metrics = FewLabels(shots=[]).fit(features, labels).evaluate(wrong, torch.cat([wanted, torch.full((10,), -1)]))
    assert metrics == {"few_labels[n=30]": 1.0}


def test_the_seed_decides():
    data, queries = clusters(60, 0.8), clusters(60, 0.8, seed=1)
    one, same, other = (FewLabels([1], seed=seed).fit(*data).evaluate(*queries) for seed in (0, 0, 1))
    assert one == same != other


def test_one_class_is_always_that_class():
    features, labels = clusters(9, 0.1)
    one = torch.where(labels == 2, 2, -1)
    assert FewLabels().fit(features, one).predict(features).tolist() == [2] * 9


def test_a_constant_dimension_does_no_harm():
    features, labels = clusters(30, 0.05)
    features[:, 3] = 1e6
    assert FewLabels().fit(features, labels).evaluate(features, labels)["few_labels[n=30]"] == 1.0


def test_unlabelled_rows_set_the_scale():
    """Four dimensions of noise hardly vary among the few labelled rows; standardised by these alone they would rule."""
    features, labels = clusters(60, 0.05)
    noisy = torch.cat([features, 100 * torch.randn(60, 4, generator=torch.Generator().manual_seed(5))], dim=1)
    noisy[:6, 8:] /= 1e4
    few = torch.where(torch.arange(60) < 6, labels, -1)
    assert (FewLabels().fit(noisy, few).predict(noisy) == labels).double().mean() > 0.95


def test_errors():
    with pytest.raises(ConfigError, match="C: found 0; allowed: a number > 0"):
        FewLabels(C=0)
    with pytest.raises(ConfigError, match=r"FewLabels: found no labels yet; .*Call fit\(features, labels\)"):
        FewLabels().predict(torch.rand(2, 3))
    for labels in (None, torch.tensor([-1, -1])):
        with pytest.raises(ShapeError, match="labels: found none; allowed: at least one label >= 0"):
            FewLabels().fit(torch.rand(2, 3), labels)
