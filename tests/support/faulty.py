"""Parts that are wrong on purpose, each in one way, for the tests of the conformance kit."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.errors import ConfigError
from counterpoint.methods import SimCLR
from counterpoint.parts import Dataset, Encoder, Protocol, Views
from counterpoint.types import Batch, Encoding, Sample, Step, View
from toy import DigitNet, Digits, Nearest, NoisyShifts


def changed(sample: Any, **values: Any) -> Sample:
    """A copy of a sample with other values."""
    fields = {name: getattr(sample, name) for name in ("index", "data", "label", "content")}
    return Sample(**{**fields, **values})


# Protocols


class Wavering(Protocol):
    def measure(self, encoder: Encoder, views: Views, dataset: Dataset, split: str) -> dict[str, float]:
        return {"recall@20": secrets.randbelow(10**9)}


class Infinitely(Protocol):
    def measure(self, encoder: Encoder, views: Views, dataset: Dataset, split: str) -> dict[str, float]:
        return {"recall@20": float("inf")}


# Datasets


class AcceptsNothing(Digits):
    @classmethod
    def accepts(cls, source: str) -> bool:
        return False


class OffByOne(Digits):
    def __getitem__(self, index: int) -> Any:
        return changed(super().__getitem__(index), index=index + 1)


class OtherLabels(Digits):
    def __getitem__(self, index: int) -> Any:
        sample = super().__getitem__(index)
        return changed(sample, label=9 - sample.label)


class Noisy(Digits):
    def __getitem__(self, index: int) -> Any:
        sample = super().__getitem__(index)
        return changed(sample, data={"digit": sample.data["digit"] + torch.rand(8, 8)})


class AllDuplicates(Digits):
    def __getitem__(self, index: int) -> Any:
        return changed(super().__getitem__(index), content=7)


class NamesTwice(Digits):
    def name(self, index: int) -> str:
        return f"digit-{index // 2}"


class OtherDigest(Digits):
    def digest(self) -> str:
        return secrets.token_hex(8)


class Leaking(Digits):
    def splits(self) -> dict[str, np.ndarray]:
        parts = super().splits()
        return {**parts, "test": np.union1d(parts["test"], parts["train"][:3])}


class Sorting(Digits):
    def batch(self, indices: Sequence[int]) -> Batch:
        return super().batch(sorted(indices))


class NeedsRows(Digits):
    def batch(self, indices: Sequence[int]) -> Batch:
        images = torch.stack([self.images[int(i)] for i in indices])
        made = super().batch(indices)
        made.data["digit"] = images
        return made


class HoldsLambda(Digits):
    def __init__(self, source: str, count: int = 1797) -> None:
        super().__init__(source, count)
        self.scale = lambda image: image


class TakesAnything(Digits):
    def __init__(self, source: str, count: int = 1797) -> None:
        super().__init__({"digits": "digits"}[source], count)


# Views


class Foreign(NoisyShifts):
    modalities = ("sound",)


class OneView(NoisyShifts):
    def __call__(self, batch: Batch, generator: torch.Generator) -> list[View]:
        return super().__call__(batch, generator)[:1]


class GlobalRandom(NoisyShifts):
    def _one(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return images + 0.2 * torch.randn(images.shape)


class Counting(NoisyShifts):
    calls = 0

    def _one(self, images: Tensor, generator: torch.Generator) -> Tensor:
        Counting.calls += 1
        return super()._one(images, generator) * (1 + 0.01 * Counting.calls)


class NoChance(NoisyShifts):
    def __call__(self, batch: Batch, generator: torch.Generator) -> list[View]:
        images = self.plain(batch)[0].data
        return [View(images, "digit"), View(images.flip(2), "digit")]


class Copies(NoisyShifts):
    def __call__(self, batch: Batch, generator: torch.Generator) -> list[View]:
        first = super().__call__(batch, generator)[0]
        return [first, View(first.data.clone(), "digit")]


class Squeezing(NoisyShifts):
    def _one(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return super()._one(images, generator).squeeze(0)


class BatchMean(NoisyShifts):
    def plain(self, batch: Batch) -> list[View]:
        images = super().plain(batch)[0].data
        return [View(images - images.mean(0), "digit")]


class InPlace(NoisyShifts):
    def _one(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return super()._one(images.mul_(0.9), generator)


class Nameless(NoisyShifts):
    def __call__(self, batch: Batch, generator: torch.Generator) -> list[View]:
        _ = batch.data["digit"]
        return super().__call__(batch, generator)


class Infinite(NoisyShifts):
    def _one(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return (super()._one(images, generator) * 0).log()


# Encoders


class OtherWidth(DigitNet):
    def __init__(self, width: int = 32) -> None:
        super().__init__(width)
        self.dim = width + 1


class NoTokens(DigitNet):
    def forward(self, view: View) -> Encoding:
        return Encoding(super().forward(view).pooled)


class AlwaysDropout(DigitNet):
    def forward(self, view: View) -> Encoding:
        found = super().forward(view)
        return Encoding(F.dropout(found.pooled, 0.1, training=True), found.tokens)


class BatchStatistics(DigitNet):
    def forward(self, view: View) -> Encoding:
        found = super().forward(view)
        return Encoding(found.pooled - found.pooled.mean(0), found.tokens)


class OverwritesView(DigitNet):
    def forward(self, view: View) -> Encoding:
        found = super().forward(view)
        if not self.training:  # autograd would notice
            view.data.mul_(0.5)
        return found


class IdleParameter(DigitNet):
    def __init__(self, width: int = 32) -> None:
        super().__init__(width)
        self.idle = nn.Linear(width, 3)


class Unseeded(DigitNet):
    def __init__(self, width: int = 32) -> None:
        super().__init__(width)
        noise = np.random.default_rng().normal(size=tuple(self.conv1.weight.shape))
        self.conv1.weight.data = torch.tensor(noise, dtype=torch.float32)


class ForgetsScale(DigitNet):
    """Keeps what it learns in training in a plain number."""

    def __init__(self, width: int = 32) -> None:
        super().__init__(width)
        self.scale = 1.0

    def forward(self, view: View) -> Encoding:
        found = super().forward(view)
        if self.training:
            self.scale *= 1.1
        return Encoding(found.pooled * self.scale, found.tokens)


class StaysBehind(DigitNet):
    def __init__(self, width: int = 32) -> None:
        super().__init__(width)
        self.shift = torch.linspace(0, 1, width)

    def forward(self, view: View) -> Encoding:
        found = super().forward(view)
        return Encoding(found.pooled + self.shift, found.tokens)


class NoErrors(DigitNet):
    def forward(self, view: View) -> Encoding:
        return super().forward(View(view.data + 0, view.modality))


# Methods


class Forgets(SimCLR):
    """Follows a plain number that no checkpoint holds."""

    def __init__(self, encoder: DigitNet) -> None:
        super().__init__(encoder)
        self.weight = 1.0

    def step(self, views: list[View], batch: Batch) -> Step:
        step = super().step(views, batch)
        self.weight *= 0.9
        step.loss = step.loss * self.weight
        return step


class Stands(SimCLR):
    """Has a loss that does not depend on what is learnt."""

    def step(self, views: list[View], batch: Batch) -> Step:
        step = super().step(views, batch)
        step.loss = step.loss * 0 + 1
        return step


class OneSize(SimCLR):
    size = None

    def step(self, views: list[View], batch: Batch) -> Step:
        self.size = self.size or len(batch)
        if len(batch) != self.size:
            raise RuntimeError("unequal batches")
        return super().step(views, batch)


class NeedsMore(SimCLR):
    needs = frozenset({"tokens"})


class TakesOne(SimCLR):
    def check(self, views: list[View], batch: Batch) -> None:
        return None

    def step(self, views: list[View], batch: Batch) -> Step:
        if len(batch) < 2:
            return Step(self.pooled(views)[0].sum())
        return super().step(views, batch)


class Unlearnable(SimCLR):
    def __init__(self, encoder: DigitNet) -> None:
        super().__init__(encoder)
        self.spare = nn.Linear(2, 2)


# Tasks


class NoNumber(Nearest):
    def evaluate(self, features: Tensor, labels: Tensor) -> dict[str, float]:
        return {"accuracy": float("nan")}


class Guesses(Nearest):
    def evaluate(self, features: Tensor, labels: Tensor) -> dict[str, float]:
        return {"accuracy": float(torch.rand(()))}


class Normalises(Nearest):
    def predict(self, features: Tensor) -> Tensor:
        features /= 2
        return super().predict(features)


class Unready(Nearest):
    def predict(self, features: Tensor) -> Tensor:
        return torch.cdist(features, self.means).argmin(1)


class NoDataset:
    """Has nothing of a dataset."""


def example(place: Path) -> dict[str, Any]:
    """Arguments of a small dataset; it writes a file, as a function may."""
    (place / "note.txt").write_text("made")
    return {"source": "digits", "count": 20}


def command(words: Sequence[str]) -> int:
    """An app's command that does as it should."""
    if words == ["--help"]:
        print("usage: counterpoint app digits")
        return 0
    raise ConfigError("unknown word")


def silent(words: Sequence[str]) -> int:
    """An app's command that takes every word and says nothing."""
    return 0
