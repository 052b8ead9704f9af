"""``serve``: the page on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from counterpoint_apps import web
from counterpoint_apps.recommender.atlas import Atlas
from counterpoint_graphrec.tasks import Recommender


def serve(run: Path, data: str | None, host: str, port: int, opened: bool) -> None:
    """Serve the page until Ctrl-C.

    Args:
        run: run directory.
        data: where its table lies now, or None.
        host: address to listen on.
        port: 0: any that is free.
        opened: open it in the browser.

    Raises:
        RunError: no run, or an unfinished one.
        ConfigError: an address or a port that cannot be used.
    """
    recommender = Recommender.of_run(run, data)
    listening = web.listen(host, port)
    app = build_app(recommender, Atlas.of(recommender, run), host)
    address = web.address(host, listening)
    print(f"{about(recommender)} at {address}   (Ctrl-C stops)", flush=True)
    if host not in web.LOCAL:
        print(f"Everybody who reaches {host} can ask for any user's recommendations.", flush=True)
    web.run(app, listening, address if opened else "")


def build_app(recommender: Recommender, atlas: Atlas, host: str = "127.0.0.1") -> Any:
    """The page as an ASGI app; no analytics, no request to other hosts."""
    from counterpoint_apps.recommender.page import CSS, build

    return web.mount(web.bare_app(host), build(recommender, atlas, about(recommender)), CSS)


def about(recommender: Recommender) -> str:
    """What is recommended to whom, in numbers."""
    names, nodes = recommender.names, recommender.nodes
    return f"{len(names.items):,} items · {len(names.users):,} users · {nodes.known.nnz:,} interactions"
