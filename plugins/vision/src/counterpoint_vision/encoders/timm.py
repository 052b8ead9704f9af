"""Any image model of timm by its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from counterpoint.errors import ConfigError, DataError, message, suggestion
from counterpoint.parts import Encoder
from counterpoint.types import Encoding, View
from counterpoint_vision.encoders._input import pixels


class Timm(Encoder):
    """A timm model without its classifier, by name: ``resnet18``, ``vit_small_patch16_224.dino``, ...

    Args:
        name: name of a timm model, with or without the tag of its weights.
        pretrained: take timm's weights from the Hub (needs the network, or the Hub's local cache).
        weights: path of a weight file (``.safetensors``, or a torch file read with ``weights_only=True``) whose keys
            are timm's or torchvision-like for the same model; a classifier in it is left out.
        channels: channels of the images.
        options: further arguments of ``timm.create_model``, e.g. ``{"dynamic_img_size": True}`` for a ViT that takes
            crops of several sizes.

    Attributes:
        dim: width of the pooled features.
        mean, std: the normalisation that the model's own weights were trained with, per channel.

    Raises:
        ConfigError: unknown name (with the nearest one), both ``pretrained`` and ``weights``, wrong ``options``.
        DataError: weights that are missing, unreadable, out of reach, or of another model.
    """

    capabilities = frozenset({"tokens", "dense"})

    def __init__(
        self,
        name: str,
        pretrained: bool = False,
        weights: str | None = None,
        channels: int = 3,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        _check_name(name)
        if pretrained and weights:
            raise ConfigError(message("weights", repr(weights), "one source of weights", "Drop pretrained=True."))
        self.channels = channels
        self.model = _create(name, pretrained, channels, options or {})
        if weights:
            _load(self.model, Path(weights).expanduser(), name)
        self.dim = int(getattr(self.model, "head_hidden_size", None) or self.model.num_features)
        card = self.model.pretrained_cfg
        self.mean: tuple[float, ...] = tuple(card.get("mean", (0.5,) * channels))
        self.std: tuple[float, ...] = tuple(card.get("std", (0.5,) * channels))

    @classmethod
    def blank(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The same network with fresh weights: no Hub, no file."""
        return {**arguments, "pretrained": False, "weights": None}

    def forward(self, view: View) -> Encoding:
        """``(B, channels, H, W)`` floats -> pooled ``(B, dim)``, tokens ``(B, N, D')`` in row-major order."""
        features = self.model.forward_features(pixels(view, self.channels))
        pooled = self.model.forward_head(features, pre_logits=True)
        return Encoding(pooled=pooled.flatten(1), tokens=self._tokens(features))

    def _tokens(self, features: Tensor) -> Tensor:
        if features.dim() == 3:  # (B, prefix + N, D): class and register tokens are no places in the image
            return features[:, getattr(self.model, "num_prefix_tokens", 0) :]
        if getattr(self.model, "output_fmt", "NCHW") == "NHWC":
            return features.flatten(1, 2)
        return features.flatten(2).transpose(1, 2)


def _check_name(name: str) -> None:
    import timm  # takes seconds, and only this encoder needs it

    bare = name.split("/")[-1].split(".")[0]
    if timm.is_model(bare):
        return
    todo = suggestion(bare, timm.list_models()) or "timm.list_models() lists them all."
    raise ConfigError(message("name", repr(name), "a model of timm", todo))


def _create(name: str, pretrained: bool, channels: int, options: dict[str, Any]) -> Any:
    import timm

    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0, in_chans=channels, **options)
    except TypeError as error:
        raise ConfigError(message("options", options, f"arguments of {name} in timm", str(error))) from None
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise ConfigError(message("name", repr(name), "a model that timm can build", str(error))) from None
        todo = "Go online, or give a local file as weights=..."
        raise DataError(message("pretrained", f"True, but {_first_line(error)}", "weights in reach", todo)) from None


def _load(model: nn.Module, path: Path, name: str) -> None:
    state = _strip(_read(path))
    wanted = model.state_dict()
    missing = [key for key in wanted if key not in state]
    unlike = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or unlike:
        found = f"{path.name} without {len(missing)} and with {len(unlike)} unlike of {len(wanted)} tensors"
        example = (missing + unlike)[0]
        raise DataError(message("weights", found, f"the weights of {name}", f"The first that does not fit: {example}."))
    model.load_state_dict({key: state[key] for key in wanted})


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(message("weights", f"no file {path}", "a .safetensors or torch file"))
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each format has its own kind of exception
        raise DataError(message("weights", f"{path.name}: {_first_line(error)}", "tensors only, no pickle")) from None
    if not isinstance(state, dict):
        raise DataError(message("weights", f"a {type(state).__name__} in {path.name}", "a dictionary of tensors"))
    return state


def _strip(state: dict[str, Any]) -> dict[str, Tensor]:
    """Open the wrappers that training scripts put around a state dict."""
    for key in ("state_dict", "model", "teacher"):
        if isinstance(state.get(key), dict):
            state = state[key]
    prefixes = ("module.", "backbone.")
    for prefix in prefixes:
        if state and all(key.startswith(prefix) for key in state):
            state = {key[len(prefix) :]: value for key, value in state.items()}
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
