"""Swapped prediction: against the card's double sum, and the exact tests of the SwAV card."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.objectives import SwappedPrediction, sinkhorn, swapped_prediction
from counterpoint.objectives._swap import swap

pytestmark = pytest.mark.unit


def cosines(views: int = 2, samples: int = 6, prototypes: int = 4, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [2 * torch.rand(samples, prototypes, generator=generator, dtype=torch.float64) - 1 for _ in range(views)]


def cross_entropy(code: Tensor, scores: Tensor, temperature: float) -> float:
    total = 0.0
    for row, logits in zip(code, scores / temperature, strict=True):
        normaliser = math.log(sum(math.exp(x) for x in logits.tolist()))
        total -= sum(q * (x - normaliser) for q, x in zip(row.tolist(), logits.tolist(), strict=True))
    return total / len(code)


def plain(scores: list[Tensor], assign: int, temperature: float = 0.1, epsilon: float = 0.05) -> float:
    total = 0.0
    for a in range(assign):
        code = sinkhorn(scores[a], epsilon, 3)
        total += sum(cross_entropy(code, s, temperature) for v, s in enumerate(scores) if v != a) / (len(scores) - 1)
    return total / assign


@pytest.mark.parametrize(("views", "assign"), [(2, 1), (2, 2), (4, 2), (5, 3), (3, 3)])
def test_equals_the_plain_double_sum(views: int, assign: int) -> None:
    scores = cosines(views)
    assert float(SwappedPrediction()(scores, assign=assign).loss) == pytest.approx(plain(scores, assign), rel=1e-12)


def test_temperature_and_epsilon_are_used_where_they_belong() -> None:
    scores = cosines(3)
    loss = SwappedPrediction(temperature=0.3, epsilon=0.2)(scores).loss
    assert float(loss) == pytest.approx(plain(scores, 2, 0.3, 0.2), rel=1e-12)


def test_two_crops_are_the_mean_of_both_directions() -> None:
    first, second = cosines()
    forth, back = sinkhorn(first), sinkhorn(second)
    expected = (cross_entropy(forth, second, 0.1) + cross_entropy(back, first, 0.1)) / 2
    assert float(SwappedPrediction()([first, second]).loss) == pytest.approx(expected, rel=1e-12)


def test_the_order_of_small_crops_does_not_matter() -> None:
    scores = cosines(5)
    swapped = [scores[i] for i in (0, 1, 4, 2, 3)]
    torch.testing.assert_close(SwappedPrediction()(swapped).loss, SwappedPrediction()(scores).loss)
    other = [scores[i] for i in (2, 1, 0, 3, 4)]
    assert abs(float(SwappedPrediction()(other).loss - SwappedPrediction()(scores).loss)) > 1e-3


def test_a_constant_encoder_is_at_chance() -> None:
    objective = SwappedPrediction()
    assert objective.chance(6) is None  # the number of prototypes is not known yet
    result = objective([torch.full((6, 9), 0.3, dtype=torch.float64)] * 3)
    assert float(result.loss) == pytest.approx(math.log(9), abs=1e-12)
    assert objective.chance(6) == pytest.approx(math.log(9))
    assert float(result.parts["code_perplexity"]) == pytest.approx(9)


def test_code_perplexity_counts_the_prototypes_in_use() -> None:
    one = torch.tensor([[1.0, 0, 0, 0]] * 4)
    two = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]] * 2)
    scores = [torch.zeros(4, 4)] * 2
    assert float(swapped_prediction(scores, [one, one]).parts["code_perplexity"]) == pytest.approx(1)
    assert float(swapped_prediction(scores, [two, two]).parts["code_perplexity"]) == pytest.approx(2)
    assert float(swapped_prediction(scores, [torch.eye(4)]).parts["code_perplexity"]) == pytest.approx(4)


def test_gradient_is_right_and_never_passes_through_the_codes() -> None:
    scores = [s.requires_grad_() for s in cosines(3, 4, 3)]
    codes = [sinkhorn(s) for s in scores[:2]]
    assert torch.autograd.gradcheck(lambda *s: swapped_prediction(s, codes).loss, scores)
    of_module = torch.autograd.grad(SwappedPrediction()(scores).loss, scores)
    of_function = torch.autograd.grad(swapped_prediction(scores, codes).loss, scores)
    torch.testing.assert_close(of_module, of_function)


def test_codes_with_gradient_are_cut_off() -> None:
    scores = cosines()
    code = scores[0].softmax(dim=1).requires_grad_()
    assert not swapped_prediction(scores, [code]).loss.requires_grad


def test_a_queue_changes_the_codes_and_nothing_else() -> None:
    objective = SwappedPrediction()
    scores = [s.requires_grad_() for s in cosines(3)]
    queues = [q.requires_grad_() for q in cosines(2, samples=10, seed=5)]
    balanced = [sinkhorn(torch.cat([q, s]))[10:] for q, s in zip(queues, scores[:2], strict=True)]
    result = objective(scores, queue_scores=queues)
    torch.testing.assert_close(result.loss, swapped_prediction(scores, balanced).loss)
    assert all(code.shape == (6, 4) for code in objective.codes(scores[:2], queues))
    assert abs(float((result.loss - objective(scores).loss).detach())) > 1e-3
    result.loss.backward()
    assert all(q.grad is None for q in queues)
    assert all(s.grad is not None for s in scores)


def test_an_empty_queue_has_no_effect() -> None:
    scores = cosines(3)
    empty = [torch.zeros(0, 4, dtype=torch.float64)] * 2
    objective = SwappedPrediction()
    torch.testing.assert_close(objective(scores, queue_scores=empty).loss, objective(scores).loss, rtol=0, atol=0)


def test_one_sample_is_at_its_uniform_code() -> None:
    scores = cosines(2, samples=1)
    uniform = torch.full((1, 4), 0.25, dtype=torch.float64)
    expected = (cross_entropy(uniform, scores[0], 0.1) + cross_entropy(uniform, scores[1], 0.1)) / 2
    assert float(SwappedPrediction()(scores).loss) == pytest.approx(expected, rel=1e-12)


def test_half_precision_is_computed_in_float32() -> None:
    scores = [s.bfloat16() for s in cosines()]
    loss = SwappedPrediction()(scores).loss
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(plain([s.double() for s in scores], 2), rel=1e-5)


def test_a_nan_is_not_swallowed() -> None:
    scores = cosines()
    scores[1][0, 0] = float("nan")
    assert SwappedPrediction()(scores).loss.isnan()


def test_the_reduction_is_declared() -> None:
    assert SwappedPrediction.reduction == "gather"


def test_what_is_refused() -> None:
    objective = SwappedPrediction()
    first, second = cosines()
    with pytest.raises(ShapeError, match=r"scores: found 1 view\(s\); allowed: 2 or more\. Give one tensor per view"):
        objective([first])
    with pytest.raises(ShapeError, match=r"scores\[1\]: found shape \(5, 4\); allowed: \(6, 4\) as in scores\[0\]"):
        objective([first, second[:5]])
    with pytest.raises(ConfigError, match=r"assign: found 3; allowed: 1 to 2, the number of views"):
        objective([first, second], assign=3)
    with pytest.raises(ConfigError, match=r"assign: found 0"):
        objective([first, second], assign=0)
    with pytest.raises(ShapeError, match=r"queue_scores: found 1 queue\(s\); allowed: 2\. Keep one queue per"):
        objective([first, second], queue_scores=[first])
    with pytest.raises(ShapeError, match=r"queue_scores\[1\]: found shape \(6, 3\); allowed: \(M, 4\), M >= 0"):
        objective([first, second], queue_scores=[first, second[:, :3]])
    with pytest.raises(ShapeError, match=r"codes: found 3 of shape \(6, 4\); allowed: up to 2 of shape \(6, 4\)"):
        swapped_prediction([first, second], [first] * 3)
    with pytest.raises(ShapeError, match=r"codes: found 1 of shape \(5, 4\)"):
        swapped_prediction([first, second], [first[:5]])


@pytest.mark.parametrize("name", ["temperature", "epsilon"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_settings_out_of_range_are_refused_at_once(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: found {value}; allowed: a number above 0\."):
        SwappedPrediction(**{name: value})


def test_no_iterations_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"iterations: found 0; allowed: a whole number from 1"):
        SwappedPrediction(iterations=0)


@pytest.mark.parametrize(("views", "assign"), [(2, 1), (2, 2), (5, 2), (3, 3)])
@pytest.mark.parametrize(("temperature", "epsilon"), [(0.1, 0.05), (0.2, 0.03)])
def test_the_short_way_is_the_long_one(views: int, assign: int, temperature: float, epsilon: float) -> None:
    scores = [view.requires_grad_() for view in cosines(views, 12, 5)]
    short = swap(scores, assign, temperature, epsilon, 3)
    assert short is not None
    codes = [sinkhorn(view, epsilon) for view in scores[:assign]]
    long = swapped_prediction(scores, codes, temperature)
    torch.testing.assert_close(short.loss, long.loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(short.usage, torch.stack(codes).sum(dim=(0, 1)))
    taught = scores if assign > 1 else scores[1:]  # one code, which its own view does not foresee
    for ours, theirs in zip(*(torch.autograd.grad(3 * found.loss, taught) for found in (short, long))):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)


def test_the_short_ways_gradient_is_taken_twice_and_changed_by_nobody() -> None:
    scores = [view.requires_grad_() for view in cosines(2, 12, 5)]
    short = swap(scores, 2, 0.1, 0.05, 3)
    assert short is not None
    first = torch.autograd.grad(short.loss, scores, retain_graph=True)
    wanted = [slope.clone() for slope in first]
    short.loss.backward(retain_graph=True)
    short.loss.backward(retain_graph=True)
    for view, slope in zip(scores, wanted):
        assert view.grad is not None
        torch.testing.assert_close(view.grad, 2 * slope)
    for ours, slope in zip(torch.autograd.grad(short.loss, scores), wanted):
        assert torch.equal(ours, slope), "adding to .grad leaves what was saved as it was"


@pytest.mark.parametrize("kind", ["far below", "beyond float32", "one prototype that nobody is near", "NaN", "half"])
def test_where_digits_would_be_lost_there_is_no_short_way(kind: str) -> None:
    scores = [view.float() for view in cosines(2, 12, 5)]
    if kind == "far below":
        scores[0] -= 6
    elif kind == "beyond float32":
        scores[1] *= 9
    elif kind == "one prototype that nobody is near":
        scores[0][:, 2] -= 4
    elif kind == "NaN":
        scores[0][3, 1] = math.nan
    else:
        scores = [view.half() for view in scores]
    assert swap(scores, 2, 0.1, 0.05, 3) is None
    loss = SwappedPrediction()(scores).loss
    expected = swapped_prediction(scores, [sinkhorn(view) for view in scores]).loss
    assert torch.equal(loss, expected) or bool(loss.isnan() & expected.isnan())
