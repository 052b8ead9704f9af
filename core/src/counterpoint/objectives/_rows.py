"""What a contrastive objective does first (check, normalise, gather, number the rows) and last (say what is wrong)."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.errors import ShapeError, message
from counterpoint.objectives._inputs import check_temperature, check_views
from counterpoint.objectives._tiles import SMALL
from counterpoint.objectives._unit import unit_rows
from counterpoint.objectives.gather import gather, rank, world_size
from counterpoint.objectives.kernel import Cycle, Key, Pairs


@dataclass(slots=True)
class Rows:
    """One batch, ready to be compared.

    ``V`` views, ``B`` samples on this process, ``W`` processes, ``M`` rows of a queue.

    Attributes:
        views: V times ``(B, D)`` unit rows of this process.
        everyone: V times ``(W * B, D)`` unit rows of all processes; ``views`` itself on one process.
        start: number of this process's first row among all.
        ids: ``(B,)`` int64 content ids, or None: all differ.
        all_ids: ``(W * B,)`` likewise.
        queue: ``(M, D)`` unit rows without gradient, or None.
        queue_ids: ``(M,)`` content ids, or None where they are not known.
        joined: the views one below the other, ``(V * B, D)``.
    """

    views: Sequence[Tensor]
    everyone: Sequence[Tensor]
    start: int
    ids: Tensor | None
    all_ids: Tensor | None
    queue: Tensor | None
    queue_ids: Tensor | None
    joined: Tensor

    @property
    def alone(self) -> bool:
        """Whether this process's rows are all there are."""
        return self.everyone is self.views

    @property
    def size(self) -> int:
        """B."""
        return self.views[0].shape[0]

    @property
    def total(self) -> int:
        """W * B."""
        return self.everyone[0].shape[0]

    def keys(self, views: int = 1) -> Key:
        """Ids of this process's rows, ``views`` times one below the other."""
        return Cycle(self.start, self.size) if self.ids is None else self.ids.repeat(views)

    def all_keys(self, views: int = 1) -> Key:
        """Ids of everyone's rows."""
        return Cycle(0, self.total) if self.all_ids is None else self.all_ids.repeat(views)

    def queue_pairs(self, views: int = 1) -> Pairs | None:
        """The rule between ``views`` of this process and the queue."""
        if self.ids is None or self.queue_ids is None:
            return None
        return Pairs(ids=(self.ids.repeat(views), self.queue_ids))


def prepare(
    embeddings: Sequence[Tensor],
    ids: Tensor | None,
    negatives: Tensor | None,
    negative_ids: Tensor | None,
    in_batch: bool = True,
    least: int = 2,
    queued: bool = True,
) -> Rows:
    """Check (``least`` views or more), normalise, and (``in_batch``) gather; ``queued``: the objective takes a queue.

    Raises:
        ShapeError: inputs that do not fit, or no negative at all.
    """
    check(embeddings, ids, negatives, negative_ids, least)
    size = embeddings[0].shape[0]
    joined, views = _unit_views(embeddings)
    share = in_batch and world_size() > 1
    everyone = _gather_views(views) if share else views
    start = rank() * size if share else 0
    all_ids = gather(ids) if share and ids is not None else ids
    total = everyone[0].shape[0]
    if total < 2 and not queued:
        raise ShapeError(message("embeddings", "1 sample", "2 or more over all ranks", "Raise the batch size."))
    if (total < 2 or not in_batch) and negatives is None:
        found = f"{total} sample(s) and no queue" if in_batch else "in_batch=False and no queue"
        raise ShapeError(
            message("negatives", found, "two samples or more, or a queue", "Raise the batch size, or pass `negatives`.")
        )
    queue = None if negatives is None else unit_rows(negatives.detach())
    return Rows(views, everyone, start, ids, all_ids, queue, negative_ids, joined)


def _unit_views(embeddings: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
    """All views normalised in one go, unless some of them take no gradient (a momentum encoder's); of one type."""
    if len({e.dtype for e in embeddings}) > 1:
        widest = functools.reduce(torch.promote_types, [e.dtype for e in embeddings])
        embeddings = [e.to(widest) for e in embeddings]
    if len({e.requires_grad for e in embeddings}) == 1:
        joined = unit_rows(torch.cat(list(embeddings)))
        return joined, joined.chunk(len(embeddings))
    views = [unit_rows(e) for e in embeddings]
    return torch.cat(views), views


def _gather_views(views: Sequence[Tensor]) -> Sequence[Tensor]:
    """V times ``(B, D)`` here -> V times ``(W * B, D)``, rows in the order of the ranks; one exchange for all."""
    return gather(torch.stack(list(views), dim=1)).unbind(1)


def check(
    embeddings: Sequence[Tensor],
    ids: Tensor | None,
    negatives: Tensor | None,
    negative_ids: Tensor | None,
    least: int = 2,
) -> None:
    """Shapes and types of the inputs.

    Raises:
        ShapeError: naming the argument, what was found and what is allowed.
    """
    check_views("embeddings", embeddings, least)
    first = tuple(embeddings[0].shape)
    check_ids("ids", ids, first[0])
    if negatives is not None and (negatives.dim() != 2 or negatives.shape[1] != first[1] or not len(negatives)):
        raise ShapeError(message("negatives", tuple(negatives.shape), f"(M, {first[1]}) with M >= 1"))
    if negative_ids is not None:
        if ids is None or negatives is None:
            raise ShapeError(message("negative_ids", "given", "only together with ids and negatives"))
        check_ids("negative_ids", negative_ids, len(negatives))


def small(embeddings: Sequence[Tensor], ids: Tensor | None, sides: int) -> bool:
    """Whether two views, ``sides`` of them joined, fit into one tile on one process: then `_small` has a short way."""
    check(embeddings, ids, None, None)
    first, second = embeddings[0], embeddings[1]
    if len(embeddings) != 2 or world_size() > 1 or len(first) < 2 or (sides * len(first)) ** 2 > SMALL:
        return False
    return first.requires_grad == second.requires_grad and first.dtype == second.dtype


def check_ids(name: str, ids: Tensor | None, size: int) -> None:
    """One int64 per row."""
    if ids is not None and (tuple(ids.shape) != (size,) or ids.dtype != torch.int64):
        raise ShapeError(message(name, f"{ids.dtype} {tuple(ids.shape)}", f"int64 ({size},)"))


def check_finite(loss: Tensor, embeddings: Sequence[Tensor], negatives: Tensor | None) -> None:
    """`check_finite_rows` of views and a queue."""
    named = {f"embeddings[{n}]": rows for n, rows in enumerate(embeddings)}
    check_finite_rows(loss, named if negatives is None else {**named, "negatives": negatives})


def check_finite_rows(loss: Tensor, named: Mapping[str, Tensor]) -> None:
    """Looks at the inputs only when the loss is not finite, so that it costs nothing in a healthy step.

    Raises:
        ShapeError: naming the rows that are NaN or infinite.
    """
    if math.isfinite(float(loss.detach())):
        return
    name_broken_rows(named)


def name_broken_rows(named: Mapping[str, Tensor]) -> None:
    """Say which rows make a loss that is not finite.

    Raises:
        ShapeError: naming the argument and the rows that are NaN or infinite; the first argument, if none is here but
            there are other ranks.
    """
    for name, rows in named.items():
        bad = (~torch.isfinite(rows.detach()).all(dim=1)).nonzero().flatten().tolist()
        if bad:
            listed = ", ".join(map(str, bad[:8])) + (", …" if len(bad) > 8 else "")
            found = f"NaN or infinity in {len(bad)} row(s): {listed}"
            todo = "Look at these samples, or lower the learning rate."
            raise ShapeError(message(name, found, "finite values", todo))
    if world_size() > 1:
        first = next(iter(named)).partition("[")[0]
        raise ShapeError(message(first, "NaN or infinity on another rank", "finite values", "See its message."))
    raise ShapeError(message("loss", "NaN or infinity from finite rows", "a finite number", "Look at the settings."))


def as_scale(temperature: float | Tensor) -> float | Tensor:
    """1 / temperature.

    Raises:
        ConfigError: a temperature that is not above 0 (a tensor on a GPU is not looked at: that would wait for it).
    """
    if isinstance(temperature, Tensor):
        if temperature.device.type == "cpu":
            check_temperature(float(temperature.detach()))
        return temperature.reciprocal()
    check_temperature(temperature)
    return 1.0 / temperature
