"""Everything about one encoder's features in one call, under the protocol that no choice sees the measured split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, message
from counterpoint.evaluation import _check
from counterpoint.evaluation.clustering import cluster_agreement
from counterpoint.evaluation.fewshot import SHOTS, few_shot
from counterpoint.evaluation.geometry import alignment, anisotropy, feature_std, rankme, subsample, uniformity
from counterpoint.evaluation.knn import knn_search, knn_vote
from counterpoint.evaluation.linear import linear_probe
from counterpoint.evaluation.retrieval import retrieval, view_retrieval
from counterpoint.evaluation.stats import accuracy, balanced_accuracy
from counterpoint.evaluation.table import comparison, markdown, to_json

__all__ = ["comparison", "evaluate_arrays", "markdown", "neighbour_counts", "to_json"]

WIDEST_PROBE = 2048
"""Features wider than this get no linear probe: on raw images it would run for an hour; see their PCA instead."""
_GEOMETRY_ROWS = 10_000
_RETRIEVAL_QUERIES = 5_000
_IMBALANCED = 1.5


@dataclass(frozen=True, slots=True)
class _Split:
    """Rows of one split whose label is known."""

    x: Tensor
    y: Tensor

    @property
    def sizes(self) -> Tensor:
        """Sizes of the classes that occur."""
        counts: Tensor = torch.unique(self.y, return_counts=True)[1]
        return counts


def evaluate_arrays(
    features: Mapping[str, Tensor],
    labels: Mapping[str, Tensor] | None = None,
    *,
    split: Literal["val", "test"] | str,
    seed: int = 0,
    temperature: float = 0.07,
    shots: Sequence[int] = SHOTS,
    draws: int = 10,
    recall: Sequence[int] = (1, 5),
    views: tuple[Tensor, Tensor] | None = None,
    quick: bool = False,
    predictions: dict[str, Tensor] | None = None,
) -> dict[str, float]:
    """Metrics of ``features[split]``; a metric's name carries its protocol.

    The kNN's bank, the retrieval's gallery and the probes' rows are always the train split. The linear probe's C is
    chosen on val for ``split="test"``, and on held-out train rows for ``split="val"``, when test is never touched.
    Without labels (or without known ones on both sides) only geometry is measured, and view retrieval where ``views``
    are given.

    Args:
        features: "train", "val", "test" -> ``(N, D)``; those not needed may be missing.
        labels: split -> ``(N,)`` class indices, -1 for unknown (these rows are left out); splits may be missing.
        split: "val" or "test", the rows that are measured.
        seed: of every draw.
        temperature: of the kNN.
        shots: labelled rows per class of the few-label probes; clipped to the smallest class.
        draws: of each few-label probe, at least 2.
        recall: ranks of ``recall@K``.
        views: two ``(N, D)`` embeddings of two views of the same samples of that split.
        quick: of the label metrics only the kNN, which needs seconds where the probes need minutes.
        predictions: where given, the linear probe's answers are put here under the metric's name: ``(M,)`` class
            indices of the measured rows whose label is known.

    Returns:
        Where labels allow: ``knn[k=20,T=0.07]`` (see `neighbour_counts`), ``linear[lbfgs]`` (up to 2,048 dimensions),
        both also ``balanced`` where classes differ in size by half or more, ``fewshot[k=5,draws=10]`` and its 95 %
        half width ``fewshot[k=5,draws=10,ci]``, ``recall@1``, ``map``, ``nmi``, ``ari``. With views: ``alignment``,
        ``view_recall@1[n=...]``. Always, for two rows or more: ``rankme``, ``uniformity``, ``anisotropy``, ``std``.

    Raises:
        ConfigError: an unknown split, or one that is missing.
        ShapeError: shapes that do not fit, no row, a row with NaN or infinity.
    """
    if split not in ("val", "test"):
        raise ConfigError(message("split", repr(split), '"val" or "test"', "Metrics on train rows are not results."))
    for needed in ("train", split):
        if needed not in features:
            raise ConfigError(message("features", f"splits {', '.join(features) or 'none'}", f"with {needed!r}"))
    used = ("train", "val") if split == "val" else ("train", "val", "test")
    arrays = {s: _check.features(f"features[{s!r}]", features[s]) for s in used if s in features}
    _check.rows(f"features[{split!r}]", arrays[split], 1)
    metrics: dict[str, float] = {}
    known = {s: _labelled(s, x, labels[s]) for s, x in arrays.items() if labels and s in labels}
    if all(s in known and len(known[s].y) for s in ("train", split)):
        bank, asked = known["train"], known[split]
        val = known.get("val") if split == "test" else None
        metrics |= _knn(bank, asked, temperature)
        if not quick:
            metrics |= _linear(bank, asked, val, seed, {} if predictions is None else predictions)
            metrics |= _few(bank, asked, shots, draws, seed)
            metrics |= _retrieval(bank, asked, recall, seed)
            metrics |= cluster_agreement(asked.x, asked.y, seed=seed)
    if views is not None:
        metrics["alignment"] = alignment(*views)
        metrics[f"view_recall@1[n={len(views[0])}]"] = view_retrieval(*views)
    return metrics | _geometry(arrays[split], seed)


def neighbour_counts(class_sizes: Tensor) -> list[int]:
    """Neighbours for the kNN of a train split with these class sizes: ``[20]``, or ``[20, 200]``.

    k stays below the typical (median) class size; 200 is reported from 2,000 rows on.
    """
    typical = int(class_sizes.median())
    wanted = [20, 200] if int(class_sizes.sum()) >= 2000 else [20]
    return sorted({min(k, max(1, typical - 1)) for k in wanted})


def _labelled(split: str, x: Tensor, labels: Tensor) -> _Split:
    y = _check.labels(f"labels[{split!r}]", labels, len(x)).to(x.device)
    return _Split(*_check.known(x, y))


def _scored(name: str, predictions: Tensor, asked: _Split) -> dict[str, float]:
    found = {name: accuracy(predictions, asked.y)}
    if int(asked.sizes.max()) > _IMBALANCED * int(asked.sizes.min()):
        found[f"{name[:-1]},balanced]"] = balanced_accuracy(predictions, asked.y)
    return found


def _knn(bank: _Split, asked: _Split, temperature: float) -> dict[str, float]:
    """One search at the largest k serves all k."""
    counts = neighbour_counts(bank.sizes)
    scores, rows = knn_search(_check.unit(asked.x), _check.unit(bank.x), counts[-1])
    near, classes = bank.y[rows], int(bank.y.max()) + 1
    metrics: dict[str, float] = {}
    for k in counts:
        votes = knn_vote(scores[:, :k], near[:, :k], classes, temperature)
        metrics |= _scored(f"knn[k={k},T={temperature:g}]", votes.argmax(dim=1), asked)
    return metrics


def _linear(
    bank: _Split, asked: _Split, val: _Split | None, seed: int, predictions: dict[str, Tensor]
) -> dict[str, float]:
    if bank.x.shape[1] > WIDEST_PROBE:
        return {}
    chosen_on = (val.x, val.y) if val is not None and len(val.y) else None
    probe = linear_probe(bank.x, bank.y, asked.x, val=chosen_on, seed=seed)
    predictions["linear[lbfgs]"] = probe.predictions
    return _scored("linear[lbfgs]", probe.predictions, asked)


def _few(bank: _Split, asked: _Split, shots: Sequence[int], draws: int, seed: int) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for k in sorted({min(k, int(bank.sizes.min())) for k in shots}):
        summary = few_shot(bank.x, bank.y, asked.x, asked.y, k=k, draws=draws, seed=seed)
        metrics[f"fewshot[k={k},draws={draws}]"] = summary.mean
        metrics[f"fewshot[k={k},draws={draws},ci]"] = summary.half
    return metrics


def _retrieval(bank: _Split, asked: _Split, recall: Sequence[int], seed: int) -> dict[str, float]:
    """Every query sorts the whole bank, so beyond a few thousand a draw of them speaks for all; the name says so."""
    x, y, protocol = asked.x, asked.y, ""
    if len(y) > _RETRIEVAL_QUERIES:
        drawn = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))[:_RETRIEVAL_QUERIES].to(x.device)
        x, y, protocol = x[drawn], y[drawn], f"[queries={_RETRIEVAL_QUERIES}]"
    if not bool(torch.isin(y, bank.y).any()):
        return {}
    found = retrieval(x, y, bank.x, bank.y, ks=recall)
    return {name + protocol: found[name] for name in (*(f"recall@{k}" for k in recall), "map")}


def _geometry(x: Tensor, seed: int) -> dict[str, float]:
    if len(x) < 2:
        return {}
    x = subsample(x, _GEOMETRY_ROWS, seed)
    return {
        "rankme": rankme(x),
        "uniformity": uniformity(x, seed=seed),
        "anisotropy": anisotropy(x),
        "std": feature_std(x),
    }
