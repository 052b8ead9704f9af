"""What the vision plugin adds to a run's report: thumbnails, and the views that training compared."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from counterpoint.errors import DataError, message
from counterpoint.report import Context, Gallery, Missing, Picture, Section, Tile
from counterpoint.types import Sample
from counterpoint_vision.tasks.sheet import fitted

SAMPLES, SIDE = 6, 96
LOSSLESS = 32
"""Pixels up to which a picture is kept as it is; larger ones become JPEG, a tenth of the bytes."""


def thumbnail(sample: Sample, side: int) -> Picture:
    """The image, its longer side at most ``side`` pixels; a smaller one stays as it is (the page enlarges it).

    Raises:
        DataError: the sample has no image.
    """
    image = sample.data.get("image")
    if not isinstance(image, Tensor):
        raise DataError(message("sample", f"modalities {', '.join(sample.data)}", "one called 'image'"))
    return encoded(image if max(image.shape[1:]) <= side else _reduced(image, side))


def _reduced(image: Tensor, side: int) -> Tensor:
    return torch.from_numpy(np.array(fitted(image, side))).permute(2, 0, 1)


def encoded(image: Tensor) -> Picture:
    """A uint8 ``(3, H, W)`` image as PNG where it is tiny, else as JPEG."""
    picture, file = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy())), io.BytesIO()
    if max(picture.size) <= LOSSLESS:
        picture.save(file, "PNG", optimize=True)
        return Picture(file.getvalue(), "image/png")
    picture.save(file, "JPEG", quality=82, optimize=True)
    return Picture(file.getvalue(), "image/jpeg")


def views(context: Context) -> Section:
    """Some training samples, and the views of them that training compared, or a fine-tuning saw.

    Raises:
        Missing: the data is gone, none of the samples can be read, or the views make no images.
    """
    seed, known = int(context.config["seed"]), context.trained_on
    rows = known[torch.randperm(len(known), generator=_generator(seed))[:SAMPLES].numpy()].tolist()
    batch = context.dataset.batch(rows)
    if not len(batch):
        raise Missing(f"None of {len(rows)} training samples can be read.")
    with torch.no_grad():
        made = context.used(context.run.views(batch.to(context.run.device), _generator(seed)))
    if any(view.data.dim() != 4 for view in made):
        raise Missing("These views are not images.")
    names = [f"{view.role} view" for view in made]
    gallery = []
    for place, index in enumerate(batch.index.tolist()):
        tiles = [Tile(context.preview(index, SIDE), context.dataset.name(index), mark="query")]
        tiles += [Tile(encoded(_shown(v.data[place], v.data)), name) for v, name in zip(made, names)]
        gallery.append(tiles)
    parts = [Gallery(gallery, "Samples and their views")]
    if context.task:
        lead = (
            f"In front a training sample, behind it {'the view' if len(made) == 1 else f'the {len(made)} views'} of it "
            "that training learnt from. Where a person could not give the right answer any more, views are too strong."
        )
        return Section("What training saw", lead, parts)
    lead = (
        "In front a training sample, behind it the views that training compared: the encoder was asked to find "
        "them alike. If a person could not, they are too strong; if they look the same, too weak."
    )
    return Section("What training compared", lead, parts)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _shown(view: Tensor, batch: Tensor) -> Tensor:
    """A normalised ``(3, H, W)`` view in the range of pixels: stretched as all views of its batch are."""
    low, high = torch.quantile(batch.float().flatten()[:100_000].cpu(), torch.tensor([0.005, 0.995]))
    share = (view.float().cpu() - low) / (high - low).clamp_min(1e-6)
    pixels: Tensor = (255 * share.clamp(0, 1)).round().to(torch.uint8)
    return pixels
