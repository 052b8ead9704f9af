"""How recommendation is measured: every item ranked for every user, on what was held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from counterpoint.errors import ConfigError, DataError, message
from counterpoint.evaluation.geometry import uniformity
from counterpoint.evaluation.popularity import coverage, group_recall, novelty, popularity_groups
from counterpoint.evaluation.ranking import Ranked, Scores, dot_scores, full_ranking
from counterpoint.parts import Dataset, Encoder, Protocol, Views
from counterpoint.types import Batch
from counterpoint_graphrec import baselines
from counterpoint_graphrec.data.interactions import Interactions

K = 20
SHORT = 10
"""Lengths of the list that is judged, and of its first part."""
LARGEST = {"item kNN": 100_000, "EASE": 6_000}
"""Items beyond which a floor takes too long, and is left out."""
VAL_SCORES = 3_000_000_000
"""Users x items that are ranked for a look at val; of more users a fixed draw is measured."""
LEAST_USERS = 1_000
"""Users who are measured all the same."""
UNIFORM_USERS, UNIFORM_COUNT, UNIFORM_ITEMS = 5_000, 200, 50
"""Of uniformity: users that are drawn, interactions above which an item is taken, and the fewest such items."""


class Ranking(Protocol):
    """Full ranking by the inner product of user and item, as the objectives of recommendation train it.

    For ``val`` what a user touched in training is left out, for ``test`` that and what is in val. Measured are users
    with something held out; pairs whose user or item training does not know are dropped (the data's notes count them).
    On val at most `VAL_SCORES` scores are made, of a fixed draw of users; ``queries`` is how many were measured. An
    encoder that was trained by cosine (the core's methods) is measured by the same inner product: its norms count.

    ===============================  ==================================================================================
    ``recall@20`` ``ndcg@20`` …      see `counterpoint.evaluation.ranking.Ranked`; the shorter list in two
    ``micro_recall@20``              hits over all held-out pairs (SELFRec's "Hit Ratio")
    ``recall@20,unpopular``          part of ``recall@20`` that the 80 % least popular items have; ``popular``: the top
                                     5 %; ``normal``: the rest. The three add up
    ``coverage@20`` ``novelty@20``   share of the catalogue that anybody is shown; mean rarity of what is shown, in bits
    ``uniformity``                   of users and items together, see `spread`; lower is more even
    ===============================  ==================================================================================
    """

    words: ClassVar[Mapping[str, tuple[str, str]]] = {
        f"recall@{K}": (f"Recall@{K}", f"of a user's held-out items, found in {K}"),
        f"ndcg@{K}": (f"NDCG@{K}", "the same, and high places count more"),
        f"hit@{K}": (f"Hit rate@{K}", f"users with one or more found in {K}"),
        f"recall@{K},unpopular": ("Long tail", f"part of Recall@{K} from the least popular 80%"),
    }

    def measure(self, encoder: Encoder, views: Views, dataset: Dataset, split: str) -> dict[str, float]:
        """Metrics of the ranking by ``encoder``.

        Raises:
            ConfigError: a dataset that is no interactions.
            DataError: nothing that can be measured in the split.
        """
        case = Case.of(dataset, split)
        users, items = vectors(encoder, views, case.train.shape)
        metrics = case.metrics(case.rank(dot_scores(users, items)))
        return metrics | {"uniformity": spread(users, items, case.train)}

    def floors(self, dataset: Dataset, split: str, quick: bool) -> dict[str, dict[str, float]]:
        """The most popular, item kNN and EASE; of the latter two the neighbours and the penalty are chosen on val.

        Quick: kNN with 50 neighbours, and no EASE. With more items than `LARGEST` a floor is left out.
        """
        case = Case.of(dataset, split)
        made = {"popularity": case.metrics(case.rank(baselines.popularity(case.train)))}
        if case.train.shape[1] <= LARGEST["item kNN"]:
            neighbours = baselines.ItemNeighbours(case.train)
            grid = (50,) if quick else baselines.NEIGHBOURS
            made["item kNN"] = case.metrics(case.rank(_best(neighbours.scores, grid, dataset)))
        if case.train.shape[1] <= LARGEST["EASE"] and not quick:
            ease = baselines.Ease(case.train)
            made["EASE"] = case.metrics(case.rank(_best(ease.scores, baselines.PENALTIES, dataset)))
        return made


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked of a ranking on one split.

    Attributes:
        train: ``(N, M)`` training interactions.
        seen: ``(N, M)``, what is left out of the lists.
        held_out: ``(N, M)``, what should be found.
    """

    train: csr_array
    seen: csr_array
    held_out: csr_array

    @classmethod
    def of(cls, dataset: Dataset, split: str) -> Case:
        """The case of ``split``.

        Raises:
            ConfigError: a dataset that is no interactions, or a split that cannot be measured.
            DataError: no held-out pair whose user and item are known from training.
        """
        if not isinstance(dataset, Interactions):
            allowed = "interactions of users and items"
            raise ConfigError(message("dataset", type(dataset).__name__, allowed))
        if split not in ("val", "test"):
            raise ConfigError(message("split", repr(split), '"val" or "test"'))
        train = dataset.matrix("train")
        seen = train if split == "val" else csr_array(train + dataset.matrix("val"))
        held_out = _known(dataset.matrix(split), train)
        if held_out.nnz == 0:
            found = f"{split}: no pair whose user and item are in train"
            todo = "Choose other fractions or another way to split, or bring more interactions a user."
            raise DataError(message("dataset", found, "one at least", todo))
        if split == "val":
            held_out = _drawn(held_out)
        return cls(train, seen, held_out)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Training interactions of each item, ``(M,)``."""
        return _counts(self.train)

    def rank(self, scores: Scores) -> Ranked:
        """The lists."""
        return full_ranking(scores, self.seen, self.held_out, K)

    def metrics(self, ranked: Ranked) -> dict[str, float]:
        """What is told of the lists."""
        counts, short = self.counts, ranked.metrics(SHORT)
        found = ranked.metrics(K) | {name: short[name] for name in (f"recall@{SHORT}", f"ndcg@{SHORT}")}
        parts = group_recall(ranked, popularity_groups(counts), K)
        found |= {f"recall@{K},{group}": float(values.mean()) for group, values in parts.items()}
        users = int((np.diff(self.train.indptr) > 0).sum())
        found[f"coverage@{K}"] = coverage(ranked, K)
        found[f"novelty@{K}"] = novelty(ranked, counts, users, K)
        return found | {"queries": float(len(ranked.users))}


def _counts(train: csr_array) -> NDArray[np.int64]:
    return np.bincount(train.indices, minlength=train.shape[1])


def _known(held_out: csr_array, train: csr_array) -> csr_array:
    """Without the rows and columns that are empty in ``train``."""
    pairs = held_out.tocoo()
    known = (np.diff(train.indptr) > 0)[pairs.row] & (_counts(train) > 0)[pairs.col]
    if known.all():
        return held_out
    return csr_array((pairs.data[known], (pairs.row[known], pairs.col[known])), shape=held_out.shape)


def _drawn(held_out: csr_array) -> csr_array:
    """Of very many users the rows of a fixed draw."""
    users = np.flatnonzero(np.diff(held_out.indptr))
    most = max(LEAST_USERS, VAL_SCORES // held_out.shape[1])
    if len(users) <= most:
        return held_out
    chosen = np.zeros(held_out.shape[0], dtype=bool)
    chosen[np.random.default_rng(0).choice(users, most, replace=False)] = True
    pairs = held_out.tocoo()
    keep = chosen[pairs.row]
    return csr_array((pairs.data[keep], (pairs.row[keep], pairs.col[keep])), shape=held_out.shape)


def _best(make: Callable[[Any], Scores], grid: Sequence[float], dataset: Dataset) -> Scores:
    """Of the scores that the settings of ``grid`` make, those with the best recall on val."""
    if len(grid) == 1:
        return make(grid[0])
    val = Case.of(dataset, "val")
    tried = ((setting, float(val.rank(make(setting)).recall(K).mean())) for setting in grid)
    return make(max(tried, key=lambda pair: pair[1])[0])


def vectors(encoder: Encoder, views: Views, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Embeddings of all users and of all items, ``(N, D)`` and ``(M, D)``, without augmentation."""
    nodes = getattr(encoder, "nodes", None)
    if nodes is not None:
        users, items = nodes()
        return users, items
    device = next(encoder.parameters()).device
    found = []
    for modality, count in zip(("user", "item"), shape):
        number = torch.arange(count)
        view = views.plain(Batch({modality: number}, number, number).to(device))[0]
        found.append(encoder(view).pooled)
    return found[0], found[1]


def spread(users: Tensor, items: Tensor, train: csr_array) -> float:
    """Uniformity of popular items and of 5,000 users (a fixed draw), normalised: the lower, the more even.

    Popular are items with more than 200 training interactions, and the 50 with most where fewer have as many.

    Source: Yu et al. 2022 (SimGCL), section 2.3.
    """
    counts = _counts(train)
    falling = np.argsort(-counts, kind="stable")
    popular = falling[: max(int((counts > UNIFORM_COUNT).sum()), UNIFORM_ITEMS)]
    active = np.flatnonzero(np.diff(train.indptr))
    drawn = np.random.default_rng(0).permutation(active)[:UNIFORM_USERS]
    rows = torch.cat([users[torch.from_numpy(drawn)], items[torch.from_numpy(popular)]])
    return uniformity(rows, limit=len(rows))
