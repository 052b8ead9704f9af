"""The training of a prompt learner: few images, a frozen encoder, SGD on the prompts alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoint.errors import ConfigError, TrainingError, message
from counterpoint.types import Batch, View
from counterpoint_multimodal.tasks.prompts.learners import GOPro, PromptLearner
from counterpoint_multimodal.tasks.prompts.losses import consistency, prompt_logits, visual_contrast
from counterpoint_multimodal.tasks.prompts.seen import Seen, look
from counterpoint_multimodal.tasks.prompts.text import ClassPrompts
from counterpoint_multimodal.tasks.prompts.views import Images, PromptViews, batch_of

Parts = Mapping[str, float]


@dataclass(frozen=True)
class Schedule:
    """How prompts are trained; the defaults are GOPro's and CoCoOp's, but for the batch (4), which BatchNorm dislikes.

    Attributes:
        epochs: passes over the images; 0 leaves the phrase as it was written.
        batch_size: images a step, at least 2.
        lr: of SGD, falling along half a cosine.
        warmup_epochs: at the rate ``warmup_lr`` before that.
        warmup_lr: see there.
        momentum: of SGD.
        weight_decay: of SGD.
        temperature: of the logits; 0.01 is what CLIP ended at.
        consistency: weight of L_sem.
        contrast: weight of L_con.
        seed: of the learner's weights, the order and the views.
    """

    epochs: int = 50
    batch_size: int = 16
    lr: float = 0.002
    warmup_epochs: int = 1
    warmup_lr: float = 1e-5
    momentum: float = 0.9
    weight_decay: float = 5e-4
    temperature: float = 0.01
    consistency: float = 1.0
    contrast: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 0), ("batch_size", 2), ("warmup_epochs", 0)):
            if getattr(self, name) < least:
                raise ConfigError(message(name, getattr(self, name), f"a whole number of at least {least}"))
        for name in ("lr", "warmup_lr", "temperature"):
            if not getattr(self, name) > 0:
                raise ConfigError(message(name, getattr(self, name), "a number > 0"))
        for name in ("momentum", "weight_decay", "consistency", "contrast"):
            if not getattr(self, name) >= 0:
                raise ConfigError(message(name, getattr(self, name), "a number of at least 0"))

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        if epoch < self.warmup_epochs:
            return self.warmup_lr
        return self.lr * (1 + math.cos(math.pi * epoch / self.epochs)) / 2


def losses(
    learner: PromptLearner, prompts: ClassPrompts, seen: Sequence[Seen], labels: Tensor, settings: Schedule
) -> dict[str, Tensor]:
    """The terms of one step, unweighted: ``ce``, and of GOPro ``consistency`` and ``contrast``.

    Args:
        learner: what is trained.
        prompts: of the K classes.
        seen: the original view; of GOPro the MoCo and the AugMix view as well.
        labels: ``(B,)`` positions among the classes.
        settings: for the temperature.
    """
    texts = [prompts.encode(learner(view)) for view in seen]
    found = {"ce": F.cross_entropy(prompt_logits(learner.image(seen[0]), texts[0], settings.temperature), labels)}
    if isinstance(learner, GOPro):
        found["consistency"] = consistency(texts)
        both = learner.project(seen[0]), learner.project(seen[1])
        found["contrast"] = visual_contrast(*both)
    return found


class Training:
    """Epochs over a few labelled images.

    Args:
        learner: what is trained, in place.
        prompts: of the classes.
        encoder: frozen.
        views: of the images.
        settings: how.
    """

    def __init__(
        self, learner: PromptLearner, prompts: ClassPrompts, encoder: Any, views: PromptViews, settings: Schedule
    ) -> None:
        self.learner, self.prompts, self.encoder, self.views, self.settings = learner, prompts, encoder, views, settings
        self.weights = {"ce": 1.0, "consistency": settings.consistency, "contrast": settings.contrast}
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.optimizer = torch.optim.SGD(
            learner.parameters(), settings.lr, settings.momentum, weight_decay=settings.weight_decay
        )

    def run(self, images: Images, labels: Tensor, tick: Callable[[Parts], None]) -> None:
        """All epochs; ``tick`` is told the mean losses of each."""
        for epoch in range(self.settings.epochs):
            for group in self.optimizer.param_groups:
                group["lr"] = self.settings.rate(epoch)
            tick(self._epoch(images, labels))

    def _epoch(self, images: Images, labels: Tensor) -> Parts:
        order = torch.randperm(len(labels), generator=self.generator)
        count = min(math.ceil(len(order) / self.settings.batch_size), len(order) // 2)  # BatchNorm: never one alone
        steps = order.tensor_split(count)
        self.learner.train()
        told = [self.step(batch_of([images[int(row)] for row in rows]), labels[rows]) for rows in steps]
        self.learner.eval()
        return {name: sum(parts[name] for parts in told) / len(told) for name in told[0]}

    def step(self, batch: Batch, labels: Tensor) -> Parts:
        """One update.

        Raises:
            TrainingError: the loss is not finite.
        """
        device = self.learner.context.device
        found = losses(self.learner, self.prompts, self._seen(batch.to(device)), labels.to(device), self.settings)
        loss = torch.stack([self.weights[name] * value for name, value in found.items()]).sum()
        if not bool(torch.isfinite(loss)):
            parts = ", ".join(f"{name} {value.item():g}" for name, value in found.items())
            raise TrainingError(f"loss: found {loss.item()} ({parts}). Lower lr, or raise temperature.")
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        return {"loss": loss.item(), **{name: value.item() for name, value in found.items()}}

    def _seen(self, batch: Batch) -> list[Seen]:
        """All views in one pass of the image tower."""
        views = [self.views.only(kind, batch, self.generator)[0] for kind in range(self.learner.views)]
        joined = View(torch.cat([view.data for view in views]), views[0].modality)
        return look(self.encoder, joined, self.learner.statistics).split(len(views))
