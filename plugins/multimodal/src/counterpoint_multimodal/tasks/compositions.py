"""Pictures of several things, made of pictures of one: where each is, is then known for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoint.errors import ConfigError, DataError, ShapeError, message

PAPER = 24
"""Grey levels by which a pixel differs from a picture's corners where there is something."""
TRIES = 50
"""Places tried for a thing before it is left out."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""


@dataclass(frozen=True, slots=True)
class Compositions:
    """Canvases with things on them.

    Attributes:
        images: ``(M, 3, side, side)`` uint8.
        labels: ``(M, O, 5)`` float32, a thing a row: class, left, top, right, bottom, in shares of the side; class -1
            fills up.
        crops: ``(M, O)`` int64, which picture each thing is; -1 fills up.
    """

    images: Tensor
    labels: Tensor
    crops: Tensor

    def __len__(self) -> int:
        return len(self.images)


def compose(
    crops: Tensor | Sequence[Tensor],
    classes: Tensor,
    count: int,
    side: int = 64,
    things: tuple[int, int] = (2, 4),
    scale: tuple[float, float] = (0.25, 0.45),
    seed: int = 0,
) -> Compositions:
    """``count`` canvases, each with some of ``crops`` on it, no two of one class and no two over each other.

    Crops stand on white or another light paper of one colour, which a coloured canvas shines through; what is on the
    paper is the thing, and its box the box of the thing. Where no place is left, a thing is left out, so that a canvas
    may have fewer than it should, but always one.

    Args:
        crops: uint8 ``(3, H, W)`` each.
        classes: ``(N,)`` int64, the class of each; -1 leaves it out.
        count: canvases.
        side: of a canvas, in pixels.
        things: the fewest and most on a canvas.
        scale: the smallest and largest longer side of a thing, in shares of the canvas.
        seed: of everything that is drawn.

    Raises:
        ConfigError: a range that is none.
        DataError: crops of fewer classes than ``things`` asks for.
        ShapeError: crops and classes of unlike number.
    """
    if len(crops) != len(classes):
        raise ShapeError(message("classes", f"{len(classes)} for {len(crops)} crops", "one for each crop"))
    if not 1 <= things[0] <= things[1]:
        raise ConfigError(message("things", things, "the fewest and the most, from 1"))
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ConfigError(message("scale", scale, "the smallest and the largest, above 0, to 1"))
    known = torch.unique(classes[classes >= 0])
    if len(known) < things[1]:
        raise DataError(message("classes", f"{len(known)} of them", f"at least {things[1]}, as many as on a canvas"))
    generator = torch.Generator().manual_seed(seed)
    members = {int(name): (classes == name).nonzero().flatten() for name in known}
    maker = _Maker(crops, side, scale, generator)
    canvases = []
    for _ in range(count):
        number = int(torch.randint(things[0], things[1] + 1, (), generator=generator))
        names = known[torch.randperm(len(known), generator=generator)[:number]].tolist()
        chosen = [int(_one(members[name], generator)) for name in names]
        canvases.append(maker.canvas(names, chosen, things[1]))
    images, labels, which = zip(*canvases)
    return Compositions(torch.stack(images), torch.stack(labels), torch.stack(which))


class _Maker:
    """Puts things on canvases, one canvas after the other."""

    def __init__(
        self, crops: Tensor | Sequence[Tensor], side: int, scale: tuple[float, float], generator: torch.Generator
    ) -> None:
        self.crops, self.side, self.scale, self.generator = crops, side, scale, generator

    def canvas(self, names: Sequence[int], chosen: Sequence[int], most: int) -> tuple[Tensor, Tensor, Tensor]:
        """One canvas, its labels ``(most, 5)`` and crops ``(most,)``."""
        colour = 200 + 55 * torch.rand(3, 1, 1, generator=self.generator)
        picture = colour.expand(3, self.side, self.side).clone()
        labels, crops = torch.zeros(most, 5), torch.full((most,), -1)
        labels[:, 0] = -1
        boxes: list[Box] = []
        for name, number in zip(names, chosen):
            thing = self._thing(self.crops[number])
            place = self._place(thing.shape[1], thing.shape[2], boxes)
            if place is None:
                continue
            left, top, right, bottom = place
            picture[:, top:bottom, left:right] *= thing / 255
            labels[len(boxes)] = torch.tensor([name, *(edge / self.side for edge in place)])
            crops[len(boxes)] = number
            boxes.append(place)
        return picture.round().to(torch.uint8), labels, crops

    def _thing(self, crop: Tensor) -> Tensor:
        """What is on the crop's paper, at a drawn size: ``(3, h, w)`` floats to 255."""
        low, high = self.scale
        longer = (low + (high - low) * float(torch.rand((), generator=self.generator))) * self.side
        cut = trimmed(crop).float()
        zoom = longer / max(cut.shape[1:])
        size = [min(self.side, max(2, round(edge * zoom))) for edge in cut.shape[1:]]
        return F.interpolate(cut[None], size, mode="bilinear", antialias=True, align_corners=False)[0].clamp(0, 255)

    def _place(self, height: int, width: int, boxes: Sequence[Box]) -> Box | None:
        """Where it covers no other box; None where no such place was found."""
        for _ in range(TRIES):
            drawn = torch.rand(2, generator=self.generator)
            left, top = (int(part * (self.side - edge + 1)) for part, edge in zip(drawn.tolist(), (width, height)))
            right, bottom = left + width, top + height
            if all(right <= x0 or x1 <= left or bottom <= y0 or y1 <= top for x0, y0, x1, y1 in boxes):
                return left, top, right, bottom
        return None


def trimmed(crop: Tensor) -> Tensor:
    """The crop without the paper around the thing; as it is where the corners are unlike, or nothing is on it."""
    corners = crop[:, [0, 0, -1, -1], [0, -1, 0, -1]].float()
    paper = corners.mean(1)
    if (corners - paper[:, None]).abs().max() > PAPER or paper.min() < 128:
        return crop
    there = ((crop.float() - paper[:, None, None]).abs() > PAPER).any(0)
    if not there.any():
        return crop
    rows, columns = there.any(1).nonzero(), there.any(0).nonzero()
    return crop[:, int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]


def _one(numbers: Tensor, generator: torch.Generator) -> Tensor:
    return numbers[torch.randint(len(numbers), (), generator=generator)]
