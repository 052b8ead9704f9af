"""``query``: pictures in, their neighbours in an index out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from counterpoint.errors import DataError, message
from counterpoint_apps.image_search.encoder import ImageEncoder, open_index
from counterpoint_apps.pictures.answers import Answer, show
from counterpoint_apps.pictures.files import embedded, present
from counterpoint_apps.pictures.searches import Searches
from counterpoint_apps.pictures.sheet import tile, tile_of_file
from counterpoint_apps.shell import tell
from counterpoint_vision.tasks import contact_sheet

ON_SHEET = 20  # queries on a contact sheet; more would be a picture that nobody can open


def query(
    path: Path,
    images: Sequence[Path],
    k: int,
    run: Path | None,
    sheet: Path | None,
    form: str,
    exact: bool | None = None,
) -> None:
    """Search an index for the neighbours of picture files and of whole folders; prints and draws them.

    Args:
        path: the index.
        images: files and folders.
        k: neighbours per query.
        run: where the index's run lies now, or None.
        sheet: PNG file, or None.
        form: ``table``, ``json`` or ``csv``.
        exact: True compares with everything; None as the index's size asks.

    Raises:
        DataError: no index, a damaged one, a file that is missing, or no picture that can be read.
    """
    present(images)
    searches = open_index(path, run)
    shown: list[Answer] = []
    damaged: list[str] = []

    def answers() -> Iterator[Answer]:
        for paths, vectors in embedded(searches.encoder, images, damaged):
            for picture, vector in zip(paths, vectors):
                answer = Answer(picture, searches.hits(vector, k, exact))
                if len(shown) < ON_SHEET:
                    shown.append(answer)
                yield answer

    show(answers(), form)
    for text in damaged:
        tell(f"left out: {text}")
    if not shown:
        raise DataError(message("images", "none that can be read", "at least one readable picture"))
    tell(f"{searches.index.how()}{' (compared with all: --exact)' if exact else ''}")
    if sheet is not None:
        _draw(searches, shown, sheet)
        tell(f"Neighbours as a picture: {sheet}")


def _draw(searches: Searches[ImageEncoder], answers: list[Answer], sheet: Path) -> None:
    queries = [tile_of_file(answer.query) for answer in answers]
    rows = [[tile(searches.source, hit.key, hit.score) for hit in answer.hits] for answer in answers]
    contact_sheet(queries, rows, sheet, "Nearest neighbours")
