"""The catalogue in the plane: computed once, kept beside the run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from counterpoint.files import atomic
from counterpoint.report.maps import Dot, EmbeddingMap
from counterpoint.report.sections.embeddings import projection
from counterpoint.training.encoder_files import WEIGHTS
from counterpoint_apps.shell import tell
from counterpoint_graphrec.tasks import Names, Recommender
from counterpoint_graphrec.tasks.kept import FOLDER

MOST = 2000
"""Items on the map, the most popular ones: five seconds of t-SNE, and as much as an eye can tell apart."""
SEED = 0
COLOURED = 8
"""Categories with a colour of their own, the largest; the others are grey."""
_MARK = b"counterpoint.items"


@dataclass(frozen=True)
class Atlas:
    """Places of items.

    Attributes:
        items: ``(n,)`` their numbers.
        places: ``(n, 2)``.
        how: how they were found, in words.
    """

    items: np.ndarray
    places: np.ndarray
    how: str

    @classmethod
    def of(cls, recommender: Recommender, run: Path | None = None, most: int = MOST) -> Atlas:
        """The map of the most popular items; read from ``run`` where it is kept there, else made, and kept."""
        nodes = recommender.nodes
        order = np.argsort(-nodes.popularity, kind="stable")[:most]
        items = np.sort(order[nodes.popularity[order] > 0])
        if run is None:
            return cls(items, *projection(nodes.unit[items.copy()].float(), SEED))
        path, mark = run / FOLDER / "map.parquet", _digest(run / "encoder" / WEIGHTS, items)
        kept = _read(path, mark)
        if kept is None:
            tell(f"Drawing the map of {len(items):,} items (once; a few seconds) …")
            kept = projection(nodes.unit[items.copy()].float(), SEED)
            _keep(path, *kept, mark)
        return cls(items, *kept)

    def picture(self, names: Names) -> EmbeddingMap:
        """The map as a picture; a dot's name is the item's title."""
        coloured = names.categories[:COLOURED]
        dots = [
            Dot(float(x), float(y), names.titles[number], names.groups[number])
            for number, (x, y) in zip(self.items.tolist(), self.places)
        ]
        scale = 1.0 if len(dots) <= 500 else 0.75
        return EmbeddingMap(dots, coloured, "items", scale)


def _digest(weights: Path, items: np.ndarray) -> bytes:
    """Of the encoder and of the items that are shown: with another of either, the map is another."""
    state = hashlib.blake2b(items.tobytes(), digest_size=16)
    with weights.open("rb") as stream:
        while piece := stream.read(2**20):
            state.update(piece)
    return state.hexdigest().encode()


def _read(path: Path, mark: bytes) -> tuple[np.ndarray, str] | None:
    """What `_keep` wrote for this encoder; None where nothing, something torn, or another map is there."""
    try:
        table = pq.read_table(path)
        facts = table.schema.metadata or {}
        if facts.get(_MARK) != mark:
            return None
        return np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1), facts[b"how"].decode()
    except (OSError, KeyError, pa.ArrowException):
        return None


def _keep(path: Path, places: np.ndarray, how: str, mark: bytes) -> None:
    """Write the map; where the folder cannot be written it is made anew the next time."""
    table = pa.table({"x": places[:, 0].astype(np.float32), "y": places[:, 1].astype(np.float32)})
    try:
        with atomic(path) as temporary:
            pq.write_table(table.replace_schema_metadata({_MARK: mark, b"how": how.encode()}), temporary)
    except OSError as error:
        tell(f"The map was not kept: {error}")
