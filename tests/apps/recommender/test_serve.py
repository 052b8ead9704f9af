"""``serve``: the page by use in a headless browser, its map, and what it makes of what nobody should send."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from browser import open_page
from counterpoint import apps
from counterpoint.errors import ConfigError, RunError
from counterpoint_apps.recommender import atlas as maps
from counterpoint_apps.recommender.atlas import Atlas
from counterpoint_apps.recommender.page import _listed, _map, _searched, _shown
from counterpoint_apps.recommender.serve import build_app
from counterpoint_apps.recommender.visit import Visit, acted
from counterpoint_graphrec.tasks import Recommender
from serving import Held, serving, status

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ODD = 'The "Odd" <b>one</b> & more 😀'
LONG = 120_000
"""Milliseconds: a browser on a busy machine takes its time."""


@pytest.fixture(scope="module")
def recommender(run: Path) -> Recommender:
    return Recommender.of_run(run)


@pytest.fixture(scope="module")
def served(recommender: Recommender, run: Path) -> Iterator[str]:
    """Address of the page."""
    with serving(build_app(recommender, Atlas.of(recommender, run))) as address:
        yield address


@pytest.mark.browser
def test_the_page_by_use(served: str) -> None:
    """Search, pick, see the list and the map change with reasons; a category; a user; nothing leaves."""
    with open_page(served) as opened:
        page = opened.page
        page.set_default_timeout(LONG)
        page.wait_for_selector("#map svg .hit")
        assert page.locator("#listed h2").inner_text() == "What most people have"

        search = page.locator("#search input, #search textarea")
        search.fill("odd")
        page.locator("#found button").first.wait_for()
        assert page.locator("#found button span").first.inner_text() == ODD, "a title is text, not markup"
        search.press("Enter")
        page.locator("#chosen .chip").wait_for()
        assert ODD in page.locator("#chosen .chip").inner_text()
        page.wait_for_function("document.querySelector('#listed h2').innerText === 'For somebody who likes these'")
        assert page.locator("#listed .listed li").count() == 10
        assert ODD in page.locator("#listed .why").first.inner_text()
        page.wait_for_function("!document.querySelector('#found button')")
        page.wait_for_function("document.querySelectorAll('#map .marks .owned').length === 1")
        assert page.locator("#map .marks .hit").count() == 10

        page.locator("#listed .listed li button").first.click()
        page.wait_for_function("document.querySelectorAll('#chosen .chip').length === 2")

        field = page.locator("#map .field svg")
        field.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("!document.querySelector('#tip').hidden")
        page.keyboard.press("Enter")
        page.wait_for_function("document.querySelectorAll('#chosen .chip').length === 3")

        page.locator("#group input").click()
        page.get_by_role("option", name="Gardens").click()
        page.wait_for_function(
            "[...document.querySelectorAll('#listed .listed .group')].every(g => g.innerText === 'Gardens')"
        )
        page.locator("#user input, #user textarea").fill("reader 0")
        page.locator("#user input, #user textarea").press("Enter")
        page.wait_for_function("document.querySelector('#listed h2').innerText === 'For user reader 0'")
        assert "User reader 0" in page.locator("#chosen .chip").inner_text()
        page.locator("#user input, #user textarea").fill("nobody")
        page.locator("#user input, #user textarea").press("Enter")
        page.locator("#chosen .alert", has_text="user: found 'nobody'").wait_for()
        assert "User reader 0" in page.locator("#chosen .chip").inner_text(), "it holds still, and can be left"
        assert opened.errors == []
        assert opened.left == [], "nothing is fetched from elsewhere"
        assert opened.overflow == 0


@pytest.mark.browser
def test_no_pick_is_lost_while_an_answer_takes_long(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two picks and a search while the first pick's answer is awaited: all three hold."""
    with open_page(served) as opened:
        page = opened.page
        page.set_default_timeout(LONG)
        page.wait_for_selector("#map svg .hit")
        titles = page.locator("#listed .title b").all_inner_texts()
        search = page.locator("#search input, #search textarea")
        with page.expect_response("**/predict*"), Held(monkeypatch, Recommender, "recommend_for") as held:
            page.locator("#listed .listed button").nth(0).click()
            held.wait()
            page.locator("#listed .listed button").nth(1).click()
            page.wait_for_function("document.querySelectorAll('#chosen .chip').length === 2")
            search.fill("gard")
            page.locator("#found button").first.wait_for()
        page.locator("#chosen .chip").nth(0).click()
        page.wait_for_function("document.querySelectorAll('#chosen .chip').length === 1")
        assert titles[1] in page.locator("#chosen .chip").inner_text()
        assert search.input_value() == "gard" and page.locator("#found button").count() == 8
        page.locator("#map .field svg").focus()
        page.keyboard.press("ArrowRight")
        name = page.locator("#tip b").inner_text()
        page.keyboard.press("Space")
        page.locator("#chosen .chip", has_text=name).wait_for()
        assert opened.errors == []


@pytest.mark.browser
def test_on_a_phone_in_the_dark(served: str) -> None:
    with open_page(served, width=390, height=844, scheme="dark", touch=True) as opened:
        opened.page.set_default_timeout(LONG)
        opened.page.wait_for_selector("#map svg .hit")
        wide = [opened.page.locator(place).bounding_box()["width"] for place in ("#search", "#user", "#group")]
        assert wide[0] == wide[1] == wide[2], "below one another, so that what is in them can be read"
        opened.page.locator("#listed .listed li button").first.tap()
        opened.page.locator("#chosen .chip").wait_for()
        assert opened.overflow == 0
        assert opened.errors == []


def test_another_sites_name_for_this_machine_gets_nothing(served: str) -> None:
    assert status(served, Host="evil.example") == 400


def test_titles_are_text_wherever_they_stand(recommender: Recommender, run: Path) -> None:
    visit = Visit().pick(0)
    shown = _shown(recommender, visit)
    texts = [*shown, _searched(recommender)("odd"), _searched(recommender)("<b>no"), _map_of(recommender, run)]
    texts.append(_listed(recommender.popular(40)))
    for text in texts:
        assert "<b>one" not in text and "<b>no" not in text
    assert "&lt;b&gt;one&lt;/b&gt;" in shown[0]


def _map_of(recommender: Recommender, run: Path) -> str:
    return _map(recommender, Atlas.of(recommender, run))


def test_keys_that_nobody_should_send_change_nothing() -> None:
    visit = Visit((3,), "", "")
    for key in ("pick:-1", "pick:40", "pick:x", "pick:", "drop", "", "pick:³", "pick:" + "9" * 30, "eval:1"):
        assert acted(visit, key, 40) == visit, key
    assert acted(visit, "pick:4", 40).picks == (3, 4)
    assert acted(visit, "pick:3", 40).picks == (3,)
    assert acted(visit, "drop:3", 40).picks == ()
    assert acted(Visit(user="u"), "pick:4", 40) == Visit((4,))
    assert acted(Visit((1, 2)), "clear", 40) == acted(Visit(user="u"), "leave", 40) == Visit()


def test_the_map_is_made_once_and_anew_for_another_encoder(
    recommender: Recommender, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Atlas.of(recommender, run)
    capsys.readouterr()
    again = Atlas.of(recommender, run)
    assert "Drawing" not in capsys.readouterr().err
    np.testing.assert_allclose(first.places, again.places, atol=1e-5)
    (run / "recommender" / "map.parquet").write_bytes(b"torn")
    np.testing.assert_allclose(Atlas.of(recommender, run).places, first.places, atol=1e-5)
    some = Atlas.of(recommender, run, most=12)
    popularity = recommender.nodes.popularity
    assert len(some.items) == 12 and popularity[some.items].min() >= np.sort(popularity)[-12]
    assert "The 12 most popular of 40 items" in _map(recommender, some)
    Atlas.of(recommender, run)  # leave the whole map for who comes next
    assert maps.MOST <= 3000


def test_what_is_wrong_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no run directory"):
        apps.main(["recommender", "serve", "--run", str(tmp_path)])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(ConfigError, match=r"Address already in use.*Choose another --port"):
            apps.main(["recommender", "serve", "--run", str(run), "--port", port])
