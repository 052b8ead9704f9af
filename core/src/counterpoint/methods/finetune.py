"""Fine-tuning: an encoder that has learnt already, and a fresh head, learn a task from labels or from targets."""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.errors import ConfigError, DataError, message
from counterpoint.methods.base import HeadFactory, Method
from counterpoint.methods.fit import require, takes
from counterpoint.nn.answers import ClassHead, LinearHead, NumberHead
from counterpoint.nn.heads import Projector
from counterpoint.objectives import Objective
from counterpoint.parts import Dataset, Encoder
from counterpoint.types import Batch, Step, View


class FineTune(Method):
    """Base of both tasks. First the head learns alone, then all of it.

    A fresh head's first gradients are noise that would undo what the encoder has learnt. So for the first
    ``head_warmup`` of the steps the encoder stands still, in evaluation mode; when it joins, its learning rate rises
    from 0 over as long a time as the head's did (``optimization.warmup``).

    Args:
        encoder: of a run.
        objective: None for the plain loss, or what stands beside it or in its place.
        head_warmup: share of the steps in which the head learns alone, 0 to below 1.
        views: global views of each sample to learn from; None: one, or two where an objective compares views.
        projector: in_dim -> head before the objective; two layers of 256 and 128 without batch norm by default.

    Attributes:
        head: features -> answers; made by `prepare`.

    Raises:
        ConfigError: an encoder of several modalities, an objective that the task cannot call, or a number out of its
            range.
    """

    min_views = 1
    task: ClassVar[str]
    supervised: ClassVar[bool] = True
    head: LinearHead

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective | None = None,
        head_warmup: float = 0.1,
        views: int | None = None,
        projector: HeadFactory | None = None,
    ) -> None:
        super().__init__(encoder)
        name = type(self).__name__
        if getattr(encoder, "dims", None):
            todo = "Fine-tune a run of one modality."
            raise ConfigError(message(f"{name}: encoder", "one of several modalities", "one modality", todo))
        if not 0 <= head_warmup < 1:
            raise ConfigError(message(f"{name}: head_warmup", head_warmup, "a share from 0 to below 1"))
        if views is not None and views < 1:
            raise ConfigError(message(f"{name}: views", views, "a whole number from 1"))
        self.objective, self.head_warmup = objective, head_warmup
        self.views = views or views_wanted(objective)
        if objective is not None:
            require(self, objective)
            make = projector or partial(Projector, hidden_dim=256, norm=False)
            self.projector = make(encoder.dim)

    @abstractmethod
    def prepare(self, dataset: Dataset, indices: np.ndarray) -> None:
        """Make the head for what the training samples ``indices`` have to say."""

    @property
    def kept(self) -> nn.Module:
        """Encoder and head."""
        return nn.ModuleDict({"encoder": self.encoder, "head": self.head})

    @property
    def alone(self) -> bool:
        """Whether the head learns alone at this step."""
        return self.frozen(self.head_warmup)

    def features(self, views: list[View]) -> list[Tensor]:
        """``(B, dim)`` of the first global views, with gradients to the encoder where it learns."""
        self.encoder.train(self.training and not self.alone)
        return self.pooled(self.used(views))

    def used(self, views: list[View]) -> list[View]:
        """The first global ones, as many as were asked for.

        Raises:
            ConfigError: there are not so many.
        """
        chosen = first_global(views, self.views)
        if len(chosen) < self.views:
            todo = "The views make so many of a sample; see --views --help."
            raise ConfigError(message(f"{type(self).__name__}: views", self.views, f"at most {len(chosen)}", todo))
        return chosen

    def after_backward(self) -> None:
        """Leave the encoder alone while the head learns."""
        if self.alone:
            for parameter in self.encoder.parameters():
                parameter.grad = None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """As in every method, those of the encoder apart from the heads': they begin later."""
        encoder = {id(parameter) for parameter in self.encoder.parameters()}
        groups: list[dict[str, Any]] = []
        for group in super().parameter_groups():
            late = [parameter for parameter in group["params"] if id(parameter) in encoder]
            soon = [parameter for parameter in group["params"] if id(parameter) not in encoder]
            groups += [{**group, "params": soon, "begin": 0.0}, {**group, "params": late, "begin": self.head_warmup}]
        return [group for group in groups if group["params"]]


class Classify(FineTune):
    """Classes from labels: cross-entropy, and an objective beside or in its place.

    - ``objective`` None: cross-entropy.
    - one that is called with ``classify`` (CoreTuning): its loss is the whole loss. It mixes features, and calls the
      head and the projector itself.
    - one that compares embeddings and takes labels (SupCon): cross-entropy plus ``weight`` times its loss.

    Args:
        encoder: of a run.
        objective: see above.
        weight: of an objective beside the cross-entropy, 0 or more; None: 1.
        labels_per_class: training samples of each class that are used, drawn by the seed; None: all that are labelled.
        head_warmup: see `FineTune`.
        views: see `FineTune`.
        projector: see `FineTune`.

    Attributes:
        whole: whether the objective's loss is the whole loss.

    Raises:
        ConfigError: an objective that takes no labels, or a number out of its range.
    """

    task: ClassVar[str] = "classify"
    calls_with: ClassVar[tuple[str, ...]] = ("labels",)
    head: ClassHead

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective | None = None,
        weight: float | None = None,
        labels_per_class: int | None = None,
        head_warmup: float = 0.1,
        views: int | None = None,
        projector: HeadFactory | None = None,
    ) -> None:
        super().__init__(encoder, objective, head_warmup, views, projector)
        if labels_per_class is not None and labels_per_class < 1:
            raise ConfigError(message("Classify: labels_per_class", labels_per_class, "a whole number from 1"))
        self.whole = objective is not None and takes(objective, "classify")
        if weight is not None and (objective is None or self.whole):
            todo = "The weight of what it brings itself is --objective.weight." if self.whole else "Name an objective."
            allowed = "None, as nothing stands beside the cross-entropy"
            raise ConfigError(message("Classify: weight", weight, allowed, todo))
        if weight is not None and not 0 <= weight < math.inf:
            raise ConfigError(message("Classify: weight", weight, "a number from 0"))
        self.weight, self.labels_per_class = 1.0 if weight is None else weight, labels_per_class
        if self.whole and getattr(objective, "weight", 1) == 0:
            self.projector.requires_grad_(False)  # nothing asks for it: processes would wait for its gradient

    def prepare(self, dataset: Dataset, indices: np.ndarray) -> None:
        """A logit for each class of the dataset.

        Raises:
            DataError: fewer than two classes.
        """
        labels = dataset.labels
        known = [] if labels is None else np.unique(labels[indices][labels[indices] >= 0]).tolist()
        if labels is None or len(known) < 2:
            named = [repr(dataset.classes[number]) for number in known] if dataset.classes is not None else known
            found = f"one class ({named[0]}) only" if named else "no class"
            raise DataError(message("data", f"{found} among the training samples", "two or more", CLASSES))
        classes = len(dataset.classes) if dataset.classes is not None else int(labels.max()) + 1
        self.head = ClassHead(self.encoder.dim, classes)

    def step(self, views: list[View], batch: Batch) -> Step:
        """Loss over the views; rows of unknown label do not count."""
        features, labels = self.features(views), _needed(batch.label, "label")
        joined, wanted = torch.cat(features), labels.repeat(len(features))
        if self.objective is not None and self.whole:
            result = self.objective(joined, wanted, classify=self.head, project=self.projector)
            chance = self.objective.chance(len(features) * self.global_rows(batch))
            return Step(result.loss, result.parts, chance=chance)
        self._check(labels)
        entropy = F.cross_entropy(self.head(joined).float(), wanted, ignore_index=-1)
        chance = math.log(self.head.out_dim)
        if self.objective is None:
            return Step(entropy, chance=chance)
        result = self.objective([self.projector(one) for one in features], batch.content, labels=labels)
        parts = {**result.parts, "cross_entropy": entropy.detach(), "contrast": result.loss.detach()}
        beside = self.objective.chance(self.global_rows(batch))
        whole = None if beside is None else chance + self.weight * beside
        return Step(entropy + self.weight * result.loss, parts, chance=whole)

    def _check(self, labels: Tensor) -> None:
        known = labels[labels >= 0]
        if not len(known):
            raise DataError(message("batch.label", "no known label", "one at least"))
        if int(known.max()) >= self.head.out_dim:
            allowed = f"0 to {self.head.out_dim - 1}, the head's classes"
            raise DataError(message("batch.label", int(known.max()), allowed))


class Regress(FineTune):
    """Numbers from targets: end to end, or an objective that orders the embeddings, and then a linear map.

    - ``objective`` None: encoder and head learn the standardised targets by ``loss``. The head begins as the linear map
      of least absolute error on the features of the encoder as it comes.
    - one that compares embeddings and takes targets (SupReMix): it alone teaches the encoder; the head is the linear
      map of least absolute error on the frozen features of the training samples, found after each epoch and at the end.

    Args:
        encoder: of a run.
        objective: see above.
        loss: ``"l1"`` or ``"mse"``, without an objective.
        labels: training samples that are used, drawn by the seed; None: all that have a target.
        head_warmup: see `FineTune`; 0 where an objective teaches the encoder, for then no head learns beside it.
        views: see `FineTune`.
        projector: see `FineTune`.

    Raises:
        ConfigError: an objective that takes no targets, or a number out of its range.
    """

    task: ClassVar[str] = "regress"
    calls_with: ClassVar[tuple[str, ...]] = ("embeddings", "targets")
    head: NumberHead

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective | None = None,
        loss: Literal["l1", "mse"] = "l1",
        labels: int | None = None,
        head_warmup: float = 0.1,
        views: int | None = None,
        projector: HeadFactory | None = None,
    ) -> None:
        super().__init__(encoder, objective, head_warmup, views, projector)
        if labels is not None and labels < 2:
            raise ConfigError(message("Regress: labels", labels, "a whole number from 2"))
        if loss not in _LOSSES:
            raise ConfigError(message("Regress: loss", repr(loss), ", ".join(_LOSSES)))
        if objective is not None:
            self.head_warmup = 0.0
        self.loss, self.labels = loss, labels
        self.chance = 1.0

    @property
    def probed(self) -> bool:
        """Whether the head is fitted to frozen features, and learns nothing by gradients."""
        return self.objective is not None

    def prepare(self, dataset: Dataset, indices: np.ndarray) -> None:
        """A head that knows mean and spread of the training targets.

        Raises:
            DataError: fewer than two different ones.
        """
        targets = torch.empty(0) if dataset.targets is None else dataset.targets[torch.from_numpy(indices)]
        known = targets[targets.isfinite()].double()
        different = len(set(known.tolist()))
        if different < 2:
            found = f"{different} different targets among the training samples"
            raise DataError(message("data", found, "two or more", TARGETS))
        self.head = NumberHead(self.encoder.dim, float(known.mean()), float(known.std(correction=0)))
        if self.probed:
            self.head.requires_grad_(False)  # it is fitted; processes would wait for its gradient
        standard = (known - known.mean()) / known.std(correction=0)
        self.chance = float(_LOSSES[self.loss](standard, torch.zeros_like(standard)))

    def step(self, views: list[View], batch: Batch) -> Step:
        """Loss over the views; rows of unknown target do not count."""
        features, targets = self.features(views), _needed(batch.target, "target")
        if self.objective is not None:
            embeddings = [self.projector(one) for one in features]
            result = self.objective(embeddings, batch.content, targets=targets)
            # without a pair for the monitors: embeddings along a line, which they would warn of, are what is wanted
            return Step(result.loss, result.parts, chance=self.objective.chance(self.global_rows(batch)))
        wanted = ((targets - self.head.mean) / self.head.std).float().repeat(len(features))
        known = wanted.isfinite()
        if not bool(known.any()):
            raise DataError(message("batch.target", "no known target", "one at least"))
        answers = self.head.standardised(torch.cat(features)).float()
        return Step(_LOSSES[self.loss](answers[known], wanted[known]), chance=self.chance)


def views_wanted(objective: Objective | type[Objective] | None) -> int:
    """Views of each sample to learn from where nothing else is said: two where an objective compares them, else one."""
    return 2 if objective is not None and takes(objective, "embeddings") else 1


def first_global(views: list[View], count: int) -> list[View]:
    """The first ``count`` global ones of a sample's views, or as many as there are."""
    return [view for view in views if view.role == "global"][:count]


_LOSSES = {"l1": F.l1_loss, "mse": F.mse_loss}
CLASSES = "Name the labels: class folders, --dataset.label_column, or labels in the archive."
TARGETS = "Name the targets: --dataset.target_column, targets.csv in a folder, or targets in the archive."


def _needed(column: Tensor | None, name: str) -> Tensor:
    """The batch's labels or targets.

    Raises:
        DataError: it has none.
    """
    if column is None:
        raise DataError(message(f"batch.{name}", "None", f"a {name} for each sample"))
    return column
