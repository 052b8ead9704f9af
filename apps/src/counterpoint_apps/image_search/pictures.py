"""Thumbnails and originals over HTTP: of files in the index as they were indexed, and of nothing else."""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath
from typing import Any

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, Response
from PIL import Image

from counterpoint_apps.image_search.index import PictureIndex
from counterpoint_vision.data.decode import SUFFIXES, decode

SIDE = 360  # pixels of a thumbnail's longer side: sharp on twice as fine screens
GUARD = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, max-age=3600",
}


def allowed(index: PictureIndex, key: str) -> Path:
    """The file of ``key``, if the index has it and it still is the file that was indexed.

    Raises:
        HTTPException: 404, whatever the reason.
    """
    place = PurePosixPath(key)
    facts: dict[str, int] = {}
    if not place.is_absolute() and ".." not in place.parts and place.suffix.lower() in SUFFIXES:
        facts = index.store.facts_of([key]).get(key, {})
    path = index.folder / key
    try:
        status = path.stat() if facts else None
    except OSError:
        status = None
    if status is None or (status.st_size, status.st_mtime_ns) != (facts["size"], facts["mtime_ns"]):
        raise HTTPException(404, "There is no such picture in the index, or it has changed since. Run `index` again.")
    return path


def add_routes(app: FastAPI, index: PictureIndex) -> None:
    """``/thumbnail/PATH`` and ``/original/PATH``."""

    @app.get("/thumbnail/{key:path}")
    def thumbnail(key: str) -> Response:
        path = allowed(index, key)
        try:
            return Response(_small(path), media_type="image/jpeg", headers=GUARD)
        except (OSError, ValueError):
            raise HTTPException(404, "This picture cannot be read.") from None

    @app.get("/original/{key:path}")
    def original(key: str) -> Any:
        return FileResponse(
            allowed(index, key), headers=GUARD, content_disposition_type="inline", filename=PurePosixPath(key).name
        )


def _small(path: Path) -> bytes:
    pixels = decode(path.read_bytes(), 2 * SIDE)
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    image.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()
