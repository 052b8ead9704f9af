"""NASA's turbofan engines as a plugin of a few lines: windows of sensor readings, and the cycles that are left.

``python turbofans.py pretrain turbofan/simclr …`` is the command line with this plugin alone; ``python turbofans.py
measure RUN`` prints what a claim wants to know of a fine-tuned run on its test windows, as JSON.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from counterpoint import cli
from counterpoint import plugin as plugins
from counterpoint.evaluation.regression import regression_metrics
from counterpoint.parts import Dataset, Encoder, Views, content_id, data_home
from counterpoint.plugin import Found, Part, Plugin
from counterpoint.types import Batch, Encoding, Sample, View

CAP = 125  # the protocol of C-MAPSS: an engine that lasts longer shows nothing yet
TRAINING, GAP = 80, (50, 75)  # engines that are not val; cycles left that a gap leaves out
PAIRS = 20_000

PLUGIN = Plugin(
    name="turbofan",
    summary="engines until they fail",
    modalities=("readings",),
    datasets={"engines": Part("turbofans:Engines", "FD001 of C-MAPSS")},
    views={"noisy": Part("turbofans:Noisy", "noise, and silent sensors")},
    encoders={"convolutions": Part("turbofans:Convolutions", "three convolutions over time")},
    recipes={"simclr": {"data": "turbofan", "batch_size": 128}},
)


class Engines(Dataset):
    """Windows of 24 readings; the target is how many cycles the engine has left after it, `CAP` at most.

    Test engines are the published ones, cut off before they fail. Of the published training engines, the last 20 are
    val.

    Args:
        source: "turbofan", or "invented": a few engines that wear out by a formula, for a quick look.
        length: cycles of a window.
        stride: cycles between windows; an engine's last one is always there.
        engines: how many of the 80 training engines are used.
        gap: leave windows with 50 to 75 cycles left out of the training engines.
    """

    in_memory = True

    def __init__(
        self, source: str, length: int = 30, stride: int = 3, engines: int = TRAINING, gap: bool = False
    ) -> None:
        made = _invented() if source == "invented" else np.load(data_home() / "timeseries/cmapss-fd001/fd001.npz")
        readings = {part: made[f"{part}_x"] for part in ("train", "test")}
        learnt = readings["train"][made["train_unit"] <= TRAINING]
        scale = np.where(learnt.std(0) > 1e-4, learnt.std(0), np.inf)
        windows, self.rows = [], []
        for part, x in readings.items():
            units, left = made[f"{part}_unit"], np.minimum(made[f"{part}_rul"], CAP)
            for unit in np.unique(units):
                own = np.flatnonzero(units == unit)
                split = "test" if part == "test" else "train" if unit <= TRAINING else "val"
                if split == "train" and unit > engines:
                    continue
                for end in range(len(own), length - 1, -stride):
                    target = int(left[own[end - 1]])
                    if gap and split == "train" and GAP[0] <= target < GAP[1]:
                        continue
                    windows.append((x[own[end - length : end]] - learnt.mean(0)) / scale)
                    self.rows.append((split, int(unit), end, target, end == len(own)))
        self.windows = torch.tensor(np.stack(windows), dtype=torch.float32)
        self.targets = torch.tensor([float(row[3]) for row in self.rows])

    @classmethod
    def accepts(cls, source: str) -> bool:
        return source in ("turbofan", "invented")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        window = self.windows[index]
        content = content_id(window.numpy().tobytes())
        return Sample(index, {"readings": window}, content=content, target=float(self.targets[index]))

    def name(self, index: int) -> str:
        split, unit, end, *_ = self.rows[index]
        return f"{split} engine {unit} cycle {end}"

    def digest(self) -> str:
        return hashlib.sha256(self.windows.numpy().tobytes()).hexdigest()

    def splits(self) -> dict[str, np.ndarray]:
        part = np.array([row[0] for row in self.rows])
        return {split: np.flatnonzero(part == split) for split in ("train", "val", "test")}


def _invented() -> dict[str, np.ndarray]:
    """90 engines of 40 to 60 cycles whose sensors drift as the end comes near, and 5 for the test."""
    draw = np.random.default_rng(0)
    made: dict[str, list[np.ndarray]] = {f"{p}_{n}": [] for p in ("train", "test") for n in ("unit", "x", "rul")}
    for part, count in (("train", 90), ("test", 5)):
        for unit in range(1, count + 1):
            left = np.arange(draw.integers(40, 60))[::-1] + (20 if part == "test" else 0)
            drift = np.exp(-left / 20)[:, None] * np.linspace(-2, 2, 24)
            made[f"{part}_unit"].append(np.full(len(left), unit))
            made[f"{part}_rul"].append(left)
            made[f"{part}_x"].append(drift + draw.normal(size=(len(left), 24)))
    return {name: np.concatenate(parts) for name, parts in made.items()}


class Noisy(Views):
    """Two views: every reading with noise, and a tenth of the sensors silent.

    Args:
        noise: standard deviation, in those of the readings.
        silent: share of sensors.
    """

    modalities = ("readings",)

    def __init__(self, noise: float = 0.2, silent: float = 0.1) -> None:
        self.noise, self.silent = noise, silent

    def __call__(self, batch: Batch, generator: torch.Generator) -> list[View]:
        return [View(self._one(_readings(batch), generator), "readings") for _ in range(2)]

    def _one(self, windows: Tensor, generator: torch.Generator) -> Tensor:
        speaks = torch.rand(len(windows), 1, windows.shape[2], generator=generator) >= self.silent
        return (windows + self.noise * torch.randn(windows.shape, generator=generator)) * speaks

    def plain(self, batch: Batch) -> list[View]:
        return [View(_readings(batch), "readings")]


def _readings(batch: Batch) -> Tensor:
    windows = batch.data["readings"]
    assert isinstance(windows, Tensor)
    return windows


class Convolutions(Encoder):
    """Three convolutions over time, then the mean and the last place.

    Args:
        width: of the convolutions; the encoding has twice as many dimensions.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.dim = 2 * width
        self.net = nn.Sequential(
            nn.Conv1d(24, width, 5, padding=2),
            nn.ReLU(),
            nn.Conv1d(width, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv1d(width, width, 3, stride=2, padding=1),
            nn.ReLU(),
        )

    def forward(self, view: View) -> Encoding:
        maps = self.net(view.data.transpose(1, 2))
        return Encoding(torch.cat([maps.mean(2), maps[:, :, -1]], 1))


def measure(path: str) -> dict[str, float]:
    """Errors on all test windows, on the last of each engine and inside the gap; how distance follows the target."""
    from counterpoint.run import Run
    from counterpoint.training.answers import answered

    run = Run(Path(path))
    dataset = run.open()
    assert isinstance(dataset, Engines)
    test = dataset.splits()["test"]
    found = run.features(dataset, test.tolist())
    answers, truth = answered(run.head.module, found), dataset.targets[torch.from_numpy(test)]
    last = torch.tensor([dataset.rows[index][4] for index in test])
    inside = (truth >= GAP[0]) & (truth < GAP[1])
    named = {"": torch.ones_like(last), " last cycle": last, " gap": inside}
    rows = {}
    for name, chosen in named.items():
        metrics = regression_metrics(answers[chosen], truth[chosen]) if chosen.any() else {}
        rows |= {f"{metric}{name}": metrics.get(metric, math.nan) for metric in ("mae", "rmse")}
    return {**rows, "order": _order(found.features, truth)}


def _order(features: Tensor, targets: Tensor) -> float:
    """Spearman's correlation of the cosine distance of two windows with the distance of their targets."""
    unit = nn.functional.normalize(features, dim=1)
    a, b = torch.randint(len(unit), (2, PAIRS), generator=torch.Generator().manual_seed(0))
    apart = 1 - torch.linalg.vecdot(unit[a], unit[b])
    return float(stats.spearmanr(apart.numpy(), (targets[a] - targets[b]).abs().numpy()).statistic)


def main(words: Sequence[str]) -> int:
    """The command line with this plugin, or ``measure RUN``."""
    found = (Found("turbofan", "counterpoint-turbofan", "0", plugin=PLUGIN),)
    plugins.discover = lambda: found
    if words[:1] == ["measure"]:
        print(json.dumps(measure(words[1])))
        return 0
    return cli.main(words)


if __name__ == "__main__":
    import turbofans  # the module that the parts are named by

    sys.exit(turbofans.main(sys.argv[1:]))
