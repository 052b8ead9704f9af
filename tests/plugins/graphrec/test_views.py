"""Views of an interaction: its two nodes, each with a draw and a length of noise."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clicks import clicks
from counterpoint.errors import ConfigError, ShapeError
from counterpoint.types import Batch
from counterpoint_graphrec.views import NodeViews

pytestmark = pytest.mark.unit


def test_a_view_holds_nodes_draw_and_noise_row_by_row(tmp_path: Path) -> None:
    batch = clicks(tmp_path).batch([0, 3, 5])
    views = NodeViews(noise=0.3)(batch, torch.Generator().manual_seed(0))
    assert [view.modality for view in views] == ["user", "item"]
    for view in views:
        assert view.data["node"].tolist() == batch.data[view.modality].tolist()
        assert view.data["draw"].dtype == torch.int64
        assert len(set(view.data["draw"].tolist())) == 1
        assert view.data["noise"].tolist() == pytest.approx([0.3] * 3)
    assert int(views[0].data["draw"][0]) != int(views[1].data["draw"][0])
    assert min(int(view.data["draw"][0]) for view in views) > 0


def test_plain_views_are_of_what_the_batch_has_and_without_noise(tmp_path: Path) -> None:
    dataset = clicks(tmp_path)
    views = NodeViews().plain(dataset.batch([1, 2]))
    assert [view.modality for view in views] == ["user", "item"]
    assert all(not view.data["draw"].any() and not view.data["noise"].any() for view in views)
    items = dataset.entities().batch(range(dataset.n_items))
    (view,) = NodeViews().plain(items)
    assert view.modality == "item"
    assert view.data["node"].tolist() == list(range(dataset.n_items))


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"noise: found -1; allowed: a number of at least 0"):
        NodeViews(noise=-1)
    items = clicks(tmp_path).entities().batch([0, 1])
    with pytest.raises(ShapeError, match=r"batch.data\['user'\]: found nothing; allowed: numbers of users, \(B,\)"):
        NodeViews()(items, torch.Generator())
    pixels = Batch({"image": torch.zeros(2, 3, 4, 4)}, torch.arange(2), torch.arange(2))
    with pytest.raises(ShapeError, match=r"batch.data: found \['image'\]; allowed: user or item, or both"):
        NodeViews().plain(pixels)
