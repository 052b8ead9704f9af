"""The frame of the methods on a graph: a batch of interactions, negatives, passes, BPR and the regulariser."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError, message, unknown
from counterpoint.methods.base import Method
from counterpoint.objectives import BPR
from counterpoint.objectives.base import Parts, Result
from counterpoint.objectives.gather import gather, rank, world_size
from counterpoint.parts import Encoder
from counterpoint.types import Batch, Step, View
from counterpoint_graphrec.encoders import GraphEncoder
from counterpoint_graphrec.sampling import UniformNegatives

Regularisation = Literal["embedding", "framework"]
MARKED = 50
"""Nodes for each asked number up to which marking beats sorting."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The nodes of one step. All but ``nodes`` are places in ``nodes``.

    Attributes:
        nodes: ``(R,)`` distinct rows of the encoder's table.
        users: ``(B,)``.
        items: ``(B,)`` items that these users touched.
        negatives: ``(B, K)`` items that they did not.
        sets: the distinct users and the distinct touched items, which are told apart from one another.
        totals: size of each of ``sets`` over all ranks.
    """

    nodes: Tensor
    users: Tensor
    items: Tensor
    negatives: Tensor
    sets: tuple[Tensor, Tensor]
    totals: tuple[int, int]

    def triples(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of ``(R, …)`` rows those of the users ``(B, …)``, of the items, and of the negatives ``(B * K, …)``."""
        places = self.users, self.items, self.negatives.flatten()
        user, item, negative = (rows.index_select(0, place) for place in places)
        return user, item, negative


@dataclass(frozen=True, slots=True)
class Passed:
    """What the passes over the graph gave.

    Attributes:
        layers: L + 1 times ``(R, dim)``: the rows of ``Asked.nodes`` that are ranked.
        contrast: the term beside the ranking, before its weight, or None.
        chance: of that term; None: no such level.
    """

    layers: list[Tensor]
    contrast: Result | None = None
    chance: float | None = None


class GraphMethod(Method):
    """BPR over the embeddings of a pass, a regulariser, and what a method adds.

    Over several ranks each rank passes over the whole graph and ranks its own part of the batch.

    Args:
        encoder: `LightGCN`, or another encoder that holds a graph.
        regularisation: ``"embedding"``, the usual ``lambda2 / 2B * sum of |E0|^2`` over the batch's users, items and
            negatives; or ``"framework"``, SELFRec's ``lambda2 * sum over blocks of |block|_F / rows``, of which each
            method has blocks of its own.
        lambda2: weight of the regulariser.
        negatives: items drawn for each interaction, uniformly among those that the user did not touch.

    Raises:
        ConfigError: an encoder without a graph, or a setting out of its range.
    """

    needs = frozenset({"graph"})
    weight: float = 0.0
    encoder: GraphEncoder
    framework_on_table: ClassVar[bool] = False
    """Whether the framework's regulariser takes the table (and divides by B once more), or the final embeddings."""
    framework_negatives: ClassVar[bool] = False
    """Whether it takes the negatives too."""

    def __init__(
        self,
        encoder: Encoder,
        regularisation: Regularisation = "embedding",
        lambda2: float = 1e-4,
        negatives: int = 1,
    ) -> None:
        super().__init__(encoder)
        name = type(self).__name__
        if not isinstance(encoder, GraphEncoder):
            raise ConfigError(message(f"{name}: encoder", type(encoder).__name__, "LightGCN, PyGConv or their kin"))
        known = get_args(Regularisation)
        if regularisation not in known:
            raise ConfigError(unknown("regularisation", regularisation, known, " or ".join(map(repr, known))))
        at_least(0, lambda2=lambda2)
        at_least(1, negatives=negatives)
        self.regularisation, self.lambda2, self.negatives = regularisation, lambda2, negatives
        self.ranking = BPR()
        self._sampler: tuple[object, UniformNegatives] | None = None

    @abstractmethod
    def passes(self, asked: Asked, generator: torch.Generator) -> Passed:
        """Go over the graph; whatever is random comes from ``generator``."""

    def step(self, views: list[View], batch: Batch) -> Step:
        """Rank the batch's items above their negatives, and what the method adds.

        ``Step.pair`` is the users and the items of the batch, as they are ranked.
        """
        users, items, generator = _interactions(self, views)
        asked = self._ask(users, items, generator)
        passed = self.passes(asked, generator)
        ranked = self.encoder.final(passed.layers)
        user, item, negative = asked.triples(ranked)
        others = negative.view(len(user), self.negatives, -1)
        bpr = self.ranking((user * item).sum(1), (user[:, None] * others).sum(2))
        l2 = self._l2(asked, passed.layers[0], ranked)
        loss, contrast = bpr.loss + l2, passed.contrast
        if contrast is not None:
            loss = loss + self.weight * contrast.loss
        told = {"bpr": bpr.loss.detach(), "auc": bpr.parts["auc"], "l2": l2.detach()}
        return Step(loss, self._parts(told, contrast), (user.detach(), item.detach()), self._chance(batch, passed))

    def _ask(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Asked:
        """Draw negatives, and find the distinct nodes."""
        drawn = self._negatives()(users.repeat_interleave(self.negatives), generator)
        offset, size = self.encoder.n_users, self.encoder.n_users + self.encoder.n_items
        everyone, touched = (distinct(gather(numbers), size)[0] for numbers in (users, items))
        sets = _share(everyone), _share(touched)
        blocks = [users, items + offset, drawn + offset, sets[0], sets[1] + offset]
        nodes, places = distinct(torch.cat(blocks), size)
        user, item, negative, *own = torch.split(places, [len(block) for block in blocks])
        totals = len(everyone), len(touched)
        return Asked(nodes, user, item, negative.view(-1, self.negatives), (own[0], own[1]), totals)

    def _negatives(self) -> UniformNegatives:
        """The sampler of the encoder's graph as it is now (a loaded state brings another)."""
        graph = self.encoder.graph
        if self._sampler is None or self._sampler[0] is not graph:
            made = UniformNegatives(graph.n_users, graph.n_items, graph.users, graph.items)
            self._sampler = graph, made
        return self._sampler[1]

    def _l2(self, asked: Asked, table: Tensor, ranked: Tensor) -> Tensor:
        """The regulariser, its weight included; ``table`` and ``ranked`` are ``(R, dim)``."""
        size = len(asked.users)
        if self.regularisation == "embedding":
            return self.lambda2 / (2 * size) * torch.cat(asked.triples(table.square().sum(1))).sum()
        blocks = asked.triples(table if self.framework_on_table else ranked)[: 3 if self.framework_negatives else 2]
        norms = torch.stack([torch.linalg.vector_norm(block) / len(block) for block in blocks])
        return self.lambda2 / (size if self.framework_on_table else 1) * norms.sum()

    def _parts(self, told: dict[str, Tensor], contrast: Result | None) -> Parts:
        """Terms for the log; the contrast's own parts, if any, beside them."""
        if contrast is None:
            return Parts(lambda: told)
        found, weight, term = contrast.parts, self.weight, contrast.loss.detach()
        return Parts(lambda: {**found, **told, "contrast": term, "lambda": torch.tensor(weight)})

    def _chance(self, batch: Batch, passed: Passed) -> float | None:
        """That of the ranking, log 2, and of the weighted contrast."""
        ranking = self.ranking.chance(self.global_rows(batch))
        if passed.contrast is None or ranking is None:
            return ranking
        return None if passed.chance is None else ranking + self.weight * passed.chance


def _interactions(method: GraphMethod, views: Sequence[View]) -> tuple[Tensor, Tensor, torch.Generator]:
    """Numbers of users and items, and the generator of this step, from the first view of each."""
    first: dict[str, View] = {}
    for view in views:
        first.setdefault(view.modality, view)
    if set(first) != {"user", "item"}:
        found = ", ".join(first) or "none"
        raise ShapeError(message(f"{type(method).__name__}: modalities of the views", found, "user and item"))
    draw = int(views[0].data["draw"][0])
    return first["user"].data["node"], first["item"].data["node"], torch.Generator().manual_seed(draw)


def distinct(numbers: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The distinct ones of ``(n,)`` numbers below ``size``, ascending, and each number's place among them.

    Marking them in a row of ``size`` places is several times as quick as sorting, as long as that row is short.
    """
    if size > MARKED * len(numbers):
        found, places = torch.unique(numbers, return_inverse=True)
        return found, places
    marks = torch.zeros(size, dtype=torch.bool, device=numbers.device).index_fill_(0, numbers, True)
    return marks.nonzero().squeeze(1), (marks.cumsum(0) - 1).index_select(0, numbers)


def _share(nodes: Tensor) -> Tensor:
    """This rank's part of the nodes of all ranks: each of W ranks has as many, so up to W - 1 nodes are in none."""
    size = len(nodes) // world_size()
    return nodes[rank() * size : (rank() + 1) * size]


def at_least(least: float, **settings: float) -> None:
    """Refuse settings below ``least`` (NaN included).

    Raises:
        ConfigError: naming the first of them.
    """
    for name, value in settings.items():
        if not value >= least:
            raise ConfigError(message(name, value, f"a number of at least {least:g}"))
