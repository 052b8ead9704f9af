"""From base classes to new ones: what prompts learnt on some classes do on classes that they never met."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint_multimodal.tasks.prompts.views import Images


class Classifies(Protocol):
    """What `base_to_new` asks of a task."""

    def predict(self, images: Images, classes: Sequence[str] | None = None) -> Tensor:
        """``(N,)`` positions in ``classes``."""


def harmonic_mean(base: float, new: float) -> float:
    """``2 base new / (base + new)`` of two shares; 0 where one of them is 0.

    Raises:
        ConfigError: a negative number.
    """
    if base < 0 or new < 0:
        raise ConfigError(message("base, new", (base, new), "two numbers of at least 0"))
    return 2 * base * new / (base + new) if base > 0 and new > 0 else 0.0


def base_to_new(
    task: Classifies, images: Images, labels: Tensor, names: Sequence[str], base: Sequence[int]
) -> dict[str, float]:
    """Accuracy on base classes told from each other, on new ones told from each other, and their harmonic mean.

    Args:
        task: fitted on images of the base classes.
        images: that it never saw, uint8 ``(3, H, W)`` each.
        labels: ``(N,)`` positions in ``names``; rows with -1 are left out.
        names: of all classes.
        base: positions of the base classes; all others are new.

    Returns:
        ``base``, ``new`` and ``harmonic_mean``, from 0 to 1.

    Raises:
        ShapeError: labels that do not fit, or no image of one of the two kinds.
    """
    if labels.shape != (len(images),):
        raise ShapeError(message("labels", f"shape {tuple(labels.shape)}", f"({len(images)},), one per image"))
    kinds = {"base": sorted(set(base)), "new": sorted(set(range(len(names))) - set(base))}
    found = {kind: _accuracy(task, images, labels, names, which, kind) for kind, which in kinds.items()}
    return {**found, "harmonic_mean": harmonic_mean(found["base"], found["new"])}


def _accuracy(
    task: Classifies, images: Images, labels: Tensor, names: Sequence[str], which: Sequence[int], kind: str
) -> float:
    wanted = torch.tensor(which, dtype=torch.int64)
    rows = torch.isin(labels, wanted).nonzero().flatten()
    if len(rows) == 0:
        raise ShapeError(message("labels", f"no image of a {kind} class", f"at least one of {len(which)} classes"))
    shown = images[rows] if isinstance(images, Tensor) else [images[int(row)] for row in rows]
    answers = wanted[task.predict(shown, [names[number] for number in which])]
    return float((answers == labels[rows]).double().mean())
