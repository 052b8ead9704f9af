"""Every kind of file that a folder of pictures may hold comes out as (3, H, W) uint8, or says why not."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from counterpoint_vision.data import decode as module
from counterpoint_vision.data.decode import decode, jpeg_frame

pytestmark = pytest.mark.unit


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def expected(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_every_pixel(kind, picture):
    image = picture(13, 9)
    out = decode(encoded(image, kind))
    assert out.dtype == torch.uint8 and out.is_contiguous()
    assert torch.equal(out, expected(image))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_equal_what_pillow_reads(kind, picture):
    raw = encoded(picture(33, 21), kind)
    assert torch.equal(decode(raw), expected(Image.open(io.BytesIO(raw))))


@pytest.mark.parametrize("quality, subsampling, progressive", [(50, 2, False), (95, 0, True), (80, 1, False)])
def test_jpeg_variants_equal_what_pillow_reads(quality, subsampling, progressive, picture):
    raw = encoded(picture(50, 31), "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
    difference = decode(raw).int() - expected(Image.open(io.BytesIO(raw))).int()
    assert difference.abs().max() <= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_grey_becomes_three_equal_channels(kind, picture):
    image = picture(8, 8).convert("L")
    out = decode(encoded(image, kind))
    assert out.shape == (3, 8, 8) and torch.equal(out[0], out[1]) and torch.equal(out[1], out[2])


def test_one_bit_images_become_black_and_white():
    out = decode(encoded(Image.fromarray(np.eye(8, dtype=bool)), "PNG"))
    assert torch.equal(out[0], torch.eye(8, dtype=torch.uint8) * 255)


def test_alpha_is_laid_on_white():
    pixels = np.zeros((1, 3, 4), dtype=np.uint8)
    pixels[0, :, 3] = (0, 128, 255)  # black, from invisible to solid
    assert decode(encoded(Image.fromarray(pixels), "PNG"))[0, 0].tolist() == [255, 127, 0]


def test_grey_with_alpha_is_laid_on_white():
    image = Image.merge("LA", (Image.new("L", (2, 1), 10), Image.new("L", (2, 1), 0)))
    assert decode(encoded(image, "PNG")).unique().tolist() == [255]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_transparency_is_laid_on_white(kind):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    out = decode(encoded(image, kind, transparency=1))
    assert out[:, 0, 0].tolist() == [255, 0, 0] and out[:, 0, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind):
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    assert decode(encoded(Image.fromarray(values), kind))[0, 0].tolist() == [0, 1, 128, 255]


def test_float_images_are_stretched_from_their_own_range():
    values = np.array([[-2.0, 0.0, 2.0]], dtype=np.float32)
    assert decode(encoded(Image.fromarray(values), "TIFF"))[0, 0].tolist() == [0, 128, 255]


def test_float_images_with_nan_are_refused():
    values = np.array([[np.nan, 0.0]], dtype=np.float32)
    with pytest.raises(ValueError, match="not finite"):
        decode(encoded(Image.fromarray(values), "TIFF"))


def test_cmyk_jpeg_is_converted(picture):
    image = picture(16, 16)
    raw = encoded(image.convert("CMYK"), "JPEG", quality=95)
    assert (decode(raw).int() - expected(image).int()).abs().float().mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("max_side", [None, 16])
def test_exif_orientation_is_applied(orientation, kind, max_side, picture):
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = encoded(picture(40, 24), kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(raw)))
    out = decode(raw, max_side)
    factor = 1 if max_side is None else 2
    small = upright.reduce(factor) if factor > 1 else upright
    assert out.shape == (3, small.height, small.width)
    assert (out.int() - expected(small).int()).abs().float().mean() < 4


@pytest.mark.parametrize(
    "kind, max_side, shape",
    [
        ("JPEG", 50, (3, 40, 60)),  # 80 x 120 -> factor 2
        ("JPEG", 80, (3, 80, 120)),  # already small enough
        ("JPEG", 30, (3, 20, 30)),  # factor 3 is rounded up to a power of 2 in the JPEG decoder
        ("JPEG", 5, (3, 5, 8)),  # beyond the decoder's 8, the rest by averaging
        ("PNG", 30, (3, 27, 40)),  # factor 3
    ],
)
def test_max_side_reads_smaller_by_a_whole_factor(kind, max_side, shape, picture):
    image = picture(120, 80)
    out = decode(encoded(image, kind), max_side)
    assert out.shape == shape
    reference = expected(image.resize((shape[2], shape[1]), Image.Resampling.BOX))
    assert (out.int() - reference.int()).abs().float().mean() < 5


def test_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    out = decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert out[:, 0, 0].tolist() == [255, 0, 0]


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that claims side x side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [12_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_unfolds(side):
    with pytest.raises(ValueError, match=r"limit|decompression bomb"):
        decode(bomb(side))


def test_a_jpeg_that_is_too_large_is_refused(monkeypatch, picture):
    monkeypatch.setattr(module, "MAX_PIXELS", 99)
    with pytest.raises(ValueError, match="10 x 10 pixels are more than the limit of 99"):
        decode(encoded(picture(10, 10), "JPEG"))


def test_faults_are_named(picture):
    jpeg, png = encoded(picture(64, 64), "JPEG"), encoded(picture(64, 64), "PNG")
    faults = {
        "empty file": b"",
        "not an image of a known format": b"this is text\n",
        "runcated": jpeg[: len(jpeg) // 2],
        "broken|truncated": png[: len(png) // 2],
    }
    for reason, raw in faults.items():
        with pytest.raises(ValueError, match=reason):
            decode(raw)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_bytes_that_are_changed_or_cut_give_an_image_or_a_reason(kind, picture):
    raw = encoded(picture(24, 24), kind)
    rng = np.random.default_rng(0)
    for _ in range(40):
        broken = bytearray(raw[: rng.integers(1, len(raw) + 1)])
        for place in rng.integers(0, len(broken), 3):
            broken[place] = rng.integers(0, 256)
        try:
            assert decode(bytes(broken)).dim() == 3
        except ValueError as error:
            assert str(error)


def test_jpeg_frame_reads_the_header(picture):
    exif = Image.Exif()
    exif[0x010E] = "a long description " * 50
    assert jpeg_frame(encoded(picture(31, 17), "JPEG", exif=exif)) == (31, 17, 3)
    assert jpeg_frame(encoded(picture(31, 17).convert("L"), "JPEG")) == (31, 17, 1)
    assert jpeg_frame(encoded(picture(31, 17).convert("CMYK"), "JPEG", progressive=True)) == (31, 17, 4)
    assert jpeg_frame(encoded(picture(31, 17), "PNG")) is None
    assert jpeg_frame(b"\xff\xd8\xff\xe0\x00\x10") is None
