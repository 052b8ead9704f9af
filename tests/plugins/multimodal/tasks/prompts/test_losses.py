"""The terms of GOPro's loss against their formulas."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from counterpoint_multimodal.tasks.prompts.losses import consistency, prompt_logits, visual_contrast

pytestmark = pytest.mark.unit


def units(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def test_logits_are_cosines_over_the_temperature():
    image, text = units(3, 5), units(3, 4, 5, seed=1)
    found = prompt_logits(image, text, 0.1)
    assert torch.allclose(found, torch.stack([text[i] @ image[i] for i in range(3)]) / 0.1)
    assert torch.allclose(prompt_logits(image, text[:1], 0.1), image @ text[0].T / 0.1)


def test_consistency_is_a_mean_of_squares_zero_at_equality_and_symmetric():
    a, b, c = (units(3, 4, 5, seed=seed) for seed in range(3))
    wanted = ((a - b) ** 2).mean() + ((a - c) ** 2).mean()
    assert torch.allclose(consistency([a, b, c]), wanted)
    assert consistency([a, a, a]) == 0
    assert torch.allclose(consistency([a, b]), consistency([b, a]))
    assert 0 < consistency([a, b]) <= 4 / 5
    assert torch.allclose(consistency([a, -a]), torch.tensor(4 / 5, dtype=torch.float64))


def test_no_side_of_the_consistency_is_held_fixed():
    a, b, c = (units(2, 3, 4, seed=seed).requires_grad_() for seed in range(3))
    consistency([a, b, c]).backward()
    assert all(float(x.grad.abs().sum()) > 0 for x in (a, b, c))


def test_contrast_is_the_formula():
    a, b = units(4, 5), units(4, 5, seed=1)
    terms = []
    for one, other in ((a, b), (b, a)):
        for i in range(4):
            across = (one[i] @ other.T / 0.1).exp()
            own = (one[i] @ one.T / 0.1).exp()
            terms.append(-torch.log(across[i] / (across.sum() + own.sum() - own[i])))
    assert torch.allclose(visual_contrast(3 * a, b), torch.stack(terms).mean())


def test_contrast_of_one_image_is_nothing():
    a = torch.randn(1, 5, requires_grad=True)
    loss = visual_contrast(a, torch.randn(1, 5))
    loss.backward()
    assert loss == 0 and not a.grad.any()
