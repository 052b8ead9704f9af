"""What every method is: encoder, heads and objectives, and what they need, as a LightningModule.

A method sees views and says a loss; it knows nothing of modality, files or schedules. Under Lightning the trainer calls
the hooks; in a loop of one's own the same three lines do::

    step = method.step(views, batch)
    step.loss.backward(); method.after_backward(); optimizer.step()
    method.after_step()
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import fields
from itertools import groupby
from typing import Any, ClassVar

import lightning
import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.nn.chunks import encode_in_chunks
from counterpoint.objectives.gather import world_size
from counterpoint.parts import Encoder
from counterpoint.types import Batch, Encoding, Step, View

HeadFactory = Callable[[int], nn.Module]


class Method(lightning.LightningModule, ABC):
    """Base of all methods.

    Attributes:
        needs: capabilities that the encoder must have.
        min_views: views that a batch must bring.
        encoder: what is learnt and kept; heads are thrown away.
        micro_batch: rows through the encoder at once (gradient caching), or None for all.
        total_steps: length of the training, for schedules; the trainer sets it.
        optimization: method -> what ``configure_optimizers`` returns; the trainer sets it.
        last_step: what the last training step told, for monitors.
        steps: optimiser steps done (a buffer: it is saved and resumed).
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    min_views: ClassVar[int] = 2

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        missing = self.needs - encoder.capabilities
        if missing:
            name = type(self).__name__
            raise ConfigError(
                f"{name} needs {', '.join(sorted(missing))}, which {type(encoder).__name__} does not have "
                f"(it has: {', '.join(sorted(encoder.capabilities)) or 'none'})"
            )
        self.encoder = encoder
        self.micro_batch: int | None = None
        self.total_steps = 1
        self.optimization: Callable[[Method], Any] | None = None
        self.last_step: Step | None = None
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.steps: Tensor

    @abstractmethod
    def step(self, views: list[View], batch: Batch) -> Step:
        """Loss of one batch.

        Args:
            views: each with the batch's ``B`` rows, global ones first.
            batch: for content ids and labels.
        """

    def after_backward(self) -> None:
        """Between backward and the optimiser's step: drop gradients of what is frozen."""

    def after_step(self) -> None:
        """After the optimiser's step: follow, enqueue, count. Overriding methods call ``super().after_step()``."""
        self.steps += 1

    def encode(self, views: list[View], encoder: nn.Module | None = None) -> list[Encoding]:
        """Encode views; consecutive ones of equal modality and shape go through the network together (SwAV's rule).

        Args:
            views: at least one.
            encoder: another one than the method's own, e.g. a momentum twin's.
        """
        network = self.encoder if encoder is None else encoder
        encodings: list[Encoding] = []
        for _, same in groupby(views, key=lambda v: (v.modality, tuple(v.data.shape))):
            group = list(same)
            joined = View(torch.cat([v.data for v in group]), group[0].modality, group[0].role)
            rows = joined.data.shape[0] if self.micro_batch is None else self.micro_batch
            encodings += _split(encode_in_chunks(network, joined, rows), len(group))
        return encodings

    def frozen(self, share: float) -> bool:
        """Whether the training is still in its first ``share``."""
        return int(self.steps) < share * self.total_steps

    def global_rows(self, batch: Batch) -> int:
        """Samples of this step over all ranks."""
        return len(batch) * world_size()

    def check(self, views: list[View]) -> None:
        """Refuse too few views.

        Raises:
            ShapeError: there are fewer than ``min_views``.
        """
        if len(views) < self.min_views:
            found = f"{len(views)} view(s)"
            raise ShapeError(message(f"{type(self).__name__}: views", found, f"at least {self.min_views}"))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Trainable parameters in two groups: matrices and kernels, then biases, norms and scalars without decay."""
        trainable = [p for p in self.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in trainable if p.ndim > 1]},
            {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def training_step(self, batch: tuple[Batch, list[View]], batch_idx: int) -> Tensor:
        """Lightning's step over ``(batch, views)``."""
        self.check(batch[1])
        self.last_step = self.step(batch[1], batch[0])
        return self.last_step.loss

    def on_after_backward(self) -> None:
        """Lightning's hook for `after_backward`."""
        self.after_backward()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Lightning's step, then `after_step`: before any callback can save a checkpoint without it."""
        super().optimizer_step(*args, **kwargs)
        self.after_step()

    def configure_optimizers(self) -> Any:
        """What ``optimization`` makes of this method.

        Raises:
            ConfigError: it was not set.
        """
        if self.optimization is None:
            raise ConfigError(
                message(
                    "optimization", "None", "a function method -> optimiser", "pretrain() sets it; set it yourself."
                )
            )
        return self.optimization(self)


def _split(encoding: Encoding, parts: int) -> list[Encoding]:
    columns = []
    for field in fields(Encoding):
        value = getattr(encoding, field.name)
        columns.append([None] * parts if value is None else value.chunk(parts))
    return [Encoding(*row) for row in zip(*columns)]


def head(factory: HeadFactory | None, default: HeadFactory, in_dim: int) -> nn.Module:
    """The head that ``factory`` (or ``default``) makes for ``in_dim`` inputs."""
    return (factory or default)(in_dim)


def width(module: nn.Module, in_dim: int) -> int:
    """Width of a head's output: its ``out_dim``, else what comes out of it for a row of zeros."""
    known = getattr(module, "out_dim", None)
    if isinstance(known, int):
        return known
    training = module.training
    module.eval()
    with torch.no_grad():
        found = int(module(torch.zeros(1, in_dim)).shape[1])
    module.train(training)
    return found
