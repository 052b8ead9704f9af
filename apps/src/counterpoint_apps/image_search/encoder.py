"""Pictures -> vectors: by the encoder of a run, or by a network of timm with weights from a file."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from counterpoint.errors import ConfigError, DataError, message
from counterpoint.parts import Dataset, Encoder
from counterpoint.run import Run
from counterpoint.training.embedding import Embedded, embed, encode_with
from counterpoint_vision.data.files import ImageFiles
from counterpoint_vision.encoders import Timm
from counterpoint_vision.views import SimCLRViews
from counterpoint_vision.views.base import ImageViews

BATCH = 64
ROOM = 2.3  # pictures are read no larger than this many times the view's side (the plain view needs 1.15 times)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an encoder comes from: enough to find it again, and to know another from it.

    Attributes:
        run: run directory, or "".
        timm: name of a timm network, or "".
        weights: its weight file, or "".
        fingerprint: hex digest of the weights and of what is done to a picture before them.
    """

    run: str = ""
    timm: str = ""
    weights: str = ""
    fingerprint: str = ""

    def __str__(self) -> str:
        return f"timm:{self.timm} with {self.weights}" if self.timm else f"the run {self.run}"

    @property
    def options(self) -> str:
        """The options of ``index`` that name this encoder."""
        return f"--encoder timm:{self.timm} --weights {self.weights}" if self.timm else f"--run {self.run}"


class PictureEncoder:
    """An encoder with the views that prepare its pictures.

    Args:
        encoder: in eval mode.
        views: whose ``plain`` prepares pictures.
        origin: where both come from.
    """

    def __init__(self, encoder: Encoder, views: ImageViews, origin: Origin) -> None:
        self.encoder, self.views, self.origin = encoder, views, origin
        self.dim = encoder.dim
        self.max_side = math.ceil(ROOM * views.augmentations[0].size)

    @classmethod
    def of_run(cls, path: Path) -> PictureEncoder:
        """The trained encoder of a run.

        Raises:
            RunError: no run, or an unfinished one.
            ConfigError: its encoder is not one of images.
        """
        run = Run(path)
        if not isinstance(run.views, ImageViews):
            raise ConfigError(message("run", f"{path}, of plugin {run.plugin.name}", "a run of the vision plugin"))
        files = (path / "encoder" / "config.json", path / "encoder" / "model.safetensors")
        return cls(run.encoder, run.views, Origin(run=str(path.resolve()), fingerprint=_digest(*files)))

    @classmethod
    def of_timm(cls, name: str, weights: Path) -> PictureEncoder:
        """A timm network with the normalisation and the size that its weights were trained with.

        Raises:
            ConfigError: an unknown name.
            DataError: weights that are missing, unreadable or of another network.
        """
        encoder = Timm(name, weights=str(weights))
        size = int(encoder.model.pretrained_cfg.get("input_size", (3, 224, 224))[-1])
        views = SimCLRViews(size=size, mean=encoder.mean, std=encoder.std)  # type: ignore[arg-type]
        digest = _digest(weights.expanduser(), text=f"{name} {size} {encoder.mean} {encoder.std}")
        origin = Origin(timm=name, weights=str(weights.expanduser().resolve()), fingerprint=digest)
        return cls(encoder.eval().requires_grad_(False), views, origin)

    @classmethod
    def of(cls, origin: Origin) -> PictureEncoder:
        """The encoder that an index was made with, provided that it is still the same.

        Raises:
            DataError: it is gone or changed; the message says what to do.
        """
        try:
            made = cls.of_timm(origin.timm, Path(origin.weights)) if origin.timm else cls.of_run(Path(origin.run))
        except FileNotFoundError as error:
            raise DataError(
                message("index", f"made by {origin}, and {error} is missing", "an encoder in reach")
            ) from None
        made.check(origin)
        return made

    def check(self, origin: Origin) -> None:
        """Make sure that an index of ``origin`` was made by this encoder.

        Raises:
            DataError: by another: its vectors cannot be compared with ours.
        """
        if origin.fingerprint != self.origin.fingerprint:
            found = f"an index made by another encoder ({origin}, or what was there before it was trained anew)"
            anew = f"index FOLDER {self.origin.options} --rebuild"
            todo = f"Use {origin.options}, or make the index anew with: {anew}"
            raise DataError(message("index", found, f"one made by {self.origin}", todo))

    def embed(
        self,
        dataset: Dataset,
        indices: Sequence[int] | None = None,
        *,
        workers: int = 0,
        tick: Callable[[int], None] | None = None,
    ) -> Embedded:
        """Features of ``indices`` (default: all)."""
        chosen = range(len(dataset)) if indices is None else indices
        encode = encode_with(self.encoder)
        return embed(encode, self.views, dataset, chosen, batch_size=BATCH, workers=workers, tick=tick)

    def files(self, root: Path, paths: Sequence[str]) -> ImageFiles:
        """Picture files as a dataset, read no larger than the encoder can use."""
        return ImageFiles(root, list(paths), None, None, self.max_side)


def described(origin: Origin) -> dict[str, Any]:
    """For `index.json`."""
    return asdict(origin)


def _digest(*files: Path, text: str = "") -> str:
    state = hashlib.blake2b(text.encode(), digest_size=16)
    for file in files:
        with file.open("rb") as stream:
            while piece := stream.read(2**20):
                state.update(piece)
    return state.hexdigest()
