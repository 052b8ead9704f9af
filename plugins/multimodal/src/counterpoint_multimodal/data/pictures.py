"""The pictures alone: what maps, neighbours and embeddings of captioned pictures are about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from counterpoint.parts import Dataset
from counterpoint.types import Damaged, Sample

if TYPE_CHECKING:
    from counterpoint_multimodal.data.pairs import Pairs


class Pictures(Dataset):
    """The samples of ``pairs`` without their texts, which would give away what a picture alone must tell.

    Those that have no text, with which no method can be trained, are among them.

    Args:
        pairs: whose numbers, names, labels and splits these are.
    """

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self.labels, self.classes, self.in_memory = pairs.labels, pairs.classes, pairs.in_memory

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample | Damaged:
        """Sample with ``image``; `Damaged` where it cannot be read."""
        return self.pairs.picture(index)

    def name(self, index: int) -> str:
        """As the pair is called."""
        return self.pairs.name(index)

    def digest(self) -> str:
        """That of the pairs."""
        return self.pairs.digest()

    def splits(self) -> dict[str, np.ndarray]:
        """Those of the pairs."""
        return self.pairs.splits()
