"""CLIP and SigLIP as transformers has them: at any size, or a checkpoint from a directory or the Hub."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.parts import Encoder
from counterpoint.types import Encoding, View
from counterpoint_multimodal.encoders import checkpoint
from counterpoint_multimodal.encoders.text import TextEncoder, texts
from counterpoint_multimodal.encoders.tokenizer import Tokenizer, large_enough
from counterpoint_multimodal.encoders.towers import PairTowers

Family = Literal["clip", "siglip"]


class CLIPTowers(PairTowers):
    """The two vision and text transformers of CLIP, or of SigLIP.

    With ``source`` the weights, the tokenizer and the shape are the checkpoint's, and the embeddings are those of
    transformers' ``get_image_features`` and ``get_text_features``. Without it the weights are fresh, the shape is what
    the other arguments say, and the vocabulary is learnt from the training captions.

    Images of another size than the positions were made for are welcome: these are interpolated (bicubic). A checkpoint
    sees them best as it saw them in training: give the views its size, and ``image.mean`` and ``image.std``.

    Args:
        source: directory with ``config.json``, ``model.safetensors`` and a tokenizer, or a name on the Hub.
        family: clip or siglip; a checkpoint knows its own.
        width: of both transformers.
        layers: blocks of each.
        heads: attention heads; ``width`` is a multiple of them.
        image_size: side in pixels of the images that the positions are made for.
        patch: side in pixels of a patch.
        dim: width of the shared space; ``width`` by default, and always in SigLIP, which has no projection of images.
        vocabulary: tokens at most.
        max_tokens: of a caption; the rest is cut.
        options: further settings of transformers' configuration: ``{"text_config": {"num_hidden_layers": 6}}``.
        local_heads: separate heads for views of role "local" (CLIP-rocket).
        local_hidden: width of their hidden layers.

    Raises:
        ConfigError: settings that do not fit each other.
        DataError: a checkpoint that is missing, out of reach, pickled, incomplete, or of another family.

    Source: Radford et al. 2021 (arXiv 2103.00020); Zhai et al. 2023 (arXiv 2303.15343).
    """

    def __init__(
        self,
        source: str | None = None,
        family: Family = "clip",
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        image_size: int = 32,
        patch: int = 4,
        dim: int | None = None,
        vocabulary: int = 2000,
        max_tokens: int = 32,
        options: dict[str, Any] | None = None,
        local_heads: bool = False,
        local_hidden: int = 512,
    ) -> None:
        if source is None:
            asked = _asked(family, width, layers, heads, image_size, patch, dim, vocabulary, max_tokens)
            model = _fresh(family, _merged(asked, options or {}))
        else:
            model = checkpoint.model(source)
        text, vision, siglip = model.config.text_config, model.config.vision_config, model.config.model_type == "siglip"
        tokenizer = Tokenizer(text.vocab_size, text.max_position_embeddings, full=siglip)
        if source is not None:
            tokenizer.keep(checkpoint.tokenizer(source))
        image = VisionTransformer(model.vision_model, *checkpoint.normalisation(source))
        ends = (
            {"image": nn.Identity(), "text": model.text_model.head}
            if siglip
            else {"image": model.visual_projection, "text": model.text_projection}
        )
        super().__init__(
            image,
            HubText(model.text_model, tokenizer, causal=not siglip),
            vision.hidden_size if siglip else model.config.projection_dim,
            ends,
            local_hidden if local_heads else None,
        )

    @classmethod
    def blank(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The same shape with fresh weights: what ``source`` says of it is written out."""
        source = arguments.get("source")
        if source is None:
            return dict(arguments)
        config = checkpoint.config(source)
        shape: dict[str, Any] = json.loads(config.to_json_string())
        return {**arguments, "source": None, "family": config.model_type, "options": shape}


class VisionTransformer(Encoder):
    """The image tower of CLIP or SigLIP.

    Args:
        model: transformers' CLIPVisionModel or SiglipVisionModel.
        mean: with which its images were normalised, per channel.
        std: with which they were.

    Raises:
        ConfigError: a SigLIP without its pooling head.
    """

    capabilities = frozenset({"tokens"})

    def __init__(self, model: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        shape = model.config
        if getattr(shape, "vision_use_head", True) is False:
            raise ConfigError(message("vision_use_head", False, "True: the head makes the embedding"))
        self.model, self.mean, self.std = model, mean, std
        self.dim, self.channels = int(shape.hidden_size), int(shape.num_channels)
        self.size, self.patch = int(shape.image_size), int(shape.patch_size)
        self.model.num_prefix_tokens = 1 if shape.model_type.startswith("clip") else 0  # as timm's models tell it

    def forward(self, view: View) -> Encoding:
        """``(B, channels, H, W)`` floats -> pooled ``(B, dim)``, tokens ``(B, N, dim)`` in row-major order."""
        image = self._pixels(view)
        other = tuple(image.shape[-2:]) != (self.size, self.size)
        found = self.model(pixel_values=image, interpolate_pos_encoding=other)
        return Encoding(found.pooler_output, found.last_hidden_state[:, self.model.num_prefix_tokens :])

    def _pixels(self, view: View) -> Tensor:
        data: Any = view.data
        good = isinstance(data, Tensor) and data.dim() == 4 and data.shape[1] == self.channels
        if not good or not data.is_floating_point() or min(data.shape[-2:]) < self.patch:
            found = f"{data.dtype} {tuple(data.shape)}" if isinstance(data, Tensor) else type(data).__name__
            allowed = f"float tensor (B, {self.channels}, H, W) with sides of at least {self.patch}"
            raise ShapeError(message("view.data", found, allowed, "Let the plugin's views make it."))
        image: Tensor = data
        return image


class HubText(TextEncoder):
    """The text tower of CLIP (causal, the feature is the output at [EOT]) or SigLIP (not causal, at the last place).

    Args:
        model: transformers' CLIPTextModel or SiglipTextModel.
        tokenizer: text -> ids.
        causal: whether it is CLIP's.
    """

    def __init__(self, model: Any, tokenizer: Tokenizer, causal: bool) -> None:
        super().__init__(tokenizer, int(model.config.hidden_size))
        self.embedding = model.embeddings.token_embedding
        self.position = model.embeddings.position_embedding
        self.blocks = model.encoder.layers
        self.norm = model.final_layer_norm
        self.causal = causal

    def embed(self, ids: Tensor) -> Tensor:
        """Ids ``(B, T)`` -> ``(B, T, dim)``."""
        embeds: Tensor = self.embedding(ids)
        return embeds

    def encode(
        self, embeds: Tensor, mask: Tensor, eot: Tensor | None = None, dropout: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Embedded tokens -> features ``(B, dim)`` and tokens ``(B, T, dim)``.

        SigLIP was trained on texts padded to ``max_tokens`` and reads the padding too: its feature is the output at the
        last place, whatever ``eot``. There is no dropout.

        Raises:
            ShapeError: more tokens than there are positions.
        """
        *_, last = self._run(embeds)
        tokens: Tensor = self.norm(last)
        if not self.causal:
            return tokens[:, -1], tokens
        ends = mask.sum(dim=1) - 1 if eot is None else eot
        return tokens[torch.arange(len(tokens), device=tokens.device), ends], tokens

    def layers(self, view: View) -> list[Tensor]:
        """Tokens after each block, ``(B, T, dim)`` each."""
        return list(self._run(self.embed(self.tokenizer(texts(view)).ids)))

    def _run(self, embeds: Tensor) -> Iterator[Tensor]:
        length, most = embeds.shape[1], self.position.num_embeddings
        if length > most:
            raise ShapeError(message("embeds", f"{length} tokens", f"at most max_tokens={most}"))
        x = embeds + self.position.weight[:length]
        hidden = None
        if self.causal:
            hidden = x.new_full((length, length), torch.finfo(x.dtype).min).triu(1)[None, None]
        for block in self.blocks:
            x = block(x, attention_mask=hidden)
            yield x


def _asked(
    family: Family,
    width: int,
    layers: int,
    heads: int,
    image_size: int,
    patch: int,
    dim: int | None,
    vocabulary: int,
    max_tokens: int,
) -> dict[str, Any]:
    """Our arguments as transformers' configuration."""
    large_enough(vocabulary)
    for name, value in (("width", width), ("layers", layers), ("heads", heads), ("patch", patch)):
        if value < 1:
            raise ConfigError(message(name, value, "a whole number from 1"))
    if width % heads:
        raise ConfigError(message("width", width, f"multiples of heads={heads}"))
    if image_size < patch or image_size % patch:
        raise ConfigError(message("image_size", image_size, f"multiples of patch={patch}"))
    if family == "siglip" and dim not in (None, width):
        raise ConfigError(message("dim", dim, f"width={width}: SigLIP has no projection of images"))
    dim = width if dim is None else dim
    tower = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        **({"projection_dim": dim} if family == "clip" else {}),
    }
    text = {**tower, "vocab_size": vocabulary, "max_position_embeddings": max_tokens}
    text.update({"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2})  # as the learnt tokenizer has them
    vision = {**tower, "image_size": image_size, "patch_size": patch}
    whole = {"projection_dim": dim} if family == "clip" else {}
    return {"text_config": text, "vision_config": vision, **whole}


def _merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with what ``more`` says, settings within settings one by one."""
    both = {key: _merged(base[key], more[key]) for key in base if isinstance(more.get(key), Mapping)}
    return {**base, **more, **both}


def _fresh(family: Family, settings: Mapping[str, Any]) -> Any:
    config, model = checkpoint.classes(family)
    try:
        return model(config.from_dict(dict(settings)))
    except (TypeError, ValueError, KeyError) as error:
        raise ConfigError(message("options", dict(settings), f"a configuration of {family}", str(error))) from None
