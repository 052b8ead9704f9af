"""MoCo: contrast with a momentum encoder's keys, from a queue (v2) or from the batch (v3)."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from counterpoint.methods._common import detached, mean, width
from counterpoint.methods.base import HeadFactory
from counterpoint.methods.fit import require, supervision
from counterpoint.methods.momentum import MomentumMethod
from counterpoint.nn.heads import Predictor, Projector
from counterpoint.nn.queue import Queue
from counterpoint.objectives import InfoNCE, Objective, gather
from counterpoint.parts import Encoder
from counterpoint.types import Batch, Step, View


class MoCo(MomentumMethod):
    """MoCo v2: queries of one view find the key of the other among a queue of old keys.

    Both directions are used by default, as small data sets want (``symmetric=False`` is the paper's one direction).
    Of more than two views (``--views.views 5``, as CACR wants) each is a query in turn, or the first alone; the keys of
    all others are its positives, and join the queue. Local ones are left out. At the very first step, when the queue is
    empty, the batch's own keys stand in for it.

    Batch shuffling, which keeps a query and its key out of one BatchNorm batch, is not done: it needs several GPUs that
    do not synchronise BatchNorm. In small batches a query may know its key by the batch statistics that they share:
    batches of 128 or more, or an encoder without BatchNorm, leave little to know.

    Args:
        encoder: what is learnt.
        objective: InfoNCE(temperature=0.2) over the queue by default; any objective that takes ``negatives`` and
            ``negative_ids``. With ``in_batch=True`` the batch's keys are negatives beside the queue's.
        projector: in_dim -> head; two layers, 256 hidden, 128 out by default (paper: 2048 hidden, 128 out, no norm).
        queue_size: keys kept (paper: 65,536); well below the number of samples, or it holds each of them.
        momentum: of the key encoder, constant (paper: 0.999; shorter trainings want less).
        symmetric: use both directions.

    Raises:
        ConfigError: an objective without a queue, or a setting out of its range.

    Source: He et al. 2020 (arXiv 1911.05722); Chen et al. 2020 (2003.04297).
    """

    calls_with: ClassVar[tuple[str, ...]] = ("embeddings", "negatives", "negative_ids")

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
        require(self, objective)
        self.objective = objective
        self.queue = Queue(queue_size, width(self.projector, encoder.dim))
        self.symmetric = symmetric
        self._keys: tuple[list[Tensor], Tensor] | None = None

    def step(self, views: list[View], batch: Batch) -> Step:
        """Query against key and queue."""
        queries, keys = self._queries_and_keys([view for view in views if view.role == "global"])
        results = []
        negatives = [self._negatives(own[0], batch.content) for own in keys]
        for query, own, (rows, ids) in zip(queries, keys, negatives):
            results.append(self.objective((query, *own), batch.content, negatives=rows, negative_ids=ids))
        new = [*keys[0], keys[1][0]] if self.symmetric else keys[0]
        self._keys = (new, batch.content)
        result, chance = mean(results), self.objective.chance(self.global_rows(batch))
        return Step(result.loss, result.parts, detached(queries[0], keys[0][0]), chance, negatives[0])

    def _queries_and_keys(self, views: list[View]) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Queries and, in the order of the queries, the unit keys of the other views."""
        if not self.symmetric:
            return self.project(views[:1]), [[F.normalize(key, dim=1) for key in self.project_twin(views[1:])]]
        keys = [F.normalize(key, dim=1) for key in self.project_twin(views)]
        return self.project(views), [keys[:a] + keys[a + 1 :] for a in range(len(keys))]

    def _negatives(self, keys: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        return self.queue.get() if len(self.queue) else (gather(keys), gather(ids))

    def after_step(self) -> None:
        """Follow, then enqueue this step's keys, of unit length."""
        super().after_step()
        if self._keys is not None:
            keys, ids = self._keys
            for key in keys:
                self.queue.put(key, ids)
            self._keys = None


class MoCoV3(MomentumMethod):
    """MoCo v3: predictor on the queries, keys of the batch as negatives, both directions.

    The loss is the mean of the two directions, without the paper's factor ``2 * temperature``. The first two views are
    used.

    Args:
        encoder: what is learnt.
        objective: InfoNCE(temperature=0.2, symmetric=False) by default; it compares queries with keys, in this order.
        projector: in_dim -> head; 3 layers, 512 hidden, 128 out by default (paper: 4096 hidden, 256 out).
        predictor: out_dim -> head; 2 layers, 512 hidden by default (paper: 4096 hidden).
        momentum: of the key encoder at the start, rising to 1 (paper: 0.99; short trainings want less).

    Raises:
        ConfigError: an objective that does not compare embeddings, or a momentum out of its range.

    Source: Chen et al. 2021 (arXiv 2104.02057), algorithm 1.
    """

    calls_with: ClassVar[tuple[str, ...]] = ("embeddings",)
    supervised: ClassVar[bool] = True

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective | None = None,
        projector: HeadFactory | None = None,
        predictor: HeadFactory | None = None,
        momentum: float = 0.97,
    ) -> None:
        default = partial(Projector, hidden_dim=512, layers=3, last_norm=True)
        super().__init__(encoder, projector or default, momentum, 1.0)
        self.predictor = (predictor or Predictor)(width(self.projector, encoder.dim))
        self.objective = InfoNCE(temperature=0.2, symmetric=False) if objective is None else objective
        require(self, self.objective)
        if getattr(self.objective, "symmetric", False) is None:
            setattr(self.objective, "symmetric", False)  # noqa: B010 — queries ask, keys do not; a module has no such field

    def step(self, views: list[View], batch: Batch) -> Step:
        """Predicted queries against the batch's keys."""
        queries = [self.predictor(z) for z in self.project(views[:2])]
        keys = self.project_twin(views[:2])
        known = supervision(self.objective, batch)
        result = mean([self.objective((queries[a], keys[1 - a]), batch.content, **known) for a in (0, 1)])
        chance = self.objective.chance(self.global_rows(batch))
        return Step(result.loss, result.parts, detached(queries[0], queries[1]), chance)
