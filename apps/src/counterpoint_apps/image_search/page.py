"""The page: a picture in, the most similar ones out, as many pages of them as there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr

from counterpoint.errors import CounterpointError
from counterpoint_apps import web
from counterpoint_apps.image_search.encoder import ImageEncoder
from counterpoint_apps.pictures.page import Shown, blank, grid, head, refused, shown, upload_box, uploaded
from counterpoint_apps.pictures.searches import Found, Searches

HINT = '<p class="hint">Drop, paste or choose a picture. The most similar ones of the index appear here.</p>'


def build(searches: Searches[ImageEncoder]) -> Any:
    """The page as Gradio blocks."""
    with gr.Blocks(title="Image search", analytics_enabled=False, fill_width=True, delete_cache=(3600, 3600)) as blocks:
        state = gr.State(Found())
        head("Image search", searches.index.how())
        with gr.Row(elem_classes="search"):
            with gr.Column(scale=1, min_width=260, elem_classes="side"):
                picture = upload_box(240)
                least = gr.Slider(0, 1, 0, step=0.01, label="Similarity from", elem_id="least")
                status = gr.HTML("", elem_id="status")
            with gr.Column(scale=4, min_width=320):
                parts = grid(state, status, HINT, show)
        quiet: dict[str, Any] = {"show_progress": "minimal", **web.DIRECT}
        picture.upload(_upload(searches), [picture, least], [*parts, picture], preprocess=False, **quiet)
        parts[1].select(_like(searches), [least], parts, **quiet)
        hidden: dict[str, Any] = {"show_progress": "hidden", **web.DIRECT}
        least.change(_filtered, [state, least], parts, trigger_mode="always_last", **hidden)
    return blocks


def _upload(searches: Searches[ImageEncoder]) -> Callable[..., Any]:
    def upload(payload: Any, least: float) -> Any:
        try:
            found = searches.upload(uploaded(payload))
            return *show(replace(found, least=least)), gr.skip()
        except CounterpointError as error:
            # The browser must not go on trying to show what we refused.
            return *refused(error), gr.update(value=None)

    return upload


def _like(searches: Searches[ImageEncoder]) -> Callable[..., Any]:
    def like(least: float, event: gr.EventData) -> Any:
        try:
            return show(replace(searches.like(str(event.key)), least=least))
        except CounterpointError as error:
            return refused(error)

    return like


def _filtered(found: Found, least: float) -> Shown:
    return show(replace(found, least=least, page=0))


def show(found: Found) -> Shown:
    """What the page shows of a search."""
    if not found.hits:
        return blank(HINT)
    about = f'<p class="about">Like <strong>{escape(found.title)}</strong></p>'
    return shown(found, about, "Nothing is this similar. Move the slider left.")
