"""SimCLR views per second, one thread, peers with equal parameters: 32 px, 224 px, and JPEG files to 224 px.

Every case draws crops of area (0.08, 1) and ratio (3/4, 4/3), flips, jitters colour (0.8, 0.8, 0.8, 0.2; p 0.8), greys
(p 0.2), at 224 px blurs (kernel 23, sigma 0.1 to 2; p 0.5), normalises, and ends with one float32 batch. Ours,
torchvision, lightly and "albumentations, area" filter what they shrink; plain albumentations and kornia do not.
Peers take part where they are installed: albumentations, kornia, lightly.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import measure
import numpy as np
import pytest
import torch
from PIL import Image

from counterpoint.types import Batch
from counterpoint_vision.data import ImageFolder
from counterpoint_vision.views import SimCLRViews

pytestmark = pytest.mark.bench

SMOKE = measure.smoke()
REPEATS = 1 if SMOKE else 9
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIGMA, KERNEL = (0.1, 2.0), 23
JITTER = (0.8, 0.8, 0.8, 0.2)
FLOOR = 8000.0  # views per second at 32 px
RESULTS: dict[str, object] = {}
Case = Callable[[], object]


def pictures(count: int, height: int, width: int) -> list[np.ndarray]:
    """Smooth colour pictures ``(H, W, 3)`` uint8."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, height // 8, width // 8, 3), dtype=np.uint8)
    return [np.asarray(Image.fromarray(c).resize((width, height), Image.Resampling.BICUBIC)) for c in coarse]


def tensors(images: list[np.ndarray]) -> list[torch.Tensor]:
    """``(3, H, W)`` views of the same memory, which is what a JPEG decoder gives."""
    return [torch.from_numpy(image).permute(2, 0, 1) for image in images]


def ours(images: list[torch.Tensor] | torch.Tensor, size: int) -> Case:
    count = torch.arange(len(images))
    batch = Batch({"image": images}, index=count, content=count)
    views = SimCLRViews(size, views=1, strength=1.0, blur=SIGMA if size > 32 else None)
    generator = torch.Generator().manual_seed(0)
    return lambda: views(batch, generator)


def torchvision_steps(size: int) -> list[Callable[..., object]]:
    from torchvision.transforms import v2

    steps = [
        v2.RandomResizedCrop(size, antialias=True),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(*JITTER)], p=0.8),
        v2.RandomGrayscale(0.2),
    ]
    return steps + ([v2.RandomApply([v2.GaussianBlur(KERNEL, SIGMA)], p=0.5)] if size > 32 else [])


def by_torchvision(images: list[np.ndarray], size: int) -> dict[str, Case]:
    from torchvision.transforms import v2

    ends = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    on_tensors = v2.Compose([*torchvision_steps(size), *ends])
    on_pictures = v2.Compose([*torchvision_steps(size), v2.ToImage(), *ends])
    uint8, pillow = [t.contiguous() for t in tensors(images)], [Image.fromarray(i) for i in images]
    return {
        "torchvision, tensors": lambda: torch.stack([on_tensors(image) for image in uint8]),
        "torchvision, Pillow": lambda: torch.stack([on_pictures(image) for image in pillow]),
    }


def by_lightly(images: list[np.ndarray], size: int) -> dict[str, Case]:
    transform = lightly_transform(size)
    pillow = [Image.fromarray(i) for i in images]
    return {"lightly": lambda: torch.stack([transform(image) for image in pillow])}


def lightly_transform(size: int) -> Callable[[Image.Image], torch.Tensor]:
    from lightly.transforms.simclr_transform import SimCLRViewTransform

    return SimCLRViewTransform(input_size=size, gaussian_blur=0.5 if size > 32 else 0.0, sigmas=SIGMA)


def by_albumentations(images: list[np.ndarray], size: int) -> dict[str, Case]:
    import albumentations
    import cv2

    cv2.setNumThreads(1)

    def case(area: str | None) -> Case:
        a, ranges = albumentations, [(1 - s, 1 + s) for s in JITTER[:3]] + [(-JITTER[3], JITTER[3])]
        steps = [
            a.RandomResizedCrop((size, size), scale=(0.08, 1.0), area_for_downscale=area),
            a.HorizontalFlip(p=0.5),
            a.ColorJitter(*ranges, p=0.8),
            a.ToGray(p=0.2),
            *([a.GaussianBlur(blur_limit=(KERNEL, KERNEL), sigma_limit=SIGMA, p=0.5)] if size > 32 else []),
            a.Normalize(MEAN, STD),
        ]
        transform = a.Compose(steps)

        def run() -> torch.Tensor:
            done = np.stack([transform(image=image)["image"] for image in images])
            return torch.from_numpy(done).permute(0, 3, 1, 2)

        return run

    return {"albumentations": case(None), "albumentations, area": case("image")}


def by_kornia(images: list[np.ndarray], size: int) -> dict[str, Case]:
    import kornia.augmentation as k

    steps = [
        k.RandomResizedCrop((size, size), scale=(0.08, 1.0)),
        k.RandomHorizontalFlip(),
        k.ColorJitter(*JITTER, p=0.8),
        k.RandomGrayscale(p=0.2),
        *([k.RandomGaussianBlur((KERNEL, KERNEL), SIGMA, p=0.5)] if size > 32 else []),
        k.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
    ]
    transform, uint8 = torch.nn.Sequential(*steps), torch.stack([t.contiguous() for t in tensors(images)])
    return {"kornia": lambda: transform(uint8.float() / 255)}


PEERS = {"albumentations": by_albumentations, "kornia": by_kornia, "lightly": by_lightly, "torchvision": by_torchvision}


def peers(images: list[np.ndarray], size: int) -> dict[str, Case]:
    found: dict[str, Case] = {}
    for name, make in PEERS.items():
        if importlib.util.find_spec(name):
            found |= make(images, size)
    return found


def per_second(cases: dict[str, Case], count: int) -> dict[str, dict[str, float]]:
    """Views per second of wall and of processor time."""
    times = measure.interleaved(cases, repeats=REPEATS)
    return {name: {"wall": round(count / t.wall, 1), "cpu": round(count / t.cpu, 1)} for name, t in times.items()}


def save(name: str, what: str, found: dict[str, dict[str, float]], target: object) -> None:
    """Put one table into views.json, beside those that ran before it."""
    RESULTS[name] = {"what": what, "views per second": found, "target": target}
    measure.write("views", RESULTS)


def test_views_of_32_pixels() -> None:
    count = 16 if SMOKE else 256
    images = pictures(count, 32, 32)
    cases = {"ours": ours(torch.stack([t.contiguous() for t in tensors(images)]), 32)} | peers(images, 32)
    found = per_second(cases, count)
    what = f"SimCLR views of 32 px from {count} images of 32 x 32; views per second"
    save("32", what, found, FLOOR)
    if not SMOKE:
        assert found["ours"]["cpu"] >= FLOOR
        assert found["ours"]["cpu"] == max(case["cpu"] for case in found.values())


@pytest.mark.parametrize(("height", "width"), [(256, 256), (300, 400)])
def test_views_of_224_pixels(height: int, width: int) -> None:
    count = 2 if SMOKE else 32
    images = pictures(count, height, width)
    uint8 = tensors(images)
    cases = {"ours": ours(uint8, 224), "ours, CHW memory": ours(torch.stack([t.contiguous() for t in uint8]), 224)}
    found = per_second(cases | peers(images, 224), count)
    what = f"SimCLR views of 224 px with blur from {count} images of {height} x {width}; views per second"
    target = "albumentations, area: the same filter and parameters"
    save(f"224-from-{height}x{width}", what, found, target)
    if not SMOKE and "albumentations, area" in found:
        assert found["ours"]["cpu"] >= found["albumentations, area"]["cpu"]


def test_jpeg_files_to_views(tmp_path: Path) -> None:
    count, size = (2, 224) if SMOKE else (32, 224)
    for i, image in enumerate(pictures(count, 300, 400)):
        Image.fromarray(image).save(tmp_path / f"{i:03}.jpg", quality=90)
    paths = sorted(tmp_path.glob("*.jpg"))
    dataset = ImageFolder(str(tmp_path), labelled=False)
    views = SimCLRViews(size, strength=1.0, blur=SIGMA)
    generator = torch.Generator().manual_seed(0)

    def folder_to_views() -> object:
        return views(dataset.collate([dataset[i] for i in range(len(dataset))]), generator)

    cases: dict[str, Case] = {"ours": folder_to_views}
    if importlib.util.find_spec("lightly"):
        transform = lightly_transform(size)

        def lightly_pair(path: Path) -> list[torch.Tensor]:
            with Image.open(path) as image:
                rgb = image.convert("RGB")
            return [transform(rgb), transform(rgb)]

        cases["lightly"] = lambda: [torch.stack(v) for v in zip(*(lightly_pair(p) for p in paths))]
    found = per_second(cases, 2 * count)
    what = f"two SimCLR views of {size} px with blur of each of {count} JPEG files of 300 x 400, decoding included"
    save("jpeg", what, found, "2 x lightly")
    if not SMOKE and "lightly" in found:
        assert found["ours"]["cpu"] >= 2 * found["lightly"]["cpu"]
