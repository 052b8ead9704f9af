"""Ids and titles beside the encoder, so that a recommender works when the table has been moved.

A run's ``recommender/`` folder holds three Parquet files: ``users`` (id), ``items`` (id, title, group) and ``known``
(user and item number of every known interaction). They are written at the first use, whole or not at all. User ids are
personal data: of a run they are in this folder alone; ``encoder/``, which is what one shares, and the report have none.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import csr_array

from counterpoint.errors import ConfigError, CounterpointError, DataError, RunError, message
from counterpoint.files import atomic
from counterpoint.run import Run
from counterpoint.training.encoder_files import build
from counterpoint_graphrec.tasks.names import Names

FOLDER = "recommender"
_MARK = b"counterpoint.graph"


def opened(run: Run, data: str | None = None) -> tuple[Any, Names, csr_array]:
    """Encoder, names and all known interactions of a run.

    Args:
        run: a finished run of the graphrec plugin.
        data: where its table lies now.

    Raises:
        RunError: it is unfinished.
        ConfigError: it is of another plugin.
        DataError: names were never kept, and the data is gone or is not what the run was trained on.
    """
    if run.plugin.name != "graphrec":
        raise ConfigError(message("run", f"{run.path}, of plugin {run.plugin.name}", "a run of the graphrec plugin"))
    encoder = run.encoder
    graph = csr_array(encoder.matrix())
    kept = read(run.path / FOLDER, graph)
    if kept is not None:
        return encoder, *kept
    names, known = _from_data(run, data, graph)
    try:
        keep(run.path / FOLDER, names, known, graph)
    except RunError as error:  # a run that may only be read: its table is needed the next time as well
        warnings.warn(str(error), stacklevel=3)
    return encoder, names, known


def keep(folder: Path, names: Names, known: csr_array, graph: csr_array) -> None:
    """Write ``folder``.

    Args:
        folder: to be made.
        names: of users and items.
        known: ``(U, M)`` all known interactions.
        graph: ``(U, M)`` the training interactions; by them a reader sees whether these are the names of its encoder.

    Raises:
        RunError: the folder cannot be written.
    """
    users, items = known.nonzero()
    tables = {
        "users": pa.table({"id": pa.array(list(names.users), pa.string())}),
        "items": pa.table(
            {
                "id": pa.array(list(names.items), pa.string()),
                "title": pa.array(list(names.titles), pa.string()),
                "group": pa.array(list(names.groups), pa.string()),
            }
        ),
        "known": pa.table({"user": pa.array(users, pa.int64()), "item": pa.array(items, pa.int64())}),
    }
    mark = {_MARK: _digest(graph)}
    try:
        for name, table in tables.items():
            with atomic(folder / f"{name}.parquet") as temporary:
                pq.write_table(table.replace_schema_metadata(mark), temporary)
    except OSError as error:
        todo = "The recommender keeps ids and titles there. Mend the permissions, or free some space."
        raise RunError(message("run", f"{folder}: {error}", "a folder that can be written", todo)) from None


def read(folder: Path, graph: csr_array) -> tuple[Names, csr_array] | None:
    """What `keep` wrote for this very graph; None where nothing, something torn, or that of another was kept."""
    try:
        tables = {name: pq.read_table(folder / f"{name}.parquet") for name in ("users", "items", "known")}
    except (OSError, pa.ArrowException):
        return None
    mark = _digest(graph)
    if any((table.schema.metadata or {}).get(_MARK) != mark for table in tables.values()):
        return None
    items = tables["items"]
    names = Names(
        tables["users"]["id"].to_pylist(), *(items[column].to_pylist() for column in ("id", "title", "group"))
    )
    pairs = tables["known"]["user"].to_numpy(), tables["known"]["item"].to_numpy()
    return names, csr_array((np.ones(len(pairs[0]), dtype=np.float32), pairs), shape=graph.shape)


def _digest(graph: csr_array) -> bytes:
    state = hashlib.blake2b(repr(graph.shape).encode(), digest_size=16)
    users, items = graph.nonzero()
    order = np.lexsort((items, users))
    for part in (users[order], items[order]):
        state.update(np.ascontiguousarray(part, dtype=np.int64).tobytes())
    return state.hexdigest().encode()


def _from_data(run: Run, data: str | None, graph: csr_array) -> tuple[Names, csr_array]:
    dataset = _dataset(run, data)
    if _digest(csr_array(dataset.matrix("train"))) != _digest(graph):
        source = run.config["data"] if data is None else data
        todo = "Train again on the new table, or give the old one: --data FILE"
        found = f"{source}, whose training interactions are not those of the run (was it changed since?)"
        raise DataError(message("data", found, "the table that the run was trained on", todo))
    pairs = dataset.pairs
    known = csr_array((np.ones(len(pairs), dtype=np.float32), (pairs[:, 0], pairs[:, 1])), shape=graph.shape)
    titles = dataset.item_names if dataset.titles is None else dataset.titles
    groups = [""] * len(titles) if dataset.groups is None else dataset.groups
    return Names(list(dataset.user_names), list(dataset.item_names), list(titles), list(groups)), known


def _dataset(run: Run, data: str | None) -> Any:
    """The run's dataset with the run's options, at another place if ``data`` says so."""
    try:
        described = run.config.get("dataset")
        if data is None or not described:
            return run.open(data)
        options = {**(described.get("init_args") or {}), "source": data}
        return build(run.plugin, "datasets", {**described, "init_args": options})
    except CounterpointError as error:
        if data is not None:
            raise
        todo = "Ids and titles were not kept yet, and are needed once. Where does the table lie now? --data FILE"
        raise DataError(message("data", f"{run.config['data']} ({error})", "the run's table", todo)) from None
