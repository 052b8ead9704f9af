"""Pictures -> vectors by a trained encoder, and where that encoder comes from."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from counterpoint.errors import DataError, message
from counterpoint.parts import Dataset, Encoder, Views
from counterpoint.run import Run
from counterpoint.training.embedding import Embedded, embed, encode_with
from counterpoint.types import Batch
from counterpoint_vision.data.files import ImageFiles

BATCH = 64
ROOM = 2.3  # pictures are read no larger than this many times the view's side (the plain view needs 1.15 times)

Made = TypeVar("Made", bound="PictureEncoder")


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


class PictureEncoder(ABC):
    """An encoder with the views that prepare its pictures.

    Args:
        encoder: in eval mode.
        views: whose ``plain`` prepares pictures.
        origin: where both come from.

    Attributes:
        dim: width of a picture's vector.
        max_side: a picture with a longer shorter side may be read smaller.
        run: the run that it is of, or None.
    """

    run: Run | None = None

    def __init__(self, encoder: Encoder, views: Views, origin: Origin) -> None:
        self.encoder, self.views, self.origin = encoder, views, origin
        self.dim = encoder.dim
        self.max_side = math.ceil(ROOM * _side(views))

    @classmethod
    @abstractmethod
    def check_run(cls, run: Run) -> None:
        """Make sure that the encoder of ``run`` is one for these pictures.

        Raises:
            ConfigError: it is of another plugin.
        """

    @classmethod
    def of_run(cls: type[Made], path: Path) -> Made:
        """The trained encoder of a run.

        Raises:
            RunError: no run, or an unfinished one.
            ConfigError: its encoder is not one for these pictures.
        """
        run = Run(path)
        cls.check_run(run)
        files = (path / "encoder" / "config.json", path / "encoder" / "model.safetensors")
        made = cls(run.encoder, run.views, Origin(run=str(path.resolve()), fingerprint=digest(*files)))
        made.run = run
        return made

    @classmethod
    def of(cls: type[Made], origin: Origin) -> Made:
        """The encoder at ``origin``, whatever it is by now."""
        return cls.of_run(Path(origin.run))

    @classmethod
    def that_made(cls: type[Made], origin: Origin, run: Path | None = None) -> Made:
        """The encoder that an index was made with, provided that it is still the same.

        Args:
            origin: where the index says that it was.
            run: where it lies now; None: where it was.

        Raises:
            DataError: it is gone or changed; the message says what to do.
        """
        try:
            made = cls.of(origin) if run is None else cls.of_run(run)
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


def _side(views: Views) -> int:
    """Pixels of the plain view's side."""
    number = torch.zeros(1, dtype=torch.int64)
    (view,) = views.plain(Batch({"image": torch.zeros(1, 3, 8, 8, dtype=torch.uint8)}, number, number))
    return int(view.data.shape[-1])


def described(origin: Origin) -> dict[str, Any]:
    """For `index.json`."""
    return asdict(origin)


def digest(*files: Path, text: str = "") -> str:
    """Hex digest of ``text`` and the content of ``files``."""
    state = hashlib.blake2b(text.encode(), digest_size=16)
    for file in files:
        with file.open("rb") as stream:
            while piece := stream.read(2**20):
                state.update(piece)
    return state.hexdigest()
