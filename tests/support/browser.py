"""A headless Chromium for tests of pages: what a page logs, and what it asks for, is written down.

::

    with open_page(tmp_path / "report.html", width=390) as opened:
        opened.page.click("#theme")
        assert opened.errors == []
        assert opened.left == []

Each page has a browser of its own with an empty profile, which takes a second: let one visit check several things.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Opened:
    """A page in a browser.

    Attributes:
        page: Playwright's page (its synchronous interface).
        address: what was opened.
        errors: what the console complained about, and exceptions that no script caught.
        requests: address of everything that the browser asked for, the page itself first.
    """

    page: Any
    address: str
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def left(self) -> list[str]:
        """Requests that left the page: for a file all but itself, for a served page those to other hosts."""
        return [url for url in self.requests if _leaves(url, self.address)]

    @property
    def overflow(self) -> int:
        """Pixels by which the page is wider than its window: more than 0 makes it scroll sideways."""
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(wide))


def chromium() -> str:
    """Path of the system's Chromium; the test is skipped, with the reason, where there is none."""
    pytest.importorskip("playwright", reason="playwright is not installed: pip install playwright")
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.skip(f"no browser: install Chromium (looked for {', '.join(NAMES)})")
    return found


@contextmanager
def open_page(
    address: str | Path,
    *,
    width: int = 1280,
    height: int = 900,
    scheme: Literal["light", "dark"] = "light",
    touch: bool = False,
) -> Iterator[Opened]:
    """Open a file or an address in a new browser; closed when the block ends.

    Requests to other hosts are written down and not let through.

    Args:
        address: HTML file, or a URL.
        width, height: of the window, CSS pixels.
        scheme: what ``prefers-color-scheme`` says.
        touch: whether it is a touch screen.
    """
    executable = chromium()
    from playwright.sync_api import sync_playwright

    url = address.resolve().as_uri() if isinstance(address, Path) else address
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(QUIET), headless=True)
        try:
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=touch
            )
            context.route("**/*", lambda route: route.abort() if _leaves(route.request.url, url) else route.continue_())
            opened = Opened(context.new_page(), url)
            opened.page.on("request", lambda request: opened.requests.append(request.url))
            opened.page.on("console", lambda said: opened.errors.append(said.text) if said.type == "error" else None)
            opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
            opened.page.goto(url)
            yield opened
        finally:
            browser.close()


def _leaves(url: str, page: str) -> bool:
    asked, own = urlsplit(url), urlsplit(page)
    if asked.scheme in ("data", "blob", "about"):
        return False
    if own.scheme == "file":
        return (asked.scheme, asked.path) != (own.scheme, own.path)
    return asked.netloc != own.netloc
