"""Encoders side by side: widths, cosines, modalities, what all of them can do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoint.errors import ConfigError
from counterpoint.nn import ConcatEncoder
from counterpoint.parts import Encoder, Towers
from counterpoint.types import Encoding, View

pytestmark = pytest.mark.unit


class Linear(Encoder):
    """A linear map, with or without tokens."""

    def __init__(self, dim: int, tokens: int = 0, masked: bool = False) -> None:
        super().__init__()
        self.dim, self.tokens, self.masked = dim, tokens, masked
        self.capabilities = frozenset({"tokens"} if tokens else ())
        self.map = torch.nn.Linear(6, dim)
        self.prepared = False

    def prepare(self, dataset: object) -> None:
        self.prepared = True

    def forward(self, view: View) -> Encoding:
        pooled = self.map(view.data)
        tokens = pooled[:, None].expand(-1, self.tokens, -1) if self.tokens else None
        mask = torch.arange(self.tokens).expand(len(pooled), -1) < 1 if self.masked else None
        return Encoding(pooled, tokens, mask, pooled)


@pytest.fixture
def view() -> View:
    return View(torch.randn(5, 6, generator=torch.Generator().manual_seed(0)), "image")


def cosine(x: Tensor) -> Tensor:
    x = F.normalize(x, dim=1)
    return x @ x.T


def test_joint_weights_each_encoder_by_its_length(view: View) -> None:
    parts = [Linear(3), Linear(8)]
    parts[1].map.weight.data *= 10
    a, b = (part(view).pooled for part in parts)
    found = ConcatEncoder(parts)(view).pooled
    assert torch.equal(found, torch.cat([a, b], 1))
    lengths = [one.norm(dim=1) for one in (a, b, found)]
    weighted = sum(cosine(one) * torch.outer(n, n) for one, n in zip((a, b), lengths))
    torch.testing.assert_close(cosine(found), weighted / torch.outer(lengths[2], lengths[2]))


def test_per_stage_is_the_plain_mean_of_the_cosines(view: View) -> None:
    parts = [Linear(3), Linear(8), Linear(2)]
    found = ConcatEncoder(parts, norm="per_stage")(view).pooled
    mean = torch.stack([cosine(part(view).pooled) for part in parts]).mean(0)
    torch.testing.assert_close(cosine(found), mean)


def test_tokens_and_features_are_joined_where_all_give_them(view: View) -> None:
    found = ConcatEncoder([Linear(3, tokens=4), Linear(5, tokens=4)])(view)
    assert found.tokens is not None
    assert found.tokens.shape == (5, 4, 8)
    assert found.features is not None
    assert found.features.shape == (5, 8)
    masked = ConcatEncoder([Linear(3, 4, masked=True), Linear(5, 4, masked=True)])(view)
    assert masked.mask is not None
    assert masked.mask.sum() == 5
    for other in (Linear(3), Linear(3, tokens=2), Linear(3, 4, masked=True)):
        unlike = ConcatEncoder([Linear(3, tokens=4), other])(view)
        assert (unlike.tokens, unlike.mask) == (None, None)


def test_it_can_what_all_can() -> None:
    assert ConcatEncoder([Linear(3, 4), Linear(3, 4)]).capabilities == {"tokens"}
    assert ConcatEncoder([Linear(3, 4), Linear(3)]).capabilities == frozenset()
    assert ConcatEncoder([Linear(3), Linear(5)]).dim == 8


def test_towers_are_joined_modality_by_modality(view: View) -> None:
    pairs = [Towers({"image": Linear(3 + n), "text": Linear(8 + n)}) for n in range(2)]
    joined = ConcatEncoder(pairs)
    assert joined.dims == joined.feature_dims == {"image": 7, "text": 17}
    assert joined.capabilities == {"modalities"}
    for modality in ("image", "text"):
        seen = View(view.data, modality)
        assert torch.equal(joined(seen).pooled, torch.cat([pair(seen).pooled for pair in pairs], 1))


def test_every_encoder_is_prepared() -> None:
    parts = [Linear(3), Linear(4)]
    ConcatEncoder(parts).prepare(object())  # type: ignore[arg-type]
    assert all(part.prepared for part in parts)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="encoders: found none"):
        ConcatEncoder([])
    with pytest.raises(ConfigError, match="norm: found 'each'; allowed: 'joint', 'per_stage'"):
        ConcatEncoder([Linear(3)], norm="each")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="different modalities"):
        ConcatEncoder([Linear(3), Towers({"image": Linear(3)})])
