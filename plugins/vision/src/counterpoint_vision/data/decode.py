"""Encoded image bytes -> ``(3, H, W)`` uint8, by the quickest correct way.

A plain JPEG goes through torchvision's decoder (libjpeg-turbo; the same pixels as Pillow's in a quarter of the time at
32 px and half at 500 px); everything else, and a JPEG that is to be read smaller, goes through Pillow.
"""

from __future__ import annotations

import io
from typing import cast

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .dib .tif .tiff .gif .ppm .pgm .pbm".split()  # noqa: SIM905
)
MAX_PIXELS = 2**27  # 400 MB decoded; a small file that unfolds to more is an accident or an attack
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM")
_NO_FRAME = frozenset({0xC4, 0xC8, 0xCC})


def decode(raw: bytes, max_side: int | None = None) -> Tensor:
    """Decode one image.

    Grey and palette images become colour, transparency is laid on white, 16-bit values are scaled to 8 bits, CMYK is
    converted, the EXIF rotation is applied, and of an animation the first frame is taken.

    Args:
        raw: content of the file.
        max_side: where the shorter side is longer than this, the image is read smaller by a whole factor (a power of 2
            up to 8 inside the JPEG decoder, which is also much quicker), so that the shorter side ends between
            ``max_side / 2`` and ``max_side``. None: full size.

    Returns:
        ``(3, H, W)`` uint8, contiguous.

    Raises:
        ValueError: the bytes are no image that can be read; the text says why.
    """
    if not raw:
        raise ValueError("empty file")
    frame = jpeg_frame(raw)
    try:
        if frame is not None:
            width, height, components = frame
            _check_size(width, height)
            if components in (1, 3) and (max_side is None or min(width, height) <= max_side):
                data = torch.frombuffer(bytearray(raw), dtype=torch.uint8)
                return cast(Tensor, decode_jpeg(data, ImageReadMode.RGB, apply_exif_orientation=True))
        return _by_pillow(raw, max_side)
    except Exception as error:  # decoders fail in many ways on damaged input
        raise ValueError(_reason(error)) from None


def jpeg_frame(raw: bytes) -> tuple[int, int, int] | None:
    """``(width, height, components)`` from a JPEG's header, or None where there is none.

    ``raw`` needs to be no more than the beginning of the file.
    """
    if raw[:2] != b"\xff\xd8":
        return None
    at, end = 2, len(raw) - 9
    while at <= end and raw[at] == 0xFF:
        marker = raw[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width = int.from_bytes(raw[at + 5 : at + 7], "big"), int.from_bytes(raw[at + 7 : at + 9], "big")
            return width, height, raw[at + 9]
        else:
            at += 2 + int.from_bytes(raw[at + 2 : at + 4], "big")
    return None


def _by_pillow(raw: bytes, max_side: int | None) -> Tensor:
    with Image.open(io.BytesIO(raw), formats=_FORMATS) as image:
        _check_size(*image.size)
        factor = 1 if max_side is None else -(-min(image.size) // max_side)
        if factor > 1 and image.format in ("JPEG", "MPO"):  # MPO: a JPEG with further pictures, from phones
            power = next(p for p in (2, 4, 8) if p >= factor or p == 8)
            image.draft(None, (image.width // power, image.height // power))
        rgb = _to_rgb(ImageOps.exif_transpose(image))
    if max_side is not None and min(rgb.size) > max_side:
        rgb = rgb.reduce(-(-min(rgb.size) // max_side))
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1).contiguous()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode[0] in "IF":  # 16- and 32-bit grey: Pillow would clip at 255
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """16-bit range -> 8 bits; float images and those beyond 16 bits are stretched from their own range."""
    values = values.astype(np.float64)
    low, high = 0.0, 65535.0
    if not np.isfinite(values).all():
        raise ValueError("values that are not finite")
    if values.size and (values.min() < 0 or values.max() > high or (values != np.rint(values)).any()):
        low, high = float(values.min()), float(values.max())
    scaled: np.ndarray = np.rint((values - low) * (255.0 / max(high - low, 1e-12))).astype(np.uint8)
    return scaled


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels are more than the limit of {MAX_PIXELS}")
    if width < 1 or height < 1:
        raise ValueError(f"a size of {width} x {height}")


def _reason(error: Exception) -> str:
    text = str(error)
    if isinstance(error, Image.DecompressionBombError):  # Pillow looks at the header before we can
        return f"more pixels than the limit of {MAX_PIXELS}"
    if isinstance(error, RuntimeError):  # torchvision puts the place in its C++ file first
        text = text.split("\n")[0].rsplit(": ", 1)[-1]
    if "cannot identify image file" in text:
        text = "not an image of a known format"
    return text or type(error).__name__
