"""The augmentations of the papers, as thin subclasses of `ImageViews`."""

from __future__ import annotations

from counterpoint.errors import ConfigError, message
from counterpoint_vision.views.base import MEAN, STD, ImageViews
from counterpoint_vision.views.engine import Triple
from counterpoint_vision.views.settings import Augmentation

Range = tuple[float, float]


def tenth(size: int) -> int:
    """SimCLR's blur kernel: a tenth of the view's side, made odd (23 at 224 pixels)."""
    return size // 10 | 1


class SimCLRViews(ImageViews):
    """SimCLR's augmentation (Chen et al. 2020, section 3 and appendix A).

    The defaults are those for 32-pixel images (appendix B.9: half strength, no blur). At 224 pixels the paper has
    ``strength=1.0, blur=(0.1, 2.0)``.

    Args:
        size: side of a view in pixels.
        views: number of views, at least 1.
        scale: least and greatest share of the image's area in a crop.
        ratio: least and greatest width / height of a crop.
        flip: probability of a horizontal flip.
        strength: of the colour jitter: ``strength * (0.8, 0.8, 0.8, 0.2)``, in [0, 2.5].
        jitter_p: probability of colour jitter.
        gray_p: probability of a grey image.
        blur: least and greatest sigma of the blur in pixels, or None.
        blur_p: probability of blur.
        mean: subtracted per channel, for values in [0, 1].
        std: divided by, per channel.
        channels_last: memory format of the views.
    """

    def __init__(
        self,
        size: int = 32,
        views: int = 2,
        scale: Range = (0.08, 1.0),
        ratio: Range = (3 / 4, 4 / 3),
        flip: float = 0.5,
        strength: float = 0.5,
        jitter_p: float = 0.8,
        gray_p: float = 0.2,
        blur: Range | None = None,
        blur_p: float = 0.5,
        mean: Triple = MEAN,
        std: Triple = STD,
        channels_last: bool = False,
    ) -> None:
        settings = Augmentation(
            size=size,
            scale=scale,
            ratio=ratio,
            flip=flip,
            jitter=(0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength),
            jitter_p=jitter_p,
            gray_p=gray_p,
            blur=blur,
            blur_p=blur_p,
            blur_kernel=tenth(size),
        )
        super().__init__([settings] * count("views", views, 1), mean, std, channels_last)


class MultiCropViews(ImageViews):
    """SwAV's multi-crop (Caron et al. 2020): large global crops and small local ones.

    The defaults suit 32-pixel images; the paper at 224 pixels: ``size=224, global_scale=(0.14, 1.0), local_size=96,
    local_scale=(0.05, 0.14), locals=6, strength=1.0, blur=(0.1, 2.0)``.

    Args:
        size: side of a global view in pixels.
        local_size: side of a local view in pixels.
        locals: number of local views.
        global_scale: share of the image's area in a global crop.
        local_scale: share of the image's area in a local crop.
        strength: of the colour jitter: ``strength * (0.8, 0.8, 0.8, 0.2)``.
        blur: least and greatest sigma of the blur in pixels, or None.
        blur_p: probability of blur.
        mean: subtracted per channel, for values in [0, 1].
        std: divided by, per channel.
        channels_last: memory format of the views.
    """

    def __init__(
        self,
        size: int = 32,
        local_size: int = 16,
        locals: int = 4,
        global_scale: Range = (0.3, 1.0),
        local_scale: Range = (0.08, 0.3),
        strength: float = 0.5,
        blur: Range | None = None,
        blur_p: float = 0.5,
        mean: Triple = MEAN,
        std: Triple = STD,
        channels_last: bool = False,
    ) -> None:
        jitter = (0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength)
        large = Augmentation(size=size, scale=global_scale, jitter=jitter, blur=blur, blur_p=blur_p)
        small = Augmentation(size=local_size, scale=local_scale, jitter=jitter, blur=blur, blur_p=blur_p, role="local")
        super().__init__([large] * 2 + [small] * count("locals", locals, 0), mean, std, channels_last)


def count(name: str, found: int, least: int) -> int:
    """``found``, or a ConfigError when it is less than ``least``."""
    if found < least:
        raise ConfigError(message(name, found, f"at least {least}"))
    return found
