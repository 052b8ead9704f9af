"""Pages on this machine: an address, Gradio without any request to other hosts, until Ctrl-C."""

from __future__ import annotations

import os
import socket
import threading
import webbrowser
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from counterpoint.errors import ConfigError, message

LOCAL = ("127.0.0.1", "localhost", "::1")

# What every event of a page takes. No queue: a click that joins while the queue's stream closes is never answered. And
# "multiple": Gradio would drop a click that comes while the answer to another is on its way; see `Visitor`.
DIRECT: dict[str, Any] = {"queue": False, "trigger_mode": "multiple", "api_visibility": "private"}
# What changes while somebody types or moves a slider: one question at a time, and in the end the last one.
LAST: dict[str, Any] = {**DIRECT, "trigger_mode": "always_last"}

# Gradio draws no ring, or none that is seen, around what the keyboard is at.
FOCUS = """
:is(textarea, input):focus-visible { outline: 2px solid var(--color-accent) !important; outline-offset: -2px; }
input[type=range]:focus-visible { outline-offset: 4px !important; }
"""

T = TypeVar("T")
_CHANGING = threading.Lock()  # one for all visitors: Gradio copies a visitor's state, and a lock cannot be copied

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported, which is after this


class Visitor(Generic[T]):
    """What one visitor of a page has come to, by questions that may overlap: the newest one's answer is what stays.

    It lies in a ``gr.State`` that no event returns, since a late answer would bring an old state back.

    Args:
        now: where every visitor begins.
    """

    def __init__(self, now: T) -> None:
        self.now = now
        self._newest: object = None

    def ask(self) -> Callable[[], bool]:
        """Begin a question; the function says whether nothing was asked since."""
        question = self._newest = object()
        return lambda: self._newest is question

    def change(self, how: Callable[[T], T]) -> T:
        """Change where the visitor is, one change after the other; where that is then."""
        with _CHANGING:
            self.now = how(self.now)
            return self.now


def listen(host: str, port: int) -> socket.socket:
    """A socket on ``host``; port 0: any that is free.

    Raises:
        ConfigError: an address or a port that cannot be used.
    """
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


def address(host: str, listening: socket.socket) -> str:
    """Where the page is."""
    return f"http://{host}:{listening.getsockname()[1]}"


def bare_app(host: str) -> Any:
    """An ASGI app without pages; on this machine's own names only, if ``host`` is one of them."""
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    if host in LOCAL:  # a foreign page that points its own name at this machine gets nothing
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL, "[::1]"])
    return app


def mount(app: Any, blocks: Any, css: str, head: str = "", max_file_size: int | None = None) -> Any:
    """Put Gradio blocks at the root of ``app``; no analytics, nothing from other hosts, no paths in errors."""
    import gradio as gr

    return gr.mount_gradio_app(
        app,
        blocks,
        "",
        css=FOCUS + css,
        head=head,
        theme=theme(),
        max_file_size=max_file_size,
        footer_links=[],
        ssr_mode=False,
        show_error=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
    )


def theme() -> Any:
    """Gradio's base theme with the system's fonts, so that nothing is fetched from elsewhere."""
    import gradio as gr

    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "monospace"]
    return gr.themes.Base(primary_hue="emerald", neutral_hue="stone", font=fonts, font_mono=mono)


def run(app: Any, listening: socket.socket, opened: str = "") -> None:
    """Serve until Ctrl-C; ``opened``: an address to show in the browser."""
    import uvicorn

    if opened:
        threading.Timer(1.0, webbrowser.open, (opened,)).start()
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
