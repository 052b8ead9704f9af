"""What fine-tuning needs beside training itself: its samples, its head on held-out ones, its head fitted at the end."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from counterpoint.errors import DataError, message
from counterpoint.evaluation.clustering import scatter_ratio
from counterpoint.evaluation.fewshot import draw_rows
from counterpoint.evaluation.regression import l1_regression, regression_metrics
from counterpoint.evaluation.stats import accuracy, balanced_accuracy
from counterpoint.methods.base import Method
from counterpoint.methods.finetune import CLASSES, TARGETS, Classify, FineTune, Regress
from counterpoint.nn.answers import NumberHead
from counterpoint.parts import Dataset, Views
from counterpoint.training.data import mix
from counterpoint.training.embedding import Embedded, embed, encode_with
from counterpoint.training.measures import undisturbed
from counterpoint.training.online import LARGEST, OnlineFeatures


def known(dataset: Dataset, indices: np.ndarray, task: str) -> np.ndarray:
    """Those of ``indices`` with a label (``"classify"``) or a target (``"regress"``).

    Raises:
        DataError: the dataset has none at all.
    """
    if task == "classify":
        if dataset.labels is None:
            raise DataError(message("data", f"no labels{_why(dataset, 'labels')}", "labels, to classify", CLASSES))
        kept: np.ndarray = indices[dataset.labels[indices] >= 0]
        return kept
    if dataset.targets is None:
        has = "labels, but no targets" if dataset.labels is not None else "no targets"
        raise DataError(message("data", has + _why(dataset, "targets"), "targets, to regress", TARGETS))
    kept = indices[dataset.targets[torch.from_numpy(indices)].isfinite().numpy()]
    return kept


def _why(dataset: Dataset, what: str) -> str:
    return f" ({dataset.absent[what]})" if what in dataset.absent else ""


def training_samples(method: Method, dataset: Dataset, seed: int) -> np.ndarray:
    """Positions that ``method`` trains on: the train split; for fine-tuning see `supervised`."""
    if isinstance(method, Classify):
        return supervised(dataset, method.task, seed, labels_per_class=method.labels_per_class)
    if isinstance(method, Regress):
        return supervised(dataset, method.task, seed, labels=method.labels)
    indices: np.ndarray = dataset.splits()["train"]
    return indices


def supervised(
    dataset: Dataset, task: str, seed: int, *, labels_per_class: int | None = None, labels: int | None = None
) -> np.ndarray:
    """What is known of the train split, or a draw of it: so many of each class, or so many in all.

    Raises:
        DataError: a dataset without labels or targets.
    """
    indices, draw = known(dataset, dataset.splits()["train"], task), np.random.default_rng(mix(seed, "labels"))
    if labels_per_class is not None and dataset.labels is not None:
        classes = dataset.labels[indices]
        indices = indices[draw_rows(classes, dict.fromkeys(np.unique(classes).tolist(), labels_per_class), draw)]
    if labels is not None:
        indices = draw.permutation(indices)[:labels]
    return np.sort(indices)


def scarce(method: Method, dataset: Dataset, indices: np.ndarray) -> str:
    """What is told where fewer samples were drawn than were asked for; else nothing."""
    if isinstance(method, Regress) and method.labels is not None and len(indices) < method.labels:
        return f"labels {method.labels} is more than there are; using {len(indices)}"
    if not isinstance(method, Classify) or method.labels_per_class is None or dataset.labels is None:
        return ""
    kinds, counts = np.unique(dataset.labels[indices], return_counts=True)
    few = int((counts < method.labels_per_class).sum())
    if not few:
        return ""
    fewest = int(kinds[counts.argmin()])
    name = dataset.classes[fewest] if dataset.classes is not None else fewest
    asked = f"labels_per_class {method.labels_per_class} is more than {few} of {len(kinds)} classes have"
    return f"{asked} ({name}: {counts.min()}); using all of theirs"


def answered(head: nn.Module, found: Embedded) -> Tensor:
    """A head's answers to embedded samples: classes ``(N,)`` int64, or numbers ``(N,)`` float32."""
    with torch.no_grad():
        answers: Tensor = head.cpu()(found.features)
    return answers if isinstance(head, NumberHead) else answers.argmax(dim=1)


def measured(answers: Tensor, found: Embedded) -> dict[str, float]:
    """Metrics of answers to the samples whose label or target is known; nothing where none is.

    Returns:
        Of classes: ``accuracy``, ``balanced_accuracy``, and the features' ``scatter_ratio``. Of numbers: those of
        `regression_metrics`.
    """
    if answers.is_floating_point():
        some = found.targets is not None and bool(found.targets.isfinite().any())
        return regression_metrics(answers, found.targets) if found.targets is not None and some else {}
    labels = torch.full_like(answers, -1) if found.labels is None else found.labels
    right = answers[labels >= 0], labels[labels >= 0]
    if not len(right[0]):
        return {}
    values = {"accuracy": accuracy(*right), "balanced_accuracy": balanced_accuracy(*right)}
    return values | {"scatter_ratio": scatter_ratio(found.features, labels)}


class OnlineAnswers(OnlineFeatures):
    """Features of fixed subsets, as for every method, and the head's answers to those of val.

    Args:
        method: whose encoder and head are looked at.
        views: whose ``plain`` is used.
        dataset: samples.
        indices: what is trained on.
        seed: decides the subsets.
    """

    def __init__(self, method: FineTune, views: Views, dataset: Dataset, indices: np.ndarray, seed: int) -> None:
        super().__init__(method, views, dataset, seed)
        self.tuned = method
        for split, pool in (("train", indices), ("val", known(dataset, dataset.splits()["val"], method.task))):
            draw = np.random.default_rng(mix(seed, "monitor", split))
            self.indices[split] = np.sort(draw.permutation(pool)[: LARGEST[split]])
        self._val: Embedded | None = None

    def __call__(self, split: str) -> tuple[Tensor, Tensor | None]:
        """Features of the split's subset; no labels, for the head answers instead of neighbours."""
        found = self.embedded(split)
        if split == "val":
            self._val = found
        return found.features, None

    def measure(self) -> dict[str, float]:
        """Metrics of the head on val; nothing where no sample of it has an answer."""
        found = self._val if self._val is not None else self.embedded("val")
        if not len(found.index):
            return {}
        head = self.tuned.head
        device = next(head.parameters()).device
        with undisturbed(head):
            if isinstance(self.tuned, Regress) and self.tuned.probed:
                _fit(self.tuned, self.embedded("train"))
            values = measured(answered(head, found), found)
        head.to(device)
        return values


def begin(method: FineTune, views: Views, dataset: Dataset, indices: np.ndarray, seed: int) -> None:
    """Let the head know the features that it begins with, from a draw of the training samples.

    It takes their centre and scale; for numbers it begins as their best linear map, which gradients find slowly.
    """
    draw = np.random.default_rng(mix(seed, "begin")).permutation(indices)[: LARGEST["train"]]
    found = _embedded(method, views, dataset, draw)
    if not len(found.index):
        return
    method.head.standardise(found.features)
    if isinstance(method, Regress):
        _fit(method, found)


def refit(method: FineTune, views: Views, dataset: Dataset, indices: np.ndarray) -> None:
    """Fit the head to the frozen features of all training samples, where an objective alone has taught the encoder."""
    if isinstance(method, Regress) and method.probed:
        _fit(method, _embedded(method, views, dataset, indices))


def _embedded(method: FineTune, views: Views, dataset: Dataset, indices: np.ndarray) -> Embedded:
    device = next(method.encoder.parameters()).device
    with undisturbed(method.encoder):
        return embed(encode_with(method.encoder), views, dataset, indices.tolist(), device=device)


def _fit(method: Regress, found: Embedded) -> None:
    if found.targets is not None and len(found.index):
        method.head.set(*l1_regression(found.features, found.targets))
