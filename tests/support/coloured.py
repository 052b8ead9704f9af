"""Pictures of one colour with texts, in memory; views that leave them as they are; and an encoder that is told all."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from counterpoint.parts import SPLITS, Encoder, Views
from counterpoint.types import Batch, Encoding, View
from counterpoint_multimodal.data.captions import decode
from counterpoint_multimodal.data.pairs import Pairs, Records

Colour = tuple[int, int, int]
DAMAGED: Colour = (-1, -1, -1)


class Coloured(Pairs):
    """Samples ``(colour, captions, split)``, and perhaps their classes; `DAMAGED` cannot be read."""

    def __init__(self, samples: list[tuple[Colour, list[str], str]], labels: list[str] | None = None) -> None:
        self.colours = [colour for colour, _, _ in samples]
        classes = sorted(set(labels or []))
        records = Records(
            [str(number) for number in range(len(samples))],
            [texts for _, texts, _ in samples],
            self.colours,
            (np.array([classes.index(label) for label in labels]), classes) if labels else (None, None),
            np.array([SPLITS.index(part) for _, _, part in samples]),
        )
        self._fill(records, None, False)

    def _raw(self, index: int) -> bytes:
        if self.colours[index] == DAMAGED:
            return b"no picture"
        file = io.BytesIO()
        Image.new("RGB", (4, 4), self.colours[index]).save(file, "PNG")
        return file.getvalue()

    def _fingerprints(self) -> Iterator[bytes]:
        yield from (bytes(abs(value) for value in colour) for colour in self.colours)


class AsTheyAre(Views):
    """Neither resized nor augmented."""

    modalities = ("image", "text")

    def __call__(self, batch: Batch, generator: torch.Generator) -> list[View]:
        return self.plain(batch)

    def plain(self, batch: Batch) -> list[View]:
        made = [View(batch.data["image"], "image")] if "image" in batch.data else []
        return made + ([View({"text": batch.data["text"]}, "text")] if "text" in batch.data else [])


class Told(Encoder):
    """Whose vectors are given: of a picture by its colour, of a text by itself; for each role."""

    def __init__(
        self,
        image: Callable[[Colour, str], Tensor],
        text: Callable[[str, str], Tensor],
        local_heads: bool = False,
    ) -> None:
        super().__init__()
        self.image, self.text, self.local_heads = image, text, local_heads
        self.dim = len(text("thing 0", "global"))
        self.place = nn.Parameter(torch.zeros(()))

    def forward(self, view: View) -> Encoding:
        if view.modality == "image":
            found = [self.image(tuple(image[:, 0, 0].tolist()), view.role) for image in view.data]
        else:
            found = [self.text("".join(each[:1]), view.role) for each in decode(view.data["text"])]
        return Encoding(torch.stack(found))
