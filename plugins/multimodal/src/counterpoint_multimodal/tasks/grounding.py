"""What is there, and where: a tiny decoder learnt on the visual tokens of a frozen encoder."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.parts import Task
from counterpoint_multimodal.tasks.decoder import Decoder, overlap

Features = Tensor | Sequence[Tensor]
WARM = 0.05
"""Share of the steps over which the learning rate rises."""


@dataclass(frozen=True, slots=True)
class Grounded:
    """What was found on pictures.

    Attributes:
        scores: ``(M, C)`` how much speaks for each class being there, log-probabilities.
        boxes: ``(M, C, 4)`` where each would be: left, top, right, bottom in shares of the picture.
    """

    scores: Tensor
    boxes: Tensor


class Grounding(Task):
    """Understanding and grounding: which classes are on a picture, and in which box each of them is.

    A decoder of a few layers is asked "what?" and "where is the ...?" over the visual tokens, which stay as they are.
    With a ``connector`` that is learnt too: over what several frozen encoders tell (``FusedImages.stacks``), a
    ``Fusion`` learns how to fuse them for these questions, as CoME-VL trains its connector with the language
    model. Two encoders are compared at equal decoders, and as many tokens.

    Features are ``(N, T, F)`` tokens, ``(N, F)`` for one token each, or, with a connector of several arguments, a
    sequence of tensors with N rows. Labels are ``(N, O, 5)``: class, left, top, right, bottom in shares of the picture,
    class -1 to fill up (see `compositions.compose`); ``(N,)`` classes mean one thing that fills the picture.

    Args:
        connector: features -> tokens ``(B, T, F)``; each `fit` begins with a copy of it. None: they are tokens.
        width: of the decoder.
        layers: of it.
        heads: its attention heads.
        epochs: over the training pictures.
        batch_size: pictures a step.
        learning_rate: at its highest; it falls to 0 along half a cosine.
        weight_decay: of AdamW.
        seed: of weights and order.

    Raises:
        ConfigError: a number below 1.
    """

    def __init__(
        self,
        connector: nn.Module | None = None,
        width: int = 96,
        layers: int = 2,
        heads: int = 4,
        epochs: int = 30,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.05,
        seed: int = 0,
    ) -> None:
        for name, value in (("width", width), ("layers", layers), ("heads", heads), ("epochs", epochs)):
            if value < 1:
                raise ConfigError(message(name, value, "a whole number from 1"))
        if batch_size < 1 or not learning_rate > 0 or width % heads:
            found = f"{batch_size}, {learning_rate}, {width}"
            raise ConfigError(message("batch_size, learning_rate, width", found, f"> 0, > 0, multiples of {heads}"))
        self.connector, self.width, self.layers, self.heads = connector, width, layers, heads
        self.epochs, self.batch_size, self.seed = epochs, batch_size, seed
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self._network: _Network | None = None

    def fit(
        self, features: Features, labels: Tensor | None = None, tick: Callable[[float], None] | None = None
    ) -> Grounding:
        """Learn decoder and connector from features and labels; pictures on which nothing is known are left out.

        Args:
            features: see above.
            labels: see above.
            tick: called after each epoch with its mean loss.

        Raises:
            ShapeError: no labels, unlike numbers of rows, or shapes other than the above.
        """
        parts, things = _parts(features), _things(labels, _parts(features))
        known = (things[..., 0] >= 0).any(1).nonzero().flatten()
        if not len(known):
            raise ShapeError(message("labels", "none", "at least one class >= 0"))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = self._built(parts, int(things[..., 0].max()) + 1)
            self._train(network, parts, things, known, tick)
        self._network = network.eval()
        return self

    def predict(self, features: Features) -> Grounded:
        """What is on ``M`` pictures, and where each class would be.

        Raises:
            ConfigError: nothing was learnt yet.
        """
        network, parts = self._fitted(), _parts(features)
        named = torch.arange(network.classes)
        pieces = list(zip(*(torch.split(part, self.batch_size) for part in parts)))
        with torch.no_grad():
            found = [network(list(piece), named.expand(len(piece[0]), -1)) for piece in pieces]
        scores, boxes = (torch.cat(both) for both in zip(*found))
        return Grounded(scores.log_softmax(1), boxes)

    def evaluate(self, features: Features, labels: Tensor) -> dict[str, float]:
        """How well both questions are answered; pictures and things of unknown class do not count.

        Returns:
            ``understanding[top-n]``: share of the n classes on a picture that are among the n best scored;
            ``understanding[all]``: of pictures where these are all of them. Of the boxes of the classes that are there:
            ``grounding[IoU=0.5]``, the share that overlaps the true one by half; ``grounding[IoU]``, the mean overlap;
            ``pointing[in box]``, the share whose centre is in the true box; ``distance[centre]``, the mean distance of
            centres in shares of the side (less is better).
        """
        network = self._fitted()
        things = _things(labels, _parts(features))
        found = self.predict(features)
        there = (things[..., 0] >= 0) & (things[..., 0] < network.classes)
        picture, place = there.nonzero(as_tuple=True)
        if not len(picture):
            raise ShapeError(message("labels", "none that was learnt", f"classes from 0 to {network.classes - 1}"))
        names = things[picture, place, 0].long()
        return {
            **_understanding(found.scores, picture, names),
            **_grounding(found.boxes[picture, names], things[picture, place, 1:]),
        }

    def _built(self, parts: list[Tensor], classes: int) -> _Network:
        connector = copy.deepcopy(self.connector)
        with torch.no_grad():
            tokens = _tokens(connector, [part[:1] for part in parts])
        decoder = Decoder(tokens.shape[1], tokens.shape[2], classes, self.width, self.layers, self.heads)
        return _Network(connector, decoder, classes)

    def _train(
        self,
        network: _Network,
        parts: list[Tensor],
        things: Tensor,
        known: Tensor,
        tick: Callable[[float], None] | None,
    ) -> None:
        batches = -(-len(known) // self.batch_size)
        total = self.epochs * batches
        optimizer = torch.optim.AdamW(network.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step / total))
        network.train()
        for _ in range(self.epochs):
            losses = []
            for rows in torch.split(known[torch.randperm(len(known))], self.batch_size):
                loss = _loss(network, [part[rows] for part in parts], things[rows])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                losses.append(loss.detach())
            if tick is not None:
                tick(float(torch.stack(losses).mean()))

    def _fitted(self) -> _Network:
        if self._network is None:
            raise ConfigError(message("Grounding", "nothing learnt yet", "fit before predict"))
        return self._network


class _Network(nn.Module):
    """Connector and decoder."""

    def __init__(self, connector: nn.Module | None, decoder: Decoder, classes: int) -> None:
        super().__init__()
        self.connector, self.decoder, self.classes = connector, decoder, classes

    def forward(self, parts: list[Tensor], named: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.decoder(_tokens(self.connector, parts), named)
        return found


def _tokens(connector: nn.Module | None, parts: list[Tensor]) -> Tensor:
    parts = [part.float() for part in parts]
    tokens: Tensor = parts[0] if connector is None else connector(*parts)
    if tokens.dim() == 2:
        tokens = tokens[:, None]
    if tokens.dim() != 3 or (connector is None and len(parts) > 1):
        found = ", ".join(str(tuple(part.shape)) for part in parts)
        raise ShapeError(message("features", found, "(N, T, F) or (N, F)", "Anything else needs a connector."))
    return tokens


def _parts(features: Features) -> list[Tensor]:
    return [features] if isinstance(features, Tensor) else list(features)


def _things(labels: Tensor | None, parts: list[Tensor]) -> Tensor:
    """Labels as ``(N, O, 5)`` floats."""
    allowed = "(N,) classes, or (N, O, 5): class, left, top, right, bottom"
    if labels is None:
        raise ShapeError(message("labels", "none", allowed))
    if labels.dim() == 1:
        whole = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(len(labels), 4)
        labels = torch.cat([labels[:, None].float(), whole], 1)[:, None]
    if labels.dim() != 3 or labels.shape[2] != 5 or any(len(part) != len(labels) for part in parts):
        found = f"{tuple(labels.shape)} for features {', '.join(str(tuple(part.shape)) for part in parts)}"
        raise ShapeError(message("labels", found, allowed))
    return labels.float()


def _loss(network: _Network, parts: list[Tensor], things: Tensor) -> Tensor:
    """Cross-entropy with the classes that are there, and L1 + 1 - GIoU of their boxes."""
    names = things[..., 0].long()
    logits, boxes = network(parts, names)
    picture, place = (names >= 0).nonzero(as_tuple=True)
    target = torch.zeros_like(logits)
    target[picture, names[picture, place]] = 1
    what = F.cross_entropy(logits, target / target.sum(1, keepdim=True))
    found, true = boxes[picture, place], things[picture, place, 1:]
    _, giou = overlap(found, true)
    return what + 4 * F.l1_loss(found, true) + (1 - giou).mean()


def _rate(progress: float) -> float:
    return min(1.0, progress / WARM + 1e-3) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _understanding(scores: Tensor, picture: Tensor, names: Tensor) -> dict[str, float]:
    there = torch.zeros_like(scores, dtype=torch.bool)
    there[picture, names] = True
    there, scores = there[there.any(1)], scores[there.any(1)]
    count = there.sum(1, keepdim=True)
    rank = scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    right = ((rank < count) & there).sum(1, keepdim=True) / count
    return {"understanding[top-n]": float(right.mean()), "understanding[all]": float((right == 1).float().mean())}


def _grounding(found: Tensor, true: Tensor) -> dict[str, float]:
    iou, _ = overlap(found, true)
    centre, aim = ((box[:, :2] + box[:, 2:]) / 2 for box in (found, true))
    inside = ((centre >= true[:, :2]) & (centre <= true[:, 2:])).all(1)
    return {
        "grounding[IoU=0.5]": float((iou >= 0.5).float().mean()),
        "grounding[IoU]": float(iou.mean()),
        "pointing[in box]": float(inside.float().mean()),
        "distance[centre]": float((centre - aim).norm(dim=1).mean()),
    }
