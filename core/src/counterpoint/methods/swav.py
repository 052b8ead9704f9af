"""SwAV: predict one view's cluster codes from another view; codes are balanced over the batch by Sinkhorn-Knopp."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.methods._common import global_views, width
from counterpoint.methods.base import HeadFactory, Method
from counterpoint.methods.fit import require
from counterpoint.nn.heads import Projector
from counterpoint.nn.prototypes import Prototypes
from counterpoint.nn.queue import Queue
from counterpoint.objectives import Objective, SwappedPrediction
from counterpoint.objectives.gather import rank, world_size
from counterpoint.parts import Encoder
from counterpoint.types import Batch, Step, View


class SwAV(Method):
    """Swapping assignments between views, with multi-crop and a queue for small batches.

    Codes come from the global views only, all views predict them; the projector sees all views in one batch.
    Prototypes are L2-normalised before every step's forward pass and stand still during the first ``freeze_share`` of
    the training (paper: one epoch). The queue enters the codes once it is full, and never the loss. With several
    processes each brings its share of the queue, so that the codes are those of one process with the whole batch.

    Args:
        encoder: what is learnt.
        objective: SwappedPrediction(temperature=0.1, epsilon=0.05) by default.
        projector: in_dim -> head; two layers, 256 hidden, 128 out, BatchNorm at the end by default (paper: 2048 hidden,
            128 out, no norm at the end). Without the last norm the embeddings share one direction (measured in a small
            encoder: a third of their energy before training, half of it after 340 steps) that tells samples apart in
            nothing, keeps the cosines to the prototypes small and the codes soft.
        prototypes: K (paper: 3000); 3-10 times the expected number of classes, and well below the batch and the queue.
        freeze_share: share of the training during which the prototypes stand still.
        queue_size: rows kept per assigning view; 0 for none (paper: 3840 at batch 256).
        queue_after: share of the training before the queue is filled (paper: 15 epochs; early features go stale fast).

    Raises:
        ConfigError: an objective that does not compare scores, or a setting out of its range.

    Source: Caron et al. 2020 (arXiv 2006.09882) and the released code.
    """

    calls_with: ClassVar[tuple[str, ...]] = ("scores", "assign", "queue_scores")

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective | None = None,
        projector: HeadFactory | None = None,
        prototypes: int = 64,
        freeze_share: float = 0.05,
        queue_size: int = 0,
        queue_after: float = 0.15,
    ) -> None:
        super().__init__(encoder)
        if queue_size < 0:
            raise ConfigError(message("SwAV.queue_size", queue_size, "a whole number from 0 (no queue)"))
        if prototypes < 2:
            raise ConfigError(message("SwAV.prototypes", prototypes, "2 or more"))
        for name, share in (("freeze_share", freeze_share), ("queue_after", queue_after)):
            if not 0 <= share <= 1:
                raise ConfigError(message(f"SwAV.{name}", share, "a share of the training, from 0 to 1"))
        self.projector = (projector or partial(Projector, hidden_dim=256, last_norm=True))(encoder.dim)
        dim = width(self.projector, encoder.dim)
        self.prototypes = Prototypes(dim, prototypes)
        self.objective = SwappedPrediction() if objective is None else objective
        require(self, self.objective)
        self.freeze_share, self.queue_after = freeze_share, queue_after
        self.queues = nn.ModuleList([Queue(queue_size, dim) for _ in range(2 if queue_size else 0)])
        self._embeddings: list[Tensor] = []

    def step(self, views: list[View], batch: Batch) -> Step:
        """Swapped prediction over all views; global views assign.

        Raises:
            ShapeError: no global view, or a local one before it; not two global ones while queues are kept.
        """
        assign = global_views(self, views)
        if self.queues and assign != len(self.queues):
            raise ShapeError(message("SwAV: global views", assign, f"{len(self.queues)} (one queue each)"))
        if not self.frozen(self.freeze_share):
            self.prototypes.normalise()
        embeddings = F.normalize(self.projector(torch.cat(self.pooled(views))), dim=1)
        scores = self.prototypes(embeddings).chunk(len(views))
        result = self.objective(scores, assign=assign, queue_scores=self._queue_scores())
        rows = [z.detach() for z in embeddings.chunk(len(views))]
        self._embeddings = rows[:assign]
        return Step(result.loss, result.parts, (rows[0], rows[1]), self.objective.chance(self.global_rows(batch)))

    @torch.no_grad()
    def _queue_scores(self) -> list[Tensor] | None:
        queues = self._queues()
        if not queues or not all(queue.full for queue in queues):
            return None
        return [self.prototypes(queue.get()[0].tensor_split(world_size())[rank()]) for queue in queues]

    def _queues(self) -> list[Queue]:
        return [queue for queue in self.queues if isinstance(queue, Queue)]

    def after_backward(self) -> None:
        """Drop the prototypes' gradient while they are frozen."""
        if self.frozen(self.freeze_share):
            self.prototypes.freeze()

    def after_step(self) -> None:
        """Enqueue this step's embeddings, once it is time."""
        super().after_step()
        if not self.frozen(self.queue_after):
            for queue, rows in zip(self._queues(), self._embeddings):
                queue.put(rows)
        self._embeddings = []
