"""What image folders and image tables share: paths in, decoded samples out."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from torch import Tensor

from counterpoint.errors import ConfigError, message
from counterpoint.parts import Dataset, content_id
from counterpoint.sources.columns import target_of
from counterpoint.sources.folders import fingerprints
from counterpoint.types import Damaged, Sample
from counterpoint_vision.data.decode import decode


class ImageFiles(Dataset):
    """Images that lie in single files.

    Args:
        root: directory that the paths are relative to.
        paths: one relative path per sample; it is the sample's name as well.
        labels: ``(N,)`` class indices, -1 for unknown; or None.
        classes: names of the classes.
        max_side: images whose shorter side is longer are read smaller (see `counterpoint_vision.data.decode`).
        targets: ``(N,)`` floating point, NaN for unknown; or None.
    """

    def __init__(
        self,
        root: Path,
        paths: list[str],
        labels: np.ndarray | None,
        classes: list[str] | None,
        max_side: int | None,
        targets: Tensor | None = None,
    ) -> None:
        if max_side is not None and max_side < 1:
            raise ConfigError(message("max_side", max_side, "pixels, at least 1, or nothing for the full size"))
        self.root, self.paths, self.max_side = root, paths, max_side
        self.labels, self.classes, self.targets = labels, classes, targets

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample | Damaged:
        """Sample with ``image``: uint8 ``(3, H, W)``; `Damaged` where the file cannot be read or decoded."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        try:
            raw = (self.root / self.paths[index]).read_bytes()
            image = decode(raw, self.max_side)
        except OSError as error:
            return Damaged(index, self.name(index), error.strerror or str(error))
        except ValueError as error:
            return Damaged(index, self.name(index), str(error))
        label = None if self.labels is None or self.labels[index] < 0 else int(self.labels[index])
        return Sample(index, {"image": image}, label, content_id(raw), target_of(self.targets, index))

    def name(self, index: int) -> str:
        """Path relative to the source; bytes in it that are no UTF-8 are written as escapes."""
        return self.paths[index].encode("utf-8", "backslashreplace").decode()

    def digest(self) -> str:
        """From paths, labels and targets, and what `counterpoint.sources.folders.fingerprints` takes of each file."""
        state = hashlib.blake2b(digest_size=16)
        for number, (path, fingerprint) in enumerate(zip(self.paths, fingerprints(self.root, self.paths))):
            label = -1 if self.labels is None else int(self.labels[number])
            state.update(f"{path}\0{label}\0".encode("utf-8", "surrogateescape") + fingerprint)
        if self.targets is not None:
            state.update(self.targets.numpy().tobytes())
        return state.hexdigest()
