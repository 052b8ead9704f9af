"""What the encoder puts where: a map of validation samples, and nearest neighbours."""

from __future__ import annotations

import warnings

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from counterpoint.evaluation.baselines import Pca
from counterpoint.evaluation.knn import knn_search
from counterpoint.report.context import Context, Missing, labels_of
from counterpoint.report.maps import MARKS, Dot, EmbeddingMap
from counterpoint.report.section import Gallery, Mark, Section, Tile, number_whole
from counterpoint.training.data import mix

ON_MAP, COMPONENTS, PERPLEXITY, LEAST = 500, 50, 30.0, 12
MAP_SIDE = 40
"""Pixels of a thumbnail on the map: five hundred of them must fit."""
QUERIES, NEAREST = 6, 7


def embedding_map(context: Context) -> Section:
    """Validation samples in the plane: principal components, then t-SNE.

    Raises:
        Missing: the data is gone, or has no validation sample.
    """
    found = context.held_out
    features = F.normalize(found.features, dim=1)
    draw = np.random.default_rng(mix(context.config["seed"], "map")).permutation(len(features))[:ON_MAP]
    if len(draw) < 2:
        raise Missing("A map takes two validation samples; there is 1.")
    places, how = projection(features[np.sort(draw)], int(context.config["seed"]))
    index, labels = found.index.tolist(), labels_of(found)
    dots = [
        Dot(
            float(x),
            float(y),
            context.entities.name(index[row]),
            context.class_name(labels[row]),
            context.preview(index[row], MAP_SIDE),
        )
        for row, (x, y) in zip(np.sort(draw).tolist(), places)
    ]
    seen = ", which training never saw" if context.labelled is False else ""
    groups = {dot.group for dot in dots if dot.group}
    again = f" Of {len(groups)} some share a mark: press one to see it alone." if len(groups) > MARKS else ""
    coloured = f"Colours and shapes are classes{seen}.{again} " if groups else ""
    lead = (
        f"{len(dots)} validation samples; what lies close together looks alike to the encoder. {coloured}"
        f"{how} Only nearness means something: the axes, and the distances of far groups, do not."
    )
    return Section("Map of the embeddings", lead, [EmbeddingMap(dots, context.entities.classes or [])])


def projection(features: Tensor, seed: int) -> tuple[np.ndarray, str]:
    """``(N, D)`` rows of length 1 -> ``(N, 2)`` places, and in words how."""
    components = min(COMPONENTS, *features.shape)
    reduced = Pca(features, components)(features).numpy()
    if len(features) < LEAST or components < 2 or float(np.ptp(reduced, axis=0).max()) < 1e-9:
        flat = np.zeros((len(features), 2))
        flat[:, : min(2, components)] = reduced[:, :2]
        return flat, "Projection: the first two principal components."
    from sklearn.manifold import TSNE  # takes a second to import, and only a map needs it

    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its initialisation, where components are constant
        places = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(reduced)
    told = f"Projection: {components} principal components, then t-SNE (perplexity {perplexity:.0f}, seed {seed})."
    return places, told


def neighbours(context: Context) -> Section:
    """For some validation samples, the most similar training samples.

    Raises:
        Missing: the data is gone, or has no validation sample.
    """
    asked, bank = context.held_out, context.bank
    rows = _queries(labels_of(asked), int(context.config["seed"]))
    queries, gallery = F.normalize(asked.features[rows], dim=1), F.normalize(bank.features, dim=1)
    scores, places = knn_search(queries, gallery, min(NEAREST, len(gallery)))
    labels, gallery_labels = labels_of(asked), labels_of(bank)
    made, right, known = [], 0, 0
    for number, row in enumerate(rows):
        tiles = [_tile(context, int(asked.index[row]), labels[row], "", "query")]
        for score, place in zip(scores[number].tolist(), places[number].tolist()):
            mark = _mark(labels[row], gallery_labels[place])
            known, right = known + (mark != ""), right + (mark == "same")
            tiles.append(_tile(context, int(bank.index[place]), gallery_labels[place], f"{score:.2f}", mark))
        made.append(tiles)
    agree = f" {right} of these {known} neighbours are of the query's class." if known else ""
    lead = (
        "In front, validation samples drawn by the seed; beside each its nearest among "
        f"{number_whole(len(bank.index))} samples of the train split, with their cosine similarity.{agree}"
    )
    return Section("Nearest neighbours", lead, [Gallery(made, "Nearest neighbours")])


def _queries(labels: list[int], seed: int) -> list[int]:
    """Rows to ask for: drawn by the seed, of as many classes as there are."""
    order = np.random.default_rng(mix(seed, "queries")).permutation(len(labels)).tolist()
    seen: dict[int, int] = {}
    turn = {}
    for row in order:
        turn[row] = seen[labels[row]] = seen.get(labels[row], -1) + 1
    return sorted(order, key=lambda row: turn[row])[:QUERIES]


def _mark(query: int, neighbour: int) -> Mark:
    if query < 0 or neighbour < 0:
        return ""
    return "same" if query == neighbour else "other"


def _tile(context: Context, index: int, label: int, note: str, mark: Mark) -> Tile:
    preview, caption = context.preview(index), context.caption(index, label)
    return Tile(preview, "" if caption == preview else caption, note, mark)  # said once where the name is all there is
