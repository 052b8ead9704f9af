"""Methods of the graph plugin on a small table, and their steps as functions of a number."""

from __future__ import annotations

from typing import Any

import torch

from counterpoint.types import Batch, Step, View
from counterpoint_graphrec.data import InteractionArrays
from counterpoint_graphrec.encoders import LightGCN
from counterpoint_graphrec.methods import GraphMethod
from counterpoint_graphrec.views import NodeViews


def made(
    method: type[GraphMethod], data: InteractionArrays, encoder: dict[str, int] | None = None, **options: Any
) -> Any:
    """The method in float64, around LightGCN of 8 dimensions and two layers (other settings in ``encoder``)."""
    torch.manual_seed(0)
    network = LightGCN(**{"dim": 8, "layers": 2, **(encoder or {})}).double()
    network.prepare(data)
    return method(network, **options).double()


def asked(data: InteractionArrays, rows: int = 10, seed: int = 0) -> tuple[list[View], Batch]:
    """Views of a batch of training interactions, and the batch."""
    train = torch.from_numpy(data.splits()["train"])
    chosen = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:rows]]
    batch = data.batch(chosen.tolist())
    return NodeViews()(batch, torch.Generator().manual_seed(seed)), batch


def stepped(method: GraphMethod, data: InteractionArrays, rows: int = 10, seed: int = 0) -> Step:
    """One step under ``seed``, its loss with gradient."""
    views, batch = asked(data, rows, seed)
    return method.step(views, batch)


def passes(method: GraphMethod, monkeypatch: Any) -> list[int]:
    """A list of one number, which goes up with each pass of the method's encoder."""
    count, run = [0], method.encoder.propagate

    def counted(*args: Any, **options: Any) -> Any:
        count[0] += 1
        return run(*args, **options)

    monkeypatch.setattr(method.encoder, "propagate", counted)
    return count
