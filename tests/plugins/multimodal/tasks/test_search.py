"""Search by a text, by a picture and by both: the formula, its limits, and what is wrong."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from counterpoint.errors import ConfigError, ShapeError
from counterpoint_multimodal.tasks import PictureSearch

pytestmark = pytest.mark.unit

D = 8


@pytest.fixture
def gallery() -> torch.Tensor:
    """40 pictures, of any length, in a cone, as the pictures of a trained encoder are."""
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(40, D, generator=generator) + 1.5) * torch.rand(40, 1, generator=generator).add(0.5)


@pytest.fixture
def queries() -> tuple[torch.Tensor, torch.Tensor]:
    """Three texts, far from the pictures, and three pictures."""
    generator = torch.Generator().manual_seed(1)
    text = 0.2 * torch.randn(3, D, generator=generator)
    text[:, 0] -= 1
    return text, torch.randn(3, D, generator=generator) + 1.5


def test_a_picture_finds_itself(gallery: torch.Tensor) -> None:
    names, captions = [f"{i}.png" for i in range(40)], [f"picture {i}" for i in range(40)]
    found = PictureSearch().fit(gallery, names=names, captions=captions).search(image=gallery[[3, 7]], k=5)
    assert found.indices[:, 0].tolist() == [3, 7]
    assert found.scores[:, 0].tolist() == pytest.approx([1, 1])
    assert found.scores.shape == (2, 5) and (found.scores.diff(dim=1) <= 0).all()
    assert found.names is not None and found.names[1][0] == "7.png"
    assert found.captions is not None and found.captions[0][0] == "picture 3"
    few = PictureSearch().fit(gallery[:2]).search(image=gallery[:1], k=10)
    assert few.indices.shape == (1, 2) and few.names is None


@pytest.mark.parametrize("weight", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_the_order_is_that_of_weighted_standard_scores(
    gallery: torch.Tensor, queries: tuple[torch.Tensor, torch.Tensor], weight: float
) -> None:
    """One vector ranks as the written-out formula does: standardise both columns of cosines, add, sort."""
    unit = normalize(gallery.double(), dim=1)
    text, image = (normalize(x.double(), dim=1) @ unit.T for x in queries)
    standard = [(s - s.mean(1, keepdim=True)) / s.std(1, keepdim=True, correction=0) for s in (text, image)]
    expected = (weight * standard[0] + (1 - weight) * standard[1]).argsort(dim=1, descending=True)
    found = PictureSearch().fit(gallery).search(*queries, weight=weight, k=40)
    assert found.indices.tolist() == expected.tolist()


def test_the_picture_does_not_decide_alone(gallery: torch.Tensor, queries: tuple[torch.Tensor, torch.Tensor]) -> None:
    """At one half both sides are followed alike, though the picture's scores spread more widely."""
    task = PictureSearch().fit(gallery)
    both = task.query(*queries, weight=0.5)
    unit = normalize(gallery, dim=1)
    by = [torch.corrcoef(torch.stack([unit @ both[0], unit @ normalize(x, dim=1)[0]]))[0, 1] for x in queries]
    assert float(by[0]) == pytest.approx(float(by[1]), abs=1e-3)


def test_one_of_both_is_enough(gallery: torch.Tensor, queries: tuple[torch.Tensor, torch.Tensor]) -> None:
    task = PictureSearch().fit(gallery)
    text, image = queries
    assert torch.equal(task.query(text=text, weight=0.1), normalize(text, dim=1))
    assert torch.equal(task.query(image=image, weight=0.1), normalize(image, dim=1))
    assert torch.allclose(task.query(text, image, 1.0), normalize(text, dim=1), atol=1e-6)
    assert torch.allclose(task.query(text, image, 0.0), normalize(image, dim=1), atol=1e-6)
    assert torch.equal(task.predict(text).indices, task.search(text=text).indices)


def test_a_gallery_without_spread_divides_by_nothing() -> None:
    task = PictureSearch().fit(torch.ones(4, D))
    assert torch.isfinite(task.query(torch.eye(D)[:1], torch.eye(D)[1:2])).all()
    assert task.search(torch.eye(D)[:1], torch.eye(D)[1:2]).indices.tolist() == [[0, 1, 2, 3]]


def test_recall(gallery: torch.Tensor) -> None:
    labels = torch.arange(40) // 2
    task = PictureSearch(ks=(1, 2)).fit(gallery, labels)
    metrics = task.evaluate(gallery[::2], labels[::2])
    assert metrics["recall@1"] == 1.0 and metrics["queries"] == 20
    assert task.evaluate(-gallery[:1], labels[:1])["recall@2"] == 0.0


def test_what_is_wrong_is_named(gallery: torch.Tensor) -> None:
    task = PictureSearch().fit(gallery)
    with pytest.raises(ConfigError, match="text, image: found neither"):
        task.search()
    with pytest.raises(ConfigError, match=r"weight: found 1\.5"):
        task.query(gallery, gallery, 1.5)
    with pytest.raises(ConfigError, match="k: found 0"):
        task.search(image=gallery, k=0)
    with pytest.raises(ShapeError, match=r"text: found shape \(2, 3\); allowed: \(M, 8\)"):
        task.search(text=torch.zeros(2, 3))
    with pytest.raises(ShapeError, match="image: found shape"):
        task.search(image=gallery * float("nan"))
    with pytest.raises(ShapeError, match="image: found 2 rows; allowed: 3, one for each text"):
        task.query(gallery[:3], gallery[:2])
    with pytest.raises(ShapeError, match="captions: found 1"):
        PictureSearch().fit(gallery, captions=["one"])
    with pytest.raises(ShapeError, match="features: found shape"):
        PictureSearch().fit(gallery[:0])
    with pytest.raises(ConfigError, match="fit before search"):
        PictureSearch().search(image=gallery)
    with pytest.raises(ConfigError, match="labels: found a gallery without labels"):
        task.evaluate(gallery, torch.zeros(40))
