"""The page: words, a picture, or both in; the pictures that are nearest out, as many pages of them as there are."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from counterpoint_apps import web
from counterpoint_apps.picture_search.searches import WordSearches
from counterpoint_apps.pictures.page import Shown, Visitor, answered, grid, head, shown, upload_box, uploaded
from counterpoint_apps.pictures.routes import address
from counterpoint_apps.pictures.searches import Found

PLACEHOLDER = "What should the pictures show?"
WEIGHT = 0.5
LEFT = [gr.skip(), gr.skip()]  # the words and the picture, as they are


class Page:
    """The page of one index; every visitor has a `Visitor` of their own.

    Args:
        searches: in the index.
    """

    def __init__(self, searches: WordSearches) -> None:
        self.searches = searches
        self.some = searches.some()
        self.ideas = searches.ideas(self.some)

    def build(self) -> Any:
        """The page as Gradio blocks."""
        options: dict[str, Any] = {"analytics_enabled": False, "fill_width": True, "delete_cache": (3600, 3600)}
        with gr.Blocks(title="Picture search", **options) as blocks:
            state = gr.State(web.Visitor(self.some))
            head("Picture search", self.searches.index.how())
            with gr.Row(elem_classes="ask"):
                words = gr.Textbox(
                    label="Words",
                    placeholder=PLACEHOLDER,
                    show_label=False,
                    container=False,
                    scale=8,
                    elem_id="words",
                    autofocus=True,
                )
                go = gr.Button("Search", variant="primary", scale=1, min_width=110, elem_id="go")
            with gr.Row(elem_classes="search"):
                with gr.Column(scale=1, min_width=260, elem_classes="side"):
                    picture = upload_box(200)
                    weight = gr.Slider(0, 1, WEIGHT, step=0.05, label="Words’ weight", elem_id="weight", buttons=[])
                    status = gr.HTML("", elem_id="status")
                with gr.Column(scale=4, min_width=320):
                    parts = grid(state, status, self.show(self.some)[0], self.show)
            self._wire(words, go, picture, weight, state, parts)
        return blocks

    def _wire(self, words: Any, go: Any, picture: Any, weight: Any, state: Any, parts: Sequence[Any]) -> None:
        given, all_parts = [words, picture, weight, state], [*parts, words, picture]
        quiet: dict[str, Any] = {"show_progress": "minimal", "preprocess": False}
        for event in (words.submit, go.click):
            event(self.asked, given, all_parts, **quiet, **web.DIRECT)
        for event in (picture.upload, picture.clear):  # not `change`: what we empty ourselves is no question
            event(self.given, given, all_parts, **quiet, **web.DIRECT)
        weight.change(self.weighed, given, all_parts, **quiet, **web.LAST)
        parts[0].select(self.clicked, given, all_parts, **quiet, **web.DIRECT)

    def asked(self, words: str, payload: Any, weight: float | None, visitor: Visitor) -> Any:
        """Search for what is there: words, an upload or the chosen picture, or both."""
        key = visitor.now.key
        return answered(visitor, lambda: self._found(words, payload, weight, key), self.show, LEFT, LEFT)

    def given(self, words: str, payload: Any, weight: float | None, visitor: Visitor) -> Any:
        """A picture was uploaded, or taken away; an upload takes the place of a picture that was chosen."""
        if payload is None and visitor.now.key:
            return gr.skip()
        # The browser must not go on trying to show what we refused.
        emptied = [gr.skip(), gr.update(value=None)]
        return answered(visitor, lambda: self._found(words, payload, weight, ""), self.show, LEFT, emptied)

    def weighed(self, words: str, payload: Any, weight: float | None, visitor: Visitor) -> Any:
        """The slider was moved; it says nothing where there is only one of both, or while its number is typed."""
        both = words.strip() and (payload is not None or visitor.now.key)
        return self.asked(words, payload, weight, visitor) if both and weight is not None else gr.skip()

    def clicked(self, words: str, payload: Any, weight: float | None, visitor: Visitor, event: gr.EventData) -> Any:
        """An idea, *More like this*, or the cross beside the chosen picture."""
        idea, key, beside = str(getattr(event, "words", "")), str(getattr(event, "key", "")), LEFT
        if idea or key:
            words, payload, beside = idea, None, [idea, gr.update(value=None)]
        return answered(
            visitor, lambda: self._found(words, payload, weight, "" if idea else key), self.show, beside, LEFT
        )

    def _found(self, words: str, payload: Any, weight: float | None, key: str) -> Found:
        words = words.strip()
        file: Path | None = None if payload is None else uploaded(payload)
        if not (words or file or key):
            return self.some
        image = self.searches.of_file(file) if file else self.searches.of_key(key) if key else None
        return self.searches.ask(words, image, WEIGHT if weight is None else float(weight), "" if file else key)

    def show(self, found: Found) -> Shown:
        """What the page shows of a search."""
        if not (found.title or found.picture):
            return shown(found, self._ideas())
        return shown(found, _about(found, self.searches.name(found.key) if found.key else "your picture"))

    def _ideas(self) -> str:
        chips = "".join(
            f'<button type="button" class="chip" data-words="{escape(idea, quote=True)}">{escape(idea)}</button>'
            for idea in self.ideas
        )
        return f'<div class="about ideas">Try {chips}</div>' if chips else '<p class="about">A few of the pictures</p>'


def _about(found: Found, picture: str) -> str:
    """What was searched for, and a way to let go of a chosen picture; ``picture`` is what that is called."""
    parts = [f"<strong>“{escape(found.title)}”</strong>"] if found.title else []
    if found.key:
        parts.append(
            f'<span class="chosen"><img src="thumbnail/{address(found.key)}" alt=""><span>{escape(picture)}</span>'
            '<button type="button" data-clear="1" aria-label="Let go of this picture">×</button></span>'
        )
    elif found.picture:
        parts.append(f"<strong>{escape(picture)}</strong>")
    return f'<div class="about">{" and like ".join(parts) if found.title else "Like " + parts[0]}</div>'


def build(searches: WordSearches) -> Any:
    """The page as Gradio blocks."""
    return Page(searches).build()
