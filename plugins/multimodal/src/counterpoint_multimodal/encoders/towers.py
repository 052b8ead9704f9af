"""Two towers whose outputs meet in one space: what all such encoders share, and the one for CPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from counterpoint.errors import ConfigError, message
from counterpoint.nn.heads import Projector
from counterpoint.parts import Dataset, Encoder, Towers
from counterpoint.plugin import borrowed
from counterpoint.types import Encoding, View
from counterpoint_multimodal.encoders.layers import layers
from counterpoint_multimodal.encoders.text import TextEncoder, TextTransformer
from counterpoint_multimodal.encoders.tokenizer import Tokens


class PairTowers(Towers):
    """An image tower and a text tower, each with a head to the space in which both are compared.

    ``features`` are what the tower gives, ``pooled`` is what its head makes of them. With ``local_hidden`` views of the
    role "local" (CLIP-rocket's strongly augmented ones) have heads of their own: Linear-BatchNorm-ReLU twice, Linear.

    Args:
        image: encoder of image views.
        text: encoder of text views.
        dim: width of the shared space.
        heads: modality -> head ``(B, F)`` -> ``(B, dim)``; by default linear maps without bias, as CLIP has them.
        local_hidden: width of the hidden layers of the local heads, or None for one head for all views.
    """

    capabilities = frozenset({"tokens", "modalities"})

    def __init__(
        self,
        image: Encoder,
        text: TextEncoder,
        dim: int,
        heads: Mapping[str, nn.Module] | None = None,
        local_hidden: int | None = None,
    ) -> None:
        super().__init__({"image": image, "text": text})
        if dim < 1:
            raise ConfigError(message("dim", dim, "a whole number from 1"))
        widths = dict(self.dims)
        self.dim, self.dims = dim, dict.fromkeys(widths, dim)
        self.heads = nn.ModuleDict(heads or {name: _linear(width, dim) for name, width in widths.items()})
        self.local_heads = nn.ModuleDict()
        if local_hidden is not None:
            self.local_heads.update({name: Projector(width, local_hidden, dim, 3) for name, width in widths.items()})

    @property
    def image(self) -> Encoder:
        """The image tower, without its head."""
        tower: Any = self.towers["image"]
        found: Encoder = tower
        return found

    @property
    def text(self) -> TextEncoder:
        """The text tower, without its head."""
        tower: Any = self.towers["text"]
        found: TextEncoder = tower
        return found

    def prepare(self, dataset: Dataset) -> None:
        """Learn the tokenizer from the captions of the train split, if there is none yet."""
        self.image.prepare(dataset)
        self.text.prepare(dataset)

    def forward(self, view: View) -> Encoding:
        """An image ``(B, 3, H, W)``, or captions ``{"text": (B, L) uint8}`` -> pooled ``(B, dim)`` and features."""
        encoding = super().forward(view)
        heads = self.local_heads if view.role == "local" and self.local_heads else self.heads
        return replace(encoding, pooled=heads[view.modality](encoding.pooled), features=encoding.pooled)

    # Pieces, for prompts that are learnt

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Ids and mask of texts, ``(B, T)`` each."""
        return self.text.tokenize(texts)

    def token_embedding(self, ids: Tensor) -> Tensor:
        """Ids ``(B, T)`` -> their embeddings ``(B, T, W)``, without positions."""
        return self.text.embed(ids)

    def encode_text_embeds(self, embeds: Tensor, mask: Tensor, eot: Tensor | None = None) -> Tensor:
        """Texts that are given as embedded tokens -> ``(B, dim)``; gradients reach ``embeds``.

        Args:
            embeds: ``(B, T, W)``, without positions.
            mask: ``(B, T)`` bool, True where a token is real; these come first.
            eot: ``(B,)``, place of the token whose output is the feature; by default the last real one.
        """
        features, _ = self.text.encode(embeds, mask, eot)
        pooled: Tensor = self.heads["text"](features)
        return pooled

    def layers(self, view: View) -> list[Tensor]:
        """Tokens ``(B, N, W)`` after each block of the tower (W and N differ between the stages of a ResNet)."""
        if view.modality == "text":
            return self.text.layers(view)
        return layers(self.image, view)


class TwoTowers(PairTowers):
    """An image encoder of any installed plugin, and a text transformer, small enough for CPUs.

    The vocabulary is learnt from the training captions (byte-level BPE, blind to case), so that a few thousand pairs of
    any language and any trade are read in few tokens; it is saved with the weights.

    Args:
        dim: width of the shared space.
        image: image encoder as ``plugin/encoder``.
        image_options: its arguments, e.g. ``{"width": 64}``.
        text_width: width of the text transformer.
        text_layers: its blocks.
        text_heads: its attention heads.
        vocabulary: tokens of the vocabulary at most.
        max_tokens: of a caption; the rest is cut.
        text_dropout: share dropped in the text tower, in views of role "local" only.
        text_stochastic_depth: probability that a text goes past half a block of its tower, in such views only.
        local_heads: separate heads for views of role "local" (CLIP-rocket).
        local_hidden: width of their hidden layers.

    Raises:
        ConfigError: a setting out of its range, or an image encoder that there is not.
        PluginError: the plugin of ``image`` is not installed.
    """

    def __init__(
        self,
        dim: int = 128,
        image: str = "vision/slimresnet",
        image_options: dict[str, Any] | None = None,
        text_width: int = 128,
        text_layers: int = 2,
        text_heads: int = 4,
        vocabulary: int = 2000,
        max_tokens: int = 32,
        text_dropout: float = 0.0,
        local_heads: bool = False,
        local_hidden: int = 512,
        text_stochastic_depth: float = 0.0,
    ) -> None:
        tower = _borrow(image)(**(image_options or {}))
        shares = text_dropout, text_stochastic_depth
        text = TextTransformer(text_width, text_layers, text_heads, vocabulary, max_tokens, *shares)
        super().__init__(tower, text, dim, local_hidden=local_hidden if local_heads else None)

    @classmethod
    def blank(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The same towers, the image tower without weights from elsewhere."""
        image = arguments.get("image", "vision/slimresnet")
        options = _borrow(image).blank(arguments.get("image_options") or {})
        return {**arguments, "image_options": options}


def _borrow(name: str) -> type[Encoder]:
    found: type[Encoder] = borrowed("encoders", name).load()
    return found


def _linear(width: int, dim: int) -> nn.Linear:
    head = nn.Linear(width, dim, bias=False)
    nn.init.normal_(head.weight, std=width**-0.5)
    return head
