"""Pictures scored by prompts that were learnt: from their pixels, for each picture has prompts of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from torch import Tensor

from counterpoint.errors import ConfigError, RunError, message
from counterpoint.parts import Dataset
from counterpoint_apps.picture_search.encoder import PairEncoder
from counterpoint_apps.picture_search.searches import WordSearches
from counterpoint_apps.pictures.files import expanded
from counterpoint_multimodal.tasks import PromptClasses
from counterpoint_multimodal.tasks.prompts.kept import CONFIG

CHUNK = 64


def learnt(folder: Path, encoder: PairEncoder, templates: Sequence[str] = ()) -> PromptClasses:
    """The prompts in ``folder``.

    Raises:
        ConfigError: templates beside them.
        RunError: they are missing, torn, or learnt with another run.
    """
    if templates:
        raise ConfigError(message("--template", repr(templates[0]), "none beside --prompts, which replace them"))
    if not (folder / CONFIG).is_file():
        todo = "Learn some: counterpoint app picture-search prompts LABELLED --run RUN"
        raise RunError(message("--prompts", f"no prompts in {folder}", f"a folder with {CONFIG}", todo))
    return PromptClasses.load(folder, encoder.encoder, encoder.views)


def by_prompts(
    task: PromptClasses, searches: WordSearches, images: Sequence[Path], classes: Sequence[str], damaged: list[str]
) -> Iterator[tuple[list[str], Tensor]]:
    """Pieces of keys with the probability ``(n, C)`` of each class.

    Args:
        task: the prompts.
        searches: whose encoder it is, and whose pictures these are where none are named.
        images: files and folders.
        classes: names, those that were learnt or others.
        damaged: what cannot be read is told here.
    """
    encoder = searches.encoder
    if images:
        files = expanded(images)
        while chunk := list(map(str, islice(files, CHUNK))):
            yield scored(task, encoder.files(Path(), chunk), chunk, classes, damaged)
        return
    for keys, _, _ in searches.index.store.read():
        there = [key for key in keys if searches.source.state(key) is not None]
        damaged += [f"{key}: no longer in {searches.source}" for key in keys if key not in set(there)]
        for start in range(0, len(there), CHUNK):
            chunk = there[start : start + CHUNK]
            yield scored(task, searches.source.dataset(chunk, encoder.max_side), chunk, classes, damaged)


def scored(
    task: PromptClasses, dataset: Dataset, keys: Sequence[str], classes: Sequence[str], damaged: list[str]
) -> tuple[list[str], Tensor]:
    """Keys of the pictures of ``dataset`` that can be read, with the probabilities of the classes."""
    batch = dataset.batch(range(len(dataset)))
    damaged += [f"{one.name}: {one.reason}" for one in batch.damaged]
    read = [keys[place] for place in batch.index.tolist()]
    return read, task.scores(batch.data.get("image", []), classes)
