"""SimGCL: what is ranked has no noise, and the two views have noise of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clicks import clicks
from counterpoint_graphrec.methods import LightGCNMethod, SimGCL
from recommending import asked, made, stepped

pytestmark = pytest.mark.unit


def test_the_ranking_is_lightgcns_and_the_views_are_two(tmp_path: Path) -> None:
    data, encoder = clicks(tmp_path), {"layers": 2, "first_layer": 1}
    plain, method = stepped(made(LightGCNMethod, data, encoder), data), made(SimGCL, data, encoder, eps=0.3)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    method.objective.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    step = stepped(method, data)
    torch.testing.assert_close(step.parts["bpr"], plain.parts["bpr"])
    _, batch = asked(data)
    clean = [
        part[batch.data[name].unique()] for part, name in zip(method.encoder.nodes(), ("user", "item"), strict=True)
    ]
    assert len(seen) == 2
    for (first, second), rows in zip(seen, clean, strict=True):
        assert first.shape == second.shape == rows.shape
        for one, other in ((first, second), (first, rows), (second, rows)):
            assert float((one - other).norm(dim=1).min().detach()) > 0
            assert float((one - other).norm(dim=1).max().detach()) < 2 * 2 * 0.3
