"""One augmentation: its settings, and the random parameters drawn from them for a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, message
from counterpoint_vision.views.crop import Interpolation, draw_boxes


@dataclass(frozen=True)
class Augmentation:
    """Settings of one view.

    Attributes:
        size: side of the square view in pixels.
        scale: least and greatest share of the image's area that a crop takes, in (0, 1].
        ratio: least and greatest width / height of a crop.
        flip: probability of a horizontal flip.
        jitter: strengths of brightness, contrast, saturation (each >= 0) and hue (in [0, 0.5] turns).
        jitter_p: probability of colour jitter.
        gray_p: probability of a grey image.
        blur: least and greatest sigma of the Gaussian blur in pixels, or None for no blur.
        blur_p: probability of blur.
        blur_kernel: odd number of taps along each axis, or None for four sigma to either side.
        solarise_p: probability of inverting all values at or above one half.
        role: ``"global"`` or ``"local"``.
        interpolation: of the crop: ``"bilinear"`` or ``"bicubic"``.
    """

    size: int = 32
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    jitter_p: float = 0.8
    gray_p: float = 0.2
    blur: tuple[float, float] | None = None
    blur_p: float = 0.5
    blur_kernel: int | None = None
    solarise_p: float = 0.0
    role: str = "global"
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        for name in ("flip", "jitter_p", "gray_p", "blur_p", "solarise_p"):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "a probability in [0, 1]")
        _require(self.role in ("global", "local"), "role", repr(self.role), "'global' or 'local'")
        known = self.interpolation in get_args(Interpolation)
        _require(known, "interpolation", repr(self.interpolation), "'bilinear' or 'bicubic'")
        _require(self.size >= 1, "size", self.size, "pixels, at least 1")
        _require(0 < self.scale[0] <= self.scale[1] <= 1, "scale", self.scale, "0 < least <= greatest <= 1")
        _require(0 < self.ratio[0] <= self.ratio[1], "ratio", self.ratio, "0 < least <= greatest")
        fine = min(self.jitter) >= 0 and self.jitter[3] <= 0.5
        _require(fine, "jitter", self.jitter, "strengths >= 0, that of hue at most 0.5")
        if self.blur is not None:
            _require(0 < self.blur[0] <= self.blur[1], "blur", self.blur, "0 < least <= greatest sigma, or None")
        odd = self.blur_kernel is None or (self.blur_kernel > 0 and self.blur_kernel % 2 == 1)
        _require(odd, "blur_kernel", self.blur_kernel, "an odd number of taps, or None")


def _require(fine: bool, name: str, found: object, allowed: str) -> None:
    if not fine:
        raise ConfigError(message(name, found, allowed))


class Parameters(NamedTuple):
    """Random parameters of one image; see `Draw`."""

    box: list[int]
    flip: bool
    jitter: bool
    order: list[int]
    factors: list[float]
    gray: bool
    sigma: float
    solarise: bool


@dataclass(slots=True)
class Draw:
    """Random parameters of ``B`` images, on the CPU.

    Attributes:
        boxes: ``(B, 4)`` int64 crops: top, left, height, width.
        flip: ``(B,)`` bool.
        jitter: ``(B,)`` bool, whether colour jitter applies.
        order: ``(B, 4)`` int64, the order of brightness 0, contrast 1, saturation 2, hue 3.
        factors: ``(B, 4)`` float32, see `colour.jitter`.
        gray: ``(B,)`` bool.
        sigma: ``(B,)`` float64, 0 where there is no blur.
        solarise: ``(B,)`` bool.
    """

    boxes: Tensor
    flip: Tensor
    jitter: Tensor
    order: Tensor
    factors: Tensor
    gray: Tensor
    sigma: Tensor
    solarise: Tensor

    def each(self) -> list[Parameters]:
        """The same, one record an image."""
        columns = (getattr(self, name).tolist() for name in self.__slots__)
        return [Parameters(*row) for row in zip(*columns)]


def draw(settings: Augmentation, sizes: Tensor, generator: torch.Generator) -> Draw:
    """Draw the parameters of one view for images of ``sizes`` (``(B, 2)`` int64: heights, widths)."""
    batch = sizes.shape[0]

    def uniform(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=generator, dtype=torch.float64)

    boxes = draw_boxes(sizes, settings.scale, settings.ratio, generator)
    gates = uniform(5) < torch.tensor(
        [settings.flip, settings.jitter_p, settings.gray_p, settings.blur_p, settings.solarise_p], dtype=torch.float64
    )
    strength = torch.tensor(settings.jitter, dtype=torch.float64)
    low = torch.cat([(1 - strength[:3]).clamp(min=0), -strength[3:]])
    high = torch.cat([1 + strength[:3], strength[3:]])
    factors = low + (high - low) * uniform(4)
    order = uniform(4).argsort(1)
    least, greatest = settings.blur or (0.0, 0.0)
    sigma = (least + (greatest - least) * uniform()) * gates[:, 3]
    return Draw(boxes, gates[:, 0], gates[:, 1], order, factors.float(), gates[:, 2], sigma, gates[:, 4])
