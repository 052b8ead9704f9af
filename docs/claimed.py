"""Tables and a picture of what the claims of the core's objectives found, from their JSON files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import drawing
from commands import table
from measured import ABSENT, read, spread

KNN = "knn[k=20,T=0.07]"
LINEAR = "linear[lbfgs]"
Found = Mapping[str, Any]


def _plain(values: Sequence[float]) -> str:
    return spread(values, 1, 3)


def gains(found: Found, scale: float = 100, unit: str = "points") -> str:
    """Paired differences: name -> mean, 95 % interval, p."""
    if not found:
        return ABSENT
    rows = []
    for name, gain in found.items():
        one, p = gain.get("difference", gain), gain.get("p")
        mean, half = scale * one["mean"], scale * one["half"]
        rows.append(
            [name, f"{mean:+.2f}", f"{mean - half:+.2f} to {mean + half:+.2f}", "" if p is None else f"{p:.3f}"]
        )
    return table(["difference", unit, "95 % interval", "p"], rows)


def queued(name: str) -> str:
    """MoCo and what changes its negatives or positives: accuracy, geometry, cost."""
    arms = read("claims", name).get("arms")
    if not arms:
        return ABSENT
    rows = []
    for arm, one in arms.items():
        shape = (_plain(one["geometry"][metric]) for metric in ("uniformity", "alignment"))
        floors = (spread(one[floor]) for floor in ("untrained", "raw input"))
        rows.append([arm, spread(one["test"]), *floors, *shape])
    return table(["objective", "kNN, %", "untrained, %", "raw pixels, %", "uniformity", "alignment"], rows)


def queued_gains(name: str) -> str:
    """Each minus MoCo."""
    found = read("claims", name)
    each = found.get("gains") or {"MoCHi": found["gain"]} if found else {}
    told = {f"{arm} - MoCo": gain for arm, gain in each.items()}
    if "ten classes" in found:
        told["MoCHi - MoCo, ten classes"] = found["ten classes"]["gain"]
    return gains(told)


def mixed() -> str:
    """How hard MoCHi's negatives are."""
    found = read("claims", "hard-negatives")
    if not found:
        return ABSENT
    task = found["probability of the positive"]
    rows = [
        ["cosine of the hardest negatives", _plain(found["cosine of the hardest negatives"])],
        ["cosine of the mixtures", _plain(found["cosine of the mixtures"])],
        *([f"probability of the positive, {arm}", _plain(values)] for arm, values in task.items()),
    ]
    return table(["over the last fifth of the training", "mean over seeds"], rows)


def scores() -> list[drawing.Curve]:
    """Cosine of the positive over the training, an arm a line, under names that fit into the legend."""
    arms = read("claims", "hard-negatives").get("arms", {}) | read("claims", "feature-transformation").get("arms", {})
    shown = {name: one["curves"]["batch/positive"] for name, one in arms.items() if one and one.get("curves")}
    short = {
        "MoCo at the same temperature": "MoCo, FT's temperature",
        "feature transformation": "FT",
        "positive extrapolation": "FT, positives",
        "negative interpolation": "FT, negatives",
    }
    named = enumerate((short.get(name, name), points) for name, points in shown.items())
    return [drawing.Curve(name, points, number) for number, (name, points) in named if points]


def picture() -> str:
    """The curves as an SVG file; empty where nothing was measured."""
    drawn = scores()
    return drawing.svg("Cosine of the positive pair in training, mean over seeds", drawn, "step") if drawn else ""


def shown() -> str:
    """The link to the picture, if there is one."""
    text = "Cosine of the positive pair over the training, a line an objective, mean over seeds"
    return f"![{text}](objectives-scores.svg)" if scores() else ABSENT


def cacr() -> str:
    """Accuracy of each objective where classes are balanced and where they are not."""
    found = read("claims", "objectives-cacr")
    if not found.get("balanced"):
        return ABSENT
    rows = []
    for name, one in found["balanced"].items():
        thin = found["imbalanced"].get(name)
        cells = [spread(part["test"][m]) if part else "" for part in (one, thin) for m in (LINEAR, KNN)]
        rows.append([name, *cells])
    head = ["linear, %", "kNN, %", "imbalanced: linear, %", "kNN, %"]
    return table(["objective", *head], rows)


def hydra() -> str:
    """Accuracy and effective rank, then on the classes that no training saw."""
    found = read("claims", "objectives-hydra")
    if not found.get("arms"):
        return ABSENT
    rows = []
    for name, one in found["arms"].items():
        away = found["unseen classes"].get(name)
        unseen = spread(away["test"][KNN]) if away else ""
        rank = spread(one["test"]["rankme"], 1)
        rows.append([name, spread(one["test"][KNN]), rank, unseen])
    return table(["positives", "kNN, %", "effective rank", "unseen classes: kNN, %"], rows)


def hydra_gains() -> str:
    """Differences in accuracy; that of the effective rank is in the other table's numbers."""
    found = read("claims", "objectives-hydra").get("gains", {})
    return gains({name: gain for name, gain in found.items() if not name.startswith("rank")})


def stages(name: str, data: str = "coded") -> str:
    """Accuracy of probes of both factors."""
    found = read("claims", f"mcl-{name}").get(data)
    if not found:
        return ABSENT
    rows = [[arm, *(spread(values) for values in one.values())] for arm, one in found["test"].items()]
    return table(["encoders", "class, %", "code, %"], rows)


def stage_gains(name: str) -> str:
    """Two stages minus each control."""
    told = {}
    for data in ("coded", "plain"):
        for control, factors in read("claims", f"mcl-{name}").get(data, {}).get("gain", {}).items():
            told |= {
                f"{data}: {factor}, over {control}": {"difference": gain["difference"]}
                for factor, gain in factors.items()
            }
    return gains(told)


def tuned() -> str:
    """Fine-tuning with few labels: accuracy and scatter."""
    found = read("claims", "core-tuning")
    arms = {name: one for name, one in found.items() if isinstance(one, dict) and "scatter" in one}
    if not arms:
        return ABSENT
    rows = [[name, spread(one["test"]), _plain(one["scatter"])] for name, one in arms.items()]
    frozen = next(iter(arms.values()))["frozen + probe"]
    return table(
        ["objective", "accuracy, %", "scatter within / between"],
        [*rows, ["(frozen, linear probe)", spread(frozen), ""]],
    )


ORDERED = {"mae": "MAE, cycles", "order": "order of distances"}


def supremix(part: str = "") -> str:
    """Errors in cycles; ``part``: on thinner data."""
    found = read("claims", "supremix")
    arms = (
        found.get(part, {}) if part else {n: a["test"] for n, a in found.items() if isinstance(a, dict) and "test" in a}
    )
    if not arms:
        return ABSENT
    columns = {**ORDERED, **({"mae gap": "MAE in the gap"} if all("mae gap" in one for one in arms.values()) else {})}
    rows = [[name, *(spread(one[m], 1, 2) for m in columns)] for name, one in arms.items()]
    return table(["objective", *columns.values()], rows)


def separated() -> str:
    """What is found in which space."""
    arms = read("claims", "sepclr").get("arms")
    if not arms:
        return ABSENT
    keys = list(next(iter(arms.values()))["balanced accuracy"])
    rows = []
    for name, one in arms.items():
        norms = [[norm[part] for norm in one["salient norm"] if norm] for part in ("background", "target")]
        lengths = " / ".join(_plain(values) for values in norms if values)
        rows.append([name, *(spread(one["balanced accuracy"][k]) for k in keys), _plain(one["delta_tot"]), lengths])
    return table(["encoders", *keys, "distance from the ideal", "salient norm, background / target"], rows)


def batches() -> str:
    """SwAV with its queue, without, and SimCLR, in small and large batches."""
    found = {name: arms for name, arms in read("claims", "swav-queue").items() if name.startswith("batch ")}
    if not found:
        return ABSENT
    rows = [
        [
            size.removeprefix("batch "),
            name,
            spread(one["test"]),
            spread(one["untrained"]),
        ]
        for size, arms in found.items()
        for name, one in arms.items()
    ]
    return table(["batch", "method", "kNN, %", "untrained, %"], rows)


def weighted() -> str:
    """DCLW beside DCL and InfoNCE."""
    found = {
        name: one for name, one in read("claims", "vision-dcl").items() if name.startswith("batch ") and "DCLW" in one
    }
    rows = [
        [name.removeprefix("batch "), *(spread(one[a]["test"]) for a in ("InfoNCE", "DCL", "DCLW"))]
        for name, one in found.items()
    ]
    return table(["batch", "InfoNCE, %", "DCL, %", "DCLW, %"], rows) if rows else ABSENT


def _gains(name: str, key: str = "gains", **words: Any) -> str:
    return gains(read("claims", name).get(key, {}), **words)


WRITERS: dict[str, Callable[[], str]] = {
    "zoo-mochi": partial(queued, "hard-negatives"),
    "zoo-mochi-gains": partial(queued_gains, "hard-negatives"),
    "zoo-mixed": mixed,
    "zoo-ft": partial(queued, "feature-transformation"),
    "zoo-ft-gains": partial(queued_gains, "feature-transformation"),
    "zoo-scores": shown,
    "zoo-cacr": cacr,
    "zoo-cacr-gains": partial(_gains, "objectives-cacr"),
    "zoo-hydra": hydra,
    "zoo-hydra-gains": hydra_gains,
    **{f"zoo-mcl-{name}": partial(stages, name) for name in ("vision", "clip")},
    "zoo-mcl-vision-plain": partial(stages, "vision", "plain"),
    **{f"zoo-mcl-{name}-gains": partial(stage_gains, name) for name in ("vision", "clip")},
    "zoo-core-tuning": tuned,
    "zoo-core-tuning-gains": partial(_gains, "core-tuning", "gain over"),
    "zoo-supremix": supremix,
    "zoo-supremix-gap": partial(supremix, "a gap of 50 to 75 cycles"),
    "zoo-supremix-few": partial(supremix, "12 of 80 engines"),
    "zoo-supremix-gains": partial(_gains, "supremix", "less error than", scale=1, unit="cycles less"),
    "zoo-sepclr": separated,
    "zoo-swav": batches,
    "zoo-swav-gains": partial(_gains, "swav-queue"),
    "zoo-dclw": weighted,
}
