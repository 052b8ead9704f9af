"""An app's page on a port of this machine, for as long as a test looks at it.

::

    with serving(build_app(...)) as address, open_page(address) as opened:
        ...
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import uvicorn

START = 60  # seconds that a busy machine may take


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an ASGI app; its address, with a ``/`` at the end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + START
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.05)
        assert server.started
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        server.should_exit = True
        thread.join(10)


class Held:
    """The next call of a method waits: a slow answer, during which a test can do something else.

    ::

        with Held(monkeypatch, Searches, "like") as held:
            page.click("#more")
            held.wait()
            ...  # while the page waits

    Calls that come meanwhile are not held. The call goes on when the block ends.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        self._began, self._ends = threading.Event(), threading.Event()
        monkeypatch.setattr(owner, name, self._holding(getattr(owner, name)))

    def _holding(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if not self._began.is_set():
                self._began.set()
                assert self._ends.wait(START)
            return method(*args, **options)

        return call

    def wait(self) -> None:
        """Until the call is there."""
        assert self._began.wait(START)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()


def status(address: str, **headers: str) -> int:
    """HTTP status of an address."""
    try:
        with urlopen(Request(address, headers=headers), timeout=20) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code
