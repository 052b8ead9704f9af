"""The site builds without a warning, links lead somewhere, what is public is documented, and no other host is asked."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from pages import DOCS

pytest.importorskip("sphinx", reason="pip install --group docs")

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LOADS = {("img", "src"), ("script", "src"), ("link", "href"), ("source", "src"), ("iframe", "src"), ("object", "data")}
PUBLIC = ("counterpoint", "counterpoint.objectives", "counterpoint.nn", "counterpoint.methods")
MODULES = ("types", "parts", "plugin", "apps", "errors")  # of the core: every public class and function
NOT_SHOWN = {
    "counterpoint.__version__",
    "counterpoint.methods.FINE_TUNING",
    "counterpoint.methods.METHODS",
    "counterpoint.objectives.Reduction",
}  # no docstrings


class Page(HTMLParser):
    """What one page links to, loads, and can be linked at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Sort the attributes."""
        for name, value in attrs:
            if value is None:
                continue
            if name == "id" or (tag, name) == ("a", "name"):
                self.anchors.add(value)
            elif (tag, name) == ("a", "href"):
                self.links.append(value)
            elif (tag, name) in LOADS:
                self.loads.append(value)
            elif name == "srcset":
                self.loads += [part.split()[0] for part in value.split(",")]


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    words = ["-W", "--keep-going", "-q", "-b", "html", "-d", str(out.with_suffix(".trees")), str(source), str(out)]
    return subprocess.run([sys.executable, "-m", "sphinx", *words], capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "html"
    done = build(DOCS, out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return out


@pytest.fixture(scope="module")
def html(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_page_is_there(site: Path) -> None:
    written = {page.relative_to(DOCS).with_suffix("") for page in DOCS.rglob("*.md") if "_build" not in page.parts}
    assert len(written) >= 20
    for page in written:
        assert (site / page).with_suffix(".html").is_file(), page


def test_no_link_inside_leads_nowhere(site: Path, html: dict[Path, Page]) -> None:
    dead = [
        f"{path.relative_to(site)}: {link}"
        for path, page in html.items()
        for link in page.links
        if _dead(path, link, html)
    ]
    assert dead == []
    assert sum(len(page.links) for page in html.values()) > 1000


def _dead(path: Path, link: str, html: dict[Path, Page]) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return False
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target not in html:
        return not target.is_file()
    return bool(parts.fragment) and parts.fragment not in html[target].anchors


def test_nothing_is_loaded_from_elsewhere(site: Path, html: dict[Path, Page]) -> None:
    loads = {load for page in html.values() for load in page.loads}
    assert len(loads) > 10
    assert [load for load in loads if urlsplit(load).scheme not in ("", "data") or load.startswith("//")] == []
    for sheet in site.rglob("*.css"):
        text = re.sub(r"/\*.*?\*/", "", sheet.read_text(encoding="utf-8"), flags=re.S)
        assert not re.search(r"@import|url\(\s*[\"']?(https?:)?//", text), sheet
    for page in site.rglob("*.html"):
        assert not re.search(r"@import|url\(\s*[\"']?(https?:)?//", page.read_text(encoding="utf-8")), page


def public_names() -> Iterator[str]:
    """Everything that a user may import, by the name under which the reference must have it."""
    for package in PUBLIC:
        for name in importlib.import_module(package).__all__:
            yield f"{package}.{name}"
    for module in MODULES:
        loaded = importlib.import_module(f"counterpoint.{module}")
        for name, value in vars(loaded).items():
            if not name.startswith("_") and getattr(value, "__module__", "") == loaded.__name__:
                yield f"{loaded.__name__}.{name}"


def test_the_reference_has_every_public_name(html: dict[Path, Page], site: Path) -> None:
    anchors = {anchor for page in html.values() for anchor in page.anchors}
    ends = {anchor.rpartition(".")[2] for anchor in anchors if anchor.startswith("counterpoint.")}
    names = set(public_names()) - NOT_SHOWN
    assert len(names) > 60
    assert {name for name in names if name.rpartition(".")[2] not in ends} == set()


def test_a_warning_fails_the_build(tmp_path: Path) -> None:
    source = tmp_path / "docs"
    source.mkdir()
    (source / "conf.py").write_text('extensions = ["myst_parser"]\nmyst_heading_anchors = 3\n')
    (source / "index.md").write_text("# Home\n\n[nowhere](#such-a-place)\n")
    done = build(source, tmp_path / "html")
    assert done.returncode == 1
    assert "such-a-place" in done.stderr
