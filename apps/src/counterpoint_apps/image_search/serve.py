"""``serve``: the page on this machine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from counterpoint.errors import DataError, message
from counterpoint_apps import web
from counterpoint_apps.image_search.index import PictureIndex
from counterpoint_apps.image_search.searches import Searches


def serve(path: Path, run: Path | None, host: str, port: int, max_upload: int, opened: bool) -> None:
    """Serve the page until Ctrl-C.

    Args:
        path: the index.
        run: where the index's run lies now, or None.
        host: address to listen on.
        port: 0: any that is free.
        max_upload: largest upload in MB.
        opened: open it in the browser.

    Raises:
        DataError: no index, a damaged or an empty one.
        ConfigError: an address or a port that cannot be used.
    """
    index = PictureIndex(path)
    if not len(index.store):
        raise DataError(message("index", f"no picture in {path}", "an index with pictures"))
    searches = Searches(index, index.encoder(run))
    listening = web.listen(host, port)
    address = web.address(host, listening)
    with tempfile.TemporaryDirectory(prefix="counterpoint-uploads-") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        app = build_app(searches, max_upload, host)
        print(f"{index.how()} at {address}   (Ctrl-C stops)", flush=True)
        if host not in web.LOCAL:
            print(f"Everybody who reaches {host} can see the pictures of {index.folder}.", flush=True)
        web.run(app, listening, address if opened else "")


def build_app(searches: Searches, max_upload: int, host: str = "127.0.0.1") -> Any:
    """The page and its pictures as an ASGI app; no analytics, no request to other hosts."""
    from counterpoint_apps.image_search.page import CSS, PASTED, build
    from counterpoint_apps.image_search.pictures import add_routes

    app = web.bare_app(host)
    add_routes(app, searches.index)
    return web.mount(app, build(searches), CSS, PASTED, max_upload * 2**20)
