"""What the tests of methods train: real digits under a nuisance that an untrained network cannot see through."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from counterpoint.methods import Method
from counterpoint.parts import Encoder, Towers
from counterpoint.types import Batch, Encoding, View

TRAIN, HELD_OUT = slice(0, 1280), slice(1280, 1797)


class Net(Encoder):
    """A perceptron over ``(B, inputs)``.

    Args:
        inputs: width of a view.
        dim: of the encoding.
        norm: with BatchNorm.
        dropout: in front of the last layer.
    """

    def __init__(self, inputs: int = 64, dim: int = 32, norm: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.dim = dim
        middle: list[nn.Module] = [nn.BatchNorm1d(64)] if norm else []
        self.net = nn.Sequential(
            nn.Linear(inputs, 64), *middle, nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, dim), nn.ReLU()
        )

    def forward(self, view: View) -> Encoding:
        return Encoding(self.net(view.data.flatten(1)))


def halves(dim: int = 32, other: int | None = None) -> Towers:
    """Towers for the left and the right half of a digit."""
    return Towers({"left": Net(32, dim), "right": Net(32, dim if other is None else other)})


@functools.cache
def digits() -> tuple[Tensor, Tensor]:
    """Disturbed images ``(1797, 64)`` in a fixed random order, and their labels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(bunch.target), generator=generator)
    images = torch.tensor(bunch.data, dtype=torch.float32)[order] / 8 - 1
    return disturb(images, generator), torch.tensor(bunch.target)[order].long()


def disturb(images: Tensor, generator: torch.Generator) -> Tensor:
    """Add a random mixture of four fixed patterns: views of one digit differ in it, and so do digits of one class."""
    patterns = 0.3 * torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
    return images + torch.randn(len(images), 4, generator=generator) @ patterns


def batch_of(index: Tensor) -> Batch:
    """The samples at ``index``."""
    images, labels = digits()
    return Batch({"image": images[index]}, index, index + 1, labels[index])


def two_views(batch: Batch, generator: torch.Generator) -> list[View]:
    """Two masked images under fresh mixtures."""
    return [View(_masked(batch, generator), "image") for _ in range(2)]


def half_views(batch: Batch, generator: torch.Generator) -> list[View]:
    """The left half of a masked image, and the right half of another."""
    left, right = (_masked(batch, generator).view(-1, 8, 8) for _ in range(2))
    return [View(left[:, :, :4], "left"), View(right[:, :, 4:], "right")]


def _masked(batch: Batch, generator: torch.Generator) -> Tensor:
    images = batch.data["image"]
    assert isinstance(images, Tensor)
    return disturb(images, generator) * (torch.rand(images.shape, generator=generator) > 0.2)


class Training:
    """A loop of one's own around a method: batches and views are functions of the step alone.

    Args:
        method: what is trained.
        total: length of the training.
        batch: samples a step.
        views: batch, generator -> views.
        lr: AdamW's.
    """

    def __init__(self, method: Method, total: int, batch: int = 128, views=two_views, lr: float = 3e-3) -> None:
        self.method, self.batch, self.views = method, batch, views
        method.total_steps = total
        self.optimizer = torch.optim.AdamW(method.parameter_groups(), lr=lr, weight_decay=1e-4)

    def step(self, number: int) -> float:
        """One step; returns the loss."""
        generator = torch.Generator().manual_seed(number)
        index = torch.randperm(TRAIN.stop, generator=generator)[: self.batch]
        batch = batch_of(index)
        told = self.method(self.views(batch, generator), batch)
        told.loss.backward()
        self.method.after_backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.method.after_step()
        return told.loss.item()

    def run(self, start: int, stop: int) -> list[float]:
        """Steps ``start`` to ``stop``; returns their losses."""
        return [self.step(number) for number in range(start, stop)]


@torch.no_grad()
def knn(encoder: Encoder, modality: str = "image") -> float:
    """Accuracy on the held-out digits of the 20 nearest training digits' majority, by cosine."""
    training = encoder.training
    encoder.eval()
    images, labels = digits()
    data = images if modality == "image" else images.view(-1, 8, 8)[:, :, :4]
    features = nn.functional.normalize(encoder(View(data, modality)).pooled, dim=1)
    encoder.train(training)
    nearest = (features[HELD_OUT] @ features[TRAIN].T).topk(20).indices
    votes = nn.functional.one_hot(labels[TRAIN][nearest], 10).sum(dim=1)
    return (votes.argmax(dim=1) == labels[HELD_OUT]).float().mean().item()
