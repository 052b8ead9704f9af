"""``classify``: pictures into classes that are only named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from counterpoint.errors import DataError, message
from counterpoint_apps.picture_search.searches import open_index
from counterpoint_apps.picture_search.sheet import tile_of_words
from counterpoint_apps.pictures.answers import Answer, Hit, Words, show
from counterpoint_apps.pictures.files import embedded, present
from counterpoint_apps.pictures.sheet import tile, tile_of_file
from counterpoint_apps.shell import tell
from counterpoint_multimodal.tasks import TEMPLATES, ZeroShot
from counterpoint_vision.tasks import Tile, contact_sheet

ON_SHEET, BEST = 20, 10  # classes on a contact sheet, and the best pictures of each
WORDS = Words("path", "class", "classes", "Classes")


def classify(
    path: Path,
    images: Sequence[Path],
    classes: Sequence[str],
    templates: Sequence[str],
    k: int,
    run: Path | None,
    sheet: Path | None,
    form: str,
) -> None:
    """Find the likeliest of some classes for pictures, by prompts alone; prints and draws them.

    Args:
        path: the index, whose encoder is used.
        images: picture files and folders of them; none: all pictures of the index.
        classes: names.
        templates: prompts, with one ``{}`` each; none: those of `ZeroShot`.
        k: classes per picture.
        run: where the index's run lies now, or None.
        sheet: PNG file with the best pictures of each class, or None.
        form: ``table``, ``json`` or ``csv``.

    Raises:
        DataError: no index, a damaged one, no class, one named twice, or no picture that can be read.
        ConfigError: a template without ``{}``.
    """
    present(images)
    searches = open_index(path, run)
    task = ZeroShot().fit_classes(searches.encoder.encoder, searches.encoder.views, classes, templates or TEMPLATES)
    damaged: list[str] = []
    best: dict[str, list[Hit]] = {name: [] for name in classes}
    counts: Counter[str] = Counter()

    def answers() -> Iterator[Answer]:
        pieces = embedded(searches.encoder, images, damaged) if images else searches.everything()
        for keys, vectors in pieces:
            for answer in _answers(task, keys, vectors, classes, k):
                first = answer.hits[0]
                counts[first.key] += 1
                best[first.key].append(Hit(answer.query, first.score))
                yield answer
            for name, hits in best.items():
                best[name] = sorted(hits, key=lambda hit: -(hit.score or 0.0))[:BEST]

    show(answers(), form, WORDS)
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


def _answers(
    task: ZeroShot, keys: Sequence[str], vectors: np.ndarray, classes: Sequence[str], k: int
) -> Iterator[Answer]:
    scores, chosen = task.scores(torch.from_numpy(vectors)).topk(min(k, len(classes)), dim=1)
    for key, row, values in zip(keys, chosen.tolist(), scores.tolist()):
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
