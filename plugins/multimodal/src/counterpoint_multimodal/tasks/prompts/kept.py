"""Learnt prompts on disk: safetensors and JSON, and the mark of the encoder that they were learnt with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from counterpoint._version import __version__
from counterpoint.errors import RunError, message
from counterpoint.files import write_text
from counterpoint.training.encoder_files import save_weights

WEIGHTS, CONFIG = "prompts.safetensors", "prompts.json"
FORMAT = 1
KEYS = frozenset({"method", "options", "context", "classes", "augment", "schedule", "shape"})
"""What `PromptClasses` tells of itself."""


def digest(encoder: nn.Module) -> str:
    """Hex digest of the encoder's state: prompts say nothing to another one."""
    state = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(encoder.state_dict().items()):
        state.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        state.update(tensor.detach().cpu().contiguous().flatten().view(-1).numpy().tobytes())
    return state.hexdigest()


def write(folder: Path, learner: nn.Module, encoder: nn.Module, described: Mapping[str, Any]) -> None:
    """Write the weights, then what describes them: a folder that has the latter is whole.

    Raises:
        RunError: the folder cannot be written.
    """
    config = {"format": FORMAT, "counterpoint": __version__, "encoder": digest(encoder), **described}
    try:
        (folder / CONFIG).unlink(missing_ok=True)
        save_weights(learner, folder / WEIGHTS)
        write_text(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    except OSError as error:
        todo = "Mend its permissions, or give another."
        raise RunError(message("folder", f"{folder}: {error}", "one that can be written", todo)) from None


def read(folder: Path, encoder: nn.Module) -> dict[str, Any]:
    """What `write` was told.

    Raises:
        RunError: it is missing, torn, of another format, or of another encoder.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise RunError(f"{path}: there are no prompts here; PromptClasses.save writes them") from None
    except ValueError as error:
        raise RunError(f"{path}: is not JSON: {error}") from None
    if not isinstance(config, dict) or config.pop("format", None) != FORMAT:
        raise RunError(f"{path}: is of another format; {FORMAT} is needed")
    if config.pop("encoder", None) != digest(encoder):
        todo = "Load the run that they were learnt with, or fit anew."
        raise RunError(message(str(path), "prompts of another encoder", "those of this one", todo))
    if not config.keys() >= KEYS:
        raise RunError(f"{path}: lacks {', '.join(sorted(KEYS - config.keys()))}; fit and save anew")
    return {key: config[key] for key in KEYS}
