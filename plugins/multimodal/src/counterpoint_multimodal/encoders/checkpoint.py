"""A CLIP or SigLIP checkpoint of transformers: its configuration, weights, tokenizer and normalisation.

Weights are read from safetensors only, and no code that a checkpoint brings is run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tokenizers import Regex, normalizers
from tokenizers import Tokenizer as Rules

from counterpoint.errors import ConfigError, DataError, message

FAMILIES = ("clip", "siglip")
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""OpenAI's, for values in [0, 1]: of checkpoints that do not say theirs."""
PUNCTUATION = "[!-/:-@\\[-`{-~]"
T = TypeVar("T")


def classes(family: str) -> tuple[Any, Any]:
    """Configuration and model of a family.

    Raises:
        ConfigError: it is neither clip nor siglip.
    """
    import transformers  # takes seconds, and only these encoders need it

    if family == "clip":
        return transformers.CLIPConfig, transformers.CLIPModel
    if family == "siglip":
        return transformers.SiglipConfig, transformers.SiglipModel
    raise ConfigError(message("family", repr(family), " or ".join(FAMILIES)))


def config(source: str) -> Any:
    """The configuration of the checkpoint.

    Raises:
        DataError: there is none, or it is of another family.
    """
    from transformers import AutoConfig

    found = _reached(source, lambda: AutoConfig.from_pretrained(source))
    if found.model_type not in FAMILIES:
        raise DataError(message("source", f"{source!r}, a {found.model_type}", " or ".join(FAMILIES)))
    return found


def model(source: str) -> Any:
    """The model with its weights, in float32.

    Raises:
        DataError: the checkpoint is missing, out of reach, pickled or incomplete.
    """
    _, cls = classes(config(source).model_type)
    load = lambda: cls.from_pretrained(source, use_safetensors=True, output_loading_info=True)  # noqa: E731
    found, told = _reached(source, load)
    if told["missing_keys"]:
        first = sorted(told["missing_keys"])[0]
        raise DataError(message("source", f"{source!r} without {first}", f"all weights of a {cls.__name__}"))
    return found.float()


def tokenizer(source: str) -> Rules:
    """The checkpoint's tokenizer with its padding.

    Raises:
        DataError: it has none that the package ``tokenizers`` knows.
    """
    settings = _settings(source, "tokenizer_config.json")
    if settings.get("tokenizer_class") == "SiglipTokenizer":  # Python around SentencePiece, with a canonical form first
        rules, pad = Rules.from_file(str(_file(source, "tokenizer.json"))), str(settings.get("pad_token", "</s>"))
        rules.normalizer = _canonical(rules.normalizer)
    else:
        rules, pad = _backend(source)
    number = rules.token_to_id(pad)
    if number is None:
        raise DataError(message("source", f"{source!r} whose tokenizer has no {pad!r}", "a token to pad with"))
    rules.enable_padding(pad_id=number, pad_token=pad)
    return rules


def _backend(source: str) -> tuple[Rules, str]:
    from transformers import AutoTokenizer

    if not any(_has(source, name) for name in ("tokenizer.json", "vocab.json")):  # it would be made up of nothing
        raise DataError(
            message("source", f"{source!r} without a tokenizer", "tokenizer.json, or vocab.json and merges")
        )
    loaded = _reached(source, lambda: AutoTokenizer.from_pretrained(source))
    rules = getattr(loaded, "backend_tokenizer", None)
    if rules is None:
        found = f"{source!r} with a {type(loaded).__name__}, which is Python"
        raise DataError(message("source", found, "one with tokenizer.json"))
    return rules, str(loaded.pad_token)


def normalisation(source: str | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std per channel with which the checkpoint's images were normalised."""
    if source is None:
        return MEAN, STD
    told = _settings(source, "preprocessor_config.json")
    return tuple(told.get("image_mean", MEAN)), tuple(told.get("image_std", STD))


def _canonical(after: Any) -> Any:
    """SigLIP's canonical form: small letters, no punctuation, single spaces."""
    steps = [
        normalizers.Lowercase(),
        normalizers.Replace(Regex(PUNCTUATION), ""),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
    ]
    return normalizers.Sequence([*steps, *([after] if after is not None else [])])


def _has(source: str, name: str) -> bool:
    try:
        return _file(source, name).is_file()
    except DataError:
        return False


def _settings(source: str, name: str) -> dict[str, Any]:
    """What a JSON file of the checkpoint says; {} where it has none of that name."""
    if not _has(source, name):
        return {}
    found: dict[str, Any] = json.loads(_file(source, name).read_text(encoding="utf-8"))
    return found


def _file(source: str, name: str) -> Path:
    from transformers.utils import cached_file

    return Path(_reached(source, lambda: cached_file(source, name)))


def _reached(source: str, load: Callable[[], T]) -> T:
    if source.startswith(("/", ".", "~")) and not Path(source).is_dir():
        raise _unreachable(source, FileNotFoundError("there is no such directory"))
    try:
        return load()
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreachable(source, error) from None


def _unreachable(source: str, error: BaseException) -> DataError:
    told = str(error).strip().split("\n")[0] or type(error).__name__
    allowed = "a directory with config.json, model.safetensors and tokenizer.json, or a name on the Hub"
    todo = "Weights are read from safetensors only. For a name on the Hub, go online or fetch it there first."
    return DataError(message("source", f"{source!r}: {told.rstrip('.')}", allowed, todo))
