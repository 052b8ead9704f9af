"""``serve``: the page on this machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any

from counterpoint.errors import DataError, message
from counterpoint_apps import web
from counterpoint_apps.pictures.searches import Searches


def serve(
    searches: Searches[Any],
    build: Callable[[Any], Any],
    host: str,
    port: int,
    max_upload: int,
    opened: bool,
) -> None:
    """Serve a page until Ctrl-C.

    Args:
        searches: in the index.
        build: searches -> the page as Gradio blocks.
        host: address to listen on.
        port: 0: any that is free.
        max_upload: largest upload in MB.
        opened: open it in the browser.

    Raises:
        DataError: an empty index.
        ConfigError: an address or a port that cannot be used.
    """
    index = searches.index
    if not len(index.store):
        raise DataError(message("index", f"no picture in {index.path}", "an index with pictures"))
    listening = web.listen(host, port)
    address = web.address(host, listening)
    with tempfile.TemporaryDirectory(prefix="counterpoint-uploads-") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        app = build_app(searches, build, max_upload, host)
        print(f"{index.how()} at {address}   (Ctrl-C stops)", flush=True)
        if host not in web.LOCAL:
            print(f"Everybody who reaches {host} can see the pictures of {searches.source}.", flush=True)
        web.run(app, listening, address if opened else "")


def build_app(searches: Searches[Any], build: Callable[[Any], Any], max_upload: int, host: str = "127.0.0.1") -> Any:
    """The page and its pictures as an ASGI app; no analytics, no request to other hosts."""
    from counterpoint_apps.pictures.page import CSS, PASTED
    from counterpoint_apps.pictures.routes import add_routes

    app = web.bare_app(host)
    add_routes(app, searches.index, searches.source)
    return web.mount(app, build(searches), CSS, PASTED, max_upload * 2**20)
