"""The verdict: is it learning? One line in plain words, with the likely cause of trouble and one remedy.

Plain Python on the numbers of ``metrics.csv``: it can be asked while a run goes on, afterwards, and on another machine.
The thresholds, and why they are what they are, stand beside their names below.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import yaml

from counterpoint.errors import RunError, message
from counterpoint.evaluation.table import smaller_is_better
from counterpoint.training._remedies import advice
from counterpoint.training._tables import read_metrics, stages_of
from counterpoint.training.volatility import volatility

State = Literal[
    "healthy",
    "collapsed",
    "dimensional collapse",
    "at chance",
    "diverged",
    "too early",
    "not better than untrained",
]
Metrics = Mapping[str, Sequence[tuple[int, float]]]
UNTRAINED, STARTED = "untrained", "at the start"
"""What the encoder was before the first update: of a pretraining, and of a fine-tuning, whose encoder had learnt."""

EARLY = 50  # updates: before, warm-up and batch norm's settling decide more than the objective does
EARLY_CHANCE = 100  # updates before a loss at chance, or a kNN not above the untrained one, is held against a run
COLLAPSED_STD = (
    0.05  # of 1: the mean cosine of different samples is then above 0.9975. Untrained networks have 0.1 and more
)
COLLAPSED_RANK = 1.5  # effective rank: all embeddings on one line, though it may have two ends
GROWING = 1.2  # a spread that grew by this much from one fifth of the run to the next is on its way out
LOW_RANK = 0.1  # of what the rank could be; trained embeddings keep a third and more of it
LOW_RANK_LEAST = 3.0  # and never below: with few dimensions a tenth is nothing
AT_CHANCE = 0.02  # of the chance level: what noise and a temperature of 0.5 leave between a loss and chance
FLAT = 1 / 3  # of the chance level: a loss that never fell is held against a run when it is within this of chance
FALLEN = 0.01  # of the chance level: a loss that fell by less since its highest has not fallen
FALLING = 0.002  # of the chance level, from one fifth of the run to the next: near chance, but on its way
NOISE = 3  # standard errors: a difference of two means that is smaller is none
SEPARATED = 0.01  # mean cosine of positives over that of negatives: 0 where views of a sample share nothing
EQUAL = 0.9  # mean cosine of negatives: above it, positives that are not separated mean that all scores are equal
APART = 0.5  # standard deviations by which positives and negatives have come apart since the first fifth of the run
HELD_APART = 0.75  # standard deviations between positives and negatives: what has blown up does not keep them apart
WORSE = 1.2  # times the chance level: worse than knowing nothing; a loss this high has blown up
SHOWN = {"classify": "accuracy", "regress": "mae"}
"""The metric of a fine-tuning's task that people look at first, and that judges it."""
BETTER = 1.5  # times the untrained encoder's value of the metric that chooses the epoch: then it learns, whatever else
PARTS = 5  # a run's points are compared fifth by fifth


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the numbers say; ``str(verdict)`` is the line to show.

    Attributes:
        state: one of seven words.
        text: one sentence with the numbers that decided.
        cause: the likely cause of trouble; empty where there is none.
        remedy: one thing to try; empty where there is none.
        numbers: what it was decided on; of a run of several stages, those of ``stage``.
    """

    state: State
    text: str
    cause: str = ""
    remedy: str = ""
    numbers: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.text} Likely cause: {self.cause}. Try: {self.remedy}." if self.remedy else self.text


def verdict(metrics: Metrics, method: str | None = None, select: str | None = None) -> Verdict:
    """Judge a run by its metrics.

    Args:
        metrics: metric -> ``(step, value)`` pairs, as `read_metrics` gives them.
        method: the method's name (``"byol"``), for a remedy that fits it.
        select: the metric of val that chooses the epoch, if one does: its direct measure decides. Of a fine-tuning
            (``"classify"``, ``"regress"``) where none does, the one that is shown.
    """
    tuned = (method or "").lower() in SHOWN
    select = SHOWN[(method or "").lower()] if tuned and select is None else select
    numbers = _numbers(metrics, select)
    measured = partial(_answered if tuned else _measured, select=select)
    for rule in (*_FIRST, measured, *_RULES):
        found = rule(numbers)
        if found is not None:
            state, text = found
            cause, remedy = advice(state, method, numbers)
            return Verdict(state, text, cause, remedy, numbers)
    return Verdict("healthy", _healthy(numbers), numbers=numbers)


def diagnose(run: str | Path) -> Verdict:
    """Judge the run in this directory: its metrics, its method, and the batch that stopped it, if one did.

    Raises:
        RunError: no such directory, or nothing logged in it yet.
    """
    run = Path(run)
    stages = stages_of(run)
    if stages:
        return _of_stages([diagnose(path) for path in stages])
    metrics = read_metrics(run)
    if not metrics:
        todo = "Wait for the first logged step, or look at what `counterpoint pretrain` printed last."
        raise RunError(message("run", f"an empty metrics log in {run}", "a run that has logged a step", todo))
    stopped = stopped_by(run, metrics)
    if stopped:
        metrics["train/loss"] = [*metrics.get("train/loss", []), (stopped["step"], math.nan)]
    return verdict(metrics, *_configured(run))


def stopped_by(run: Path, metrics: Metrics) -> dict[str, Any]:
    """What ``non-finite.json`` says of the batch that stopped the run; empty where none did, or it went past that.

    Args:
        run: its directory, or that of a stage.
        metrics: its own.
    """
    path = run / "non-finite.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    last = max((step for points in metrics.values() for step, _ in points), default=0)
    return found if found and found["step"] >= last else {}


def _of_stages(found: Sequence[Verdict]) -> Verdict:
    """Of several stages: the state of the first that is in trouble, and what is said of each."""
    stage, worst = next(
        ((n, one) for n, one in enumerate(found) if one.state != "healthy"), (len(found) - 1, found[-1])
    )
    text = " ".join(f"Stage {number}: {one.text}" for number, one in enumerate(found))
    return replace(worst, text=text, numbers={**worst.numbers, "stage": stage})


def _configured(run: Path) -> tuple[str | None, str | None]:
    """The method's name, by its class or else by the recipe; and the metric that chooses the epoch."""
    path = run / "config.yaml"
    config: Any = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    if not isinstance(config, dict):
        return None, None
    method = config.get("method")
    name = method.get("class_path") if isinstance(method, dict) else method or config.get("recipe")
    return str(name).replace("/", ".").rsplit(".", 1)[-1] if name else None, config.get("select")


def _numbers(metrics: Metrics, select: str | None) -> dict[str, float]:
    """What the rules look at, under short names; absent where it was not logged."""
    numbers: dict[str, float] = {"step": max((step for points in metrics.values() for step, _ in points), default=0)}
    for name, metric in _RECENT.items():
        parts = _fifths([value for _, value in metrics.get(metric, ())])
        if parts:
            numbers[name] = _mean(parts[-1])
            numbers[f"{name} before"] = _mean(parts[-2]) if len(parts) > 1 else numbers[name]
    numbers |= _apart(metrics)
    restless = volatility(metrics.get("batch/positive", ()))
    if restless:
        numbers["volatility"] = restless[-1][1]
    loss = [value for _, value in metrics.get("train/loss", ())]
    numbers["points"] = len(loss)
    if loss:
        numbers["fall"], numbers["noise"] = _fall(_fifths(loss))
        numbers["drop"], numbers["drop noise"] = _fall(_fifths(loss)[-2:])
    rates = [value for _, value in metrics.get("train/learning_rate", ())]
    if rates:
        numbers["highest learning rate"] = max(rates)
    for metric, points in metrics.items():
        if metric.startswith(("val/knn[", "untrained/knn[")) and points:
            numbers["knn" if metric.startswith("val/") else "untrained knn"] = points[-1][1]
        if metric == "untrained/queries" and points:
            numbers["queries"] = points[-1][1]
    if select is not None and metrics.get(f"val/{select}") and metrics.get(f"untrained/{select}"):
        best = min if smaller_is_better(select) else max
        numbers["selected"] = best(value for _, value in metrics[f"val/{select}"])
        numbers["untrained selected"] = metrics[f"untrained/{select}"][-1][1]
    return numbers


def _apart(metrics: Metrics) -> dict[str, float]:
    """How many standard deviations of the negatives' scores lie between positives and negatives, at first and now."""
    names = ("batch/positive", "batch/negative", "batch/negative_variance")
    points = [dict(metrics.get(name, ())) for name in names]
    steps = sorted(points[0].keys() & points[1].keys() & points[2].keys())
    apart = [(points[0][s] - points[1][s]) / math.sqrt(points[2][s]) for s in steps if points[2][s] > 0]
    parts = _fifths([value for value in apart if math.isfinite(value)])
    return {"apart at first": _mean(parts[0]), "apart": _mean(parts[-1])} if parts else {}


_RECENT = {
    "loss": "train/loss",
    "chance": "train/chance",
    "std": "batch/std",
    "rank": "batch/rankme",
    "rank limit": "batch/rank_limit",
    "positive": "batch/positive",
    "negative": "batch/negative",
    "positive variance": "batch/positive_variance",
    "negative variance": "batch/negative_variance",
    "duplicates": "batch/duplicates",
    "gradient": "train/grad_norm",
    "val std": "val/std",
}


def _fifths(values: Sequence[float]) -> list[Sequence[float]]:
    """Up to five stretches of a run, oldest first."""
    size = max(1, math.ceil(len(values) / PARTS))
    ends = range(len(values), 0, -size)
    return [values[max(0, end - size) : end] for end in ends][::-1]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _fall(parts: list[Sequence[float]]) -> tuple[float, float]:
    """How far the last stretch lies below the highest before it (some losses rise first), and that number's noise."""
    highest = max(parts[:-1], key=_mean, default=parts[-1])
    return _mean(highest) - _mean(parts[-1]), math.sqrt(_error(highest) ** 2 + _error(parts[-1]) ** 2)


def _error(values: Sequence[float]) -> float:
    """Standard error of the mean."""
    if len(values) < 2:
        return 0.0
    mean = _mean(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))


Found = tuple[State, str] | None


def _diverged(n: dict[str, float]) -> Found:
    for name in ("loss", "std", "val std"):
        if name in n and not math.isfinite(n[name]):
            return "diverged", f"Diverged: the {_LONG[name]} is no number any more (step {n['step']:.0f})."
    # A hardened loss (positives pulled apart) may lie above chance while scores come apart as they should.
    blown_up = "chance" in n and n["step"] >= EARLY and n["loss"] > WORSE * n["chance"]
    if blown_up and n.get("apart", 0.0) < HELD_APART:
        return "diverged", f"Diverged: the loss is {n['loss']:.2f}, well above its chance level {n['chance']:.2f}."
    return None


_LONG = {"loss": "loss", "std": "embeddings' spread", "val std": "features' spread"}


def _too_early(n: dict[str, float]) -> Found:
    if n["step"] < EARLY or n["points"] < 3:
        return "too early", f"Too early to say: {n['step']:.0f} updates; a verdict takes {EARLY}."
    return None


def _measured(n: dict[str, float], select: str | None) -> Found:
    """What chooses the epoch measures the use itself, which spread and scores only hint at."""
    if "selected" not in n:
        return None
    now, first = n["selected"], n["untrained selected"]
    text = f"{select} {now:.4f} on val, {UNTRAINED} {first:.4f}"
    if select is not None and smaller_is_better(select):
        now, first = first, now
    if now > BETTER * first:
        return "healthy", f"Healthy: {text}; {_healthy(n).removeprefix('Healthy: ')}"
    if now <= first and n["step"] >= EARLY_CHANCE:
        return "not better than untrained", f"Not better than {UNTRAINED}: {text}."
    return None


def _answered(n: dict[str, float], select: str | None) -> Found:
    """A fine-tuning's answers to val are its use itself: better than at the start, or not, whatever the loss."""
    if "selected" not in n or select is None:
        return None
    now, before = n["selected"], n["untrained selected"]
    text = f"{select} {now:.4f} on val, {STARTED} {before:.4f}"
    if (now < before) if smaller_is_better(select) else (now > before):
        return "healthy", f"Healthy: {text}; {_healthy(n).removeprefix('Healthy: ')}"
    if n["step"] < EARLY_CHANCE:
        return "too early", f"Too early to say: {text}, after {n['step']:.0f} updates."
    return "not better than untrained", f"Not better than {STARTED}: {text}."


def _collapsed(n: dict[str, float]) -> Found:
    if "std" not in n:
        return None
    spread = f"std {n['std']:.3f} of 1.00 when healthy"
    if n["std"] < COLLAPSED_STD:
        if n["std"] > GROWING * n["std before"]:
            return "too early", f"Too early to say: the embeddings hardly differ ({spread}), but ever more."
        return "collapsed", f"Collapsed: all embeddings point the same way ({spread})."
    if "chance" not in n and n["step"] >= EARLY_CHANCE and n.get("negative", 0) > EQUAL and not _separated(n):
        return "collapsed", f"Collapsed: all scores are equal ({n['positive']:.3f} and {n['negative']:.3f}; {spread})."
    if n["rank"] < COLLAPSED_RANK and n["rank limit"] > LOW_RANK_LEAST:
        text = f"all embeddings lie on one line (rank {n['rank']:.1f} of {n['rank limit']:.0f})"
        return "collapsed", f"Collapsed: {text}."
    return None


def _separated(n: dict[str, float]) -> bool:
    """Whether views of one sample score higher than views of different ones; True where that is not known."""
    return "negative" not in n or n["positive"] - n["negative"] >= SEPARATED


def _at_chance(n: dict[str, float]) -> Found:
    if "chance" in n and n["chance"] - n["loss"] < AT_CHANCE * n["chance"]:
        text = f"the loss is {n['loss']:.2f}, chance is {n['chance']:.2f}"
        if n["drop"] > max(NOISE * n["drop noise"], FALLING * n["chance"]):
            return "too early", f"Too early to say: {text}, but it falls."
        return _held_against(n, text)
    if not _separated(n):
        text = f"views of one sample score {n['positive']:.2f}, of different samples {n['negative']:.2f}"
        return _held_against(n, text)
    return None


def _flat(n: dict[str, float]) -> Found:
    if "chance" not in n or n["chance"] - n["loss"] > FLAT * n["chance"]:
        return None
    if n["fall"] > max(NOISE * n["noise"], FALLEN * n["chance"]):
        return None
    if n.get("apart", 0.0) > n.get("apart at first", 0.0) + APART:
        return None  # the loss stays since the task grows harder (MoCHi), not since nothing is learnt
    return _held_against(n, f"the loss is {n['loss']:.2f}, chance is {n['chance']:.2f}, and it does not fall")


def _held_against(n: dict[str, float], text: str) -> Found:
    """A run is at chance when it had the time to be better."""
    if n["step"] < EARLY_CHANCE:
        return "too early", f"Too early to say: {text}, after {n['step']:.0f} updates."
    return "at chance", f"At chance: {text}."


def _low_rank(n: dict[str, float]) -> Found:
    if _gain(n) > 2 * _knn_error(n):
        return None  # few dimensions, but the right ones: the data may have no more
    if "rank" in n and n["rank"] < max(LOW_RANK_LEAST, LOW_RANK * n["rank limit"]) < n["rank limit"]:
        text = f"the embeddings use {n['rank']:.1f} of {n['rank limit']:.0f} dimensions"
        return "dimensional collapse", f"Dimensional collapse: {text}."
    return None


def _not_better(n: dict[str, float]) -> Found:
    if "knn" not in n or "untrained knn" not in n or "selected" in n:  # what chooses the epoch was judged already
        return None
    if _gain(n) > _knn_error(n):
        return None
    text = f"kNN is {n['knn']:.1%}, the untrained encoder's was {n['untrained knn']:.1%}"
    if n["step"] < EARLY_CHANCE:
        return "too early", f"Too early to say: {text}, after {n['step']:.0f} updates."
    return "not better than untrained", f"Not better than untrained: {text}."


def _gain(n: dict[str, float]) -> float:
    """KNN accuracy above the untrained encoder's; 0 where it is not known."""
    return n["knn"] - n["untrained knn"] if "knn" in n and "untrained knn" in n else 0.0


def _knn_error(n: dict[str, float]) -> float:
    """One standard error of the difference of two accuracies: less than that above the baseline is no gain.

    One and not two, for both are measured on the same samples and the difference is surer than independent ones'.
    """
    variance = sum(n.get(name, 0.0) * (1 - n.get(name, 0.0)) for name in ("knn", "untrained knn"))
    return math.sqrt(variance / n.get("queries", 1000))


_FIRST = (_diverged, _too_early)
_RULES = (_collapsed, _at_chance, _low_rank, _flat, _not_better)


def _healthy(n: dict[str, float]) -> str:
    said = [f"loss {n['loss']:.2f}" + (f" (chance {n['chance']:.2f})" if "chance" in n else "")]
    if "std" in n:
        said.append(f"spread {n['std']:.2f} of 1.00, rank {n['rank']:.0f} of {n['rank limit']:.0f}")
    if "knn" in n:
        said.append(f"kNN {n['knn']:.1%}" + (f" (untrained {n['untrained knn']:.1%})" if "untrained knn" in n else ""))
    if "positive variance" in n and "negative variance" in n:
        # round() + 0.0: no minus before nothing
        told = {k: f"{round(n[k], 2) + 0.0:.2f} ± {n[f'{k} variance'] ** 0.5:.2f}" for k in ("positive", "negative")}
        jumps = f", volatility {n['volatility']:.3f}" if "volatility" in n else ""
        said.append(f"scores of positives {told['positive']}{jumps}, of negatives {told['negative']}")
    if n.get("duplicates", 0) > 0.01:
        said.append(f"{n['duplicates']:.0%} of a batch are duplicates")
    return f"Healthy: {'; '.join(said)}."
