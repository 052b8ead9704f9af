"""How pictures and texts are measured: retrieval both ways, classes by prompts, and the gap between the modalities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from counterpoint.evaluation.table import CHANCE
from counterpoint.parts import Dataset, Encoder, Protocol, Views
from counterpoint.types import Batch
from counterpoint_multimodal.baselines import ColoursAndWords, colours
from counterpoint_multimodal.cases import MAIN, Case, Found, classes_of, embedded, gather, main, pairs_of, read
from counterpoint_multimodal.data.pairs import Pairs
from counterpoint_multimodal.embedding import roles
from counterpoint_multimodal.tasks.zero_shot import top_accuracies

FLOORS = {"colours + words": 1, "3x3 colours + words": 3}
"""Floor -> cells of a picture's side that have a histogram each."""
FLOOR_TRAIN, FLOOR_QUICK = 10_000, 2_000
"""Training pictures, at most, of which the floor is made."""
WEIGHTS = tuple(step / 10 for step in range(1, 10))
"""Of the global heads' scores, where there are local ones too."""


class PairRetrieval(Protocol):
    """Recall@K both ways among all pictures and texts of a split, and zero-shot classification where there are classes.

    Texts that are equal but for the case of their letters are one text, and equal pictures one picture, so that each is
    asked for, and found, once. A text is right for every picture that has it, and a picture's texts are all right for
    it. Of val 1,000 pictures at most (a fixed draw) are measured, so that a look costs seconds; of test all.

    ==================================  ===============================================================================
    ``recall@10`` (1, 5)                mean of both ways; any right answer among the first 10 counts
    ``recall@10,image-to-text``         a picture's texts among all texts
    ``recall@10,text-to-image``         a text's pictures among all pictures
    ``zero_shot@1`` ``zero_shot@5``     the right class among the best, by prompts; ``balanced``: mean over classes,
                                        where these differ in size
    ``alignment`` ``uniformity``        Wang & Isola: of pictures and their texts; mean of both modalities' own
    ``modality_gap``                    distance of the two centres
    ``images`` ``texts``                how many were measured
    ``recall@10,local`` …               of test, by the heads of strong views, where there are such (CLIP-rocket)
    ``recall@10,both heads`` …          by ``w`` times the global heads' scores and ``1 - w`` times the local ones',
                                        with the ``weight`` that is best on val
    ==================================  ===============================================================================
    """

    words: ClassVar[Mapping[str, tuple[str, str]]] = {
        MAIN: ("Recall@10", "the right one among the first ten, mean of both ways"),
        f"{MAIN},text-to-image": ("Text finds picture", "Recall@10 among all pictures"),
        f"{MAIN},image-to-text": ("Picture finds text", "Recall@10 among all texts"),
        "recall@1": ("Recall@1", "the right one comes first, mean of both ways"),
        "zero_shot@1": ("Class by prompts", "zero-shot accuracy: no label was used"),
    }

    def measure(self, encoder: Encoder, views: Views, dataset: Dataset, split: str) -> dict[str, float]:
        """Metrics of ``encoder``.

        Raises:
            ConfigError: a dataset that is no pairs, or a split that cannot be measured.
            DataError: no pair of the split can be read.
        """
        heads = roles(encoder) if split == "test" else roles(encoder)[:1]
        case, found = embedded(encoder, views, dataset, split, heads)
        metrics = found[0].measured(case)
        if len(heads) > 1:
            metrics |= {f"{name},local": value for name, value in found[1].compared(case).items()}
            metrics |= _both_heads(encoder, views, dataset, case, found)
        return metrics | found[0].geometry(case) | case.counts

    def floors(self, dataset: Dataset, split: str, quick: bool) -> dict[str, dict[str, float]]:
        """Colours of the pictures and words of the texts, joined by what training pairs have in common; and chance.

        Of the whole picture, and of each of 3 x 3 cells, which is a good deal where all pictures are taken alike. The
        penalty is chosen on val; quick: fixed, and made of fewer pictures.
        """
        pairs, rows = pairs_of(dataset), dict[str, dict[str, float]]()
        for name, cells in FLOORS.items():
            take = partial(colours, cells=cells)
            case, features = gather(pairs, split, take)
            floor = _floor(pairs, take, quick)
            found = Found(floor.images(features), floor.texts(case.texts), classes_of(pairs, floor.texts))
            rows[name] = found.measured(case) | case.counts
        return rows | {CHANCE: case.chance(pairs.classes)}


def _both_heads(
    encoder: Encoder, views: Views, dataset: Dataset, case: Case, found: Sequence[Found]
) -> dict[str, float]:
    """Test by both heads together, with the weights that are best on val; nothing where val is empty."""
    if not len(dataset.splits()["val"]):
        return {}
    val, tried = embedded(encoder, views, dataset, "val", roles(encoder))
    on_val = {weight: _blended(val, tried, weight) for weight in WEIGHTS}
    metrics: dict[str, float] = {}
    for name in on_val[WEIGHTS[0]]:
        weight = max(WEIGHTS, key=lambda w: on_val[w][name])
        blended = _blended(case, found, weight)
        if name in blended:
            metrics |= {f"{name},both heads": blended[name], f"weight,{name}": weight}
    return metrics


def _blended(case: Case, found: Sequence[Found], weight: float) -> dict[str, float]:
    """By ``weight`` times the first head's scores, and the rest of the second's.

    Such a sum of two cosines is the inner product of the vectors side by side, each times the root of its weight.
    """
    first, second = found
    shares = weight**0.5, (1 - weight) ** 0.5
    images, texts = (
        torch.cat([share * normalize(side, dim=1) for share, side in zip(shares, sides)], dim=1)
        for sides in ((first.images, second.images), (first.texts, second.texts))
    )
    metrics = Found(images, texts).retrieval(case)
    scores, others = first.scores(case), second.scores(case)
    if scores is not None and others is not None:
        metrics |= top_accuracies(weight * scores + (1 - weight) * others, case.labels)
    return main(metrics)


def _floor(dataset: Pairs, take: Callable[[Batch], Tensor], quick: bool) -> ColoursAndWords:
    """Made of training pairs, with the penalty that is best on val."""
    samples = np.random.default_rng(0).permutation(dataset.splits()["train"])[: FLOOR_QUICK if quick else FLOOR_TRAIN]
    case, features = read(dataset, np.sort(samples), take)
    floor = ColoursAndWords(features[case.rows], case.texts, case.right)
    if not quick and len(dataset.splits()["val"]):
        val, asked = gather(dataset, "val", take)
        floor.tune(lambda: Found(floor.images(asked), floor.texts(val.texts)).retrieval(val)[MAIN])
    return floor
