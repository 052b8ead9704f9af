"""Image search: against brute force, with and without the query in the gallery."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from counterpoint.errors import ConfigError, ShapeError
from counterpoint_vision.tasks import ImageRetrieval

pytestmark = pytest.mark.unit


def random(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed))


def test_equals_brute_force():
    gallery, queries = random(50), random(7, seed=1)
    found = ImageRetrieval(k=5).fit(gallery, names=[f"n{i}" for i in range(50)]).predict(queries)
    cosine = functional.cosine_similarity(queries[:, None], gallery[None], dim=2)
    scores, indices = cosine.topk(5, dim=1)
    assert torch.equal(found.indices, indices)
    torch.testing.assert_close(found.scores, scores)
    assert found.names[0] == [f"n{i}" for i in indices[0].tolist()]


def test_a_query_does_not_find_itself():
    gallery = random(20)
    task = ImageRetrieval(k=3).fit(gallery)
    rows = torch.tensor([4, 9, 17])
    own = torch.tensor([4, 9, -1])
    found = task.predict(gallery[rows], own=own)
    every = ImageRetrieval(k=4).fit(gallery).predict(gallery[rows])
    assert torch.equal(found.indices[:2], every.indices[:2, 1:])
    assert torch.equal(found.indices[2], every.indices[2, :3]) and found.indices[2, 0] == 17
    assert found.scores.shape == (3, 3)


def test_fewer_than_k_where_the_gallery_is_small():
    assert ImageRetrieval(k=10).fit(random(4)).predict(random(2, 1)).indices.shape == (2, 4)
    assert ImageRetrieval(k=10).fit(random(4)).predict(random(1), own=torch.tensor([0])).indices.shape == (1, 3)


def test_metrics_by_hand():
    gallery = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    task = ImageRetrieval(ks=(1, 2)).fit(gallery, torch.tensor([1, 0, 0]))
    metrics = task.evaluate(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert metrics == {"recall@1": 0.0, "recall@2": 1.0, "map": pytest.approx((1 / 2 + 2 / 3) / 2), "queries": 1.0}


def test_metrics_leave_the_query_itself_out():
    gallery, labels = torch.eye(4), torch.tensor([0, 0, 1, 1])
    task = ImageRetrieval(ks=(1,)).fit(gallery, labels)
    assert task.evaluate(gallery, labels)["recall@1"] == 1.0
    assert task.evaluate(gallery, labels, own=torch.arange(4))["recall@1"] < 1.0


def test_errors():
    with pytest.raises(ConfigError, match="k: found 0; allowed: at least 1"):
        ImageRetrieval(k=0)
    with pytest.raises(ConfigError, match=r"ImageRetrieval: found no gallery yet; .*Call fit\(features\)"):
        ImageRetrieval().predict(random(1))
    with pytest.raises(ShapeError, match=r"features: found shape \(0, 6\); allowed: \(N, D\)"):
        ImageRetrieval().fit(random(0))
    with pytest.raises(ShapeError, match="names: found 1; allowed: 3, one for each row"):
        ImageRetrieval().fit(random(3), names=["a"])
    with pytest.raises(ConfigError, match="a gallery without labels"):
        ImageRetrieval().fit(random(3)).evaluate(random(1), torch.tensor([0]))
    with pytest.raises(ShapeError, match="own: found the only row of the gallery"):
        ImageRetrieval().fit(random(1)).predict(random(1), own=torch.tensor([0]))
