"""The top of the page: the verdict in plain words, and the numbers that matter beside what they are measured by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from counterpoint.report.context import Context
from counterpoint.report.section import cosine, measure, number, percent
from counterpoint.report.sections.curves import knn_metric
from counterpoint.training.checkpoints import resume_command

WORDS = {
    "healthy": ("good", "It is learning."),
    "collapsed": ("bad", "It has collapsed."),
    "dimensional collapse": ("bad", "It uses too few dimensions."),
    "at chance": ("bad", "It has not learnt: the loss is at chance."),
    "diverged": ("bad", "It has diverged."),
    "too early": ("open", "It is too early to say."),
    "not better than untrained": ("bad", "It is no better than before the training."),
}
"""State of a verdict -> tone, and the headline."""
NO_BETTER = "It is no better than at the start."
"""Of a fine-tuning, whose encoder had learnt."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number beside its measure."""

    name: str
    value: str
    beside: str


@dataclass(frozen=True, slots=True)
class Headline:
    """The top of the page.

    Attributes:
        tone: ``"good"``, ``"bad"`` or ``"open"``.
        title: the verdict in a sentence.
        text: the numbers that decided.
        advice: cause and remedy, empty where all is well.
        numbers: the few that matter.
        notice: that the run is not finished; empty where it is.
    """

    tone: str
    title: str
    text: str
    advice: str
    numbers: list[Number]
    notice: str


def headline(context: Context) -> Headline:
    """Verdict and numbers of a run."""
    notice = "" if context.finished else _unfinished(context)
    verdict = context.verdict
    if verdict is None:
        return Headline("open", "Nothing to judge yet.", "No update was logged.", "", [], notice)
    tone, title = WORDS[verdict.state]
    title = NO_BETTER if context.task and verdict.state == "not better than untrained" else title
    advice = f"Likely cause: {verdict.cause}. Try: {verdict.remedy}." if verdict.remedy else ""
    return Headline(tone, title, verdict.text, advice, _numbers(context, verdict.numbers), notice)


def _unfinished(context: Context) -> str:
    stopped = f"It was stopped: {context.stopped_by.rstrip('.')}. " if context.stopped_by else ""
    return (
        f"This run is not finished: {context.updates} updates so far. {stopped}"
        f"To go on: {resume_command(context.run.path)}"
    )


def _numbers(context: Context, recent: Mapping[str, float]) -> list[Number]:
    """The verdict's own numbers: means over the last fifth of the run, so that text and tiles say the same.

    What chose the encoder that is kept is told of that encoder.
    """
    made, knn = _selected(context) or _answered(context), knn_metric(context.metrics)
    of = f", stage {recent['stage']:.0f}" if "stage" in recent else ""  # whose verdict it is
    if knn is not None and "knn" in recent:
        beside = [f"untrained {percent(recent['untrained knn'])}"] if "untrained knn" in recent else []
        beside += [f"chance {percent(1 / context.classes)}"] if context.classes else []
        now = context.look(knn) if context.kept.get("by") == knn else recent["knn"]
        made.append(Number(f"kNN accuracy{of}", percent(now), ", ".join(beside)))
    if "loss" in recent:
        beside_loss = f"chance {number(recent['chance'])}" if "chance" in recent else "no chance level"
        made.append(Number(f"loss{of}", number(recent["loss"]), beside_loss))
    if "rank" in recent:
        made.append(Number(f"effective rank{of}", number(recent["rank"]), f"of {recent['rank limit']:.0f}"))
    if "std" in recent:
        made.append(Number(f"spread{of}", number(recent["std"]), "1 healthy, 0 collapsed"))
    if "positive" in recent and "negative" in recent:
        beside_score = f"different samples {cosine(recent['negative'])}"
        made.append(Number(f"similarity of views{of}", cosine(recent["positive"]), beside_score))
    if context.finished:
        over = context.untimed or " in all"
        seconds = f"{number(context.facts['seconds'])} s{over}, set-up and looks included"
        made.append(Number("samples per second", number(context.facts["samples_per_second"] or None), seconds))
    return made


def _answered(context: Context) -> list[Number]:
    """How well a fine-tuned head answered at the look whose encoder is kept, beside the start."""
    names = {"accuracy": "accuracy", "mae": "mean absolute error", "spearman": "rank correlation"}
    found = {name: context.look(name) for name in names} if context.task else {}
    return [
        Number(names[name], measure(name, value), _beside(context, name))
        for name, value in found.items()
        if value is not None
    ]


def _beside(context: Context, metric: str) -> str:
    """Of what split, and what the metric was before the first update."""
    start = context.metrics.get(f"untrained/{metric}")
    return f"on validation; {context.before} {measure(metric, start[-1][1])}" if start else "on validation"


def _selected(context: Context) -> list[Number]:
    """The best of what chooses the epoch, where that is a metric of the plugin's protocol."""
    select = str(context.config.get("select"))
    looks = context.metrics.get(f"val/{select}")
    if not looks or select not in context.words:
        return []
    best = max((value for _, value in looks if not math.isnan(value)), default=math.nan)
    return [Number(context.words[select][0], measure(select, best), _beside(context, select))]
