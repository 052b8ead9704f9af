"""What every method is: encoder, heads and objectives, and what they need, as a LightningModule.

A method sees views and says a loss; it knows nothing of modality, files or schedules. Under Lightning the trainer calls
the hooks; in a loop of one's own (``DistributedDataParallel(method)`` included) the same lines do::

    method.total_steps = steps                  # for schedules; left at 0, they stand at their start
    optimizer = AdamW(method.parameter_groups(), lr=1e-3)
    ...
    step = method(views, batch)
    step.loss.backward()
    method.after_backward()
    optimizer.step()
    optimizer.zero_grad()
    method.after_step()
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, ClassVar

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.nn import rows
from counterpoint.nn.chunks import encode_in_chunks
from counterpoint.objectives import Objective
from counterpoint.objectives.gather import world_size
from counterpoint.parts import Dataset, Encoder
from counterpoint.plugin import abilities
from counterpoint.types import Batch, Encoding, Step, View

HeadFactory = Callable[[int], nn.Module]


class Method(lightning.LightningModule, ABC):
    """Base of all methods.

    Attributes:
        needs: capabilities that the encoder must have.
        min_views: views that a batch must bring.
        head_per_tower: whether towers of several widths are welcome, each with a head of its own.
        contrasted: whether it learns from a background and targets, two sources instead of one.
        calls_with: arguments that it calls its objective with, by which it tells who fits; none: there is no choice.
        supervised: whether an objective that takes the samples' labels or targets gets them.
        encoder: what is learnt and kept; heads are thrown away.
        micro_batch: samples through the encoder at once (gradient caching), or None for all.
        total_steps: length of the training, for schedules; the trainer sets it. 0: unknown, schedules stay at their
            start and nothing is frozen.
        optimization: method -> what ``configure_optimizers`` returns; the trainer sets it.
        last_step: what the last training step told, for monitors.
        steps: optimiser steps done (a buffer: it is saved and resumed).

    Raises:
        ConfigError: an encoder without a capability that the method needs, or with towers that it has no heads for.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    min_views: ClassVar[int] = 2
    head_per_tower: ClassVar[bool] = False
    contrasted: ClassVar[bool] = False
    calls_with: ClassVar[tuple[str, ...]] = ()
    supervised: ClassVar[bool] = False

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self._check_encoder(encoder)
        self.encoder = encoder
        self.micro_batch: int | None = None
        self.total_steps = 0
        self.optimization: Callable[[Method], Any] | None = None
        self.last_step: Step | None = None
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.steps: Tensor

    def _check_encoder(self, encoder: Encoder) -> None:
        name, missing = type(self).__name__, self.needs - abilities(encoder.capabilities, encoder.transductive)
        if missing:
            wanted, has = (", ".join(sorted(names)) or "none" for names in (missing, encoder.capabilities))
            raise ConfigError(f"{name} needs {wanted}, which {type(encoder).__name__} does not have (it has: {has})")
        dims: dict[str, int] = getattr(encoder, "dims", {})
        if len(set(dims.values())) > 1 and not self.head_per_tower:
            widths = ", ".join(f"{modality} {dim}" for modality, dim in dims.items())
            raise ConfigError(
                message(f"{name}: encoder", f"towers of unequal width ({widths})", "one width", "Or use Pair.")
            )

    @classmethod
    def saved(cls, encoder: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
        """What a saved run says of its encoder, from what the configuration says of it: ``class_path``, ``init_args``.

        Override where the method's encoder is made of the one that it is given.

        Args:
            encoder: how the configuration describes the encoder that the method is given.
            settings: the method's own arguments there.
        """
        return encoder

    @abstractmethod
    def step(self, views: list[View], batch: Batch) -> Step:
        """Loss of one batch.

        Args:
            views: each with the batch's ``B`` rows, global ones first.
            batch: for content ids and labels.
        """

    def forward(self, views: list[View], batch: Batch) -> Step:
        """Check the views, take the `step`, and keep what it told as ``last_step`` (without the graph).

        Every objective is told how much of the training is done (0 where its length is unknown).
        """
        self.check(views, batch)
        progress = min(1.0, int(self.steps) / self.total_steps) if self.total_steps else 0.0
        for module in self.modules():
            if isinstance(module, Objective):
                module.progress = progress
        step = self.step(views, batch)
        self.last_step = replace(step, loss=step.loss.detach())
        return step

    def prepare(self, dataset: Dataset, indices: np.ndarray) -> None:
        """Make what the data decides, before the training: heads for its classes. Override where there is such.

        Args:
            dataset: samples.
            indices: ``(N,)`` positions of those that are trained on.
        """

    def used(self, views: list[View]) -> list[View]:
        """Those of a sample's views that the method learns from. Override where it leaves some out."""
        return views

    @property
    def kept(self) -> nn.Module:
        """What a run keeps of its best epoch: the encoder; override where a head is of use as well."""
        return self.encoder

    def after_backward(self) -> None:
        """Between backward and the optimiser's step: drop gradients of what is frozen."""

    def after_step(self) -> None:
        """After the optimiser's step: follow, enqueue, count. Overriding methods call ``super().after_step()``."""
        self.steps += 1

    def encode(self, views: list[View], encoder: nn.Module | None = None, pooled_only: bool = False) -> list[Encoding]:
        """Encode views; neighbours of one modality, role and shape go through the network together (SwAV's rule).

        Args:
            views: at least one.
            encoder: another one than the method's own, e.g. a momentum twin's.
            pooled_only: leave tokens out; with a ``micro_batch`` they would stay in memory for the whole batch.

        Raises:
            ConfigError: a ``micro_batch`` for views that cannot be cut into rows.
        """
        network = self.encoder if encoder is None else encoder
        encodings: list[Encoding] = []
        for group in _alike(views):
            joined = View(rows.join([view.data for view in group]), group[0].modality, group[0].role)
            if self.micro_batch is None:
                encoding = network(joined)
            else:
                encoding = encode_in_chunks(network, joined, self.micro_batch * len(group), pooled_only)
            encodings += _split(encoding, len(group))
        return encodings

    def pooled(self, views: list[View], encoder: nn.Module | None = None) -> list[Tensor]:
        """The pooled encodings ``(B, D)`` of views, see `encode`."""
        return [encoding.pooled for encoding in self.encode(views, encoder, pooled_only=True)]

    def frozen(self, share: float) -> bool:
        """Whether the training is still in its first ``share``."""
        return int(self.steps) < share * self.total_steps

    def global_rows(self, batch: Batch) -> int:
        """Samples of this step over all ranks."""
        return len(batch) * world_size()

    def check(self, views: list[View], batch: Batch) -> None:
        """Refuse what no method can learn from.

        Raises:
            ShapeError: fewer than ``min_views`` views, views of another number of rows than the batch, or one sample.
        """
        name = type(self).__name__
        self.check_views(views)
        if self.global_rows(batch) < 2:
            todo = "Samples are compared with each other: raise batch_size."
            raise ShapeError(message(f"{name}: batch", f"{len(batch)} sample(s)", "at least 2", todo))
        for number, view in enumerate(views):
            found = rows.count(view.data)
            if found is not None and found != len(batch):
                raise ShapeError(message(f"{name}: views[{number}]", f"{found} rows", f"{len(batch)}, as in the batch"))

    def check_views(self, views: list[View]) -> None:
        """Refuse fewer views than the method compares.

        Raises:
            ShapeError: fewer than ``min_views``.
        """
        if len(views) < self.min_views:
            found, todo = f"{len(views)} view(s)", "The views make so many of a sample; see --views --help."
            raise ShapeError(message(f"{type(self).__name__}: views", found, f"at least {self.min_views}", todo))

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
        step: Step = self(batch[1], batch[0])
        return step.loss

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
            todo = "pretrain() sets it; set it yourself."
            raise ConfigError(message("optimization", "None", "a function method -> optimiser", todo))
        return self.optimization(self)


def _alike(views: list[View]) -> list[list[View]]:
    """Runs of consecutive views that can be joined; a view whose data has no rows stands alone."""
    groups: list[list[View]] = []
    last: Any = None
    for view in views:
        layout = rows.layout(view.data)
        key = None if layout is None else (view.modality, view.role, layout)
        if key is not None and key == last:
            groups[-1].append(view)
        else:
            groups.append([view])
        last = key
    return groups


def _split(encoding: Encoding, parts: int) -> list[Encoding]:
    columns = []
    for field in fields(Encoding):
        value = getattr(encoding, field.name)
        columns.append([None] * parts if value is None else value.chunk(parts))
    return [Encoding(*row) for row in zip(*columns)]
