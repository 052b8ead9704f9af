"""``serve``: the page by use in a headless browser, and what it must never give away."""

from __future__ import annotations

import os
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from browser import open_page
from counterpoint import apps
from counterpoint.errors import ConfigError, DataError
from counterpoint_apps.image_search.encoder import open_index
from counterpoint_apps.image_search.page import build
from counterpoint_apps.pictures.searches import PER_PAGE, Searches
from counterpoint_apps.pictures.serve import build_app
from serving import Held, serving, status

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ODD = "it's <b>odd & 100%.png"


@pytest.fixture
def served(photos: Path, run: Path, tmp_path: Path, update, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:  # type: ignore[no-untyped-def]
    """Address of the page over an index of 61 pictures."""
    pixels = np.random.default_rng(9).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(photos / ODD)
    update(photos)
    (photos / "secret.png").write_bytes((photos / ODD).read_bytes())  # after the index was made
    (tmp_path / "outside.png").write_bytes((photos / ODD).read_bytes())
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    with serving(build_app(open_index(tmp_path / "index"), build, 1)) as address:
        yield address


def test_only_pictures_of_the_index_are_served(served: str, photos: Path, tmp_path: Path) -> None:
    with urlopen(f"{served}original/{quote(ODD)}") as answer:
        assert answer.read() == (photos / ODD).read_bytes()
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
    with urlopen(f"{served}thumbnail/{quote(ODD)}") as answer:
        assert answer.headers["Content-Type"] == "image/jpeg"
    for key in (
        "secret.png",
        "../outside.png",
        "%2e%2e/outside.png",
        "red/../../outside.png",
        str(tmp_path / "outside.png"),
        "/etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "red",
        "",
        "x' OR '1'='1.png".replace(" ", "%20"),
    ):
        for kind in ("original", "thumbnail"):
            assert status(f"{served}{kind}/{key}") == 404, key
    for path in (tmp_path / "outside.png", photos / "red" / "0.png", Path("/etc/passwd")):
        assert status(f"{served}gradio_api/file={path}") in (403, 404), "Gradio's own door"
    (photos / "red" / "0.png").unlink()
    (photos / "red" / "0.png").symlink_to("/etc/passwd")
    assert status(f"{served}original/red/0.png") == 404, "it is not the file that was indexed"
    assert status(served, Host="evil.example") == 400, "another site's name for this machine"


def bomb(path: Path, side: int = 30_000) -> Path:
    """A PNG of ``side`` x ``side`` zeros: under a megabyte, 900 million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(side // 8 + 1)
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))
    return path


@pytest.mark.browser
def test_the_page_by_use(served: str, photos: Path, tmp_path: Path) -> None:
    """Upload, see itself first; more like this; the slider; paging; the file; what is no picture."""
    with open_page(served) as opened:
        page = opened.page
        chooser = page.locator("#picture input[type=file]")
        chooser.wait_for(state="attached", timeout=30_000)
        first = page.locator(".tile img").first

        chooser.set_input_files(photos / ODD)
        page.wait_for_selector(".tile", timeout=30_000)
        assert first.get_attribute("alt") == ODD, "itself first, and its name is text, not markup"
        assert page.locator(".tile .score").first.inner_text() == "1.00"
        assert page.locator(".tile").count() == PER_PAGE
        assert page.locator("#place").inner_text().strip() == "1–24 of 61"
        page.wait_for_function("document.querySelector('.tile img').naturalWidth > 0")

        page.click("#next")
        page.wait_for_function("document.querySelector('#place').innerText.includes('25–48')")
        page.click("#next")
        page.wait_for_function("document.querySelector('#place').innerText.includes('49–61')")
        assert page.locator(".tile").count() == 13
        assert page.locator("#next").is_disabled()

        name = page.locator(".tile img").nth(2).get_attribute("alt")
        page.locator(".tile button").nth(2).click()
        page.wait_for_function("name => document.querySelector('.about strong').innerText === name", arg=name)
        assert first.get_attribute("alt") == name
        assert page.locator("#place").inner_text().strip() == "1–24 of 61"

        scores = [float(text) for text in page.locator(".tile .score").all_inner_texts()]
        least = (scores[4] + scores[5]) / 2 if scores[4] - scores[5] > 0.03 else scores[0]
        page.locator("#least input[type=number]").fill(f"{least:.2f}")
        page.locator("#least input[type=number]").press("Enter")
        page.wait_for_function("!document.querySelector('#place').innerText.includes('of 61')")
        assert 1 <= page.locator(".tile").count() < PER_PAGE
        assert all(float(text) >= round(least, 2) - 0.006 for text in page.locator(".tile .score").all_inner_texts())

        with page.context.expect_page() as other:
            page.locator(".tile a").first.click()
        assert other.value.url.endswith(f"original/{quote(str(name))}")
        assert opened.errors == []
        assert opened.left == [], "nothing is fetched from elsewhere"
        assert opened.overflow == 0

        (tmp_path / "text.png").write_text("this is no picture")
        (tmp_path / "big.jpg").write_bytes(b"\xff\xd8" + os.urandom(2 * 2**20))
        page.locator("#picture button[aria-label='Clear'], #picture button[aria-label='Remove Image']").first.click()
        for file, told in (
            (tmp_path / "text.png", "cannot be searched for: not an image of a known format"),
            (bomb(tmp_path / "bomb.png"), "cannot be searched for: more pixels than the limit"),
        ):
            chooser.wait_for(state="attached")
            chooser.set_input_files(file)
            page.locator(".alert", has_text=told).wait_for(timeout=30_000)
        chooser.wait_for(state="attached")
        chooser.set_input_files(tmp_path / "big.jpg")
        page.get_by_text("exceed the maximum allowed size of 1.0 Mb").wait_for(timeout=30_000)


@pytest.mark.browser
def test_the_slider_holds_for_an_answer_that_comes_later(
    served: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slider is moved while an answer is awaited; then it is given a number that is none of its, and none."""
    with open_page(served) as opened:
        page = opened.page
        page.set_default_timeout(30_000)
        page.locator("#picture input[type=file]").wait_for(state="attached")
        page.locator("#picture input[type=file]").set_input_files(photos / "red" / "0.png")
        page.wait_for_selector(".tile")
        number = page.locator("#least input[type=number]")

        def move(to: str) -> None:
            number.fill(to)
            number.press("Enter")

        with Held(monkeypatch, Searches, "like") as held:
            page.locator(".tile button").nth(1).click()
            held.wait()
            move("0.99")
            page.wait_for_function("!document.querySelector('#place').innerText.includes('of 61')")
        page.locator(".about strong", has_text=".png").wait_for()
        assert all(float(text) >= 0.985 for text in page.locator(".tile .score").all_inner_texts())
        move("7")
        page.locator(".alert", has_text="Similarity from: found 7; allowed: a number from 0 to 1").wait_for()
        with page.expect_response("**/predict*"):
            move("")
        move("0")
        page.wait_for_function("document.querySelector('#place').innerText.includes('of 61')")
        assert page.locator(".alert").count() == 0
        assert opened.errors == []


@pytest.mark.browser
def test_a_picture_is_pasted_with_the_keys(served: str, photos: Path) -> None:
    with open_page(served) as opened:
        page = opened.page
        page.locator("#picture input[type=file]").wait_for(state="attached", timeout=30_000)
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        for name in ("green/1.png", "blue/2.png"):  # the second while the first is shown
            page.evaluate(
                """async (bytes) => {
                    const blob = new Blob([new Uint8Array(bytes)], {type: 'image/png'});
                    await navigator.clipboard.write([new ClipboardItem({'image/png': blob})]);
                }""",
                list((photos / name).read_bytes()),
            )
            page.locator("h1").click()
            page.keyboard.press("Control+v")
            page.locator(f".tile:first-child img[alt='{name}']").wait_for(timeout=30_000)
            assert float(page.locator(".tile .score").first.inner_text()) > 0.99
        assert opened.errors == []


@pytest.mark.browser
def test_a_picture_is_dropped_on_a_phone(served: str, photos: Path) -> None:
    with open_page(served, width=390, height=844, scheme="dark", touch=True) as opened:
        page = opened.page
        page.locator("#picture input[type=file]").wait_for(state="attached", timeout=30_000)
        name = "green/1.png"
        data = "[" + ",".join(map(str, (photos / name).read_bytes())) + "]"
        page.evaluate(
            f"""() => {{
                const transfer = new DataTransfer();
                transfer.items.add(new File([new Uint8Array({data})], 'dropped.png', {{type: 'image/png'}}));
                const target = document.querySelector('#picture input[type=file]').closest('button');
                target.dispatchEvent(new DragEvent('drop', {{bubbles: true, dataTransfer: transfer}}));
            }}"""
        )
        page.wait_for_selector(".tile", timeout=30_000)
        assert page.locator(".tile img").first.get_attribute("alt") == name
        assert opened.overflow == 0
        assert opened.errors == []


def test_what_is_wrong_is_named(photos: Path, index: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no index at"):
        apps.main(["image-search", "serve", "--index", str(tmp_path / "no")])
    with pytest.raises(ConfigError, match="max-upload: found 0"):
        apps.main(["image-search", "serve", "--index", str(index), "--max-upload", "0"])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(ConfigError, match=r"Address already in use.*Choose another --port"):
            apps.main(["image-search", "serve", "--index", str(index), "--port", port])
