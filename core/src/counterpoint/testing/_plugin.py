"""Checks of the plugin as a whole: its metadata, and one pretraining from data to embeddings."""

from __future__ import annotations

import contextlib
import io
import math
import re
import subprocess
import sys
import warnings

import numpy as np
import torch
from torch.nn import functional

from counterpoint.parts import Protocol
from counterpoint.plugin import CAPABILITIES
from counterpoint.report import Context, Missing, Picture, Section
from counterpoint.run import Run
from counterpoint.testing.compare import difference
from counterpoint.testing.registry import FOUR, check, require
from counterpoint.testing.session import MANY, Session
from counterpoint.training.needs import methods_of
from counterpoint.training.pretrain import start_run

HEAVY = ("torch", "numpy", "lightning", "pandas", "scipy", "sklearn")
FRESH = """
import importlib, sys
sys.path[:] = {path!r}
module, _, attribute = {entry!r}.partition(":")
getattr(importlib.import_module(module), attribute)
print(*[name for name in {heavy!r} if name in sys.modules])
"""


@check("plugin")
def described(session: Session, name: str) -> None:
    """Names are lower-case words; plugin and parts have a summary of one line; capabilities are known words."""
    plugin = session.plugin
    require(re.fullmatch(r"[a-z][a-z0-9]*", plugin.name), "name", repr(plugin.name), "one lower-case word")
    require(_is_line(plugin.summary), "summary", repr(plugin.summary), "one line that says what it is for")
    for kind in (*FOUR, "methods", "report"):
        for part_name, part in getattr(plugin, kind).items():
            require(_is_line(part.summary), f"{kind} {part_name!r}: summary", repr(part.summary), "one line")
            unknown = part.capabilities - CAPABILITIES
            allowed = ", ".join(sorted(CAPABILITIES))
            require(not unknown, f"{kind} {part_name!r}: capabilities", ", ".join(sorted(unknown)), allowed)


def _is_line(text: str) -> bool:
    return bool(text.strip()) and "\n" not in text


@check("plugin")
def supplies(session: Session, name: str) -> None:
    """The four things are there, each with a part that is really tried; the modalities have names."""
    require(session.plugin.modalities, "modalities", "none", "the names of the modalities in the samples")
    for kind in FOUR:
        parts = getattr(session.plugin, kind)
        require(parts, kind, "none", "at least one", f"Add one to Plugin({kind}={{...}}).")
        tried = [part for part in parts.values() if "*" not in part.exempt]
        require(tried, kind, "every one exempt from everything", "at least one that is tried", "Give it an example.")


@check("plugin")
def light(session: Session, name: str) -> str:
    """The metadata can be read without torch: in a fresh interpreter, importing the plugin loads nothing heavy."""
    code = FRESH.format(path=sys.path, entry=session.found.entry, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    require(done.returncode == 0, session.found.entry, done.stderr.strip()[-500:], "an import that works by itself")
    todo = "Name parts as 'module:attribute', and import what is heavy in their modules."
    require(not done.stdout.strip(), session.found.entry, f"loads {done.stdout.strip()}", "no heavy import", todo)
    return "in a fresh interpreter"


@check("plugin")
def recipes(session: Session, name: str) -> None:
    """Recipes are for methods that there are."""
    known = methods_of(session.plugin)
    for method in session.plugin.recipes:
        require(method in known, f"recipes[{method!r}]", "no method of that name", ", ".join(sorted(known)))


@check(
    "plugin", after=("plugin/recipes", "datasets/batches", "views/seeded", "encoders/encodings", "encoders/gradients")
)
def pretrains(session: Session, name: str) -> str:
    """A pretraining of two steps leaves a run whose encoder loads and gives finite rows of length 1."""
    run, recipe = pretrained(session)
    rows = embedded(run)
    require(np.isfinite(rows).all(), "embeddings", "values that are not finite", "finite values")
    lengths = np.linalg.norm(rows, axis=1)
    require(np.allclose(lengths, 1, atol=1e-4), "embeddings", f"rows of length {lengths.min():.3g}", "length 1")
    return recipe


@check("plugin", after=("plugin/pretrains", "datasets/repeats", "views/plain", "encoders/alone", "encoders/saves"))
def embeds(session: Session, name: str) -> None:
    """The same input has the same embedding: again, and from the run loaded anew."""
    run, _ = pretrained(session)
    first, again, anew = embedded(run), embedded(run), embedded(Run(run.path))
    require(np.array_equal(first, again), "the same run, again", "other embeddings", "the same, bit by bit")
    require(np.array_equal(first, anew), "the run loaded anew", "other embeddings", "the same, bit by bit")


@check("plugin", after=("plugin/pretrains", "datasets/repeats"))
def protocol(session: Session, name: str) -> str:
    """A protocol of the plugin's own gives finite numbers for val, the same again, and for its floors."""
    part = session.plugin.protocol
    if part is None:
        return "none: kNN, probes and geometry"
    cls = part.load()
    require(isinstance(cls, type) and issubclass(cls, Protocol), part.target, repr(cls), "a subclass of Protocol")
    run, dataset = pretrained(session)[0], pretrained(session)[0].open()
    with torch.no_grad():
        found, again = (cls().measure(run.encoder, run.views, dataset, "val") for _ in range(2))
        rows = {"measure": found, **cls().floors(dataset, "val", True)}
    for row, metrics in rows.items():
        require(metrics, row, "no metric", "metric -> number")
        for metric, value in metrics.items():
            right = isinstance(value, (int, float)) and math.isfinite(value)
            require(right, f"{row}: {metric}", repr(value), "a finite number")
    where = difference(found, again)
    require(not where, "metrics, again", where, "the same numbers")
    return ", ".join(found)


@check("plugin", after=("plugin/pretrains", "datasets/repeats"))
def reports(session: Session, name: str) -> str:
    """On the run's report a sample is a picture or a text, and each section of the plugin's is a section or nothing."""
    run, _ = pretrained(session)
    context, told = Context(run), []
    shown = context.preview(int(context.entities.splits()["train"][0]))
    require(isinstance(shown, Picture | str), "thumbnail", type(shown).__name__, "a Picture or a str")
    for section, part in session.plugin.report.items():
        try:
            made = part.load()(context)
        except Missing as missing:
            told.append(f"{section}: {missing}")
            continue
        require(
            made is None or isinstance(made, Section), f"report {section!r}", type(made).__name__, "Section or None"
        )
    return "; ".join(told)


def embedded(run: Run) -> np.ndarray:
    """Embeddings of the first entities."""
    dataset = run.open().entities()
    found = run.features(dataset, range(min(MANY, len(dataset))))
    return functional.normalize(found.features, dim=1).numpy()


def pretrained(session: Session) -> tuple[Run, str]:
    """The run of a pretraining of two steps (made once a session), and its recipe."""
    method = next(iter(session.methods))
    out = session.folder("runs") / method
    if not (out / "run.json").is_file():
        few = {"max_steps": 2, "batch_size": 8, "monitor_steps": 1, "workers": 0, "threads": 1}
        quiet = {"accelerator": "cpu", "devices": 1, "progress": False, "tensorboard": False}
        config = session.configuration(method, out=str(out), **few, **quiet)
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start_run(config, overwrite=out.exists())
    return Run(out), f"{session.plugin.name}/{method}"
