"""The pages in a real browser: they render, ask for nothing, and do what they promise."""

from __future__ import annotations

from pathlib import Path

import pytest
from markupsafe import Markup
from rich.console import Console

import eviltoy
from browser import open_page
from counterpoint.report.charts import Line, LineChart, level
from counterpoint.report.compare import compare_runs
from counterpoint.report.headline import Headline
from counterpoint.report.page import Written, render
from counterpoint.training.verdict import STARTED

pytestmark = pytest.mark.browser

CONTRAST = """() => {
  // WCAG contrast of every text with what lies behind it
  const rgb = (text) => { const c = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    c.fillStyle = text; c.fillRect(0, 0, 1, 1); const d = c.getImageData(0, 0, 1, 1).data; return [...d]; };
  const light = ([r, g, b]) => { const f = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const behind = (node) => { for (let n = node; n; n = n.parentElement) {
    const c = getComputedStyle(n).backgroundColor; if (rgb(c)[3] > 250) return rgb(c); } return [255, 255, 255, 255]; };
  const low = [];
  const walk = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || !node.checkVisibility() || node.closest("script")) continue;
    const a = light(rgb(getComputedStyle(node).color)), b = light(behind(node));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(`${ratio.toFixed(2)} ${node.className || node.tagName} ${walk.currentNode.textContent}`);
  }
  return low;
}"""


def test_it_renders_asks_for_nothing_and_runs_nothing_of_others(whole: Path) -> None:
    with open_page(whole) as opened:
        page = opened.page
        assert page.locator("h1").inner_text().strip()
        assert page.title().startswith("run · toy/simclr")
        assert page.locator(".spot").count() > 20
        page.wait_for_timeout(200)
        assert page.title() != "stolen"
        assert page.locator("img[src=x]").count() == 0
        assert (opened.errors, opened.left, opened.overflow) == ([], [], 0)


def test_hovering_a_sample_shows_it_as_text(whole: Path) -> None:
    with open_page(whole) as opened:
        page = opened.page
        page.locator(".field svg").scroll_into_view_if_needed()
        page.locator(".field .spot").nth(5).hover(force=True)
        tip = page.locator("#tip").inner_text()
        assert "<script>document.title='stolen'</script>" in tip, "a name is text, whatever it looks like"
        page.locator(".field svg").focus()
        page.keyboard.press("ArrowRight")
        assert page.locator(".spot.on").count() == 1
        page.keyboard.press("Escape")
        assert page.locator("#tip").is_hidden()
        assert page.title() != "stolen"
        assert opened.errors == []


def test_a_class_can_be_shown_alone(whole: Path) -> None:
    with open_page(whole) as opened:
        page = opened.page
        button = page.locator(".legend button").first
        button.click()
        assert button.get_attribute("aria-pressed") == "true"
        assert 0 < page.locator(".field .spot.off").count() < page.locator(".field .spot").count()
        button.click()
        assert page.locator(".field .spot.off").count() == 0


def test_charts_tell_their_values_by_pointer_and_keys(whole: Path) -> None:
    with open_page(whole) as opened:
        page = opened.page
        plot = page.locator(".plot").first
        plot.scroll_into_view_if_needed()
        plot.hover()
        assert "update " in page.locator("#tip").inner_text()
        assert "chance" in page.locator("#tip").inner_text()
        page.mouse.move(0, 0)
        assert page.locator("#tip").is_hidden()
        plot.focus()
        page.keyboard.press("ArrowLeft")
        assert "loss" in page.locator("#tip").inner_text()
        assert opened.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system_and_the_button(whole: Path, scheme: str) -> None:
    with open_page(whole, scheme=scheme) as opened:  # type: ignore[arg-type]
        page = opened.page
        paper = "getComputedStyle(document.body).backgroundColor"
        first, pressed = page.evaluate(paper), page.locator("#theme").get_attribute("aria-pressed")
        assert pressed == str(scheme == "dark").lower()
        assert page.evaluate(CONTRAST) == []
        page.click("#theme")
        assert page.evaluate(paper) != first
        assert page.evaluate(CONTRAST) == []
        assert opened.errors == []


def test_nothing_scrolls_sideways_on_a_phone(whole: Path, run: Path, tmp_path: Path) -> None:
    with open_page(whole, width=390, height=844, touch=True) as opened:
        assert opened.overflow == 0
        opened.page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
        assert opened.overflow == 0
    compare_runs([run, run], tmp_path / "c.html", Console(quiet=True))
    with open_page(tmp_path / "c.html", width=390, height=844) as opened:
        assert opened.overflow == 0
        assert opened.page.evaluate(CONTRAST) == []
        assert (opened.errors, opened.left) == ([], [])


def test_a_finger_is_told_what_it_touches_until_it_touches_something_else(whole: Path) -> None:
    with open_page(whole, width=390, height=844, touch=True) as opened:
        page = opened.page
        tip = page.locator("#tip")
        for touched in (".field .spot", ".plot", ".confusion td", ".track"):
            one = page.locator(touched).first
            one.scroll_into_view_if_needed()
            page.wait_for_timeout(100)  # scrolling hides the tip
            box = one.bounding_box()
            page.touchscreen.tap(box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2 + 3)
            page.wait_for_timeout(100)
            assert tip.is_visible() and tip.inner_text().strip(), touched
        assert page.locator(".spot.on").count() == page.locator(".cross:visible").count() == 0
        page.touchscreen.tap(5, 400)
        assert tip.is_hidden()
        assert opened.errors == []


def test_the_words_at_a_lines_end_are_whole_on_a_phone(tmp_path: Path) -> None:
    line = Line("held out", [(0, 1.0), (9, 3.0)])
    chart = LineChart("Accuracy", [line, level(STARTED, 1.0, [line])])
    (tmp_path / "page.html").write_text(render("report.html.jinja", **page_of(chart)), encoding="utf-8")
    with open_page(tmp_path / "page.html", width=390, height=844) as opened:
        ends = opened.page.locator(".end")
        assert ends.count() == 2
        assert ends.evaluate_all("all => all.filter(one => one.scrollWidth > one.clientWidth).length") == 0


def page_of(part: LineChart) -> dict[str, object]:
    """What the report's template takes, for a page of one part."""
    top = Headline("open", "A page", "", "", [], "")
    sections = [Written("one", "One", body=[Markup(part.__html__())])]
    return {"sections": sections, "top": top, "run": "run", "config": {"recipe": "toy/simclr"}, "sources": "digits"}


def test_evil_names_are_still_there_as_text(whole: Path) -> None:
    with open_page(whole) as opened:
        assert eviltoy.EVIL in opened.page.locator("#plugin-strokes").inner_text()
