"""SLIP: CLIP between a picture and its text, and a method of vision between two strong views of the picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.methods import METHODS
from counterpoint.methods.base import HeadFactory, Method
from counterpoint.methods.pair import Pair
from counterpoint.objectives import Objective
from counterpoint.parts import Encoder
from counterpoint.types import Batch, Encoding, Step, View
from counterpoint_multimodal.methods._common import check_choice, feature_dims, features, made

ImageMethod = Callable[[Encoder], Method]
IMAGE = "image"
IMAGE_LOSSES = {name: part for name, part in METHODS.items() if not part.capabilities}
"""The core's methods that need no particular encoder."""


class ImageTower(Encoder):
    """The image tower of an encoder as an encoder of its own, up to its projection: ``pooled`` is its features.

    Args:
        encoder: of several modalities, one of them ``"image"``.

    Raises:
        ConfigError: there is no such modality.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        dims = feature_dims(encoder)
        if IMAGE not in dims:
            raise ConfigError(message("SLIP: modalities of the encoder", ", ".join(dims) or "none", f"with {IMAGE!r}"))
        self.encoder = encoder
        self.dim = dims[IMAGE]

    def forward(self, view: View) -> Encoding:
        """Encode images."""
        encoding: Encoding = self.encoder(view)
        return Encoding(features(encoding), encoding.tokens, encoding.mask)


class SLIP(Pair):
    """``L = CLIP(weak image, weak text) + weight * L_image(strong images)``.

    Any of the core's methods is the image loss: it is given the image tower, begins at its features with heads of its
    own, and keeps what it needs (BYOL's twin, MoCo's queue). The strong images are views of role ``"local"``, two or
    more; strong texts take no part.

    Args:
        encoder: two towers that end in one space, one of them ``"image"``.
        objective: between image and text; InfoNCE at a learnt temperature that starts at 0.07 by default (CLIP).
        image_loss: ``"simclr"`` as published, ``"simsiam"``, ``"byol"``, ``"barlowtwins"``, ``"vicreg"``, …; or image
            tower -> method, where heads or objective are to be others: ``partial(SimCLR, projector=...)``.
        weight: of the image loss (paper: 1).
        image_options: of a method given by name, e.g. ``{"momentum": 0.99}``.
        projector: in_dim -> head, made once per modality, between the towers and the contrast; none by default.

    Raises:
        ConfigError: an encoder without images, an objective that does not compare embeddings, or a setting out of its
            range.

    Source: Mu et al. 2021 (arXiv 2112.12750); with other image losses, Fini et al. 2023 (2305.08675).
    """

    min_views = 4

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective | None = None,
        image_loss: str | ImageMethod = "simclr",
        weight: float = 1.0,
        image_options: dict[str, Any] | None = None,
        projector: HeadFactory | None = None,
    ) -> None:
        super().__init__(encoder, objective, projector or nn.Identity)
        if not weight >= 0:
            raise ConfigError(message("SLIP.weight", weight, "a number of at least 0"))
        self.weight = weight
        factory = _named(image_loss) if isinstance(image_loss, str) else image_loss
        self.image = made("SLIP.image_options", factory, ImageTower(encoder), options=image_options)

    def step(self, views: list[View], batch: Batch) -> Step:
        """Contrast of the first image and the first text, and the image loss of the images of role ``"local"``.

        Raises:
            ShapeError: views that are not of exactly two modalities, or fewer than two local images.
        """
        strong = [replace(view, role="global") for view in views if (view.modality, view.role) == (IMAGE, "local")]
        if len(strong) < 2:
            todo = "SLIPViews makes them."
            raise ShapeError(message("SLIP: images of role 'local'", len(strong), "2 or more", todo))
        contrast = super().step([view for view in views if view.role == "global"], batch)
        image = self._image_step(strong, batch)
        parts = {"contrast": contrast.loss.detach(), "image": image.loss.detach(), **contrast.parts}
        parts |= {f"image_{name}": value for name, value in image.parts.items()}
        loss, chance = contrast.loss + self.weight * image.loss, None
        if contrast.chance is not None and image.chance is not None:
            chance = contrast.chance + self.weight * image.chance
        return Step(loss, parts, contrast.pair, chance)

    def _image_step(self, views: list[View], batch: Batch) -> Step:
        self.image.micro_batch, self.image.total_steps = self.micro_batch, self.total_steps
        return self.image.step(views, batch)

    def after_backward(self) -> None:
        """What the image loss freezes."""
        super().after_backward()
        self.image.after_backward()

    def after_step(self) -> None:
        """Also of the image loss: follow, enqueue, count."""
        super().after_step()
        self.image.after_step()


def _named(image_loss: str) -> ImageMethod:
    check_choice("SLIP.image_loss", image_loss, IMAGE_LOSSES)
    method: type[Method] = IMAGE_LOSSES[image_loss].load()
    return method
