"""``serve``: the page on this machine."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import webbrowser
from pathlib import Path
from typing import Any

from counterpoint.errors import ConfigError, DataError, message
from counterpoint_apps.image_search.index import PictureIndex
from counterpoint_apps.image_search.searches import Searches

LOCAL = ("127.0.0.1", "localhost", "::1")


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
    listening = _listen(host, port)
    address = f"http://{host}:{listening.getsockname()[1]}"
    with tempfile.TemporaryDirectory(prefix="counterpoint-uploads-") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        app = build_app(searches, max_upload, host)
        print(f"{index.how()} at {address}   (Ctrl-C stops)", flush=True)
        if host not in LOCAL:
            print(f"Everybody who reaches {host} can see the pictures of {index.folder}.", flush=True)
        if opened:
            threading.Timer(1.0, webbrowser.open, (address,)).start()
        _run(app, listening)


def build_app(searches: Searches, max_upload: int, host: str = "127.0.0.1") -> Any:
    """The page and its pictures as an ASGI app; no analytics, no request to other hosts."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from counterpoint_apps.image_search.page import CSS, PASTED, build, theme
    from counterpoint_apps.image_search.pictures import add_routes

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    if host in LOCAL:  # a foreign page that points its own name at this machine gets nothing
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL, "[::1]"])
    add_routes(app, searches.index)
    return gr.mount_gradio_app(
        app,
        build(searches),
        "",
        css=CSS,
        head=PASTED,
        theme=theme(),
        max_file_size=max_upload * 2**20,
        footer_links=[],
        ssr_mode=False,
        show_error=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        return listening
    except (OSError, OverflowError) as error:
        todo = "Choose another --port; 0 takes any that is free."
        raise ConfigError(
            message("--host, --port", f"{host}:{port}: {error}", "an address that is free", todo)
        ) from None


def _run(app: Any, listening: socket.socket) -> None:
    import uvicorn

    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
