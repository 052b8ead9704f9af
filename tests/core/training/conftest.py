"""A toy that really learns: sklearn's digits, a small network, one objective after the other."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from counterpoint.parts import Encoder
from counterpoint.training.logs import MetricsLog
from counterpoint.types import Batch, Damaged, Encoding, Step, View

TRAIN, VAL = slice(0, 1280), slice(1280, 1797)


@functools.cache
def digits() -> tuple[Tensor, Tensor]:
    """Images ``(N, 64)`` under a nuisance that hides the class from an untrained network, and labels."""
    bunch = load_digits()
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(bunch.target), generator=generator)
    images = torch.tensor(bunch.data, dtype=torch.float32)[order] / 8 - 1
    return disturb(images, generator), torch.tensor(bunch.target)[order].long()


def disturb(images: Tensor, generator: torch.Generator) -> Tensor:
    """Add a random mixture of four fixed patterns: what views differ in, and what has to be learnt to be ignored."""
    patterns = torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
    return images + torch.randn(len(images), 4, generator=generator) @ patterns


class Pairs:
    """Batches of two masked, disturbed views, a function of the step alone; ``shuffled`` pairs different samples."""

    def __init__(self, batch_size: int = 128, shuffled: bool = False) -> None:
        self.images = digits()[0][TRAIN]
        self.batch_size, self.shuffled = batch_size, shuffled
        self.trainer: Trainer | None = None

    def __len__(self) -> int:
        return len(self.images) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Batch, list[View]]]:
        epoch, first = divmod(self.trainer.global_step if self.trainer else 0, len(self))
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(epoch))
        for number in range(first, len(self)):
            generator = torch.Generator().manual_seed(1000 * epoch + number)
            index = order[number * self.batch_size : (number + 1) * self.batch_size]
            damaged = [Damaged(1796, "torn.png", "cut off")] if number == 0 else []
            batch = Batch({"image": self.images[index]}, index, index + 1, damaged=damaged)
            views = [self._view(index, generator) for _ in range(2)]
            if self.shuffled:
                views[1].data = views[1].data.roll(1, dims=0)
            yield batch, views

    def _view(self, index: Tensor, generator: torch.Generator) -> View:
        images = self.images[index]
        mask = torch.rand(images.shape, generator=generator) > 0.2
        return View(disturb(images, generator) * mask, "image")


class ToyEncoder(Encoder):
    """A small network with BatchNorm and dropout, both of which a careless monitor would disturb."""

    dim = 64

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 64)
        )

    def forward(self, view: View) -> Encoding:
        return Encoding(self.net(view.data))


class Toy(LightningModule):
    """A method in small: ``loss`` names what it minimises, ``lr`` may be 0."""

    def __init__(self, loss: str = "simclr", lr: float = 3e-3, temperature: float = 0.2) -> None:
        super().__init__()
        self.loss, self.lr, self.temperature = loss, lr, temperature
        self.encoder = ToyEncoder()
        self.projector = nn.Sequential(nn.ReLU(), nn.Linear(64, 32))
        self.last_step: Step

    def training_step(self, batch: tuple[Batch, list[View]], batch_idx: int) -> Tensor:
        a, b = (self.projector(self.encoder(view).pooled) for view in batch[1])
        loss, chance = self._compare(a, b)
        self.last_step = Step(loss, {"term": loss.detach()}, (a.detach(), b.detach()), chance)
        return loss

    def _compare(self, a: Tensor, b: Tensor) -> tuple[Tensor, float | None]:
        a, b = normalize(a, dim=1), normalize(b, dim=1)
        if self.loss == "simclr":
            logits = torch.cat([a, b]) @ torch.cat([a, b]).T / self.temperature
            logits.fill_diagonal_(-torch.inf)
            target = torch.arange(2 * len(a)).roll(len(a))
            return cross_entropy(logits, target), math.log(2 * len(a) - 1)
        return -(a * b).sum(dim=1).mean(), None  # "attract": nothing keeps it from collapse

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


@dataclass
class Lab:
    """Trains a toy in ``run`` and hands out what it needs."""

    run: Path

    def embed(self, module: LightningModule) -> Callable[[str], tuple[Tensor, Tensor | None]]:
        images, labels = digits()

        def features(split: str) -> tuple[Tensor, Tensor | None]:
            torch.rand(3)  # an embedding that draws random numbers, as a data loader does
            part = {"train": TRAIN, "val": VAL}[split]
            found = module.encoder(View(images[part], "image"))
            return found.pooled, labels[part]

        return features

    def fit(
        self,
        module: LightningModule,
        callbacks: list[Callback],
        pairs: Pairs | None = None,
        checkpoint: Path | None = None,
        **settings: Any,
    ) -> Trainer:
        trainer = Trainer(
            accelerator="cpu",
            logger=[MetricsLog(self.run)],
            callbacks=callbacks,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            **settings,
        )
        pairs = pairs or Pairs()
        pairs.trainer = trainer
        trainer.fit(module, train_dataloaders=pairs, ckpt_path=checkpoint, weights_only=True)
        return trainer


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    torch.manual_seed(0)
    return Lab(tmp_path / "run")


@pytest.fixture
def toy() -> type[Toy]:
    return Toy


@pytest.fixture
def toy_encoder() -> type[ToyEncoder]:
    return ToyEncoder


@pytest.fixture
def pairs() -> type[Pairs]:
    return Pairs
