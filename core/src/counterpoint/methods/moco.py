"""MoCo: contrast with a momentum encoder's keys, from a queue (v2) or from the batch (v3)."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from counterpoint.methods.base import HeadFactory, head, width
from counterpoint.methods.momentum import MomentumMethod
from counterpoint.nn.heads import Predictor, Projector
from counterpoint.nn.queue import Queue
from counterpoint.objectives import InfoNCE, Objective
from counterpoint.parts import Encoder
from counterpoint.types import Batch, Step, View


class MoCo(MomentumMethod):
    """MoCo v2: queries of one view find the key of the other among a queue of old keys.

    Both directions are used by default, as small data sets want (``symmetric=False`` is the paper's one direction).
    Batch shuffling, which keeps BatchNorm from leaking the answer between GPUs, is not done: on one process it changes
    nothing, and on several the trainer synchronises BatchNorm, which closes the same leak. Until the queue holds a row,
    the batch's own keys are the negatives.

    Args:
        encoder: what is learnt.
        objective: InfoNCE(temperature=0.2) over the queue by default; any objective that takes ``negatives``. With
            ``in_batch=True`` the batch's keys are negatives beside the queue's.
        projector: in_dim -> head; two layers by default (paper: 2048 hidden, 128 out).
        queue_size: keys kept (paper: 65,536).
        momentum: of the key encoder (paper: 0.999; shorter trainings want less).
        symmetric: use both directions.

    Source: He et al. 2020 (arXiv 1911.05722); Chen et al. 2020 (2003.04297).
    """

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective | None = None,
        projector: HeadFactory | None = None,
        queue_size: int = 4096,
        momentum: float = 0.99,
        symmetric: bool = True,
    ) -> None:
        super().__init__(encoder, projector or partial(Projector, hidden_dim=256), momentum, momentum)
        if objective is None:
            objective = InfoNCE(temperature=0.2, symmetric=False, in_batch=False)
        self.objective = objective
        self._first = InfoNCE(temperature=0.2, symmetric=False)
        self.queue = Queue(queue_size, width(self.projector, encoder.dim))
        self.symmetric = symmetric
        self._keys: tuple[list[Tensor], Tensor] | None = None

    def step(self, views: list[View], batch: Batch) -> Step:
        """Query against key and queue."""
        queries, keys = self.project(views[:2]), self.project_twin(views[:2])
        pairs = [(queries[0], keys[1]), (queries[1], keys[0])][: 2 if self.symmetric else 1]
        rows, ids = self.queue.get()
        objective = self.objective if len(rows) else self._first
        memory = {"negatives": rows, "negative_ids": ids} if len(rows) else {}
        results = [objective(pair, batch.content, **memory) for pair in pairs]
        self._keys = (keys if self.symmetric else keys[1:], batch.content)
        loss = sum((r.loss for r in results[1:]), results[0].loss) / len(results)
        chance = objective.chance(self.global_rows(batch))
        return Step(loss, results[0].parts, (queries[0].detach(), queries[1].detach()), chance)

    def after_step(self) -> None:
        """Follow, then enqueue this step's keys, of unit length."""
        super().after_step()
        if self._keys is not None:
            keys, content = self._keys
            for key in keys:
                self.queue.put(key / key.norm(dim=1, keepdim=True).clamp_min(1e-12), content)
            self._keys = None


class MoCoV3(MomentumMethod):
    """MoCo v3: predictor on the queries, keys of the batch as negatives, both directions.

    Args:
        encoder: what is learnt.
        objective: InfoNCE(temperature=0.2, symmetric=False) by default.
        projector: in_dim -> head; 3 layers by default (paper: 4096 hidden, 256 out).
        predictor: out_dim -> head; 2 layers by default (paper: 4096 hidden).
        momentum: of the key encoder at the start, rising to 1 (paper: 0.99).

    Source: Chen et al. 2021 (arXiv 2104.02057), algorithm 1.
    """

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective | None = None,
        projector: HeadFactory | None = None,
        predictor: HeadFactory | None = None,
        momentum: float = 0.99,
    ) -> None:
        default = partial(Projector, hidden_dim=512, layers=3, last_norm=True)
        super().__init__(encoder, projector or default, momentum, 1.0)
        self.predictor = head(predictor, Predictor, width(self.projector, encoder.dim))
        self.objective = InfoNCE(temperature=0.2, symmetric=False) if objective is None else objective

    def step(self, views: list[View], batch: Batch) -> Step:
        """Predicted queries against the batch's keys."""
        embeddings = self.project(views[:2])
        queries, keys = [self.predictor(z) for z in embeddings], self.project_twin(views[:2])
        results = [self.objective((queries[a], keys[1 - a]), batch.content) for a in (0, 1)]
        loss = (results[0].loss + results[1].loss) / 2
        pair = (queries[0].detach(), queries[1].detach())
        return Step(loss, results[0].parts, pair, self.objective.chance(self.global_rows(batch)))
