"""Tables of pictures with texts: the demo's emoji, and the claims of CLIP and what improves it."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from commands import table
from counterpoint.evaluation.table import markdown
from measured import ABSENT, read, spread

SHOWN = ("recall@1", "recall@5", "recall@10")
ROWS = {"learnt": "CLIP", "untrained": "untrained"}


def claim(name: str) -> dict[str, Any]:
    """What was measured so far; empty: nothing."""
    return read("claims", f"multimodal-{name}")


def emoji() -> str:
    """What the demo's CLIP finds among the emoji of test."""
    found = read("demo-emoji")
    if not found:
        return ABSENT
    rows = {row: {m: values[m] for m in SHOWN if m in values} for row, values in found["metrics"].items()}
    return markdown(rows).rstrip()


def floors(data: str) -> str:
    """CLIP on test, beside what needs no training."""
    found = claim(data)
    if not found:
        return ABSENT
    every = {"CLIP": found["test"], **found["floors"]}
    rows = [[name, *(spread(values[m]) if m in values else "" for m in SHOWN)] for name, values in every.items()]
    return table(["", *(f"{metric}, %" for metric in SHOWN)], rows)


def recipes(data: str) -> str:
    """The table of recipes and losses on ``data``: recall on test."""
    cells = claim(f"recipes-{data}").get("cells")
    if not cells:
        return ABSENT
    rows = []
    for name, one in cells.items():
        epochs = " ".join(str(epoch) for epoch in one["epochs to best"])
        rows.append([name, *(spread(one["test"][m]) for m in SHOWN), epochs, f"{fmean(one['seconds']):.0f}"])
    return table(["cell", *(f"{metric}, %" for metric in SHOWN), "best epoch", "seconds"], rows)


def gains(*names: str) -> str:
    """Differences of recall@10, paired by seed, of one claim or several."""
    every = [(name, row, gain) for name in names for row, gain in (claim(name).get("gains") or {}).items()]
    if not every:
        return ABSENT
    rows = []
    for name, row, gain in every:
        mean, half = (100 * gain["difference"][key] for key in ("mean", "half"))
        told = row if len(names) == 1 else f"{name}: above {row}"
        rows.append([told, f"{mean:+.2f}", f"{mean - half:+.2f} to {mean + half:+.2f}", f"{gain['p']:.3f}"])
    return table(["difference", "points of recall@10", "95 % interval", "p"], rows)


def tried(name: str) -> str:
    """What was compared on val."""
    found = claim(name).get("chosen on val")
    if not found:
        return ABSENT
    grids = found if isinstance(next(iter(found.values())), dict) else {"": found}
    rows = [
        [options.replace("--optimization.", ""), f"{100 * value:.1f}"]
        for grid in grids.values()
        for options, value in grid.items()
    ]
    return table(["recipe", "recall@10 on val, %"], rows)


def commands_of(name: str) -> str:
    """The command that repeats the first seed of each cell."""
    found = claim(name)
    if not found:
        return ABSENT
    cells: dict[str, Any] = found.get("cells") or {"": found}
    return "\n".join(["```text", *(f"{one['command']} --seed 0" for one in cells.values()), "```"])


LEARNT = {"written": "written", "written, ensemble": "written, several", "coop": "CoOp", "cocoop": "CoCoOp"}
LEARNT["gopro"] = "GOPro"
PARTS = ("base", "new", "harmonic_mean")


def prompts() -> str:
    """Accuracy with written and learnt prompts: base and new classes, the styles of training and an unseen one."""
    found = claim("prompts")
    arms = found.get("arms")
    if not arms:
        return ABSENT
    keys = [f"{style} {part}" for style in ("seen", "shifted") for part in PARTS]
    rows = [[LEARNT.get(name, name), *(spread(arm[key]) for key in keys)] for name, arm in arms.items()]
    if probe := found.get("linear probe, base"):  # it knows the base classes only
        told = (spread(probe[style]) if part == "base" else "" for style in ("seen", "shifted") for part in PARTS)
        rows.append(["(linear probe)", *told])
    return table(["prompts", *(key.replace("harmonic_mean", "HM").replace("seen ", "") for key in keys)], rows)


def prompt_gains() -> str:
    """GOPro minus the others, in points, paired by seed."""
    found = claim("prompts").get("gains")
    if not found:
        return ABSENT
    rows = []
    for name, gain in found.items():
        pair, style, part = name.rsplit(", ", 2)
        mean, half = (100 * gain["difference"][key] for key in ("mean", "half"))
        told = "HM" if part == "harmonic_mean" else part
        other = LEARNT.get(pair.removeprefix("gopro - "))
        if other is None:  # an ablation, which the other table shows
            continue
        interval = f"{mean - half:+.1f} to {mean + half:+.1f}"
        rows.append([other, style, told, f"{mean:+.1f}", interval, f"{gain['p']:.3f}"])
    return table(["GOPro minus", "style", "classes", "points", "95 % interval", "p"], rows)


FUSED = {"understanding[top-n]": "understanding", "grounding[IoU]": "grounding", "pointing[in box]": "pointing"}


def fusion() -> str:
    """What is there and where, told from the tokens of one encoder or of two."""
    arms = claim("fusion").get("arms")
    if not arms:
        return ABSENT
    rows = [[name, *(spread(arm[metric]) for metric in FUSED)] for name, arm in arms.items()]
    return table(["tokens", *(f"{told}, %" for told in FUSED.values())], rows)


def fusion_gains() -> str:
    """CoME minus the others, in points, paired by seed."""
    found = claim("fusion").get("gains")
    if not found:
        return ABSENT
    rows: dict[str, list[str]] = {}
    for name, gain in found.items():
        other = name.removeprefix("CoME - ").rpartition(", ")[0]
        mean, half = (100 * gain["difference"][key] for key in ("mean", "half"))
        rows.setdefault(other, [other]).append(f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})")
    return table(["CoME minus", *FUSED.values()], list(rows.values()))
