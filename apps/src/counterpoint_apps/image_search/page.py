"""The page: its parts, its looks, and what happens when somebody uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
from gradio.utils import get_upload_folder

from counterpoint.errors import CounterpointError, DataError
from counterpoint_apps.image_search.searches import PER_PAGE, Found, Searches

CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")

CLICKED = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-key]');
  if (button) trigger('select', {key: button.dataset.key});
});
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

HINT = '<p class="hint">Drop, paste or choose a picture. The most similar ones of the index appear here.</p>'

Shown = tuple[Found, str, str, str, Any, Any]  # state, grid, status, place, previous, next


def build(searches: Searches) -> Any:
    """The page as Gradio blocks."""
    with gr.Blocks(title="Image search", analytics_enabled=False, fill_width=True, delete_cache=(3600, 3600)) as blocks:
        state = gr.State(Found())
        gr.HTML(f'<header class="head"><h1>Image search</h1><p>{escape(searches.index.how())}</p></header>')
        with gr.Row(elem_classes="search"):
            with gr.Column(scale=1, min_width=260, elem_classes="side"):
                picture = gr.Image(
                    type="filepath",
                    sources=["upload", "clipboard"],
                    label="Picture",
                    height=240,
                    buttons=[],
                    elem_id="picture",
                )
                least = gr.Slider(0, 1, 0, step=0.01, label="Similarity from", elem_id="least")
                status = gr.HTML("", elem_id="status")
            with gr.Column(scale=4, min_width=320):
                grid = gr.HTML(HINT, js_on_load=CLICKED, elem_id="grid", apply_default_css=False)
                with gr.Row(elem_classes="pager"):
                    previous = gr.Button("← Previous", visible=False, elem_id="previous", size="sm")
                    place = gr.HTML("", elem_id="place")
                    following = gr.Button("Next →", visible=False, elem_id="next", size="sm")
        shown = [state, grid, status, place, previous, following]
        picture.change(
            _upload(searches),
            [picture, least],
            [*shown, picture],
            show_progress="minimal",
            api_visibility="private",
            preprocess=False,  # Gradio would decode the upload, whatever its size; ours looks at the header first
        )
        grid.select(_like(searches), [least], shown, show_progress="minimal", api_visibility="private")
        least.change(
            _filtered,
            [state, least],
            shown,
            show_progress="hidden",
            trigger_mode="always_last",
            api_visibility="private",
        )
        for button, step in ((previous, -1), (following, 1)):
            button.click(_turned(step), [state], shown, show_progress="hidden", api_visibility="private")
    return blocks


def _upload(searches: Searches) -> Callable[..., Any]:
    def upload(payload: Any, least: float) -> Any:
        if payload is None:
            return [gr.skip()] * 7
        try:
            found = searches.upload(uploaded(payload))
            return *show(replace(found, least=least)), gr.skip()
        except CounterpointError as error:
            # The browser must not go on trying to show what we refused.
            return gr.skip(), gr.skip(), _alert(error), *[gr.skip()] * 3, gr.update(value=None)

    return upload


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


def _like(searches: Searches) -> Callable[..., Any]:
    def like(least: float, event: gr.EventData) -> Any:
        try:
            return show(replace(searches.like(str(event.key)), least=least))
        except CounterpointError as error:
            return gr.skip(), gr.skip(), _alert(error), *[gr.skip()] * 3

    return like


def _filtered(found: Found, least: float) -> Shown:
    return show(replace(found, least=least, page=0))


def _turned(step: int) -> Callable[[Found], Shown]:
    def turned(found: Found) -> Shown:
        return show(replace(found, page=min(max(found.page + step, 0), found.pages - 1)))

    return turned


def _alert(error: CounterpointError) -> str:
    return f'<p class="alert" role="alert">{escape(str(error))}</p>'


def show(found: Found) -> Shown:
    """What the page shows of a search."""
    if not found.keys:
        return found, HINT, "", "", gr.update(visible=False), gr.update(visible=False)
    tiles = "".join(_tile(key, score) for key, score in found.shown)
    head = f'<p class="about">Like <strong>{escape(found.title)}</strong></p>'
    body = (
        f'<div class="tiles">{tiles}</div>'
        if tiles
        else '<p class="hint">Nothing is this similar. Move the slider left.</p>'
    )
    first = found.page * PER_PAGE + 1
    place = f"{first}–{first + len(found.shown) - 1} of {found.count}" if tiles else ""
    more = gr.update(visible=found.pages > 1, interactive=found.page > 0)
    rest = gr.update(visible=found.pages > 1, interactive=found.page + 1 < found.pages)
    return found, head + body, "", f'<p class="place">{place}</p>', more, rest


def _tile(key: str, score: float) -> str:
    """One hit; names are anybody's text, so everything is escaped."""
    address, name = quote(key), key.rsplit("/", 1)[-1]
    told, attribute = escape(name), escape(key, quote=True)
    return (
        f'<figure class="tile"><img src="thumbnail/{address}" alt="{attribute}" loading="lazy">'
        f'<figcaption><span class="name" title="{attribute}">{told}</span>'
        f'<span class="score">{score:.2f}</span></figcaption>'
        f'<div class="acts"><button type="button" data-key="{attribute}">More like this</button>'
        f'<a href="original/{address}" target="_blank" rel="noopener" title="Open the file">Open</a></div></figure>'
    )
