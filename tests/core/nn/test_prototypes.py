"""Prototypes: cosines to unit rows."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from counterpoint.errors import ConfigError
from counterpoint.nn import Prototypes

pytestmark = pytest.mark.unit


def test_scores_are_cosines() -> None:
    prototypes = Prototypes(8, count=5)
    embeddings = F.normalize(torch.randn(7, 8), dim=1)
    scores = prototypes(embeddings)
    assert scores.shape == (7, 5)
    expected = F.cosine_similarity(embeddings[:, None], prototypes.weight[None], dim=2)
    torch.testing.assert_close(scores, expected)


def test_rows_start_at_length_one_and_come_back_to_it() -> None:
    prototypes = Prototypes(8, count=5)
    torch.testing.assert_close(prototypes.weight.norm(dim=1), torch.ones(5))
    with torch.no_grad():
        prototypes.weight.mul_(torch.tensor([0.1, 1, 2, 30, 400])[:, None])
    direction = F.normalize(prototypes.weight.detach(), dim=1)
    prototypes.normalise()
    torch.testing.assert_close(prototypes.weight.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(prototypes.weight.detach(), direction)
    assert isinstance(prototypes.weight, torch.nn.Parameter)


def test_sizes_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"Prototypes.count: found 1; allowed: a whole number from 2"):
        Prototypes(8, count=1)
    with pytest.raises(ConfigError, match=r"Prototypes.dim: found 0; allowed: a whole number from 1"):
        Prototypes(0)
