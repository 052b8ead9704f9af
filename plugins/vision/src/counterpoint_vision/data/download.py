"""One file from its official place: within a time limit, checked, and whole or not at all."""

from __future__ import annotations

import hashlib
import os
import time
import urllib.request
from pathlib import Path

from counterpoint.errors import DataError, message

_CHUNK = 1 << 18


def fetch(url: str, target: Path, md5: str, seconds: float) -> None:
    """Download ``url`` to ``target``.

    Args:
        url: official address.
        target: file to write; its folder is made.
        md5: hex digest that the publisher gives (against damage in transit).
        seconds: give up after this long, connection included.

    Raises:
        DataError: no connection, too slow, or other content than expected; nothing is left behind.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}")
    todo = f"Fetch it by hand into {target.parent}, or use 'photographs', which needs no download."
    try:
        found = _stream(url, part, time.monotonic() + seconds)
        if found != md5:
            raise DataError(message(url, f"content with MD5 {found}", md5, todo))
        part.replace(target)
    except OSError as error:  # URLError and time-outs are OSErrors
        raise DataError(message(url, f"{error}", f"a download within {seconds:g} s", todo)) from None
    finally:
        part.unlink(missing_ok=True)


def _stream(url: str, part: Path, deadline: float) -> str:
    state = hashlib.md5(usedforsecurity=False)
    limit = max(0.1, min(10.0, deadline - time.monotonic()))
    with urllib.request.urlopen(url, timeout=limit) as answer, part.open("wb") as file:
        while chunk := answer.read(_CHUNK):
            if time.monotonic() > deadline:
                raise TimeoutError("too slow")
            state.update(chunk)
            file.write(chunk)
    return state.hexdigest()
