"""What the pages that search pictures share: tiles with scores, pages of them, uploads, pasting.

Nothing of it is fetched from elsewhere, and every name and caption is escaped: they are anybody's text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from counterpoint.errors import CounterpointError, DataError
from counterpoint_apps import web
from counterpoint_apps.pictures.answers import Hit
from counterpoint_apps.pictures.routes import address
from counterpoint_apps.pictures.searches import Found

CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")

CLICKED = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-key], [data-words], [data-clear]');
  if (button) trigger('select', {...button.dataset});
});
new MutationObserver(() => {  // who clicked far below would find the middle of what is new
  if (element.getBoundingClientRect().top < 0) element.scrollIntoView();
}).observe(element, {childList: true, subtree: true, attributeFilter: ['src']});
"""

PASTED = """
<script>
function give(file, tries) {
  const input = document.querySelector('#picture input[type=file]');
  if (!input) {  // a picture is shown: it goes first
    document.querySelector("#picture button[aria-label='Clear'], #picture button[aria-label='Remove Image']")?.click();
    if (tries) setTimeout(() => give(file, tries - 1), 50);
    return;
  }
  const transfer = new DataTransfer();
  transfer.items.add(file);
  input.files = transfer.files;
  input.dispatchEvent(new Event('change', {bubbles: true}));
}
document.addEventListener('paste', (event) => {
  const files = event.clipboardData ? event.clipboardData.files : [];
  if (files.length) give(files[0], 40);
});
</script>
"""  # Gradio itself pastes by a button only, and people press Ctrl+V

Shown = tuple[str, str, str, Any, Any]  # grid, status, place, previous, next
Show = Callable[[Found], Shown]
Visitor = web.Visitor[Found]


def head(title: str, how: str) -> None:
    """The page's first line: its name, and what is searched in which way."""
    gr.HTML(f'<header class="head"><h1>{escape(title)}</h1><p>{escape(how)}</p></header>')


def upload_box(height: int) -> Any:
    """Where a picture is dropped, pasted or chosen.

    Its events take ``preprocess=False``: Gradio would decode the upload, whatever its size, while `uploaded` and
    `Searches.of_file` look at the header first.
    """
    sources = ["upload", "clipboard"]
    return gr.Image(type="filepath", sources=sources, label="Picture", height=height, buttons=[], elem_id="picture")


def uploaded(payload: Any) -> Path:
    """The file of an upload.

    Raises:
        DataError: a path that is none of the uploads': somebody made this request by hand.
    """
    path = payload.get("path") if isinstance(payload, dict) else payload
    place = Path(str(path)).resolve()
    if not place.is_relative_to(Path(get_upload_folder()).resolve()) or not place.is_file():
        raise DataError("This is no uploaded file. Choose a picture (JPEG, PNG, …).")
    return place


def grid(state: Any, status: Any, first: str, show: Show) -> list[Any]:
    """The tiles and their pager, below one another.

    Args:
        state: holds a `Visitor`.
        status: where errors are told.
        first: HTML that is there before any search.
        show: what is shown of a `Found`.

    Returns:
        The components of a `Shown`, in its order; the first is the grid, whose ``select`` event has the ``key``,
        ``words`` or ``clear`` of the button that was clicked.
    """
    tiles = gr.HTML(first, js_on_load=CLICKED, elem_id="grid", apply_default_css=False)
    with gr.Row(elem_classes="pager"):
        previous = gr.Button("← Previous", visible=False, elem_id="previous", size="sm")
        place = gr.HTML("", elem_id="place", js_on_load="element.setAttribute('role', 'status');")  # read aloud
        following = gr.Button("Next →", visible=False, elem_id="next", size="sm")
    shown = [tiles, status, place, previous, following]
    for button, step in ((previous, -1), (following, 1)):
        button.click(_turned(show, step), [state], shown, show_progress="hidden", **web.DIRECT)
    return shown


def _turned(show: Show, step: int) -> Callable[[Visitor], Shown]:
    def turn(found: Found) -> Found:
        return replace(found, page=min(max(found.page + step, 0), found.pages - 1))

    def turned(visitor: Visitor) -> Shown:
        return show(visitor.change(turn))

    return turned


def answered(
    visitor: Visitor, search: Callable[[], Found], show: Show, beside: Sequence[Any] = (), wrong: Sequence[Any] = ()
) -> Any:
    """What the page shows of a question: what was found, or why it is refused; nothing, once a newer one was asked.

    Args:
        visitor: who asks.
        search: finds.
        show: what is shown of a `Found`.
        beside: for outputs that follow those of a `Shown`.
        wrong: for the same, where the question is refused.
    """
    newest = visitor.ask()
    try:
        found = search()
        if newest():
            return *show(visitor.change(lambda old: replace(found, least=old.least))), *beside
    except CounterpointError as error:
        if newest():
            return *refused(error), *wrong
    return gr.skip()


def shown(found: Found, about: str, nothing: str = "Nothing was found.") -> Shown:
    """A page of tiles.

    Args:
        found: what there is to show.
        about: HTML above the tiles.
        nothing: said where no hit is left.
    """
    tiles = "".join(map(_tile, found.shown))
    body = f'<div class="tiles">{tiles}</div>' if tiles else f'<p class="hint">{nothing}</p>'
    place = f"{found.first + 1}–{found.first + len(found.shown)} of {found.count}" if tiles else ""
    more = gr.update(visible=found.pages > 1, interactive=found.page > 0)
    rest = gr.update(visible=found.pages > 1, interactive=found.page + 1 < found.pages)
    return about + body, "", f'<p class="place">{place}</p>', more, rest


def blank(first: str) -> Shown:
    """The page before any search."""
    return first, "", "", gr.update(visible=False), gr.update(visible=False)


def refused(error: CounterpointError) -> Any:
    """What was there stays, and beside it stands what is wrong."""
    told = f'<p class="alert" role="alert">{escape(str(error))}</p>'
    return gr.skip(), told, gr.skip(), gr.skip(), gr.skip()


def _tile(hit: Hit) -> str:
    place, key = address(hit.key), escape(hit.key, quote=True)
    told = escape(hit.caption or hit.key.rsplit("/", 1)[-1])
    name, seen = escape(hit.name, quote=True), escape(hit.caption or hit.key, quote=True)
    score = "" if hit.score is None else f'<span class="score">{hit.score:.2f}</span>'
    like = f'<button type="button" data-key="{key}" aria-label="More like this: {name}">More like this</button>'
    file = f'href="original/{place}" target="_blank" rel="noopener" title="Open the file" aria-label="Open {name}"'
    return (
        f'<figure class="tile"><img src="thumbnail/{place}" alt="{seen}" loading="lazy">'
        f'<figcaption><span class="name" title="{key}">{told}</span>{score}</figcaption>'
        f'<div class="acts">{like}<a {file}>Open</a></div></figure>'
    )
