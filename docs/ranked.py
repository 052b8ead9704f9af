"""Tables and pictures of recommendation: the demo's films, and the claims of graph methods."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import drawing
from commands import table
from counterpoint.evaluation.table import markdown
from measured import ABSENT, read, spread

NAMES = {"bprmf": "BPR-MF", "lightgcn": "LightGCN", "sgl": "SGL-ED", "simgcl": "SimGCL", "xsimgcl": "XSimGCL"}
NAMES["lightgcn-longer"] = "LightGCN, longer"
FLOORS = ("popularity", "item kNN", "EASE")
SHOWN = ("recall@20", "ndcg@20", "recall@20,unpopular", "coverage@20")
MEASURES = {**dict.fromkeys(SHOWN, 100), "novelty@20": 1, "uniformity": 1}
"""What the claims measure -> what it is multiplied with: shares are told in percent."""


def films() -> str:
    """What the demo's three trainings measure on MovieLens-100k, beside rules that learn no embedding."""
    found = {model: read("demo-films", model) for model in ("xsimgcl", "lightgcn", "bprmf")}
    if not all(found.values()):
        return ABSENT
    rows = {NAMES[model]: one["metrics"]["learnt"] for model, one in found.items()}
    rows |= {floor: found["xsimgcl"]["metrics"][floor] for floor in FLOORS}
    shown = {row: {metric: values[metric] for metric in SHOWN} for row, values in rows.items()}
    return markdown(shown).rstrip()


def claim(data: str) -> dict[str, Any]:
    """What was measured on ``data`` so far; empty: nothing."""
    return read("claims", f"graphrec-{data}")


def ranking(data: str) -> str:
    """Each model on test: mean ± standard deviation over seeds, and when its best epoch came."""
    arms = claim(data).get("arms")
    if not arms:
        return ABSENT
    rows = []
    for model, arm in arms.items():
        cells = [spread(arm["test"][metric], factor, 2) for metric, factor in MEASURES.items()]
        epochs = " ".join(str(epoch) for epoch in arm["epochs to best"])
        rows.append([NAMES[model], *cells, epochs, f"{fmean(arm['seconds']):.0f}"])
    popular: dict[str, list[float]] = next(iter(arms.values()))["popularity"]
    cells = [spread(popular[metric], factor, 2) if metric in popular else "" for metric, factor in MEASURES.items()]
    rows.append(["popularity", *cells, "", ""])
    heads = [f"{metric}, %" if factor == 100 else metric for metric, factor in MEASURES.items()]
    return table(["model", *heads, "best epoch", "seconds"], rows)


def gains(data: str) -> str:
    """XSimGCL minus each other model, in points: mean, 95 % interval of the paired difference, p."""
    found = claim(data).get("gains")
    if not found:
        return ABSENT
    rows = []
    for name, gain in found.items():
        pair, _, metric = name.partition(", ")
        one, _, other = pair.partition(" - ")
        mean, half = (100 * gain["difference"][key] for key in ("mean", "half"))
        interval = f"{mean - half:+.2f} to {mean + half:+.2f}"
        rows.append([f"{NAMES[one]} − {NAMES[other]}", f"`{metric}`", f"{mean:+.2f}", interval, f"{gain['p']:.3f}"])
    return table(["difference", "metric", "points", "95 % interval", "p"], rows)


def trials(data: str) -> str:
    """Every value that was tried, by recall on val at the tuning seed; the chosen one is bold."""
    arms = claim(data).get("arms")
    if not arms:
        return ABSENT
    rows = []
    for model, arm in arms.items():
        tried: dict[str, float] = arm.get("chosen on val", {})  # a longer training takes what was chosen
        if not tried:
            continue
        best = max(tried, key=lambda options: tried[options])
        names = {options.split()[0].removeprefix("--method.") for options in tried}
        told = [f"{options.split()[-1]}: {100 * value:.2f}" for options, value in tried.items()]
        told = [f"**{cell}**" if options == best else cell for options, cell in zip(tried, told)]
        rows.append([NAMES[model], f"`{'`, `'.join(sorted(names))}`", ", ".join(told)])
    return table(["model", "setting", "value: recall@20 on val, %"], rows)


def noise() -> str:
    """XSimGCL with more and more noise."""
    weights = claim("noise").get("weights")
    if not weights:
        return ABSENT
    cells = [
        [weight, eps, *(spread([values[metric]], factor, 2) for metric, factor in MEASURES.items())]
        for weight, rows in weights.items()
        for eps, values in rows.items()
    ]
    heads = [f"{metric}, %" if factor == 100 else metric for metric, factor in MEASURES.items()]
    return table(["weight", "`eps`", *heads], cells)


def commands_of(data: str) -> str:
    """The command that repeats each model's first seed."""
    arms = claim(data).get("arms")
    if not arms:
        return ABSENT
    return "\n".join(["```text", *(arm["command"] for arm in arms.values()), "```"])


def _every(command: str) -> int:
    """Epochs between two looks at val."""
    words = command.split()
    return int(words[words.index("--monitor_epochs") + 1])


def curves(data: str) -> list[drawing.Curve]:
    """Recall on val by epoch, a line a seed; the dot is the epoch that was kept."""
    drawn = []
    for color, (model, arm) in enumerate(claim(data).get("arms", {}).items()):
        every = _every(arm["command"])
        for seed, (curve, best) in enumerate(zip(arm["curves"], arm["epochs to best"])):
            points = [(every * number, 100 * value) for number, (_, value) in enumerate(curve, 1)]
            mark = min(points, key=lambda point, best=best: abs(point[0] - best), default=None)  # type: ignore[misc]
            drawn.append(drawing.Curve("" if seed else NAMES[model], points, color, mark))
    return drawn


def picture(data: str) -> str:
    """The curves as an SVG file; empty where nothing was measured."""
    drawn = curves(data)
    return drawing.svg(f"Recall@20 on val of {data}, %, by epoch", drawn, "epoch") if drawn else ""


def shown(data: str) -> str:
    """The link to the picture, if there is one."""
    text = f"Recall@20 on the validation part of {data} by epoch: a line a seed, a dot where the best epoch was kept"
    return f"![{text}](graphrec-{data}.svg)" if curves(data) else ABSENT
