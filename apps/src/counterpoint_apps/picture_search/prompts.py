"""``prompts``: the words before a class's name, learnt from a few labelled pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from counterpoint.errors import ConfigError, DataError, Interrupted, message
from counterpoint.evaluation.fewshot import draw_rows
from counterpoint.evaluation.stats import accuracy
from counterpoint.parts import content_id
from counterpoint.run import Run
from counterpoint.training.tables import bar
from counterpoint_apps.picture_search.encoder import PairEncoder
from counterpoint_apps.picture_search.prompted import CHUNK
from counterpoint_apps.picture_search.samples import Samples, open_samples
from counterpoint_apps.shell import tell
from counterpoint_multimodal.embedding import embed_images
from counterpoint_multimodal.tasks import PromptClasses, ZeroShot
from counterpoint_multimodal.tasks.prompts.kept import CONFIG
from counterpoint_multimodal.tasks.prompts.views import batch_of

MEASURED = 1000
"""Labelled pictures at most that are not learnt from, and tell how good the prompts are."""


@dataclass(frozen=True)
class Labelled:
    """Pictures with classes.

    Attributes:
        source: of the pictures.
        classes: names of those that pictures are learnt from.
        shots: ``(S,)`` positions that are learnt from.
        others: ``(M,)`` positions of other ones.
        labels: ``(N,)`` position among `classes` of every picture, -1 for none.
    """

    source: Samples
    classes: list[str]
    shots: np.ndarray
    others: np.ndarray
    labels: np.ndarray

    def read(self, rows: Sequence[int], max_side: int) -> tuple[list[Tensor], Tensor, int]:
        """Images at ``rows`` with their labels, and how many cannot be read."""
        keys = [self.source.pairs.name(int(row)) for row in rows]
        batch = self.source.dataset(keys, max_side).batch(range(len(keys)))
        labels = torch.from_numpy(self.labels[np.asarray(rows, dtype=np.int64)])
        return list(batch.data.get("image", [])), labels[batch.index], len(batch.damaged)


def learn(
    run: Path,
    source: str | None,
    options: Mapping[str, Any],
    out: Path,
    *,
    method: str,
    shots: int,
    epochs: int,
    context: str,
    seed: int,
    overwrite: bool,
) -> None:
    """Learn prompts, write them, and measure them beside hand-written ones.

    Args:
        run: whose encoder is used; it stays as it is.
        source: labelled pictures; None: the run's own data.
        options: of the dataset: names of columns.
        out: folder for the prompts.
        method: ``"gopro"``, ``"cocoop"`` or ``"coop"``.
        shots: pictures of each class that are learnt from.
        epochs: passes over them.
        context: phrase that training starts from.
        seed: of the draw and of training.
        overwrite: replace prompts that are in ``out``.

    Raises:
        ConfigError: prompts in ``out`` already, or an option that the source does not have.
        DataError: no labels, fewer than two classes, or no picture that can be read.
        Interrupted: by Ctrl-C; nothing is written.
    """
    if (out / CONFIG).exists() and not overwrite:
        raise ConfigError(message("--out", f"prompts in {out}", "a folder without", "Choose another, or --overwrite."))
    encoder = PairEncoder.of_run(run)
    assert encoder.run is not None
    found = labelled(encoder.run, source, options, shots, seed)
    images, labels, damaged = found.read(found.shots.tolist(), encoder.max_side)
    if len(images) < 2:
        raise DataError(message("pictures", f"{len(images)} that can be read", "two or more labelled ones"))
    shown = Console(stderr=True).is_terminal
    settings: dict[str, Any] = {"epochs": epochs, "seed": seed, "context": context, "progress": shown}
    task = PromptClasses.of_run(encoder.run, found.classes, method=method, **settings)
    try:
        task.fit(images, labels)
    except Interrupted:
        done = f"{len(task.history)} of {epochs} epochs"
        raise Interrupted(f"Stopped after {done}; nothing was written. Fewer --epochs take less time.") from None
    task.save(out)
    print(f"Learnt from {len(images):,} pictures of {len(found.classes):,} classes ({method}, {epochs:,} epochs).")
    if damaged:
        tell(f"left out: {damaged:,} pictures that cannot be read")
    known = {content_id(image.numpy().tobytes()) for image in images}
    print(_measured(task, encoder, found, known))
    print(f"Prompts: {out}. Use them: counterpoint app picture-search classify --prompts {out}")


def labelled(run: Run, source: str | None, options: Mapping[str, Any], shots: int, seed: int) -> Labelled:
    """Open labelled pictures and draw those that are learnt from.

    They are of the train split, and the others are of val. Where the run was not trained on these data, the rest of
    train counts among the others. The test split is left alone.

    Raises:
        ConfigError: nothing that the plugin opens, or an option that it does not have.
        DataError: it cannot be read, or has fewer than two classes.
    """
    # Captions say nothing about which pictures belong together where they are but the names of files.
    name, given = source or str(run.config["data"]), {key: value for key, value in options.items() if value is not None}
    samples = open_samples(run, name, given, captions=False)
    pairs = samples.pairs
    if pairs.labels is None or pairs.classes is None:
        todo = "Of a table name the column: --label COLUMN. A folder has a subfolder for each class."
        raise DataError(message("labels", f"none in {samples}", "a subfolder or a value for each class", todo))
    splits, every = pairs.splits(), np.asarray(pairs.labels)
    train = splits["train"][every[splits["train"]] >= 0]
    kinds, random = np.unique(every[train]).tolist(), np.random.default_rng(seed)
    if len(kinds) < 2:
        raise DataError(message("labels", f"{len(kinds)} classes in {samples}", "pictures of two classes or more"))
    chosen = train[draw_rows(every[train], dict.fromkeys(kinds, shots), random)]
    others = splits["val"] if samples.described["own"] else np.union1d(splits["val"], np.setdiff1d(train, chosen))
    others = others[np.isin(every[others], kinds)]
    labels = np.full(len(every), -1, dtype=np.int64)
    for position, kind in enumerate(kinds):
        labels[every == kind] = position
    names = [pairs.classes[kind] for kind in kinds]
    return Labelled(samples, names, chosen, np.sort(random.permutation(others)[:MEASURED]), labels)


def _measured(task: PromptClasses, encoder: PairEncoder, found: Labelled, known: set[int]) -> str:
    """A sentence on how many of the other pictures are told right, by these prompts and by hand-written ones."""
    plain = ZeroShot().fit_classes(encoder.encoder, encoder.views, found.classes)
    answers: list[tuple[Tensor, Tensor, Tensor]] = []
    with bar(Console(stderr=True)) as progress:
        work = progress.add_task("measuring", total=len(found.others))
        for start in range(0, len(found.others), CHUNK):
            rows = found.others[start : start + CHUNK].tolist()
            images, labels, _ = found.read(rows, encoder.max_side)
            new = [i for i, image in enumerate(images) if content_id(image.numpy().tobytes()) not in known]
            images, labels = [images[i] for i in new], labels[new]
            if images:
                embedded = embed_images(encoder.encoder, encoder.views, batch_of(images))
                answers.append((labels, task.predict(images), plain.predict(embedded)))
            progress.update(work, advance=len(rows))
    if not answers:
        return "There are no other labelled pictures to measure them on."
    truth, ours, theirs = (torch.cat(column) for column in zip(*answers))
    return (
        f"Of {len(truth):,} other pictures {accuracy(ours, truth):.1%} are told right by these prompts, "
        f"{accuracy(theirs, truth):.1%} by hand-written ones."
    )
