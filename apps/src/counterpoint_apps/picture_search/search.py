"""``search``: words, a picture, or both in; the nearest pictures of an index out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from counterpoint.errors import ConfigError, message
from counterpoint_apps.picture_search.searches import WordSearches, open_index
from counterpoint_apps.picture_search.sheet import tile_of_query
from counterpoint_apps.pictures.answers import Answer, Words, show
from counterpoint_apps.pictures.sheet import tile
from counterpoint_apps.shell import tell
from counterpoint_vision.tasks import contact_sheet

WORDS = Words(title="Pictures", captions=True)


def search(
    path: Path,
    texts: Sequence[str],
    image: Path | None,
    weight: float,
    k: int,
    run: Path | None,
    sheet: Path | None,
    form: str,
    exact: bool | None = None,
) -> None:
    """Search an index for each of ``texts``, together with the picture where one is given; prints and draws.

    Args:
        path: the index.
        texts: what the pictures should show; may be empty where there is an image.
        image: a picture file, or None.
        weight: share of the words where there are both.
        k: hits per query.
        run: where the index's run lies now, or None.
        sheet: PNG file, or None.
        form: ``table``, ``json`` or ``csv``.
        exact: True compares with everything; None as the index's size asks.

    Raises:
        ConfigError: neither text nor image, or a weight outside of 0 to 1.
        DataError: no index, a damaged one, a text without a letter, or a picture that cannot be read.
    """
    if not texts and image is None:
        raise ConfigError(message("words", "none", "some words, or --image FILE, or both"))
    if not 0 <= weight <= 1:
        raise ConfigError(message("--weight", weight, "a share of the words, from 0 to 1"))
    searches = open_index(path, run)
    words = searches.encoder.words(texts) if texts else None
    picture = None if image is None else searches.encoder.picture(image)
    if words is not None and picture is not None:
        picture = picture.expand(len(words), -1)
    vectors = searches.query(words, picture, weight)
    names = [_name(text, image) for text in texts or [""]]
    answers = [Answer(name, searches.hits(vector, k, exact)) for name, vector in zip(names, vectors)]
    show(answers, form, WORDS)
    tell(f"{searches.index.how()}{' (compared with all: --exact)' if exact else ''}")
    if sheet is not None:
        _draw(searches, answers, list(texts or [""]), image, sheet)
        tell(f"As a picture: {sheet}")


def _name(text: str, image: Path | None) -> str:
    return " + ".join([*([text] if text else []), *([str(image)] if image else [])])


def _draw(searches: WordSearches, answers: list[Answer], texts: list[str], image: Path | None, sheet: Path) -> None:
    queries = [tile_of_query(text, image) for text in texts]
    rows = [[tile(searches.source, hit.key, hit.score, hit.caption) for hit in answer.hits] for answer in answers]
    contact_sheet(queries, rows, sheet, "Pictures by words" if any(texts) else "Pictures by a picture")
