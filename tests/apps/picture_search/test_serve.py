"""``serve``: the page by use in a headless browser; pictures of an archive, and nothing else, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from browser import open_page
from counterpoint import apps
from counterpoint.errors import DataError
from counterpoint_apps.picture_search.page import build
from counterpoint_apps.picture_search.searches import WordSearches, open_index
from counterpoint_apps.pictures.searches import PER_PAGE
from counterpoint_apps.pictures.serve import build_app
from serving import Held, serving, status

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

EVIL = "<b>odd</b> & 'quoted\" red"
WAIT = 60_000
"""Milliseconds: a browser on a busy machine takes its time."""


@pytest.fixture
def served(catalogue: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of the page over a table of 54 pictures, one of them outside of its folder, one with an odd caption."""
    (tmp_path / "table").mkdir()
    lines = catalogue.read_text(encoding="utf-8").splitlines()
    odd = EVIL.replace('"', '""')
    table = [lines[0], *(f"../{line}" for line in lines[2:]), f'../images/000.png,"{odd}",circle,train']
    (tmp_path / "table" / "pairs.csv").write_text("\n".join(table), encoding="utf-8")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    words = ["picture-search", "index", str(tmp_path / "table" / "pairs.csv"), "--run", str(run)]
    assert apps.main([*words, "--index", str(tmp_path / "index")]) == 0
    with serving(build_app(open_index(tmp_path / "index"), build, 1)) as address:
        yield address


def test_only_pictures_of_the_index_are_served(served: str, catalogue: Path, tmp_path: Path) -> None:
    key = quote("../images/001.png", safe="")
    with urlopen(f"{served}original/{key}") as answer:
        assert answer.read() == (catalogue.parent / "images" / "001.png").read_bytes()
        assert answer.headers["Content-Type"] == "image/png"
    assert status(f"{served}thumbnail/{key}") == 200
    for other in ("../pairs.csv", "pairs.csv", "/etc/passwd", "../images/none.png", ""):
        assert status(f"{served}original/{quote(other, safe='')}") == 404
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(catalogue.parent / "images" / "001.png")
    assert status(f"{served}thumbnail/{key}") == 404, "it is not the picture that was indexed"


@pytest.mark.browser
def test_the_page_by_use(served: str, catalogue: Path, tmp_path: Path) -> None:
    """Ideas, words, a picture like a hit, words beside it, an upload, what is no picture, and back to the start."""
    with open_page(served) as opened:
        page = opened.page

        def captions() -> list[str]:
            return [text.strip() for text in page.locator(".tile .name").all_inner_texts()]

        def search(words: str) -> None:
            page.locator("#words textarea, #words input").first.fill(words)
            page.locator("#go").click()

        page.wait_for_selector(".tile", timeout=WAIT)
        assert page.locator(".tile").count() == PER_PAGE and page.locator(".score").count() == 0
        page.wait_for_function("document.querySelector('.tile img').naturalWidth > 0", timeout=WAIT)
        tile, caption = page.locator(".tile").first, captions()[0]
        assert tile.get_by_role("img").get_attribute("alt") == caption, "what a screen reader says"
        for name in ("More like this: ", "Open "):
            assert str(tile.get_by_label(name).get_attribute("aria-label")).startswith(name + caption.split(" · ")[0])
        assert page.get_by_role("textbox", name="Words", exact=True).count() == 1
        for place in ("#weight input[type=range]", "#words textarea, #words input"):
            page.locator(place).first.focus()
            ring = page.locator(place).first.evaluate("box => getComputedStyle(box).outline")
            assert "solid" in ring, "where the keyboard is can be seen"
        idea = page.locator(".chip").first.inner_text()
        page.locator(".chip").first.click()
        page.locator(".about strong", has_text=idea).wait_for(timeout=WAIT)
        assert page.locator("#words textarea, #words input").first.input_value() == idea

        search("blue")
        page.locator(".about strong", has_text="blue").wait_for(timeout=WAIT)
        assert sum("blue" in text for text in captions()[:6]) >= 4
        assert page.locator("#place").get_by_role("status").inner_text().strip() == "1–24 of 54"
        page.locator("#next").click()
        page.wait_for_function("document.querySelector('#place').innerText.includes('25–48')", timeout=WAIT)

        page.locator(".tile button").first.click()
        page.locator(".chosen").wait_for(timeout=WAIT)
        assert page.locator(".tile .score").first.inner_text() == "1.00", "the picture itself comes first"
        alone = captions()
        search("red")
        page.locator(".about strong", has_text="red").wait_for(timeout=WAIT)
        assert page.locator(".chosen").count() == 1 and captions() != alone
        for number in ("", "0.5"):  # somebody empties it, to type another
            with page.expect_response("**/predict*", timeout=WAIT):
                page.locator("#weight input[type=number]").fill(number)
        page.locator(".chosen button").click()
        page.locator(".chosen").wait_for(state="detached", timeout=WAIT)

        chooser = page.locator("#picture input[type=file]")
        chooser.set_input_files(catalogue.parent / "images" / "000.png")
        page.locator(".about", has_text="your picture").wait_for(timeout=WAIT)
        page.locator("#picture button[aria-label='Clear'], #picture button[aria-label='Remove Image']").first.click()
        page.locator(".about", has_text="your picture").wait_for(state="detached", timeout=WAIT)
        (tmp_path / "text.png").write_text("this is no picture")
        chooser.wait_for(state="attached")
        chooser.set_input_files(tmp_path / "text.png")
        page.locator(".alert", has_text="cannot be searched for: not an image").wait_for(timeout=WAIT)
        chooser.wait_for(state="attached")
        page.wait_for_timeout(500)
        assert page.locator(".alert").count() == 1, "it stays until the next question: emptying the box asks nothing"

        search("odd quoted")
        page.locator(".about strong", has_text="odd quoted").wait_for(timeout=WAIT)
        assert page.locator(".tile b").count() == 0, "a caption is text, not markup"
        search("")
        page.locator(".chip").first.wait_for(timeout=WAIT)
        assert page.locator(".score").count() == 0
        assert opened.errors == []
        assert opened.left == [], "nothing is fetched from elsewhere"
        assert opened.overflow == 0


@pytest.mark.browser
def test_of_questions_that_overlap_the_newest_is_answered(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_page(served) as opened:
        page = opened.page
        page.set_default_timeout(WAIT)
        page.wait_for_selector(".tile")
        second = page.locator(".chip").nth(1).inner_text()
        with page.expect_response("**/predict*"), Held(monkeypatch, WordSearches, "ask") as held:
            page.locator(".chip").nth(0).click()
            held.wait()
            with page.expect_response("**/predict*"):
                page.locator(".chip").nth(1).click()
            page.locator(".about strong", has_text=second).wait_for()
        page.locator("#next").click()
        page.wait_for_function("document.querySelector('#place').innerText.includes('25–48')")
        assert page.locator(".about strong").inner_text() == f"“{second}”"
        assert page.locator("#words textarea, #words input").first.input_value() == second
        assert opened.errors == []


@pytest.mark.browser
def test_on_a_phone(served: str) -> None:
    with open_page(served, width=390, height=844, scheme="dark", touch=True) as opened:
        opened.page.wait_for_selector(".tile", timeout=WAIT)
        opened.page.locator(".chip").first.tap()
        opened.page.locator(".score").first.wait_for(timeout=WAIT)
        opened.page.locator(".tile button").nth(20).tap()
        opened.page.locator(".chosen").wait_for(timeout=WAIT)
        chosen = "document.querySelector('.chosen').getBoundingClientRect()"
        opened.page.wait_for_function(f"{chosen}.top >= 0 && {chosen}.bottom < innerHeight", timeout=WAIT)
        opened.page.evaluate("document.querySelector('.chosen span').textContent = 'a long caption '.repeat(30)")
        assert opened.page.evaluate(f"{chosen}.height") < 60
        assert opened.page.locator(".chosen button").bounding_box()["width"] == 24
        assert opened.overflow == 0
        assert opened.errors == []


def test_an_index_without_pictures_is_not_served(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no index at"):
        apps.main(["picture-search", "serve", "--index", str(tmp_path / "no")])
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "broken.png").write_bytes(b"no picture")
    where = ["--index", str(tmp_path / "index")]
    assert apps.main(["picture-search", "index", str(tmp_path / "photos"), "--run", str(run), *where]) == 0
    for words in (["serve", "--port", "0"], ["search", "red"]):
        with pytest.raises(DataError, match=r"index: found no picture in .*index; allowed: an index with pictures"):
            apps.main(["picture-search", *words, *where])
