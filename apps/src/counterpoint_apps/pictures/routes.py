"""Thumbnails and originals over HTTP: of pictures in the index as they were indexed, and of nothing else."""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from urllib.parse import quote

from fastapi import FastAPI, HTTPException
from fastapi.responses import Response
from PIL import Image

from counterpoint.errors import DataError
from counterpoint_apps.pictures.index import PictureIndex
from counterpoint_apps.pictures.sources import Source

SIDE = 360  # pixels of a thumbnail's longer side: sharp on twice as fine screens
GUARD = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, max-age=3600",
}


def address(key: str) -> str:
    """``key`` as the end of an address; browsers would resolve ``..`` and a leading ``/`` themselves."""
    odd = key.startswith("/") or ".." in key.split("/")
    return quote(key, safe="" if odd else "/")


def check(index: PictureIndex, source: Source, key: str) -> None:
    """Make sure that the index has ``key``, and that it still is the picture that was indexed.

    Raises:
        HTTPException: 404, whatever the reason.
    """
    state = source.state(key)
    facts = index.store.facts_of([key]).get(key) if state is not None else None
    if facts is None or state != (facts["size"], facts["mtime_ns"]):
        raise HTTPException(404, "There is no such picture in the index, or it has changed since. Run `index` again.")


def add_routes(app: FastAPI, index: PictureIndex, source: Source) -> None:
    """``/thumbnail/KEY`` and ``/original/KEY``."""

    @app.get("/thumbnail/{key:path}")
    def thumbnail(key: str) -> Response:
        check(index, source, key)
        try:
            return Response(_small(source, key), media_type="image/jpeg", headers=GUARD)
        except DataError:
            raise HTTPException(404, "This picture cannot be read.") from None

    @app.get("/original/{key:path}")
    def original(key: str) -> Response:
        check(index, source, key)
        try:
            raw, kind = source.raw(key)
        except DataError:
            raise HTTPException(404, "This picture cannot be read.") from None
        shown = f"inline; filename*=UTF-8''{quote(PurePosixPath(key).name, safe='')}"
        return Response(raw, media_type=kind, headers={**GUARD, "Content-Disposition": shown})


def _small(source: Source, key: str) -> bytes:
    image = Image.fromarray(source.image(key, 2 * SIDE).permute(1, 2, 0).numpy())
    image.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()
