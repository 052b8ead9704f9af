"""Self-distillation: against the plain double sum, the centre, the schedule, and both kinds of collapse."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.objectives import SelfDistillation, self_distillation

pytestmark = pytest.mark.unit


def logits(views: int = 2, samples: int = 5, prototypes: int = 4, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [0.3 * torch.randn(samples, prototypes, generator=generator, dtype=torch.float64) for _ in range(views)]


def softmax(row: list[float], temperature: float) -> list[float]:
    powers = [math.exp(x / temperature) for x in row]
    return [p / sum(powers) for p in powers]


def plain(student: list[Tensor], teacher: list[Tensor], centre: Tensor, sharp: float = 0.04) -> tuple[float, float]:
    """Loss and teacher entropy, one sample, one pair of views at a time."""
    loss, entropy, pairs = 0.0, 0.0, 0
    for t, target in enumerate(teacher):
        for v, view in enumerate(student):
            if v == t:
                continue
            pairs += 1
            for wanted, given in zip((target - centre).tolist(), view.tolist(), strict=True):
                p, q = softmax(wanted, sharp), softmax(given, 0.1)
                loss -= sum(a * math.log(b) for a, b in zip(p, q, strict=True)) / len(view)
                entropy -= sum(a * math.log(a) for a in p) / len(view)
    return loss / pairs, entropy / pairs


def module(prototypes: int = 4, **settings: float) -> SelfDistillation:
    return SelfDistillation(prototypes, **settings).double()


@pytest.mark.parametrize(("views", "teachers"), [(2, 1), (2, 2), (5, 2), (3, 3)])
def test_equals_the_plain_double_sum(views: int, teachers: int) -> None:
    student, teacher = logits(views), logits(teachers, seed=1)
    centre = torch.tensor([0.2, -0.1, 0.0, 0.3], dtype=torch.float64)
    objective = module()
    objective.centre.copy_(centre)
    result = objective(student, teacher)
    loss, entropy = plain(student, teacher, centre)
    assert float(result.loss) == pytest.approx(loss, rel=1e-12)
    assert float(result.parts["teacher_entropy"]) == pytest.approx(entropy, rel=1e-12)
    assert float(result.parts["kl"]) == pytest.approx(loss - entropy, rel=1e-11)


def test_a_view_is_never_compared_with_itself() -> None:
    student, teacher = logits(2), logits(1, seed=1)
    other = [student[0] + 5 * torch.eye(5, 4, dtype=torch.float64), student[1]]
    torch.testing.assert_close(module()(other, teacher).loss, module()(student, teacher).loss, rtol=0, atol=0)


def test_gradient_is_right_and_stops_at_the_teacher() -> None:
    student = [s.requires_grad_() for s in logits(3, 3, 3)]
    teacher = [t.requires_grad_() for t in logits(2, 3, 3, seed=1)]
    centre = torch.zeros(3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *s: self_distillation(s, teacher, centre).loss, student)
    self_distillation(student, teacher, centre).loss.backward()
    assert all(t.grad is None for t in teacher)
    assert all(s.grad is not None for s in student)


def test_uniform_outputs_are_at_chance() -> None:
    constant = [torch.full((5, 4), 0.7, dtype=torch.float64)] * 2
    result = module()(constant, constant)
    assert float(result.loss) == pytest.approx(math.log(4)) == module().chance(5)
    assert float(result.parts["kl"]) == pytest.approx(0, abs=1e-14)


def test_one_output_for_all_is_the_other_collapse_and_the_centre_undoes_it() -> None:
    peak = torch.tensor([[3.0, 0, 0, 0]] * 5, dtype=torch.float64)
    objective = module()
    result = objective([peak] * 2, [peak] * 2)
    assert float(result.loss) < 1e-9
    assert float(result.parts["teacher_entropy"]) < 1e-9
    for _ in range(200):
        objective.update_centre([peak] * 2)
    assert float(objective([peak] * 2, [peak] * 2).parts["teacher_entropy"]) == pytest.approx(math.log(4))


def test_a_constant_on_all_outputs_changes_nothing() -> None:
    student, teacher = logits(3), logits(2, seed=1)
    moved = module()([s + 2.5 for s in student], [t - 1.5 for t in teacher]).loss
    torch.testing.assert_close(moved, module()(student, teacher).loss, rtol=1e-10, atol=1e-10)


def test_the_centre_follows_the_mean_of_all_teacher_views() -> None:
    objective = module(centre_momentum=0.75)
    first, second = logits(2), logits(2, seed=1)
    objective.update_centre(first)
    expected = 0.25 * torch.cat(first).mean(dim=0)
    torch.testing.assert_close(objective.centre, expected)
    objective.update_centre(second)
    torch.testing.assert_close(objective.centre, 0.75 * expected + 0.25 * torch.cat(second).mean(dim=0))


def test_the_loss_uses_the_centre_as_it_was() -> None:
    objective = module()
    student, teacher = logits(2), logits(2, seed=1)
    before = objective(student, teacher).loss
    assert float(objective.centre.abs().max()) == 0
    objective.update_centre(teacher)
    torch.testing.assert_close(before, self_distillation(student, teacher, torch.zeros(4, dtype=torch.float64)).loss)
    assert abs(float(objective(student, teacher).loss - before)) > 1e-6


def test_the_teachers_temperature_warms_up_by_steps() -> None:
    objective = SelfDistillation(4, teacher_temperature=0.07, warmup_temperature=0.03, warmup_steps=4)
    seen = []
    for _ in range(7):
        seen.append(float(objective.teacher_temperature))
        objective.update_centre(logits(1))
    assert seen == pytest.approx([0.03, 0.04, 0.05, 0.06, 0.07, 0.07, 0.07])
    assert SelfDistillation(4).teacher_temperature == 0.04


def test_the_warm_up_is_in_the_loss() -> None:
    objective = module(teacher_temperature=0.07, warmup_temperature=0.03, warmup_steps=2)
    student, teacher = logits(2), logits(2, seed=1)
    objective.step += 1
    expected, _ = plain(student, teacher, objective.centre, sharp=0.05)
    assert float(objective(student, teacher).loss) == pytest.approx(expected, rel=1e-6)


def test_centre_and_step_are_in_the_checkpoint() -> None:
    objective = module(warmup_steps=10, warmup_temperature=0.02)
    objective.update_centre(logits(2))
    copy = module(warmup_steps=10, warmup_temperature=0.02)
    copy.load_state_dict(objective.state_dict())
    student, teacher = logits(2, seed=2), logits(2, seed=3)
    torch.testing.assert_close(copy(student, teacher).loss, objective(student, teacher).loss, rtol=0, atol=0)
    assert int(copy.step) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    student, teacher = [s.to(dtype) for s in logits(3)], [t.to(dtype) for t in logits(2, seed=1)]
    objective = SelfDistillation(4)
    result = objective(student, teacher)
    expected, _ = plain([s.double() for s in student], [t.double() for t in teacher], torch.zeros(4).double())
    assert result.loss.dtype == torch.float32
    assert float(result.loss) == pytest.approx(expected, rel=1e-5)
    objective.update_centre(teacher)
    assert objective.centre.dtype == torch.float32


def test_large_logits_do_not_overflow() -> None:
    student, teacher = [1e4 * s.float() for s in logits(2)], [1e4 * t.float() for t in logits(2, seed=1)]
    assert SelfDistillation(4)(student, teacher).loss.isfinite()


def test_one_sample_is_enough() -> None:
    student, teacher = logits(2, samples=1), logits(2, samples=1, seed=1)
    expected, _ = plain(student, teacher, torch.zeros(4, dtype=torch.float64))
    assert float(module()(student, teacher).loss) == pytest.approx(expected, rel=1e-12)


def test_a_nan_is_not_swallowed() -> None:
    student, teacher = logits(2), logits(2, seed=1)
    teacher[0][0, 0] = float("nan")
    assert module()(student, teacher).loss.isnan()


def test_the_reduction_is_declared_and_halves_average_to_the_whole() -> None:
    assert SelfDistillation.reduction == "mean"
    student, teacher = logits(3, 6), logits(2, 6, seed=1)
    objective = module()
    halves = [objective([s[i : i + 3] for s in student], [t[i : i + 3] for t in teacher]).loss for i in (0, 3)]
    torch.testing.assert_close(sum(halves) / 2, objective(student, teacher).loss)


def test_what_is_refused() -> None:
    objective = module()
    student, teacher = logits(2), logits(2, seed=1)
    with pytest.raises(ShapeError, match=r"student: found 1 view\(s\); allowed: 2 or more"):
        objective(student[:1], teacher[:1])
    with pytest.raises(ShapeError, match=r"teacher: found 0 view\(s\); allowed: 1 or more"):
        objective(student, [])
    with pytest.raises(ShapeError, match=r"teacher: found 3 view\(s\) of shape \(5, 4\); allowed: up to 2 of shape"):
        objective(student, [*teacher, teacher[0]])
    with pytest.raises(
        ShapeError, match=r"teacher: found 2 view\(s\) of shape \(4, 4\); .* The teacher sees the student's"
    ):
        objective(student, [t[:4] for t in teacher])
    with pytest.raises(
        ShapeError, match=r"student: found 4 outputs; allowed: 6 prototypes\. Set prototypes to the width"
    ):
        module(6)(student, teacher)
    with pytest.raises(ShapeError, match=r"teacher: found 4 outputs; allowed: 6 prototypes"):
        module(6).update_centre(teacher)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"prototypes": 1}, r"prototypes: found 1; allowed: a number of at least 2\."),
        ({"prototypes": 4, "temperature": 0}, r"temperature: found 0; allowed: a number above 0\."),
        ({"prototypes": 4, "teacher_temperature": -1}, r"teacher_temperature: found -1; allowed: a number above 0\."),
        ({"prototypes": 4, "warmup_temperature": 0}, r"warmup_temperature: found 0; allowed: a number above 0\."),
        ({"prototypes": 4, "warmup_steps": -1}, r"warmup_steps: found -1; allowed: a number of at least 0\."),
        ({"prototypes": 4, "centre_momentum": 1.5}, r"centre_momentum: found 1.5; allowed: 0 to 1\."),
    ],
)
def test_settings_out_of_range_are_refused_at_once(settings: dict[str, float], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        SelfDistillation(**settings)
