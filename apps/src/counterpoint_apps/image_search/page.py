"""The page: a picture in, the most similar ones out, as many pages of them as there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr

from counterpoint.errors import ConfigError, message
from counterpoint_apps import web
from counterpoint_apps.image_search.encoder import ImageEncoder
from counterpoint_apps.pictures.page import (
    Shown,
    Visitor,
    answered,
    blank,
    grid,
    head,
    refused,
    shown,
    upload_box,
    uploaded,
)
from counterpoint_apps.pictures.searches import Found, Searches

HINT = '<p class="hint">Drop, paste or choose a picture. The most similar ones of the index appear here.</p>'


def build(searches: Searches[ImageEncoder]) -> Any:
    """The page as Gradio blocks."""
    with gr.Blocks(title="Image search", analytics_enabled=False, fill_width=True, delete_cache=(3600, 3600)) as blocks:
        state = gr.State(web.Visitor(Found(least=0.0)))
        head("Image search", searches.index.how())
        with gr.Row(elem_classes="search"):
            with gr.Column(scale=1, min_width=260, elem_classes="side"):
                picture = upload_box(240)
                least = gr.Slider(0, 1, 0, step=0.01, label="Similarity from", elem_id="least")
                status = gr.HTML("", elem_id="status")
            with gr.Column(scale=4, min_width=320):
                parts = grid(state, status, HINT, show)
        quiet: dict[str, Any] = {"show_progress": "minimal", **web.DIRECT}
        picture.upload(_upload(searches), [state, picture], [*parts, picture], preprocess=False, **quiet)
        parts[0].select(_like(searches), [state], parts, **quiet)
        least.change(_filtered, [state, least], parts, preprocess=False, show_progress="hidden", **web.LAST)
    return blocks


def _upload(searches: Searches[ImageEncoder]) -> Callable[..., Any]:
    def upload(visitor: Visitor, payload: Any) -> Any:
        # The browser must not go on trying to show what we refused.
        emptied = gr.update(value=None)
        return answered(visitor, lambda: searches.upload(uploaded(payload)), show, [gr.skip()], [emptied])

    return upload


def _like(searches: Searches[ImageEncoder]) -> Callable[..., Any]:
    def like(visitor: Visitor, event: gr.EventData) -> Any:
        return answered(visitor, lambda: searches.like(str(event.key)), show)

    return like


def _filtered(visitor: Visitor, least: float | None) -> Any:
    """The slider was moved, or its number typed: Gradio lets any pass, and none while somebody types."""
    if least is None:
        return gr.skip()
    if not 0 <= least <= 1:
        return refused(ConfigError(message("Similarity from", least, "a number from 0 to 1")))
    return show(visitor.change(lambda found: replace(found, least=float(least), page=0)))


def show(found: Found) -> Shown:
    """What the page shows of a search."""
    if not found.hits:
        return blank(HINT)
    about = f'<p class="about">Like <strong>{escape(found.title)}</strong></p>'
    return shown(found, about, "Nothing is this similar. Move the slider left.")
