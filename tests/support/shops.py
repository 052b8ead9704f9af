"""A small shop whose embeddings are propagated densely, by the formula."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from counterpoint_graphrec.tasks import Names, Recommender

USERS, ITEMS, DIM = 30, 24, 8
LONELY_USER, LONELY_ITEM = 29, 23
"""They have no training interaction."""
TITLES = [
    "Alien (1979)",
    "Aliens (1986)",
    "Blade Runner (1982)",
    'The "Best" <b>of</b> & more 😀',
    "Solaris (1972)",
    "Solaris (2002)",
    *(f"Film {number}" for number in range(6, ITEMS)),
]
GROUPS = [("Horror", "Drama", "Comedy", "")[number % 4] for number in range(ITEMS)]


@dataclass
class Shop:
    """Everything that a recommender is fitted with, and the layers that it came from."""

    users: Tensor
    items: Tensor
    folds: Tensor
    history: csr_array
    known: csr_array
    names: Names
    first: Tensor
    """Users before the first layer, with the weight that they have in the mean."""

    def recommender(self, **options: int) -> Recommender:
        return Recommender(**options).fit(
            self.items,
            users=self.users,
            folds=self.folds,
            history=self.history,
            known=self.known,
            names=self.names,
        )


def propagated(train: np.ndarray, first_layer: int, layers: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of the layers, what items send to a user but for its degree, and the weighted layer 0; float64."""
    adjacency = np.zeros((USERS + ITEMS,) * 2)
    adjacency[:USERS, USERS:] = train
    adjacency += adjacency.T
    degree = adjacency.sum(axis=1)
    scale = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1)), 0)
    product = scale[:, None] * adjacency * scale
    states = [np.random.default_rng(1).normal(size=(USERS + ITEMS, DIM))]
    for _ in range(layers):
        states.append(product @ states[-1])
    count = layers + 1 - first_layer
    mean = sum(states[first_layer:]) / count
    sent = scale[:, None] * sum(states[max(first_layer, 1) - 1 : layers]) / count
    first = states[0] / count if first_layer == 0 else 0 * states[0]
    return torch.from_numpy(mean), torch.from_numpy(sent), torch.from_numpy(first)


def shop(first_layer: int = 0) -> Shop:
    """30 users and 24 items; one of each without a training interaction; a tenth of what is known is held out."""
    draw = np.random.default_rng(0)
    train = (draw.random((USERS, ITEMS)) < 0.25).astype(float)
    train[:, LONELY_ITEM] = 0
    train[LONELY_USER] = 0
    train[0, :2] = 1
    held_out = (draw.random((USERS, ITEMS)) < 0.05) & (train == 0)
    mean, sent, first = propagated(train, first_layer)
    names = Names(
        [f"user {number}" for number in range(USERS)], [f"i{number}" for number in range(ITEMS)], TITLES, GROUPS
    )
    return Shop(
        mean[:USERS],
        mean[USERS:],
        sent[USERS:],
        csr_array(train),
        csr_array(train + held_out),
        names,
        first[:USERS],
    )
