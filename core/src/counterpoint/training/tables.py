"""Embeddings as a Parquet table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.nn import functional as F

from counterpoint.errors import ConfigError, DataError, message
from counterpoint.files import atomic, require_disk
from counterpoint.parts import Dataset
from counterpoint.run import Run
from counterpoint.training.embedding import Embedded
from counterpoint.training.head_files import Predictions


def bar(console: Console) -> Progress:
    """The progress bar of long work at the shell."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def embed_to_parquet(run: Path, source: str, out: Path, *, batch_size: int = 256, workers: int = 0) -> pa.Table:
    """Embed everything in ``source`` and write one row per sample: name, index, label and target (if any), embedding.

    Embeddings are rows of length 1, float32. Damaged samples are left out; their count and the first names are printed.

    Raises:
        DataError: nothing could be read.
        TrainingError: the disk has no room.
    """
    console = Console()
    loaded = Run(run)
    dataset = loaded.open(source).entities()
    require_disk(out.parent, len(dataset) * loaded.encoder.dim * 8)
    with bar(console) as progress:
        work = progress.add_task("embedding", total=len(dataset))
        found = loaded.features(
            dataset, batch_size=batch_size, workers=workers, tick=lambda n: progress.update(work, advance=n)
        )
    tell_damaged(console, found)
    if not len(found.index):
        raise DataError(f"{source}: none of its {len(dataset)} samples can be read")
    table = to_table(dataset, found)
    with atomic(out) as temporary:
        pq.write_table(table, temporary)
    console.print(f"{len(found.index)} embeddings of {found.features.shape[1]} dimensions in {out}")
    return table


def predict_to_table(run: Path, source: str, out: Path, *, batch_size: int = 256, workers: int = 0) -> pa.Table:
    """Answers of a fine-tuned run to everything in ``source``, as a ``.csv`` or ``.parquet`` file: a row per sample.

    Damaged samples are left out; their count and the first names are printed.

    Raises:
        RunError: the run has no head.
        ConfigError: a file of another kind.
        DataError: nothing could be read.
    """
    if out.suffix.lower() not in (".csv", ".parquet"):
        raise ConfigError(message("--out", out.name, "a name ending in .csv or .parquet"))
    found = Run(run).predict(source, batch_size=batch_size, workers=workers)
    table = found.table()
    with atomic(out) as temporary:
        if out.suffix.lower() == ".csv":
            pa.csv.write_csv(table, temporary)
        else:
            pq.write_table(table, temporary)
    console = Console()
    tell_damaged(console, found)
    console.print(f"{len(table)} predictions in {out}", soft_wrap=True)
    return table


def to_table(dataset: Dataset, found: Embedded) -> pa.Table:
    """One row per embedded sample."""
    rows = F.normalize(found.features, dim=1).numpy().astype(np.float32)
    index = found.index.tolist()
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
    columns = {"name": pa.array([dataset.name(i) for i in index]), "index": pa.array(index, pa.int64())}
    if found.labels is not None:
        columns["label"] = pa.array([None if v < 0 else v for v in found.labels.tolist()], pa.int64())
    if found.targets is not None:
        columns["target"] = pa.array(found.targets.numpy(), from_pandas=True)  # NaN: null
    return pa.table({**columns, "embedding": vectors})


def tell_damaged(console: Console, found: Embedded | Predictions) -> None:
    """Say how many samples were left out, and show the first."""
    if found.damaged:
        console.print(f"[yellow]{len(found.damaged)} damaged samples were left out:[/]")
        for one in found.damaged[:5]:
            console.print(f"  {one.name}: {one.reason}")
