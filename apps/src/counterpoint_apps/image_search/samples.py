"""``query --run RUN --samples 5``: a quick look at an encoder on its own data, without an index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from counterpoint.errors import DataError, message
from counterpoint.parts import Dataset
from counterpoint.run import Run
from counterpoint.training.tables import bar, tell_damaged
from counterpoint_apps.pictures.answers import Answer, Hit, show
from counterpoint_apps.shell import tell
from counterpoint_vision.tasks import ImageRetrieval, Tile, contact_sheet


def search_samples(run: Path, data: str | None, samples: int, k: int, seed: int, sheet: Path | None, form: str) -> None:
    """Held-out samples (of the test split, else val) search in the train split; prints and draws what they find.

    Args:
        run: run directory.
        data: where to search; None: the run's own data.
        samples: how many samples.
        k: neighbours per sample.
        seed: draws the samples.
        sheet: PNG file, or None.
        form: ``table``, ``json`` or ``csv``.

    Raises:
        DataError: no held-out sample to draw, or damaged ones.
    """
    console, loaded = Console(stderr=True), Run(run)
    dataset = loaded.open(data)
    splits = dataset.splits()
    chosen = _held_out(splits, samples, seed)
    with bar(console) as progress:
        gallery = splits["train"].tolist()
        work = progress.add_task("embedding", total=len(gallery))
        found = loaded.features(dataset, gallery, tick=lambda n: progress.update(work, advance=n))
    tell_damaged(console, found)
    wanted = loaded.features(dataset, chosen)
    if wanted.damaged:
        raise DataError("; ".join(f"{d.name}: {d.reason}" for d in wanted.damaged))
    task = ImageRetrieval(k=k).fit(found.features, found.labels, [dataset.name(i) for i in found.index.tolist()])
    neighbours = task.predict(wanted.features)
    queries, scores = wanted.index.tolist(), neighbours.scores.tolist()
    found_by = (list(map(Hit, row, values)) for row, values in zip(neighbours.names or [], scores))
    show([Answer(dataset.name(i), hits) for i, hits in zip(queries, found_by)], form)
    if sheet is not None:
        rows = _tiles(dataset, found.index[neighbours.indices], scores)
        contact_sheet([Tile.of(dataset, i) for i in queries], rows, sheet, "Nearest neighbours")
        tell(f"Neighbours as a picture: {sheet}")


def _tiles(dataset: Dataset, places: torch.Tensor, scores: list[list[float]]) -> list[list[Tile]]:
    return [[Tile.of(dataset, i, s) for i, s in zip(row, values)] for row, values in zip(places.tolist(), scores)]


def _held_out(splits: dict[str, np.ndarray], samples: int, seed: int) -> list[int]:
    pool = splits["test"] if len(splits["test"]) else splits["val"]
    if not len(pool):
        raise DataError(message("data", "no held-out sample", "some in test or val", "Index it and search by files."))
    generator = torch.Generator().manual_seed(seed)
    chosen: list[int] = pool[torch.randperm(len(pool), generator=generator)[:samples].numpy()].tolist()
    return chosen
