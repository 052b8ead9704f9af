"""What is asked on one split, and the vectors that answer it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoint.errors import ConfigError, DataError, message
from counterpoint.evaluation.cross_modal import chance_recall, cross_modal_retrieval
from counterpoint.evaluation.geometry import alignment, modality_gap, uniformity
from counterpoint.parts import Dataset, Encoder, Views, content_id
from counterpoint.types import Batch
from counterpoint_multimodal.data.pairs import Pairs
from counterpoint_multimodal.embedding import GLOBAL, embed_images, embed_texts
from counterpoint_multimodal.tasks.zero_shot import KS, ZeroShot, prompts, top_accuracies

MOST = 1_000
"""Pictures of val, a fixed draw, that a look measures; and at most twice as many texts."""
BATCH = 256
MAIN = "recall@10"


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked on one split.

    Attributes:
        index: ``(n,)`` samples that could be read.
        picture: ``(n,)`` number of each one's picture, 0 to P - 1; equal pictures have one.
        rows: ``(P,)`` a row of ``index`` for each picture.
        texts: the different texts.
        right: ``(R, 2)`` picture and text that belong together.
        labels: ``(n,)`` int64 class of each sample, -1 unknown.
        damaged: samples that could not be read.
    """

    index: NDArray[np.int64]
    picture: NDArray[np.int64]
    rows: NDArray[np.int64]
    texts: list[str]
    right: Tensor
    labels: Tensor
    damaged: int = 0

    @classmethod
    def of(cls, dataset: Pairs, index: Sequence[int], contents: Sequence[int], damaged: int = 0) -> Case:
        """The case of samples ``index`` with these ids of their pictures.

        Raises:
            DataError: no sample.
        """
        if not index:
            raise DataError(message("data", f"no pair that can be read ({damaged} damaged)", "one at least"))
        rows, picture = np.unique(contents, return_index=True, return_inverse=True)[1:]
        numbers: dict[str, int] = {}
        texts: list[str] = []
        right: set[tuple[int, int]] = set()
        for sample, own in zip(index, picture.tolist()):
            for text in dataset.captions[sample]:
                number = numbers.setdefault(text.casefold(), len(texts))
                if number == len(texts):
                    texts.append(text)
                right.add((own, number))
        labels = np.full(len(index), -1) if dataset.labels is None else dataset.labels[np.asarray(index)]
        pairs = torch.tensor(sorted(right), dtype=torch.int64)
        return cls(np.asarray(index), picture, rows, texts, pairs, torch.from_numpy(labels.astype(np.int64)), damaged)

    @property
    def counts(self) -> dict[str, float]:
        """How much was measured; records that could not be read are told where there are any."""
        found = {"images": float(len(self.rows)), "texts": float(len(self.texts))}
        return found | ({"damaged": float(self.damaged)} if self.damaged else {})

    def chance(self, classes: Sequence[str] | None) -> dict[str, float]:
        """What random orders would measure."""
        found = chance_recall((len(self.rows), len(self.texts)), self.right)
        if classes and bool((self.labels >= 0).any()):
            told = top_accuracies(torch.zeros(len(self.labels), len(classes)), self.labels)
            found |= {
                name: min(1.0, k / len(classes)) for k in KS for name in told if name.startswith(f"zero_shot@{k}")
            }
        return found


@dataclass(frozen=True, slots=True)
class Found:
    """Vectors of a case.

    Attributes:
        images: ``(n, D)``, of each sample.
        texts: ``(m, D)``, of each different text.
        classes: the classes by prompts, or None.
    """

    images: Tensor
    texts: Tensor
    classes: ZeroShot | None = None

    def retrieval(self, case: Case) -> dict[str, float]:
        """Recall@K both ways."""
        return cross_modal_retrieval(self.images[case.rows], self.texts, case.right)

    def scores(self, case: Case) -> Tensor | None:
        """``(n, C)`` scores of the classes; None without classes, or where no sample has one."""
        known = self.classes is not None and bool((case.labels >= 0).any())
        return self.classes.scores(self.images) if known and self.classes is not None else None

    def measured(self, case: Case) -> dict[str, float]:
        """Retrieval and classes."""
        scores = self.scores(case)
        return self.retrieval(case) | ({} if scores is None else top_accuracies(scores, case.labels))

    def compared(self, case: Case) -> dict[str, float]:
        """Of those the two numbers by which heads are compared."""
        return main(self.measured(case))

    def geometry(self, case: Case) -> dict[str, float]:
        """Alignment, uniformity and the gap."""
        images, (own, text) = self.images[case.rows], case.right.T
        found = {"alignment": alignment(images[own], self.texts[text])}
        if min(len(images), len(self.texts)) > 1:
            found["uniformity"] = (uniformity(images) + uniformity(self.texts)) / 2
        return found | {"modality_gap": modality_gap(images, self.texts)}


def pairs_of(dataset: Dataset) -> Pairs:
    """The same dataset, which must be pictures with texts.

    Raises:
        ConfigError: it is another.
    """
    if not isinstance(dataset, Pairs):
        raise ConfigError(message("dataset", type(dataset).__name__, "pictures with texts"))
    return dataset


def gather(dataset: Pairs, split: str, take: Callable[[Batch], Tensor]) -> tuple[Case, Tensor]:
    """The case of a split, and what ``take`` makes of each batch of its pictures, ``(n, ...)``.

    Raises:
        ConfigError: a split that cannot be measured.
        DataError: no pair of it can be read.
    """
    if split not in ("val", "test"):
        raise ConfigError(message("split", repr(split), '"val" or "test"'))
    samples = dataset.splits()[split]
    if not len(samples):
        todo = "Bring more pairs, or a column of splits that has it."
        raise DataError(message("dataset", f"no pair in {split}", "one at least", todo))
    if split == "val":
        samples = _drawn(dataset, samples)
    return read(dataset, samples, take)


def read(dataset: Pairs, samples: NDArray[np.int64], take: Callable[[Batch], Tensor]) -> tuple[Case, Tensor]:
    """The same of any samples."""
    index: list[int] = []
    contents: list[int] = []
    made: list[Tensor] = []
    damaged = 0
    for start in range(0, len(samples), BATCH):
        batch = dataset.batch(samples[start : start + BATCH].tolist())
        damaged += len(batch.damaged)
        if len(batch):
            index += batch.index.tolist()
            contents += [content_id(np.ascontiguousarray(image.numpy()).tobytes()) for image in batch.data["image"]]
            made.append(take(batch))
    return Case.of(dataset, index, contents, damaged), torch.cat(made)


def _drawn(dataset: Pairs, samples: NDArray[np.int64]) -> NDArray[np.int64]:
    """A fixed draw of at most `MOST` samples, and of as many as have twice as many texts."""
    draw = np.random.default_rng(0).permutation(samples)[:MOST]
    texts = np.cumsum([len(dataset.captions[sample]) for sample in draw])
    return np.sort(draw[: max(1, int((texts <= 2 * MOST).sum()))])


def embedded(
    encoder: Encoder, views: Views, dataset: Dataset, split: str, heads: Sequence[str] = (GLOBAL,)
) -> tuple[Case, list[Found]]:
    """The case of a split, and its vectors by each head of ``encoder``."""
    pairs = pairs_of(dataset)

    def take(batch: Batch) -> Tensor:
        return torch.stack([embed_images(encoder, views, batch, role) for role in heads], dim=1)

    case, images = gather(pairs, split, take)
    found = []
    for number, role in enumerate(heads):

        def texts(wanted: Sequence[str], role: str = role) -> Tensor:
            return embed_texts(encoder, views, wanted, role)

        found.append(Found(images[:, number], texts(case.texts), classes_of(pairs, texts)))
    return case, found


def classes_of(dataset: Pairs, embed: Callable[[Sequence[str]], Tensor]) -> ZeroShot | None:
    """The dataset's classes by prompts; None where it has fewer than two."""
    if dataset.classes is None or len(dataset.classes) < 2:
        return None
    texts, labels = prompts(dataset.classes)
    return ZeroShot().fit(embed(texts), labels)


def main(metrics: Mapping[str, float]) -> dict[str, float]:
    """The two numbers by which heads, and settings, are compared."""
    return {name: metrics[name] for name in (MAIN, "zero_shot@1") if name in metrics}
