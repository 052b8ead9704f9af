"""The store in LanceDB: a table of Arrow records in versions, each written beside the last and then made current."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from counterpoint.errors import ConfigError, CounterpointError, DataError, ShapeError, message
from counterpoint_apps.store.base import EXACT_BELOW, Hits, Store

TABLE = "items"
CAPTION = "caption"
PIECE = 1_000  # keys in one filter
KEEP = timedelta(hours=1)  # versions that a reader in another process may still be looking at
PROBES = 0.15  # share of the cells that a search looks into: recall@10 of 0.96 on patches of photographs


class LanceStore(Store):
    """A `Store` in a directory.

    Up to a size every search is exact. Above it an inverted file (IVF: k-means cells with the full vectors in them) is
    searched in part; items that were added since it was built are always compared.

    Args:
        folder: the directory.
        dim: width of the vectors; with it a missing store is made, without it a missing store is an error.
        facts: names of the whole numbers kept with each item.

    Raises:
        DataError: there is no store, it is damaged, or holds vectors of another width.
    """

    def __init__(self, folder: Path, dim: int | None = None, facts: Sequence[str] = ()) -> None:
        os.environ.setdefault("LANCE_LOG", "error")  # its advice to programmers is nothing for users
        import lancedb

        self.folder = folder
        with self._told():
            database = lancedb.connect(str(folder))
            if TABLE in database.list_tables().tables:
                self._table = database.open_table(TABLE)
            elif dim is None:
                raise DataError(message("index", f"no table in {folder}", "an index", "Make it anew with: --rebuild"))
            else:
                columns = [("key", pa.string()), *((name, pa.int64()) for name in facts), (CAPTION, pa.string())]
                schema = pa.schema([*columns, ("vector", pa.list_(pa.float32(), dim))])
                self._table = database.create_table(TABLE, schema=schema)
            schema = self._table.schema
            self.dim = schema.field("vector").type.list_size
            self.facts = tuple(name for name in schema.names if name not in ("key", CAPTION, "vector"))
        if dim not in (None, self.dim):
            raise DataError(message("index", f"vectors of {self.dim} dimensions", dim, "Make it anew with: --rebuild"))

    def __len__(self) -> int:
        with self._told():
            return int(self._table.count_rows())

    def put(
        self,
        keys: Sequence[str],
        vectors: np.ndarray,
        facts: Mapping[str, Sequence[int]],
        captions: Sequence[str] | None = None,
    ) -> None:
        """See `Store.put`."""
        rows = self._rows(keys, vectors, facts, [""] * len(keys) if captions is None else captions)
        with self._told():
            merge = self._table.merge_insert("key").when_matched_update_all().when_not_matched_insert_all()
            merge.execute(rows)

    def _rows(
        self, keys: Sequence[str], vectors: np.ndarray, facts: Mapping[str, Sequence[int]], captions: Sequence[str]
    ) -> pa.Table:
        vectors = np.asarray(vectors, dtype=np.float32)
        if vectors.shape != (len(keys), self.dim) or not np.isfinite(vectors).all():
            found = f"shape {vectors.shape}, {int((~np.isfinite(vectors)).sum())} values not finite"
            raise ShapeError(message("vectors", found, f"({len(keys)}, {self.dim}), all finite"))
        if facts.keys() != set(self.facts) or any(len(column) != len(keys) for column in facts.values()):
            raise ShapeError(message("facts", sorted(facts), f"{len(keys)} values under each of {sorted(self.facts)}"))
        if len(captions) != len(keys):
            raise ShapeError(message("captions", len(captions), f"{len(keys)}, one for each key"))
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        columns = {"key": pa.array(keys, pa.string())}
        columns |= {name: pa.array(facts[name], pa.int64()) for name in self.facts}
        columns[CAPTION] = pa.array(captions, pa.string())
        columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(unit.reshape(-1)), self.dim)
        return pa.table(columns)

    def remove(self, keys: Sequence[str]) -> None:
        """See `Store.remove`."""
        with self._told():
            for start in range(0, len(keys), PIECE):
                self._table.delete(_among(keys[start : start + PIECE]))

    def search(self, vector: np.ndarray, k: int, exact: bool | None = None) -> Hits:
        """See `Store.search`."""
        if k < 1:
            raise ConfigError(message("k", k, "at least 1"))
        with self._told():
            self._table.checkout_latest()
            exact = not self.approximate if exact is None else exact
            query = self._table.search(np.asarray(vector, dtype=np.float32)).distance_type("cosine")
            query = query.bypass_vector_index() if exact else query.nprobes(self._probes())
            found = query.select(["key", "_distance"]).limit(k).to_arrow()
        scores = np.minimum(1.0 - found["_distance"].to_numpy().astype(np.float32), 1.0)
        return Hits(found["key"].to_pylist(), scores, exact)

    def _probes(self) -> int:
        return max(16, round(PROBES * _cells(len(self))))

    def facts_of(self, keys: Sequence[str]) -> dict[str, dict[str, int]]:
        """See `Store.facts_of`."""
        rows = self._those(keys, ["key", *self.facts]).to_pylist()
        return {row.pop("key"): row for row in rows}

    def captions_of(self, keys: Sequence[str]) -> dict[str, str]:
        """See `Store.captions_of`."""
        rows = self._those(keys, ["key", CAPTION])
        return dict(zip(rows["key"].to_pylist(), rows[CAPTION].to_pylist()))

    def vectors_of(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        """See `Store.vectors_of`."""
        rows = self._those(keys, ["key", "vector"])
        matrix = rows["vector"].combine_chunks().flatten().to_numpy().reshape(-1, self.dim)
        return dict(zip(rows["key"].to_pylist(), matrix))

    def _those(self, keys: Sequence[str], columns: list[str]) -> pa.Table:
        with self._told():
            self._table.checkout_latest()
            parts = [
                self._table.search().where(_among(keys[start : start + PIECE])).select(columns).limit(PIECE).to_arrow()
                for start in range(0, max(1, len(keys)), PIECE)
            ]
        return pa.concat_tables(parts)

    def read(self, vectors: bool = False) -> Iterator[tuple[list[str], dict[str, np.ndarray], np.ndarray | None]]:
        """See `Store.read`."""
        columns = ["key", *self.facts, *(["vector"] if vectors else [])]
        with self._told():
            for piece in self._table.search().select(columns).limit(None).to_batches():
                if not piece.num_rows:
                    continue
                facts = {name: piece.column(name).to_numpy() for name in self.facts}
                matrix = piece.column("vector").flatten().to_numpy().reshape(-1, self.dim) if vectors else None
                yield piece.column("key").to_pylist(), facts, matrix

    def tidy(self, exact_below: int = EXACT_BELOW) -> None:
        """See `Store.tidy`."""
        from lancedb.index import IvfFlat

        with self._told(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "this may fail other writers": the app's lock keeps them out
            self._table.optimize(cleanup_older_than=KEEP, delete_unverified=True)
            size, indices = len(self), [index.name for index in self._table.list_indices()]
            if size <= exact_below:
                for name in indices:
                    self._table.drop_index(name)
            elif not indices or self._grown(indices[0], size):
                cells = IvfFlat(distance_type="cosine", num_partitions=_cells(size))
                self._table.create_index("vector", config=cells, replace=True)

    def _grown(self, index: str, size: int) -> bool:
        """Whether a fifth of the items came after the cells were drawn."""
        statistics: Any = self._table.index_stats(index)
        return statistics is None or statistics.num_unindexed_rows > size / 5

    @property
    def approximate(self) -> bool:
        """See `Store.approximate`."""
        with self._told():
            return bool(self._table.list_indices())

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever Lance raises, in a user's words."""
        try:
            yield
        except (CounterpointError, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # a panic in its Rust code is no Exception
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise DataError(self._words(error)) from error

    def _words(self, error: BaseException) -> str:
        text = str(error)
        if any(sign in text for sign in ("os error 28", "No space left", "os error 27", "os error 122")):
            return (
                f"{self.folder}: the disk is full. What was written before is kept and can be searched. "
                "Make room and run the same command again: it goes on."
            )
        if "os error 13" in text or "os error 30" in text:
            return f"{self.folder}: cannot be written ({_first_line(text)}). Choose another place with --index."
        return f"{self.folder}: the index is damaged ({_first_line(text)}). Make it anew with: --rebuild"


def _cells(size: int) -> int:
    """About as many cells as items in each."""
    return max(1, math.isqrt(size))


def _among(keys: Sequence[str]) -> str:
    """Filter for ``keys``; quotes are doubled, as SQL has it."""
    quoted = ", ".join("'" + key.replace("'", "''") + "'" for key in keys)
    return f"key IN ({quoted})" if keys else "false"


def _first_line(text: str) -> str:
    line = text.strip().split("\n")[0]
    return line if len(line) <= 160 else line[:160] + "…"
