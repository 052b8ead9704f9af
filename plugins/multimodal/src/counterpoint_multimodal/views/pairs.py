"""Views of pictures with texts: CLIP's plain pair, and the weak and strong ones of CLIP-rocket and SLIP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from counterpoint.errors import ConfigError, DataError, message
from counterpoint.parts import Views
from counterpoint.types import Batch, View
from counterpoint_multimodal.views.image import IMAGE, SIMCLR, STRONG, WEAK, first, image_views
from counterpoint_multimodal.views.text import (
    STRENGTHS,
    TEXT,
    Strength,
    TextAugmentation,
    captions_of,
    text_view,
    view_of,
)

Options = Mapping[str, Any] | None


class _PairViews(Views):
    """What both have in common: which modalities a batch has, and the plain views."""

    modalities = (IMAGE, TEXT)
    _weak: Views

    def _has(self, batch: Batch) -> tuple[bool, bool]:
        """Whether there are images, and texts.

        Raises:
            DataError: neither.
        """
        found = IMAGE in batch.data, TEXT in batch.data
        if not any(found):
            todo = "All records of this batch were damaged." if batch.damaged else ""
            raise DataError(message("batch.data", "no image and no text", "'image', 'text', or both", todo))
        return found

    def plain(self, batch: Batch) -> list[View]:
        """The image, resized and cut to its centre; the first caption as it is. What the batch lacks is left out."""
        image, text = self._has(batch)
        views = self._weak.plain(batch) if image else []
        if text:
            captions, device = captions_of(batch)
            views.append(view_of([each[0] if each else "" for each in captions], device))
        return views


class PairViews(_PairViews):
    """One view of the image and one of a caption: CLIP's basic recipe.

    Of several captions one is drawn each time. The defaults augment the image weakly and the text not at all. A batch
    that has only images, or only texts, gives only their view.

    Args:
        size: side of an image view in pixels.
        image: views of images, ``plugin/part``; the first of their views is taken.
        image_options: their arguments, over those of a weak crop where they are ``vision/simclr``.
        text: what is done to the caption: nothing, stop words perhaps left out ("weak"), or one operation more
            ("strong").
        stop_words: probability that English stop words are left out.
        identity: weight of no operation.
        synonym: weight of a word in place of a synonym.
        swap: weight of two words that change places.
        deletion: weight of words left out, each with probability ``deletion_p``.
        deletion_p: see there.

    Raises:
        ConfigError: a setting out of its range, or an option that the image views do not have.
        PluginError: their plugin is not installed.
    """

    def __init__(
        self,
        size: int = 32,
        image: str = SIMCLR,
        image_options: Options = None,
        text: Strength = "none",
        stop_words: float = 0.8,
        identity: float = 0.0,
        synonym: float = 0.4,
        swap: float = 0.4,
        deletion: float = 0.2,
        deletion_p: float = 0.1,
    ) -> None:
        self._words = TextAugmentation(stop_words, identity, synonym, swap, deletion, deletion_p)
        self._strength = _strength("text", text)
        self._weak = image_views(image, image_options, WEAK, size, 1, "image_options")

    def __call__(self, batch: Batch, generator: torch.Generator) -> list[View]:
        """The image float32 ``(B, 3, S, S)``, and the text ``{"text": uint8 (B, L)}``."""
        image, text = self._has(batch)
        views = first(self._weak, batch, generator, 1, "global") if image else []
        if text:
            views.append(text_view(batch, self._strength, self._words, generator))
        return views


class RocketViews(_PairViews):
    """A weak view of image and text, and strong ones: CLIP-rocket's recipe.

    In this order: weak image, weak text (role ``"global"``); strong images, strong texts (role ``"local"``). Each text
    view draws its caption anew. A batch that has only images, or only texts, gives only their views.

    At 224 pixels ``strong=2, weak_options={"interpolation": "bicubic"}, strong_options={"blur": (0.1, 2.0)}``. Stop
    words are left out of most captions, so prompts such as "a photo of a shoe" look unlike them: measure prompts
    without them too, or lower ``stop_words``.

    Args:
        size: side of a weak image view in pixels.
        strong: number of strong views of either modality.
        strong_images: of the image, if another number.
        strong_texts: of the text, if another number.
        strong_size: side of a strong image view, if not ``size`` (192 beside 224 on the paper's largest data).
        image: views of images, ``plugin/part``.
        weak_options: their arguments for the weak view, over a crop of half the area or more where they are
            ``vision/simclr``.
        strong_options: likewise for the strong views, over SimCLR's augmentation.
        weak_text: what is done to the weak text: nothing, stop words perhaps left out ("weak"), or one operation more
            ("strong").
        strong_text: likewise to the strong texts.
        stop_words: probability that English stop words are left out.
        identity: weight of no operation.
        synonym: weight of a word in place of a synonym.
        swap: weight of two words that change places.
        deletion: weight of words left out, each with probability ``deletion_p``.
        deletion_p: see there.

    Raises:
        ConfigError: a setting out of its range, or an option that the image views do not have.
        PluginError: their plugin is not installed.

    Source: Fini et al. 2023 (arXiv 2305.08675) and its released settings.
    """

    def __init__(
        self,
        size: int = 32,
        strong: int = 1,
        strong_images: int | None = None,
        strong_texts: int | None = None,
        strong_size: int | None = None,
        image: str = SIMCLR,
        weak_options: Options = None,
        strong_options: Options = None,
        weak_text: Strength = "weak",
        strong_text: Strength = "strong",
        stop_words: float = 0.8,
        identity: float = 0.0,
        synonym: float = 0.4,
        swap: float = 0.4,
        deletion: float = 0.2,
        deletion_p: float = 0.1,
    ) -> None:
        self._words = TextAugmentation(stop_words, identity, synonym, swap, deletion, deletion_p)
        self._strengths = _strength("weak_text", weak_text), _strength("strong_text", strong_text)
        self._images = _count("strong_images", strong if strong_images is None else strong_images)
        self._texts = _count("strong_texts", strong if strong_texts is None else strong_texts)
        self._weak = image_views(image, weak_options, WEAK, size, 1, "weak_options")
        sides = size if strong_size is None else strong_size
        self._strong = image_views(image, strong_options, STRONG, sides, max(self._images, 1), "strong_options")

    def __call__(self, batch: Batch, generator: torch.Generator) -> list[View]:
        """Images are float32 ``(B, 3, S, S)``, texts ``{"text": uint8 (B, L)}``."""
        image, text = self._has(batch)
        weak, strong = self._strengths
        views = first(self._weak, batch, generator, 1, "global") if image else []
        if text:
            views.append(text_view(batch, weak, self._words, generator))
        if image and self._images:
            views += first(self._strong, batch, generator, self._images, "local")
        for _ in range(self._texts if text else 0):
            views.append(text_view(batch, strong, self._words, generator, "local"))
        return views


class SLIPViews(RocketViews):
    """A weak view of image and text, and two or more strong ones of the image: SLIP's recipe.

    In this order: weak image, weak text (role ``"global"``); strong images (role ``"local"``).

    Args:
        size: side of an image view in pixels.
        strong_images: number of strong views of the image.
        image: views of images, ``plugin/part``.
        weak_options: see `RocketViews`.
        strong_options: likewise.
        weak_text: what is done to the text: nothing, stop words perhaps left out ("weak"), or one operation more
            ("strong").

    Raises:
        ConfigError: a setting out of its range, or an option that the image views do not have.
        PluginError: their plugin is not installed.

    Source: Mu et al. 2021 (arXiv 2112.12750).
    """

    def __init__(
        self,
        size: int = 32,
        strong_images: int = 2,
        image: str = SIMCLR,
        weak_options: Options = None,
        strong_options: Options = None,
        weak_text: Strength = "none",
    ) -> None:
        super().__init__(
            size,
            strong_images=strong_images,
            strong_texts=0,
            image=image,
            weak_options=weak_options,
            strong_options=strong_options,
            weak_text=weak_text,
        )


def _strength(name: str, found: Strength) -> Strength:
    if found not in STRENGTHS:
        raise ConfigError(message(name, repr(found), "'none', 'weak' or 'strong'"))
    return found


def _count(name: str, found: int) -> int:
    if found < 0:
        raise ConfigError(message(name, found, "a whole number from 0"))
    return found
