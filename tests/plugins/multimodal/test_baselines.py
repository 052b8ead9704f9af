"""The floor: histograms by hand, the whitening, and a correspondence that it must find."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from counterpoint.evaluation.cross_modal import cross_modal_retrieval
from counterpoint.types import Batch
from counterpoint_multimodal import baselines
from counterpoint_multimodal.baselines import ColoursAndWords, _whiten, colours

pytestmark = pytest.mark.unit


def batch(*images: Tensor) -> Batch:
    number = torch.arange(len(images))
    return Batch({"image": list(images)}, number, number)


def test_a_histogram_has_the_share_of_each_colour_in_each_cell() -> None:
    image = torch.zeros(3, 30, 60, dtype=torch.uint8)
    image[0, :10, :20] = 255  # the first of nine cells is red
    found = colours(batch(image, image[:, :15]), cells=3).square().view(2, 9, 64)
    assert found[0, 0].nonzero().tolist() == [[3 * 16]]
    assert all(found[0, cell].nonzero().tolist() == [[0]] for cell in range(1, 9))
    torch.testing.assert_close(found.sum(dim=2), torch.full((2, 9), 1 / 9))
    # of half the picture red are two thirds of the rows
    assert [found[1, cell].nonzero().tolist() for cell in (0, 3, 6)] == [[[3 * 16]], [[3 * 16]], [[0]]]


def test_a_whole_picture_has_one_histogram() -> None:
    image = torch.full((3, 8, 8), 255, dtype=torch.uint8)
    image[:, :2] = 0
    found = colours(batch(image)).square()
    assert found.shape == (1, 64)
    assert found[0, [0, 63]].tolist() == pytest.approx([0.25, 0.75])


def test_whitening_takes_variance_and_penalty_away() -> None:
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    covariance = x.T @ x / 50
    ridge = 0.3 * covariance.diagonal().mean() * torch.eye(6, dtype=torch.float64)
    half = _whiten(covariance, 0.3)
    torch.testing.assert_close(half @ (covariance + ridge) @ half, torch.eye(6, dtype=torch.float64))
    assert torch.isfinite(_whiten(torch.zeros(3, 3, dtype=torch.float64), 0.1)).all()


def test_it_finds_which_words_go_with_which_features(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    words = [f"w{n}" for n in range(8)]
    pairs = [(a, b) for a in range(8) for b in range(a)]
    mixing = torch.randn(8, 12, generator=draw)
    one = torch.nn.functional.one_hot
    features = torch.stack([(one(torch.tensor(p), 8).sum(dim=0).float() @ mixing) for p in pairs])
    texts = [f"{words[a]} and {words[b]}!" for a, b in pairs]
    own = torch.arange(20)[:, None].expand(-1, 2)
    for components in (256, 6):  # the words themselves, or directions of them
        monkeypatch.setattr(baselines, "COMPONENTS", components)
        floor = ColoursAndWords(features[:20], texts[:20], own)
        floor.set(1e-3)
        unseen = torch.arange(8)[:, None].expand(-1, 2)
        found = cross_modal_retrieval(floor.images(features[20:]), floor.texts(texts[20:]), unseen, ks=[1])
        assert found["recall@1"] >= (0.9 if components == 256 else 0.3)
    assert torch.isfinite(floor.texts(["never seen"])).all()


def test_the_penalty_that_measures_best_is_kept() -> None:
    draw = torch.Generator().manual_seed(0)
    floor = ColoursAndWords(torch.randn(9, 4, generator=draw), [*"abcdefgh☀"], torch.arange(9)[:, None].expand(-1, 2))
    tried: list[Tensor] = []

    def measure() -> float:
        tried.append(floor.images(torch.eye(4)))
        return float(len(tried) == 2)

    floor.tune(measure)
    assert len(tried) == len(baselines.PENALTIES)
    assert torch.equal(floor.images(torch.eye(4)), tried[1])
    assert not torch.equal(tried[0], tried[1])
