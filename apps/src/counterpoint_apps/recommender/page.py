"""The page: its parts, its looks, and what happens when somebody uses it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from counterpoint.errors import CounterpointError
from counterpoint_apps import web
from counterpoint_apps.recommender.atlas import Atlas
from counterpoint_apps.recommender.visit import FOUND, Visit, acted
from counterpoint_graphrec.tasks import Answer, Hit, Names, Recommender

CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
MAP = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")
CLICKED = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-key]');
  if (button) trigger('select', {key: button.dataset.key});
});
"""
EVERY = "All categories"
GROUPS = 200
"""Categories in the list, the largest."""
HEADS = {
    "user": "For user {}",
    "fold-in": "For somebody who likes these",
    "likeness": "For somebody who likes these",
    "popularity": "What most people have",
}

Shown = tuple[str, str, str]  # chosen, recommendations, marks on the map
Visitor = web.Visitor[Visit]


def build(recommender: Recommender, atlas: Atlas, about: str) -> Any:
    """The page as Gradio blocks."""
    names = recommender.names
    with gr.Blocks(title="Recommender", analytics_enabled=False, fill_width=True) as blocks:
        state = gr.State(web.Visitor(Visit()))
        gr.HTML(f'<header class="head"><h1>Recommender</h1><p>{escape(about)}</p></header>')
        with gr.Row(elem_classes="work"):
            with gr.Column(scale=5, min_width=340, elem_classes="side"):
                search = gr.Textbox(
                    placeholder="Search for titles, and pick a few", label="Titles", elem_id="search", autofocus=True
                )
                found = gr.HTML("", js_on_load=CLICKED, elem_id="found", apply_default_css=False)
                with gr.Row(elem_classes="who"):
                    user = gr.Textbox(placeholder="id, then Enter", label="Or I am user", elem_id="user", min_width=160)
                    group = gr.Dropdown(
                        [EVERY, *names.categories[:GROUPS]],
                        value=EVERY,
                        label="Category",
                        elem_id="group",
                        min_width=160,
                        visible=bool(names.categories),
                    )
                chosen = gr.HTML("", js_on_load=CLICKED, elem_id="chosen", apply_default_css=False)
                first = _shown(recommender, Visit())
                listed = gr.HTML(first[1], js_on_load=CLICKED, elem_id="listed", apply_default_css=False)
            with gr.Column(scale=6, min_width=340, elem_classes="side stick"):
                gr_map = gr.HTML(
                    _map(recommender, atlas), js_on_load=MAP, elem_id="map", apply_default_css=False, padding=False
                )
                marks = gr.HTML(first[2], elem_id="marks", apply_default_css=False)
        shown, sought = [chosen, listed, marks], [found, search]
        quiet: dict[str, Any] = {"show_progress": "hidden", **web.DIRECT}
        steady: dict[str, Any] = {"show_progress": "hidden", **web.LAST}
        search.change(_searched(recommender), [search], [found], **steady)
        search.submit(_first(recommender), [state, search], [*shown, *sought], **quiet)
        found.select(_picked(recommender), [state], [*shown, *sought], **quiet)
        for element in (chosen, listed, gr_map):
            element.select(_clicked(recommender), [state], shown, **quiet)
        user.submit(_became(recommender), [state, user], [*shown, user], **quiet)
        group.change(_grouped(recommender), [state, group], shown, **steady)
    return blocks


def _searched(recommender: Recommender) -> Callable[[str], str]:
    def searched(text: str) -> str:
        hits = recommender.names.search(str(text), FOUND, recommender.nodes.popularity)
        if not hits:
            return f'<p class="none">No title has “{escape(text.strip())}”.</p>' if text.strip() else ""
        rows = "".join(f"<li>{_choice(recommender.names, number)}</li>" for number in hits)
        return f'<ul class="found" aria-label="Titles found">{rows}</ul>'

    return searched


def _choice(names: Names, number: int) -> str:
    group = f'<span class="group">{escape(names.groups[number])}</span>' if names.groups[number] else ""
    title = escape(names.titles[number])
    return f'<button type="button" data-key="pick:{number}" data-number="{number}"><span>{title}</span>{group}</button>'


def _first(recommender: Recommender) -> Callable[[Visitor, str], Any]:
    """Enter in the search box picks the first title found."""

    def first(visitor: Visitor, text: str) -> Any:
        hits = recommender.names.search(str(text), 1, recommender.nodes.popularity)
        if not hits:
            return gr.skip()
        return *_answered(recommender, visitor, lambda visit: visit.pick(hits[0])), "", ""

    return first


def _picked(recommender: Recommender) -> Callable[..., Any]:
    """A title that was found is picked, and the search is over."""
    clicked = _clicked(recommender)

    def picked(visitor: Visitor, event: gr.EventData) -> Any:
        return *clicked(visitor, event), "", ""

    return picked


def _clicked(recommender: Recommender) -> Callable[..., Any]:
    def clicked(visitor: Visitor, event: gr.EventData) -> Any:
        key, items = str(event.key), len(recommender.names.items)
        return _answered(recommender, visitor, lambda visit: acted(visit, key, items))

    return clicked


def _became(recommender: Recommender) -> Callable[[Visitor, str], Any]:
    def became(visitor: Visitor, text: str) -> Any:
        user = text.strip()
        try:
            if user:
                recommender.names.user(user)
        except CounterpointError as error:
            return *_answered(recommender, visitor, lambda visit: visit, _alert(error)), gr.skip()
        return *_answered(recommender, visitor, lambda v: v.become(user) if user else replace(v, user="")), ""

    return became


def _grouped(recommender: Recommender) -> Callable[[Visitor, str], Any]:
    def grouped(visitor: Visitor, group: str) -> Any:
        chosen = "" if group == EVERY else str(group)
        return _answered(recommender, visitor, lambda visit: replace(visit, group=chosen))

    return grouped


def _answered(
    recommender: Recommender, visitor: Visitor, how: Callable[[Visit], Visit], refused: str = ""
) -> Sequence[Any]:
    """What the page shows after a change; nothing, once there was another, whose answer has both.

    Args:
        recommender: answers.
        visitor: who changes something.
        how: the change.
        refused: HTML above what was chosen.
    """
    visitor.change(how)
    newest = visitor.ask()
    chosen, *others = _shown(recommender, visitor.now)
    return [refused + chosen, *others] if newest() else [gr.skip()] * 3


def _alert(error: CounterpointError) -> str:
    return f'<p class="alert" role="alert">{escape(str(error))}</p>'


def _shown(recommender: Recommender, visit: Visit) -> Shown:
    """What the page shows of a visit."""
    chosen, owned = _chosen(recommender, visit), visit.owned(recommender)
    try:
        answer = visit.answer(recommender)
    except CounterpointError as error:
        return chosen, _alert(error), _marks(owned, [])
    return chosen, _listed(answer), _marks(owned, [hit.number for hit in answer.hits])


def _chosen(recommender: Recommender, visit: Visit) -> str:
    """Chips of what was picked, or of the user."""
    names = recommender.names
    if visit.user:
        has = len(visit.owned(recommender))
        chip = f"<span>User {escape(visit.user)}</span><small>{has:,} items</small>"
        return f'<ul class="chips"><li>{_chip(chip, "leave", f"Leave user {visit.user}")}</li></ul>'
    if not visit.picks:
        return ""
    chips = "".join(
        f"<li>{_chip(f'<span>{escape(names.titles[n])}</span>', f'drop:{n}', f'Remove {names.titles[n]}')}</li>"
        for n in visit.picks
    )
    clear = '<li><button type="button" class="clear" data-key="clear">Clear all</button></li>'
    return f'<ul class="chips" aria-label="Picked">{chips}{clear if len(visit.picks) > 1 else ""}</ul>'


def _chip(content: str, key: str, label: str) -> str:
    told = escape(label, quote=True)
    return f'<button type="button" class="chip" data-key="{key}" aria-label="{told}">{content}<i>×</i></button>'


def _listed(answer: Answer) -> str:
    """The recommendations; titles are anybody's text, so everything is escaped."""
    best = max((hit.score for hit in answer.hits), default=0.0)
    rows = "".join(_row(rank, hit, hit.score / best if best > 0 else 0.0) for rank, hit in enumerate(answer.hits, 1))
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in answer.notes)
    hint = ""
    if answer.rule == "popularity" and answer.asked == "everybody":
        hint = '<p class="note">Pick titles you like: the list becomes yours, and says why.</p>'
    head = escape(HEADS[answer.rule].format(answer.asked))
    return f'<h2 aria-live="polite">{head}</h2>{hint}{notes}<ol class="listed">{rows}</ol>'


def _row(rank: int, hit: Hit, share: float) -> str:
    group = f'<span class="group">{escape(hit.group)}</span>' if hit.group else ""
    why = " · ".join(f"<em>{escape(why.title)}</em> {why.share:.0%}" for why in hit.reasons)
    because = f'<p class="why">because of {why}</p>' if why else ""
    label = escape(f"Pick {hit.title}", quote=True)
    return (
        f'<li data-number="{hit.number}"><span class="rank">{rank}</span><div class="body">'
        f'<p class="title"><b>{escape(hit.title)}</b>{group}</p>{because}'
        f'<span class="bar" aria-hidden="true"><i style="width:{max(0.0, share):.1%}"></i></span></div>'
        f'<button type="button" data-key="pick:{hit.number}" aria-label="{label}" title="Pick">+</button></li>'
    )


def _marks(owned: list[int], recommended: list[int]) -> str:
    """What the map highlights, for its script to read."""
    return f'<output data-owned="{json.dumps(owned)}" data-listed="{json.dumps(recommended)}"></output>'


def _map(recommender: Recommender, atlas: Atlas) -> str:
    names, shown = recommender.names, len(atlas.items)
    which = (
        f"{shown:,} items" if shown == len(names.items) else f"The {shown:,} most popular of {len(names.items):,} items"
    )
    numbers = json.dumps(atlas.items.tolist())
    told = f"{which}; what the same people like lies close together. {atlas.how}"
    return (
        f'<section data-numbers="{numbers}">{atlas.picture(names).__html__()}'
        f'<p class="key"><i class="owned"></i>picked <i class="hit">1</i>recommended <span id="off"></span></p>'
        f'<p class="told">{escape(told)}</p><div id="tip" role="status" hidden></div></section>'
    )
