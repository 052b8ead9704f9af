"""The augmentations of the papers, as thin subclasses of `ImageViews`.

The defaults suit 32-pixel images (no blur, crops not too small); each docstring gives the paper's values at 224 pixels.
"""

from __future__ import annotations

from functools import partial

from counterpoint.errors import ConfigError, message
from counterpoint_vision.views.base import MEAN, STD, ImageViews
from counterpoint_vision.views.crop import Interpolation
from counterpoint_vision.views.engine import Triple
from counterpoint_vision.views.settings import Augmentation

Range = tuple[float, float]
BYOL_JITTER = (0.4, 0.4, 0.2, 0.1)


def tenth(size: int) -> int:
    """SimCLR's blur kernel: a tenth of the view's side, made odd and at least 3 (23 at 224 pixels)."""
    return max(3, size // 10 | 1)


def simclr_jitter(strength: float) -> tuple[float, float, float, float]:
    """Strengths of brightness, contrast, saturation and hue: ``strength * (0.8, 0.8, 0.8, 0.2)``."""
    return 0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength


def count(name: str, found: int, least: int) -> int:
    """``found``, or a ConfigError when it is less than ``least``."""
    if found < least:
        raise ConfigError(message(name, found, f"at least {least}"))
    return found


class SimCLRViews(ImageViews):
    """SimCLR's augmentation (Chen et al. 2020, section 3 and appendix A).

    At 32 pixels half strength and no blur (appendix B.9); at 224 pixels ``strength=1.0, blur=(0.1, 2.0)``.

    Args:
        size: side of a view in pixels.
        views: number of views, at least 1.
        scale: least and greatest share of the image's area in a crop.
        ratio: least and greatest width / height of a crop.
        flip: probability of a horizontal flip.
        strength: of the colour jitter: ``strength * (0.8, 0.8, 0.8, 0.2)``, in [0, 2.5].
        jitter_p: probability of colour jitter.
        gray_p: probability of a grey image.
        blur: least and greatest sigma of the blur in pixels, or None; its kernel is a tenth of the size.
        blur_p: probability of blur.
        mean: subtracted per channel, for values in [0, 1].
        std: divided by, per channel.
        channels_last: memory format of the views.
        interpolation: of the crops and the plain view: ``"bilinear"`` or ``"bicubic"``.
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
        interpolation: Interpolation = "bilinear",
    ) -> None:
        settings = Augmentation(
            size=size,
            scale=scale,
            ratio=ratio,
            flip=flip,
            jitter=simclr_jitter(strength),
            jitter_p=jitter_p,
            gray_p=gray_p,
            blur=blur,
            blur_p=blur_p,
            blur_kernel=tenth(size),
            interpolation=interpolation,
        )
        super().__init__([settings] * count("views", views, 1), mean, std, channels_last)


class MoCoViews(ImageViews):
    """MoCo v2's augmentation (Chen et al. 2020b): SimCLR's at half strength, with larger crops.

    At 224 pixels ``blur=(0.1, 2.0)``. MoCo v3 uses BYOL's: `BYOLViews`.

    Args:
        size: side of a view in pixels.
        views: number of views, at least 1 (CACR: 5).
        scale: least and greatest share of the image's area in a crop.
        blur: least and greatest sigma of the blur in pixels, or None.
        blur_p: probability of blur.
        mean: subtracted per channel, for values in [0, 1].
        std: divided by, per channel.
        channels_last: memory format of the views.
        interpolation: of the crops and the plain view: ``"bilinear"`` or ``"bicubic"``.
    """

    def __init__(
        self,
        size: int = 32,
        views: int = 2,
        scale: Range = (0.2, 1.0),
        blur: Range | None = None,
        blur_p: float = 0.5,
        mean: Triple = MEAN,
        std: Triple = STD,
        channels_last: bool = False,
        interpolation: Interpolation = "bilinear",
    ) -> None:
        settings = Augmentation(
            size=size,
            scale=scale,
            jitter=simclr_jitter(0.5),
            blur=blur,
            blur_p=blur_p,
            interpolation=interpolation,
        )
        super().__init__([settings] * count("views", views, 1), mean, std, channels_last)


class BYOLViews(ImageViews):
    """BYOL's two unlike views (Grill et al. 2020, appendix B): one always blurred, one at times solarised.

    Also the augmentation of MoCo v3, Barlow Twins and VICReg. At 224 pixels ``blur=(0.1, 2.0)``.

    Args:
        size: side of a view in pixels.
        scale: least and greatest share of the image's area in a crop (MoCo v3 with a ResNet: (0.2, 1)).
        blur: least and greatest sigma of the blur in pixels, or None; its kernel is a tenth of the size.
        blur_p: probability of blur in the first and in the second view.
        solarise_p: probability of solarisation in the first and in the second view.
        mean: subtracted per channel, for values in [0, 1].
        std: divided by, per channel.
        channels_last: memory format of the views.
        interpolation: of the crops and the plain view: ``"bilinear"`` or ``"bicubic"``.
    """

    def __init__(
        self,
        size: int = 32,
        scale: Range = (0.08, 1.0),
        blur: Range | None = None,
        blur_p: Range = (1.0, 0.1),
        solarise_p: Range = (0.0, 0.2),
        mean: Triple = MEAN,
        std: Triple = STD,
        channels_last: bool = False,
        interpolation: Interpolation = "bilinear",
    ) -> None:
        pair = [
            Augmentation(
                size=size,
                scale=scale,
                jitter=BYOL_JITTER,
                blur=blur,
                blur_p=blurred,
                blur_kernel=tenth(size),
                solarise_p=solarised,
                interpolation=interpolation,
            )
            for blurred, solarised in zip(blur_p, solarise_p)
        ]
        super().__init__(pair, mean, std, channels_last)


class MultiCropViews(ImageViews):
    """SwAV's multi-crop (Caron et al. 2020): two large global crops and several small local ones.

    At 224 pixels: ``global_scale=(0.14, 1.0), local_size=96, local_scale=(0.05, 0.14), locals=6, strength=1.0,
    blur=(0.1, 2.0)``.

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
        interpolation: of the crops and the plain view: ``"bilinear"`` or ``"bicubic"``.
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
        interpolation: Interpolation = "bilinear",
    ) -> None:
        jitter = simclr_jitter(strength)
        shared = partial(Augmentation, jitter=jitter, blur=blur, blur_p=blur_p, interpolation=interpolation)
        large = shared(size=size, scale=global_scale)
        small = shared(size=local_size, scale=local_scale, role="local")
        super().__init__([large] * 2 + [small] * count("locals", locals, 0), mean, std, channels_last)


class DINOViews(ImageViews):
    """DINO's multi-crop (Caron et al. 2021): BYOL's two unlike global views, and local ones of a weaker kind.

    At 224 pixels: ``global_scale=(0.4, 1.0), local_size=96, local_scale=(0.05, 0.4), locals=8, blur=(0.1, 2.0)`` and,
    as in the official code, ``interpolation="bicubic"``.

    Args:
        size: side of a global view in pixels.
        local_size: side of a local view in pixels.
        locals: number of local views.
        global_scale: share of the image's area in a global crop.
        local_scale: share of the image's area in a local crop.
        blur: least and greatest sigma of the blur in pixels, or None.
        blur_p: probability of blur in the first global, the second global and the local views.
        solarise_p: probability of solarisation in the second global view.
        mean: subtracted per channel, for values in [0, 1].
        std: divided by, per channel.
        channels_last: memory format of the views.
        interpolation: of the crops and the plain view: ``"bilinear"`` or ``"bicubic"``.
    """

    def __init__(
        self,
        size: int = 32,
        local_size: int = 16,
        locals: int = 4,
        global_scale: Range = (0.4, 1.0),
        local_scale: Range = (0.08, 0.4),
        blur: Range | None = None,
        blur_p: Triple = (1.0, 0.1, 0.5),
        solarise_p: float = 0.2,
        mean: Triple = MEAN,
        std: Triple = STD,
        channels_last: bool = False,
        interpolation: Interpolation = "bilinear",
    ) -> None:
        shared = partial(Augmentation, jitter=BYOL_JITTER, blur=blur, interpolation=interpolation)
        first, second = (shared(size, global_scale, blur_p=p, solarise_p=s) for p, s in zip(blur_p, (0.0, solarise_p)))
        small = shared(local_size, local_scale, blur_p=blur_p[2], role="local")
        super().__init__([first, second, *[small] * count("locals", locals, 0)], mean, std, channels_last)
