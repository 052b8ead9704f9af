"""The encoder of picture search: pictures and words in one space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from counterpoint.errors import ConfigError, DataError, message
from counterpoint.run import Run
from counterpoint_apps.pictures.encoder import PictureEncoder
from counterpoint_multimodal.embedding import embed_texts

PLUGIN = "multimodal"


class PairEncoder(PictureEncoder):
    """Two towers of a run of the multimodal plugin, with the views that prepare pictures and texts."""

    run: Run

    @classmethod
    def check_run(cls, run: Run) -> None:
        """See `PictureEncoder.check_run`."""
        if run.plugin.name != PLUGIN:
            todo = f"Train one with: counterpoint pretrain {PLUGIN}/clip --data captions.csv --out runs/pairs"
            found = f"{run.path}, of plugin {run.plugin.name}"
            raise ConfigError(message("run", found, f"a run of the {PLUGIN} plugin", todo))

    def words(self, texts: Sequence[str]) -> torch.Tensor:
        """``(len(texts), D)`` embeddings of texts.

        Raises:
            DataError: a text without a letter.
        """
        empty = [repr(text) for text in texts if not text.strip()]
        if empty:
            raise DataError(message("words", empty[0], "at least one word"))
        return embed_texts(self.encoder, self.views, texts)

    def picture(self, path: Path) -> torch.Tensor:
        """``(1, D)`` embedding of a picture file.

        Raises:
            DataError: it is missing, or no picture that can be read.
        """
        found = self.embed(self.files(Path(), [str(path)]))
        if found.damaged:
            raise DataError(message("image", f"{path}: {found.damaged[0].reason}", "a picture that can be read"))
        return found.features
