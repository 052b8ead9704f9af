"""What was run, on what, with what, and how fast."""

from __future__ import annotations

from typing import Any

import yaml

from counterpoint.report.context import Context, Missing
from counterpoint.report.section import Code, Folded, HasHtml, Section, Table, measure, number, number_whole
from counterpoint.training.supervision import objective_in_words


def facts(context: Context) -> Section:
    """Data, digest, versions, machine, seconds, samples per second, and the complete configuration."""
    parts: list[str | HasHtml] = [
        Table(("", ""), _rows(context), "Facts of the run"),
        Folded("Complete configuration", Code(yaml.safe_dump(context.config, sort_keys=False, allow_unicode=True))),
    ]
    lead = "Everything that the numbers above depend on. The configuration, fed back, repeats the run."
    return Section("The run", lead, parts)


def _rows(context: Context) -> list[list[str]]:
    config, found = context.config, context.facts
    rows = [["recipe", str(config.get("recipe"))], ["data", str(context.run.sources)]]
    rows += [["data digest", _digest(context)], *_tuned(context)]
    if found:
        rows += [
            ["training samples", number_whole(found["samples"])],
            ["updates", number_whole(found["steps"])],
            *_kept(context),
            ["seconds", f"{number(found['seconds'])}{context.untimed}"],
            ["samples per second", number(found["samples_per_second"] or None)],
            ["versions", ", ".join(f"{name} {version}" for name, version in found["versions"].items())],
            ["machine", _machine(found["machine"])],
        ]
    else:
        rows += [["updates so far", number_whole(context.updates)], ["versions, machine", "written when it finishes"]]
    rows += [["samples per step", _batch(context)], ["seed", str(config.get("seed"))]]
    damaged = context.metrics.get("data/damaged", [])
    if damaged and damaged[-1][1]:
        rows += [["damaged records", f"{damaged[-1][1]:.0f}, left out"]]
    return rows


def _kept(context: Context) -> list[list[str]]:
    """Which epoch's encoder is kept, where one was chosen."""
    kept = context.kept
    if not kept:
        return []
    told = f"after epoch {kept['epoch'] + 1:.0f}: best on validation, {kept['by']} {measure(kept['by'], kept['value'])}"
    return [["encoder", told]]


def _batch(context: Context) -> str:
    """Samples of an optimiser step over all processes, as the first line of a training says."""
    size, processes = int(context.config["batch_size"]), int(context.facts.get("processes", 1))
    if not context.finished:
        return f"{number_whole(size)} on each process"
    return number_whole(size * processes) + (f", {number_whole(size)} on each of {processes}" if processes > 1 else "")


def _tuned(context: Context) -> list[list[str]]:
    """Of a fine-tuning: what it started from, what it learnt by, and from how many labels or targets."""
    if not context.task:
        return []
    method, samples = context.config["method"], context.facts.get("samples")
    options = method.get("init_args") or {}
    told = [] if samples is None else [number_whole(samples)]
    drawn = {"labels_per_class": "at most {} of each class", "labels": "a draw of {}"}
    told += [text.format(options[name]) for name, text in drawn.items() if options.get(name) is not None]
    return [
        ["started from", f"the encoder of {context.config.get('start')}"],
        ["objective", _objective(method)],
        ["labels" if context.task == "classify" else "targets", ", ".join(told) or "all that are known"],
    ]


def _objective(method: dict[str, Any]) -> str:
    try:
        return objective_in_words(method)
    except (ImportError, AttributeError):  # of somebody's own, and not here any more
        return str(method["init_args"]["objective"]["class_path"])


def _digest(context: Context) -> str:
    """The digest of the training data, and whether the data is still the same."""
    digest = str(context.facts.get("digest", "written when the run finishes"))
    try:
        now = context.dataset.digest()
    except Missing:
        return digest
    return digest if now == digest else f"{digest}; the data has changed since: it is {now} now"


def _machine(machine: dict[str, Any]) -> str:
    counts = {one: machine.get(f"{one}s") for one in ("core", "thread")}
    parts = [str(machine.get("system")), *(f"{n} {one}{'' if n == 1 else 's'}" for one, n in counts.items())]
    return ", ".join([*parts, str(machine["gpu"])] if machine.get("gpu") else parts)
