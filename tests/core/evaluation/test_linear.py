"""The linear probe: its protocol, and agreement with scikit-learn used plainly."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.evaluation import _logistic, linear
from counterpoint.evaluation._logistic import Logistic, Standardizer
from counterpoint.evaluation.linear import linear_probe

pytestmark = pytest.mark.unit


def blobs(n: int, classes: int = 3, dim: int = 6, spread: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    y = torch.arange(n) % classes
    return centres[y] + spread * torch.randn(n, dim, generator=g), y


def test_separable_classes_are_all_right() -> None:
    x, y = blobs(90, spread=0.05)
    z, wanted = blobs(60, spread=0.05, seed=1)
    assert torch.equal(linear_probe(x, y, z).predictions, wanted)
    assert torch.equal(linear_probe(x, y, z, val=blobs(30, spread=0.05, seed=2)).predictions, wanted)


def test_shuffled_labels_give_chance() -> None:
    x, y = blobs(1200)
    y = y[torch.randperm(1200, generator=torch.Generator().manual_seed(3))]
    found = (linear_probe(x[:300], y[:300], x[300:]).predictions == y[300:]).double().mean().item()
    assert abs(found - 1 / 3) < 3 * (1 / 3 * 2 / 3 / 900) ** 0.5


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("dim", [6, 40])
def test_one_c_equals_scikit_learn(classes: int, dim: int) -> None:
    x, y = blobs(30, classes, dim)
    z, _ = blobs(200, classes, dim, seed=1)
    scale = StandardScaler().fit(x.numpy())
    other = LogisticRegression(C=0.1, max_iter=1000).fit(scale.transform(x.numpy()), y.numpy())
    probe = linear_probe(x, y, z, grid=[0.1])
    assert probe.predictions.tolist() == other.predict(scale.transform(z.numpy())).tolist()
    assert (probe.C, probe.converged) == (0.1, True)


def test_fewer_rows_than_dimensions_have_the_same_logits_in_their_span() -> None:
    x, y = blobs(30, 3, 100)
    scaled = Standardizer.fit(x)(x)
    model = Logistic().fit(scaled, y.numpy(), 1.0)
    other = LogisticRegression(C=1.0, max_iter=1000, tol=1e-8).fit(scaled.astype(np.float64), y.numpy())
    np.testing.assert_allclose(model._weights, other.coef_, atol=2e-3)


def test_c_is_chosen_on_val_and_the_last_fit_uses_train_and_val(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, float]] = []
    fit = Logistic.fit

    def recorded(self: Logistic, x: np.ndarray, y: np.ndarray, C: float) -> Logistic:
        seen.append((len(x), C))
        return fit(self, x, y, C)

    monkeypatch.setattr(Logistic, "fit", recorded)
    x, y = blobs(60, spread=2.0)
    probe = linear_probe(x, y, x[:5], val=blobs(30, spread=2.0, seed=2), grid=[10.0, 0.1, 1.0])
    assert seen == [(60, 0.1), (60, 1.0), (60, 10.0), (90, probe.C)]


def test_without_val_a_fifth_of_each_class_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    monkeypatch.setattr(
        linear, "choose", lambda train, held, grid, max_iter: (seen.extend([train[1], held[1]]), 1.0)[1]
    )
    x, y = blobs(60)
    linear_probe(x, y, x[:5])
    assert np.bincount(seen[0]).tolist() == [16, 16, 16]
    assert np.bincount(seen[1]).tolist() == [4, 4, 4]


def test_equal_accuracies_choose_the_strongest_penalty() -> None:
    x, y = blobs(90, spread=0.01)
    assert linear_probe(x, y, x, val=blobs(30, spread=0.01, seed=1), grid=[100.0, 1.0, 0.5]).C == 0.5


def test_val_decides() -> None:
    """A val that wants the majority class takes the strongest penalty, one like train takes the weakest."""
    x = torch.tensor([[0.0], [1.0], [2.0], [3.0]]).repeat(5, 1)
    y = torch.tensor([0, 0, 0, 1]).repeat(5)
    always_zero = (torch.tensor([[3.0], [3.0]]), torch.tensor([0, 0]))
    grid = [1e-3, 1e3]
    assert linear_probe(x, y, x, val=always_zero, grid=grid).C == 1e-3
    assert linear_probe(x, y, x, val=(x, y), grid=grid).C == 1e3


def test_standardised_by_train_statistics_alone() -> None:
    x = torch.tensor([[1.0, 7.0], [3.0, 7.0]])
    scale = Standardizer.fit(x)
    np.testing.assert_allclose(scale(torch.tensor([[5.0, 9.0]])), [[3.0, 0.0]])  # a constant dimension says nothing


def test_a_constant_that_rounds_is_not_blown_up() -> None:
    assert Standardizer.fit(torch.full((7, 1), 0.1))(torch.tensor([[0.1], [0.2]])).tolist() == [[0.0], [0.0]]


def test_scale_and_shift_of_a_dimension_change_nothing() -> None:
    x, y = blobs(90, spread=1.5)
    z, _ = blobs(90, spread=1.5, seed=1)
    factor, shift = torch.tensor([1e-3, 1, 10, 100, 1e3, 1e4]), torch.arange(6)
    moved = linear_probe(x * factor + shift, y, z * factor + shift).predictions
    assert (moved == linear_probe(x, y, z).predictions).double().mean() > 0.98


def test_one_class_constant_features_and_no_query() -> None:
    x, y = blobs(30)
    assert linear_probe(x, y * 0 + 4, x).predictions.unique().tolist() == [4]
    constant = linear_probe(torch.ones(30, 4), torch.arange(30) % 10 // 7, torch.ones(3, 4)).predictions
    assert constant.tolist() == [0, 0, 0]  # the larger class
    assert linear_probe(x, y, torch.empty(0, 6)).predictions.shape == (0,)


def test_half_precision_and_unknown_labels() -> None:
    x, y = blobs(60, spread=0.1)
    known = torch.cat([y, torch.tensor([-1, -1])])
    more = torch.cat([x, 100 * torch.ones(2, 6)])
    probe = linear_probe(more.half(), known, x.half())
    assert torch.equal(probe.predictions, y)


def test_classes_of_one_row_can_not_be_held_out() -> None:
    probe = linear_probe(torch.eye(3), torch.arange(3), torch.eye(3))
    assert probe.predictions.tolist() == [0, 1, 2]
    assert probe.C == 1.0  # nothing to choose on: the middle of the grid


def test_a_val_class_that_train_lacks_is_learnt_in_the_last_fit() -> None:
    x, y = blobs(90, spread=0.05)
    z, wanted = blobs(30, spread=0.05, seed=1)
    only = y < 2
    assert torch.equal(linear_probe(x[only], y[only], z, val=(x, y)).predictions, wanted)


def test_no_warning_escapes_and_a_fit_that_stops_early_says_so() -> None:
    x, y = blobs(60, spread=3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not linear_probe(x, y, x, max_iter=1).converged
        assert linear_probe(x, y, x).converged


def test_other_warnings_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = LogisticRegression.fit

    def warned(self: LogisticRegression, *arrays: np.ndarray) -> LogisticRegression:
        warnings.warn("something else", RuntimeWarning, stacklevel=1)
        return fit(self, *arrays)

    monkeypatch.setattr(_logistic.LogisticRegression, "fit", warned)
    x, y = blobs(30)
    with pytest.warns(RuntimeWarning, match="something else"):
        linear_probe(x, y, x, grid=[1.0])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda x, y: linear_probe(x, y * 0 - 1, x),
            ShapeError,
            "train_labels: found 0 known labels; allowed: at least",
        ),
        (lambda x, y: linear_probe(x, y, x[:, :2]), ShapeError, "features: found 2 dimensions; allowed: 6"),
        (lambda x, y: linear_probe(x, y, x, val=(x[:, :2], y)), ShapeError, "val_features: found 2 dimensions"),
        (lambda x, y: linear_probe(x, y, x, val=(x, y[:2])), ShapeError, r"val_labels: found shape \(2,\)"),
        (lambda x, y: linear_probe(x, y, x, grid=[]), ConfigError, "grid: found no value"),
        (lambda x, y: linear_probe(x, y, x, grid=[1.0, 0.0]), ConfigError, "grid: found 0.0; allowed: a number > 0"),
        (lambda x, y: linear_probe(x / 0, y, x), ShapeError, "train_features: found NaN or infinity in row 0"),
    ],
)
def test_errors(call: object, error: type[Exception], text: str) -> None:
    x, y = blobs(30)
    with pytest.raises(error, match=text):
        call(x, y)  # type: ignore[operator]
