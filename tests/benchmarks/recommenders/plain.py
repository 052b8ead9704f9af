"""What one writes down from the papers in an afternoon: COO matrices, whole tables, dense masks."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, normalize

from recommenders.case import BATCH, CONTRAST, DECAY, DIM, LAYERS, RATE, Case, Clock, Split


def adjacency(split: Split) -> Tensor:
    """Symmetric normalised adjacency of the training pairs as a COO tensor."""
    users, items = split.train[:, 0], split.train[:, 1] + split.n_users
    total = split.n_users + split.n_items
    half = sp.coo_array((np.ones(len(users), np.float32), (users, items)), shape=(total, total))
    whole = (half + half.T).tocsr()
    scale = sp.diags_array(np.maximum(whole.sum(1), 1) ** -0.5)
    scaled = (scale @ whole @ scale).tocoo()
    return torch.sparse_coo_tensor(np.stack(scaled.coords), scaled.data.astype(np.float32), scaled.shape).coalesce()


def info_nce(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Rows against rows, the diagonal is positive."""
    logits = normalize(one) @ normalize(other).T / temperature
    return -logits.log_softmax(1).diagonal().mean()


class Plain(Case):
    """LightGCN or XSimGCL."""

    def __init__(self, model: str, split: Split, seed: int) -> None:
        super().__init__(model, split, seed)
        self._graph = adjacency(split)
        self._pairs = torch.from_numpy(split.train).long()
        self._seen = torch.zeros(split.n_users, split.n_items, dtype=torch.bool)
        self._seen[self._pairs[:, 0], self._pairs[:, 1]] = True
        self._masked = self._seen.clone()
        self._masked[split.val[:, 0], split.val[:, 1]] = True
        self._begin()

    def _begin(self) -> None:
        torch.manual_seed(self.seed)
        users, items = (torch.empty(n, DIM) for n in (self.split.n_users, self.split.n_items))
        self._table = nn.Parameter(torch.cat([nn.init.xavier_uniform_(users), nn.init.xavier_uniform_(items)]))
        self._optimizer = torch.optim.Adam([self._table], RATE)

    def _layers(self, eps: float = 0.0) -> list[Tensor]:
        layers = [self._table]
        for _ in range(LAYERS):
            nodes = torch.sparse.mm(self._graph, layers[-1])
            if eps:
                nodes = nodes + eps * normalize(torch.rand_like(nodes)) * nodes.sign()
            layers.append(nodes)
        return layers

    def _final(self, layers: list[Tensor]) -> tuple[Tensor, ...]:
        kept = layers[1:] if self.model == "XSimGCL" else layers
        return torch.stack(kept).mean(0).split([self.split.n_users, self.split.n_items])

    def _negatives(self, users: Tensor) -> Tensor:
        drawn = torch.randint(self.split.n_items, users.shape)
        while (again := self._seen[users, drawn]).any():
            drawn[again] = torch.randint(self.split.n_items, (int(again.sum()),))
        return drawn

    def _step(self, pairs: Tensor) -> None:
        users, items = pairs.T
        asked = CONTRAST.get(self.model, {})
        layers = self._layers(asked.get("eps", 0.0))
        every_user, every_item = self._final(layers)
        chosen = every_user[users]
        margin = (chosen * (every_item[items] - every_item[self._negatives(users)])).sum(1)
        norm = self._table[users].square().sum() + self._table[items + self.split.n_users].square().sum()
        loss = -logsigmoid(margin).mean() + DECAY / 2 * norm / len(pairs)
        if asked:
            other_user, other_item = layers[1].split([self.split.n_users, self.split.n_items])
            one, two = users.unique(), items.unique()
            between = info_nce(every_user[one], other_user[one], asked["temperature"])
            between = between + info_nce(every_item[two], other_item[two], asked["temperature"])
            loss = loss + asked["weight"] * between
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()

    def epoch(self, steps: int) -> dict[str, float]:
        clock = Clock()
        order = self._pairs[torch.randperm(len(self._pairs))]
        for pairs in clock.limit(order.split(BATCH), steps):
            self._step(pairs)
        return clock.seconds(self.split.steps)

    def train(self, epochs: int) -> None:
        self._begin()
        for _ in range(epochs):
            self.epoch(self.split.steps)

    def rank(self) -> float:
        with torch.no_grad():
            users, items = self._final(self._layers())
        relevant = torch.zeros_like(self._seen)
        relevant[self.split.test[:, 0], self.split.test[:, 1]] = True
        found = []
        for part in torch.arange(self.split.n_users).split(1024):
            scores = (users[part] @ items.T).masked_fill(self._masked[part], -torch.inf)
            hits, asked = relevant[part].gather(1, scores.topk(20).indices).sum(1), relevant[part].sum(1)
            found.append((hits / asked)[asked > 0])
        return float(torch.cat(found).mean())

    def embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            users, items = self._final(self._layers())
        return users.numpy(), items.numpy()


CASE = Plain
