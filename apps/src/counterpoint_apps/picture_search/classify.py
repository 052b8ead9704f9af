"""``classify``: pictures into classes that are only named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from counterpoint.errors import DataError, message
from counterpoint_apps.picture_search.prompted import by_prompts, learnt
from counterpoint_apps.picture_search.searches import WordSearches, open_index
from counterpoint_apps.picture_search.sheet import tile_of_words
from counterpoint_apps.pictures.answers import Answer, Hit, Words, show
from counterpoint_apps.pictures.files import embedded, present
from counterpoint_apps.pictures.sheet import tile, tile_of_file
from counterpoint_apps.shell import tell
from counterpoint_multimodal.tasks import TEMPLATES, ZeroShot
from counterpoint_vision.tasks import Tile, contact_sheet

ON_SHEET, BEST = 20, 10  # classes on a contact sheet, and the best pictures of each
WORDS = Words("path", "class", "classes", "Classes")


Scored = Iterator[tuple[list[str], Tensor]]
"""Pieces of pictures, by their keys, with a score ``(n, C)`` for each class."""


def classify(
    path: Path,
    images: Sequence[Path],
    classes: Sequence[str],
    templates: Sequence[str],
    k: int,
    run: Path | None,
    sheet: Path | None,
    form: str,
    prompts: Path | None = None,
) -> None:
    """Find the likeliest of some classes for pictures, by prompts alone; prints and draws them.

    Args:
        path: the index, whose encoder is used.
        images: picture files and folders of them; none: all pictures of the index.
        classes: names; with ``prompts`` there may be none, for those that these were learnt with.
        templates: prompts, with one ``{}`` each; none: those of `ZeroShot`.
        k: classes per picture.
        run: where the index's run lies now, or None.
        sheet: PNG file with the best pictures of each class, or None.
        form: ``table``, ``json`` or ``csv``.
        prompts: folder of learnt prompts, in place of templates; or None.

    Raises:
        DataError: no index, a damaged one, no class, one named twice, or no picture that can be read.
        ConfigError: a template without ``{}``, or one beside learnt prompts.
        RunError: prompts that are missing, torn, or learnt with another run.
    """
    present(images)
    damaged: list[str] = []
    searches = open_index(path, run)
    if prompts is None:
        scored = _by_words(searches, images, classes, templates or TEMPLATES, damaged)
    else:
        task = learnt(prompts, searches.encoder, templates)
        classes = list(classes) or task.classes
        scored = by_prompts(task, searches, images, classes, damaged)
    words = WORDS if prompts is None else replace(WORDS, score="probability")
    best: dict[str, list[Hit]] = {name: [] for name in classes}
    counts: Counter[str] = Counter()

    def answers() -> Iterator[Answer]:
        for keys, scores in scored:
            for answer in _answers(keys, scores, classes, k):
                first = answer.hits[0]
                counts[first.key] += 1
                best[first.key].append(Hit(answer.query, first.score))
                yield answer
            for name, hits in best.items():
                best[name] = sorted(hits, key=lambda hit: -(hit.score or 0.0))[:BEST]

    show(answers(), form, words)
    for text in damaged:
        tell(f"left out: {text}")
    if not counts:
        raise DataError(message("pictures", "none that can be read", "at least one readable picture"))
    tell(", ".join(f"{name}: {count:,}" for name, count in counts.most_common()))
    if sheet is not None:
        found = [(name, hits) for name, hits in best.items() if hits][:ON_SHEET]

        def shown(hit: Hit) -> Tile:
            made = tile_of_file(hit.key) if images else tile(searches.source, hit.key)
            return Tile(made.image, made.caption, hit.score)

        rows = [[shown(hit) for hit in hits] for _, hits in found]
        contact_sheet([tile_of_words(name) for name, _ in found], rows, sheet, "Classes", ("class", "likeliest first"))
        tell(f"As a picture: {sheet}")


def _by_words(
    searches: WordSearches, images: Sequence[Path], classes: Sequence[str], templates: Sequence[str], damaged: list[str]
) -> Scored:
    """By templates: from the vectors of the index, or of pictures that are named."""
    task = ZeroShot().fit_classes(searches.encoder.encoder, searches.encoder.views, classes, templates)
    pieces = embedded(searches.encoder, images, damaged) if images else searches.everything()
    return ((keys, task.scores(torch.from_numpy(vectors))) for keys, vectors in pieces)


def _answers(keys: Sequence[str], scores: Tensor, classes: Sequence[str], k: int) -> Iterator[Answer]:
    best, chosen = scores.topk(min(k, len(classes)), dim=1)
    for key, row, values in zip(keys, chosen.tolist(), best.tolist()):
        yield Answer(key, [Hit(classes[number], value) for number, value in zip(row, values)])


def read_classes(text: str) -> list[str]:
    """Names between commas, or those of a text file, one a line.

    Raises:
        DataError: the file cannot be read, or there is no name.
    """
    place = Path(text)
    try:
        names = place.read_text(encoding="utf-8").splitlines() if place.is_file() else text.split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(message("--classes", f"{place}: {error}", "a text file, one name a line")) from None
    names = [name.strip() for name in names if name.strip()]
    if not names:
        raise DataError(message("--classes", repr(text), 'names between commas, "shoe,shirt", or a file of them'))
    return names
