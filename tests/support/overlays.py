"""Real digits laid over real photographs: a background that is all photograph, and targets that are both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

from counterpoint.parts import SPLITS

PARTS = {"train": (0, 1200), "val": (1200, 1500), "test": (1500, 1797)}
"""Rows of scikit-learn's digits in each split: no digit is in two of them."""


@dataclass(frozen=True)
class Overlay:
    """Two archives that the vision plugin opens.

    Attributes:
        background: half the photograph's brightness; its labels are the photographs' classes.
        target: the same of *other* photographs, and half a digit's; its labels are the digits.
        photographs: split -> classes of the targets' photographs, which nothing that trains is told.
    """

    background: Path
    target: Path
    photographs: dict[str, np.ndarray]


def overlay(source: str, folder: Path, seed: int = 0, most: int | None = None) -> Overlay:
    """Build both archives in ``folder`` from labelled 32-pixel images that the vision plugin opens.

    Args:
        source: of the photographs, ``cifar10-small`` or ``photographs``.
        folder: where the archives go.
        seed: which photograph is background, which digit lies on which photograph.
        most: photographs of each split that are used at most.
    """
    from counterpoint.training.sources import dataset_class
    from counterpoint_vision.plugin import plugin

    photographs = dataset_class(plugin, source)(source)  # type: ignore[call-arg]
    splits, draw, digits = photographs.splits(), np.random.default_rng(seed), _digits()
    archives: dict[str, dict[str, np.ndarray]] = {"background": {}, "target": {}}
    behind: dict[str, np.ndarray] = {}
    for split in SPLITS:
        chosen = draw.permutation(splits[split])[:most]
        images = np.stack([photographs[int(i)].data["image"].numpy() for i in chosen])  # type: ignore[union-attr]
        classes = np.asarray(photographs.labels)[chosen]
        half = len(chosen) // 2
        rows = draw.integers(*PARTS[split], size=len(chosen) - half)
        pictures = {"background": images[:half] // 2, "target": images[half:] // 2 + digits[0][rows][:, None] // 2}
        for name, labels in (("background", classes[:half]), ("target", digits[1][rows])):
            archives[name] |= {f"{split}_images": pictures[name].transpose(0, 2, 3, 1), f"{split}_labels": labels}
        behind[split] = classes[half:]
    paths = {name: folder / f"{name}.npz" for name in archives}
    names = {"background": list(photographs.classes or ()), "target": [str(n) for n in range(10)]}
    for name, arrays in archives.items():
        np.savez_compressed(paths[name], class_names=np.array(names[name]), **arrays)  # type: ignore[arg-type]
    return Overlay(paths["background"], paths["target"], behind)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Digits ``(1797, 32, 32)`` uint8 with a margin, and their labels."""
    from sklearn.datasets import load_digits

    table = load_digits()
    images = torch.tensor(table.images / 16, dtype=torch.float32)[:, None]
    large = interpolate(images, size=(24, 24), mode="bilinear", align_corners=False)[:, 0]
    padded = torch.nn.functional.pad(large, (4, 4, 4, 4))
    return (255 * padded).round().byte().numpy(), table.target.astype(np.int64)
