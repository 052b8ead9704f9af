"""Tables of the benchmarks' files that compare and explain; the whole files are on docs/results/speed.md."""

from __future__ import annotations

import re
from typing import Any

from commands import table
from measured import ABSENT, read

LOSSES = ("NT-Xent", "DCL", "SupCon", "InfoNCE", "sigmoid")


def _told(found: dict[str, Any]) -> str:
    facts = found["facts"]
    return f"{facts['processor']}, torch {facts['torch']}, {facts['date'][:10]}."


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def memory() -> str:
    """MiB of each objective by batch size, ours and a peer's."""
    found = read("bench", "losses")
    rows = []
    for loss in LOSSES:
        cases: dict[str, dict[int, float]] = {}
        for key, value in found.get(f"{loss}, memory", {}).get("MiB", {}).items():
            who, size = re.fullmatch(r"(.+), B = (\d+)", key).groups()  # type: ignore[union-attr]
            cases.setdefault(who, {})[int(size)] = value
        rows += [[loss, who, *(_number(sizes.get(2**p)) for p in range(11, 15))] for who, sizes in cases.items()]
    head = ["objective", "library", "B = 2,048", "4,096", "8,192", "16,384"]
    return f"{_told(found)}\n\n{table(head, rows)}" if rows else ABSENT


def _milliseconds(found: dict[str, Any], loss: str, size: int) -> dict[str, float]:
    times: dict[str, float] = found.get(f"{loss}, B = {size}", {}).get("milliseconds", {})
    return times


def speed() -> str:
    """Milliseconds of NT-Xent and InfoNCE by batch size, beside plain torch or the products alone."""
    found = read("bench", "losses")
    rows = []
    for loss in ("NT-Xent", "InfoNCE"):
        for size in (64, 256, 1024, 4096):
            times = _milliseconds(found, loss, size)
            if times:
                reference = "plain" if "plain" in times else "floor"
                ratio = times["ours"] / times[reference]
                cells = [_number(times.get(who)) for who in ("ours", "plain", "floor")]
                rows.append([loss, f"{size:,}", *cells, f"{ratio:.2f}"])
    head = ["objective", "B", "ours", "plain torch", "floor", "ours / the other"]
    return f"{_told(found)}\n\n{table(head, rows)}" if rows else ABSENT


def peers() -> str:
    """Milliseconds of other libraries' losses as multiples of ours."""
    found = read("bench", "losses")
    rows = []
    for loss in ("NT-Xent", "DCL", "SupCon"):
        for size in (64, 512, 4096):
            times = _milliseconds(found, loss, size)
            for who in ("lightly", "pytorch-metric-learning"):
                if who in times:
                    ratio = f"{times[who] / times['ours']:.1f}"
                    rows.append([loss, f"{size:,}", who, _number(times["ours"]), _number(times[who]), ratio])
    head = ["objective", "B", "library", "ours", "theirs", "theirs / ours"]
    if not rows:
        return ABSENT
    return f"{_told(found)}\n\n{table(head, rows)}\n\nExtra memory in MiB:\n\n{memory().partition(chr(10) * 2)[2]}"


def caching() -> str:
    """What gradient caching costs, in a sentence."""
    found = read("bench", "gradient_caching")
    if not found:
        return ABSENT
    told = []
    for name, what in (("SmallTransformer", "a small transformer"), ("SmallConv", "a small convolution")):
        ratio = found[f"time of {name}"]["times the plain step"]
        small, large = (found[f"memory of {name}"]["MiB"]["cached"][rows] for rows in ("128", "512"))
        plain = found[f"memory of {name}"]["MiB"]["plain"]["512"]
        told.append(
            f"{ratio:.2f} times the plain step on {what}, with {_number(small)} MiB at 128 rows "
            f"and {_number(large)} MiB at 512 (plain: {_number(plain)} MiB)"
        )
    return f"Ours takes {'; '.join(told)}. {_told(found)}"


def views() -> str:
    """Views per second, ours and other libraries', at both sizes."""
    found = read("bench", "views")
    sizes = {"32 px": "32", "224 px, from 300 x 400": "224-from-300x400"}
    measured = {title: found.get(key, {}).get("views per second", {}) for title, key in sizes.items()}
    names = list(dict.fromkeys(name for cases in measured.values() for name in cases if "CHW" not in name))
    rows = [
        [name, *(f"{cases[name]['cpu']:,.0f}" if name in cases else "" for cases in measured.values())]
        for name in names
    ]
    return f"{_told(found)}\n\n{table(['library', *measured], rows)}" if rows else ABSENT


FRAMEWORKS = {"ours": "ours", "plain": "plain torch, COO", "selfrec": "SELFRec", "recbole": "RecBole"}
JUDGED = ("ours", "selfrec", "recbole")


def recommenders() -> str:
    """Seconds and memory of recommenders, ours and other frameworks', on the same pairs."""
    found = read("bench", "graphrec")
    rows = []
    for key, one in found.items():
        model, _, data = key.partition(" on ")
        for who, epoch in one.get("seconds per epoch", {}).items():
            name = FRAMEWORKS[who]
            if isinstance(epoch, str):
                rows.append([data, model, f"{name}: {epoch}", *[""] * 5])
                continue
            ranking, most, beside = one["seconds of full ranking"], one["MiB at most"], one["MiB beside the imports"]
            seconds = _number(epoch["cpu"]), f"{one['times ours'][who]:.2f}", _number(ranking[who]["cpu"])
            rows.append([data, model, name, *seconds, f"{most[who]:,}", f"{beside[who]:,}"])
    head = ["data", "model", "framework", "s per epoch", "theirs / ours", "s per full ranking", "MiB", "beside imports"]
    if not rows:
        return ABSENT
    load = ", ".join(str(value) for value in found["facts"]["load"])
    return f"{_told(found)} Load {load} on {found['facts']['cores']} cores.\n\n{table(head, rows)}"


def recommender_recall() -> str:
    """Recall@20 of the same model after the same epochs on the same pairs, by one ranking."""
    found = read("bench", "graphrec_recall")
    rows = []
    for key, one in found.items():
        if "recall@20" in one:
            model, _, data = key.partition(" on ")
            trained = one["what"].partition(" after ")[2].split(", mean")[0]
            rows.append([data, model, trained, *(one["recall@20"].get(who, "") for who in JUDGED)])
    return table(["data", "model", "after", *(FRAMEWORKS[who] for who in JUDGED)], rows) if rows else ABSENT


def recommender_noise() -> str:
    """Recall and uniformity of XSimGCL by weight and noise, ours and the published code's."""
    every = read("bench", "graphrec_recall")
    found: dict[str, Any] = next((one for key, one in every.items() if key.startswith("noise")), {})
    rows = []
    for setting, told in found.get("rows", {}).items():
        weight, eps = (part.split()[1] for part in setting.split(", "))
        cells = [f"{100 * told[who]['recall@20']:.2f}" if who in told else "" for who in ("ours", "selfrec")]
        cells += [f"{told[who]['uniformity']:.3f}" if who in told else "" for who in ("ours", "selfrec")]
        rows.append([weight, eps, *cells])
    recall, even = "recall@20, %", "uniformity"
    head = ["weight", "`eps`", f"{recall}: ours", "SELFRec", f"{even}: ours", "SELFRec"]
    return table(head, rows) if rows else ABSENT
