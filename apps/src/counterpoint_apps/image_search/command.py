"""``counterpoint app image-search query``: neighbours of pictures, as a table and as a contact sheet."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from counterpoint.errors import ConfigError, DataError, message
from counterpoint.parts import Dataset
from counterpoint.run import Run
from counterpoint.training.tables import bar, tell_damaged
from counterpoint_vision.data.files import ImageFiles
from counterpoint_vision.tasks import ImageRetrieval, Tile, contact_sheet

EXAMPLES = """examples:
  counterpoint app image-search query --run runs/photos holiday/*.jpg
  counterpoint app image-search query --run runs/photos --samples 5 --out neighbours.png
  counterpoint app image-search query --run runs/photos --data archive/ cat.jpg -k 20
"""

LISTED = 3  # neighbours per query in the printed table


def main(words: Sequence[str]) -> int:
    """Parse the words after ``image-search`` and run the verb; returns the exit code."""
    parser = argparse.ArgumentParser(prog="counterpoint app image-search", description="Search pictures by example.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")
    query = verbs.add_parser(
        "query",
        help="the most similar pictures to some pictures",
        description="The most similar pictures to some pictures.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    query.add_argument(
        "images", nargs="*", type=Path, help="picture files to search for (default: --samples of the data)"
    )
    query.add_argument("--run", required=True, type=Path, help="run directory of a vision encoder")
    query.add_argument("--data", help="where to search (default: the run's own data)")
    query.add_argument(
        "--samples", type=int, default=5, help="held-out samples as queries where no file is given (default: 5)"
    )
    query.add_argument("-k", type=int, default=8, help="neighbours per query (default: 8)")
    query.add_argument("--seed", type=int, default=0, help="draws the samples (default: 0)")
    query.add_argument(
        "--out", type=Path, default=Path("neighbours.png"), help="contact sheet (default: neighbours.png)"
    )
    parsed = parser.parse_args(list(words))
    search(
        parsed.run,
        parsed.images,
        data=parsed.data,
        samples=parsed.samples,
        k=parsed.k,
        seed=parsed.seed,
        out=parsed.out,
    )
    return 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What is searched for: rows of a dataset, and which of them may not find themselves in the gallery."""

    dataset: Dataset
    indices: list[int]
    held_out: bool


def search(
    run: Path,
    images: Sequence[Path] = (),
    *,
    data: str | None = None,
    samples: int = 5,
    k: int = 8,
    seed: int = 0,
    out: Path = Path("neighbours.png"),
) -> Path:
    """Embed the gallery and the queries, print the neighbours, draw the contact sheet.

    Held-out samples (of the test split, else val) search in the train split; files search in everything.

    Args:
        run: run directory.
        images: picture files; none: ``samples`` held-out samples of the data.
        data: where to search; None: the run's own data.
        samples: how many samples.
        k: neighbours per query.
        seed: draws the samples.
        out: PNG file.

    Returns:
        ``out``.

    Raises:
        ConfigError: a number below 1.
        DataError: a file that is missing or damaged, or no held-out sample to draw.
    """
    for name, value in (("samples", samples), ("k", k)):
        if value < 1:
            raise ConfigError(message(name, value, "a whole number from 1"))
    console, loaded = Console(), Run(run)
    dataset = loaded.open(data)
    splits = dataset.splits()
    asked = _files(images) if images else _held_out(dataset, splits, samples, seed)
    gallery = splits["train"].tolist() if asked.held_out else list(range(len(dataset)))
    with bar(console) as progress:
        work = progress.add_task("embedding", total=len(gallery))
        found = loaded.features(dataset, gallery, tick=lambda n: progress.update(work, advance=n))
    tell_damaged(console, found)
    wanted = loaded.features(asked.dataset, asked.indices)
    if wanted.damaged:
        raise DataError("; ".join(f"{d.name}: {d.reason}" for d in wanted.damaged))
    task = ImageRetrieval(k=k).fit(found.features, found.labels, [dataset.name(i) for i in found.index.tolist()])
    neighbours = task.predict(wanted.features)
    places = found.index[neighbours.indices].tolist()
    console.print(_table(asked, wanted.index.tolist(), neighbours.names or [], neighbours.scores))
    rows = [
        [Tile.of(dataset, i, score) for i, score in zip(row, scores)]
        for row, scores in zip(places, neighbours.scores.tolist())
    ]
    sheet = contact_sheet([Tile.of(asked.dataset, i) for i in wanted.index.tolist()], rows, out, "Nearest neighbours")
    console.print(f"Neighbours as a picture: {sheet}")
    return sheet


def _files(images: Sequence[Path]) -> Asked:
    """The given files, whatever folders they lie in."""
    missing = [str(path) for path in images if not path.is_file()]
    if missing:
        raise DataError(message("images", ", ".join(missing), "picture files that exist"))
    files = ImageFiles(Path(), [str(path) for path in images], None, None, None)
    return Asked(files, list(range(len(files))), held_out=False)


def _held_out(dataset: Dataset, splits: dict[str, np.ndarray], samples: int, seed: int) -> Asked:
    pool = splits["test"] if len(splits["test"]) else splits["val"]
    if not len(pool):
        raise DataError(message("data", "no held-out sample", "some in test or val", "Name picture files instead."))
    generator = torch.Generator().manual_seed(seed)
    chosen = pool[torch.randperm(len(pool), generator=generator)[:samples].numpy()]
    return Asked(dataset, chosen.tolist(), held_out=True)


def _table(asked: Asked, indices: list[int], names: list[list[str]], scores: torch.Tensor) -> Table:
    """The nearest few of each query; the picture has them all."""
    table = Table("query", "nearest (cosine)", title="Nearest neighbours")
    for index, row, values in zip(indices, names, scores.tolist()):
        nearest = ", ".join(f"{name} {value:.2f}" for name, value in list(zip(row, values))[:LISTED])
        table.add_row(asked.dataset.name(index), nearest)
    return table
