"""One augmentation: its settings, the parameters drawn for a batch, and the engine that applies them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, message
from counterpoint_vision.views import blur as blurring
from counterpoint_vision.views import colour
from counterpoint_vision.views.crop import crop_batch, crop_each, draw_boxes

TILE = 1 << 18  # values worked on at a time: 1 MiB of float32 stays in a core's cache
SMALL = 96 * 96  # up to so many pixels a batch is cropped by matrix products


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

    def __post_init__(self) -> None:
        for name in ("flip", "jitter_p", "gray_p", "blur_p", "solarise_p"):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "a probability in [0, 1]")
        _require(self.size >= 1, "size", self.size, "pixels, at least 1")
        _require(0 < self.scale[0] <= self.scale[1] <= 1, "scale", self.scale, "0 < least <= greatest <= 1")
        _require(0 < self.ratio[0] <= self.ratio[1], "ratio", self.ratio, "0 < least <= greatest")
        fine = min(self.jitter) >= 0 and self.jitter[3] <= 0.5
        _require(fine, "jitter", self.jitter, "strengths >= 0, that of hue at most 0.5")
        if self.blur is not None:
            _require(0 < self.blur[0] <= self.blur[1], "blur", self.blur, "0 < least <= greatest sigma, or None")
        if self.blur_kernel is not None:
            _require(
                self.blur_kernel % 2 == 1 and self.blur_kernel > 0, "blur_kernel", self.blur_kernel, "odd, or None"
            )


def _require(fine: bool, name: str, found: object, allowed: str) -> None:
    if not fine:
        raise ConfigError(message(name, found, allowed))


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

    def __getitem__(self, rows: Tensor) -> Draw:
        return Draw(*(getattr(self, name)[rows] for name in self.__slots__))


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


def augment(
    images: Tensor | Sequence[Tensor], draws: Draw, settings: Augmentation, out: Tensor, norm: Normalise
) -> None:
    """Write the view of ``images`` under ``draws`` into ``out`` (``(B, 3, size, size)`` float32)."""
    place = (draws.order == colour.HUE).nonzero()[:, 1]
    rows = torch.where(draws.jitter, place, 4).argsort(stable=True)  # what `colour.jitter` wants, the rest at the end
    tile = len(rows) if out.device.type != "cpu" else max(1, TILE // (3 * settings.size**2))
    for part in torch.split(rows, tile):
        chosen = draws[part]
        x = _crop(images, part, chosen, settings.size)
        x = _colour(x, chosen)
        x = _blur(x, chosen, settings)
        x = _solarise(x, chosen)
        out[part.to(out.device)] = norm(x)


def _crop(images: Tensor | Sequence[Tensor], part: Tensor, draws: Draw, size: int) -> Tensor:
    if isinstance(images, Tensor) and (images.is_cuda or images.shape[2] * images.shape[3] <= SMALL):
        return crop_batch(images[part.to(images.device)], draws.boxes, draws.flip, size)
    return crop_each([images[i] for i in part.tolist()], draws.boxes, draws.flip, size)


def _colour(x: Tensor, draws: Draw) -> Tensor:
    count = int(draws.jitter.sum())
    if count:
        x[:count] = colour.jitter(x[:count], draws.order[:count], draws.factors[:count])
    for i in draws.gray.nonzero()[:, 0].tolist():
        x[i] = colour.grey(x[i : i + 1])[0]
    return x


def _blur(x: Tensor, draws: Draw, settings: Augmentation) -> Tensor:
    for i, sigma in enumerate(draws.sigma.tolist()):
        if sigma:
            taps = settings.blur_kernel or 2 * int(4 * sigma + 0.5) + 1
            x[i] = blurring.blur(x[i], sigma, min(taps // 2, settings.size - 1))
    return x


def _solarise(x: Tensor, draws: Draw) -> Tensor:
    for i in draws.solarise.nonzero()[:, 0].tolist():
        x[i] = colour.solarise(x[i])
    return x


@dataclass(frozen=True)
class Normalise:
    """``(x / 255 - mean) / std`` per channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise ``(B, 3, S, S)`` values in [0, 255]."""
        mean, std = x.new_tensor(self.mean).view(3, 1, 1) * 255, x.new_tensor(self.std).view(3, 1, 1) * 255
        return (x - mean) / std
