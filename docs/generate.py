"""Write the generated parts of README.md and docs/: tables come from the code and from result files, never from a hand.

    python docs/generate.py           write them
    python docs/generate.py --check   fail if one is stale

A part stands between ``<!-- generated:name -->`` and ``<!-- /generated:name -->``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import benchmarks
import cells
import claimed
import commands
import dependencies
import paired
import ranked
from commands import table
from counterpoint import plugin as plugins
from counterpoint.evaluation.table import markdown
from counterpoint.listing import KINDS
from counterpoint.methods.registry import METHODS
from counterpoint.testing import CHECKS, Report
from counterpoint.testing.registry import KINDS as CHECKED
from counterpoint.training.needs import lacks, methods_of
from measured import ABSENT, RESULTS, read, spread

ROOT = Path(__file__).resolve().parents[1]
PART = re.compile(r"(<!-- generated:([\w-]+) -->\n).*?(<!-- /generated:\2 -->)", re.DOTALL)
DEMO = ("knn[k=20", "linear", "fewshot[k=5", "recall@1", "nmi")  # the metrics that the README shows
DEMO_CLASSES = 16
CLAIMED = ("douban-book", "amazon-beauty")  # data sets of the claims on recommendation
CAPTIONED = ("emoji-concept", "emoji-style", "fashion-products")  # and on pictures with words
RECIPES = ("fashion-products", "emoji-concept")  # those of them on which recipes were compared


def working() -> list[plugins.Plugin]:
    """The plugins that work here, ours (a third party's do not belong into our docs)."""
    return [f.plugin for f in plugins.discover() if f.plugin is not None and f.distribution.startswith("counterpoint-")]


def recipes() -> str:
    """Methods × plugins: the core's methods, then those that one plugin brings."""
    found = working()
    every = dict(METHODS)
    for plugin in found:
        every |= plugin.methods
    rows = [[name, part.summary, *(_recipe(plugin, name) for plugin in found)] for name, part in every.items()]
    return table(["method", "idea", *(plugin.name for plugin in found)], rows)


def _recipe(plugin: plugins.Plugin, method: str) -> str:
    part = methods_of(plugin).get(method)
    if part is None:
        return ""
    missing = lacks(plugin, part)
    return f"needs {', '.join(sorted(missing))}" if missing else f"`{plugin.name}/{method}`"


def parts() -> str:
    """Every plugin's parts."""
    rows = []
    for plugin in working():
        for kind in KINDS:
            for name, part in getattr(plugin, kind).items():
                rows.append([plugin.name, kind, f"`{name}`", part.summary, ", ".join(sorted(part.capabilities))])
        if plugin.protocol is not None:
            rows.append([plugin.name, "protocol", "", plugin.protocol.summary, ""])
    return table(["plugin", "kind", "name", "what it is", "capabilities"], rows)


def demo() -> str:
    """The demo's own evaluation."""
    found = read("demo")
    if not found:
        return ABSENT
    shown = {row: {m: v for m, v in metrics.items() if m.startswith(DEMO)} for row, metrics in found["metrics"].items()}
    return markdown(shown, classes=DEMO_CLASSES).rstrip()


def methods() -> str:
    """Claims of the core methods: kNN, mean ± std over seeds."""
    rows = []
    for path in sorted((RESULTS / "claims").glob("vision-*.json")):
        found = read("claims", path.stem)
        if "rows" not in found:
            continue
        name = path.stem.removeprefix("vision-")
        cells = []
        for row in ("learnt", "untrained", "raw input"):
            values = [v for v in found["rows"][row]["knn[k=20,T=0.07]"] if v is not None]
            cells.append(spread(values))
        gains = [
            a - b
            for a, b in zip(found["rows"]["learnt"]["knn[k=20,T=0.07]"], found["rows"]["untrained"]["knn[k=20,T=0.07]"])
        ]
        rows.append([name, *cells, f"+{spread(gains)}", f"{fmean(found['seconds']):.0f} s"])
    head = ["method", "learnt", "untrained", "raw pixels", "gain", "training (shared machine)"]
    return table(head, rows) if rows else ABSENT


def dcl() -> str:
    """The claim of decoupling, and q = 1 - p(positive) that explains it."""
    found = read("claims", "vision-dcl")
    if not found:
        return ABSENT
    rows = []
    for key, entry in found.items():
        if not key.startswith("batch "):
            continue
        ours, theirs = entry["DCL"]["test"], entry["InfoNCE"]["test"]
        gaps = [100 * (a - b) for a, b in zip(ours, theirs)]
        q = {name: entry[name]["q over the training"] for name in ("InfoNCE", "DCL")}
        means = [f"{fmean(one['mean']):.2f} ({fmean(one['std']):.2f})" for one in q.values()]
        gap = f"{fmean(gaps):+.2f} ± {stdev(gaps) / len(gaps) ** 0.5:.2f}"
        rows.append([key[6:], spread(theirs), spread(ours), " ".join(f"{g:+.1f}" for g in gaps), gap, *means])
    head = ["batch", "InfoNCE kNN", "DCL kNN", "DCL − InfoNCE, seed by seed", "mean ± standard error"]
    return table([*head, "q, InfoNCE", "q, DCL"], rows)


def bench(name: str) -> Callable[[], str]:
    """A benchmark's file: one row per thing measured, every case beside the others."""

    def write() -> str:
        found = read("bench", name)
        if not found:
            return ABSENT
        facts = found.pop("facts")
        sections = {"": found} if "what" in found else found
        rows = []
        for section, entries in sections.items():
            target = entries.get("target", entries.get("target at B = 8192", ""))
            measured = {key: value for key, value in entries.items() if not key.startswith(("what", "target"))}
            for key, value in measured.items():
                rows.append([section, key, _cases(value), _cases(target)])
        head = ["what", "measure", "values", "target"]
        load = ", ".join(str(value) for value in facts["load"])
        told = f"{facts['processor']}, torch {facts['torch']}, {facts['date'][:10]}, load {load}."
        peers = ", ".join(f"{name} {version}" for name, version in facts.get("peers", {}).items())
        told += f" Installed beside it: {peers}." if peers else ""
        return f"{told}\n\n{table(head, rows)}"

    return write


def _cases(value: Any) -> str:
    """``{"ours": {"wall": …, "cpu": 2.0}, "peer": …}`` -> ``ours 2, peer …`` (processor time where both are there)."""
    if isinstance(value, dict):
        picked = {
            name: one.get("cpu") if isinstance(one, dict) and "cpu" in one else one for name, one in value.items()
        }
        return ", ".join(f"{name} {_cases(one)}" for name, one in picked.items())
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:.0f}"
        if isinstance(value, float)
        else str(value)
    )


def conformance() -> str:
    """Every plugin of ours through the conformance kit: parts × what passed, and why anything was skipped."""
    sections = []
    for path in sorted((RESULTS / "conformance").glob("*.json")):
        report = Report.from_json(path.read_text(encoding="utf-8"))
        rows: dict[tuple[str, str], list[str]] = {}
        for result in report.results:
            rows.setdefault((result.kind, f"`{result.part}`"), []).append(result.status)
        statuses = ("passed", "failed", "skipped")
        cells = [[*key, *(str(found.count(status) or "") for status in statuses)] for key, found in rows.items()]
        skipped = {f"{r.kind} `{r.part}`: {r.reason}" for r in report.results if r.status == "skipped"}
        notes = "".join(f"\n- skipped: {note}" for note in sorted(skipped))
        verdict = "conforms" if report.conforms else "does NOT conform"
        head = f"### {report.plugin}\n\n{report.summary()}. It {verdict}.\n"
        sections.append(f"{head}\n{table(['kind', 'part', *statuses], cells)}\n{notes}".rstrip())
    return "\n\n".join(sections) if sections else ABSENT


def checks() -> str:
    """Every check of the kit."""
    ordered = sorted(CHECKS, key=lambda check: CHECKED.index(check.kind))
    rows = [[check.kind, f"`{check.name}`", check.summary.replace("``", "`")] for check in ordered]
    return table(["kind", "check", "what is checked"], rows)


WRITERS: dict[str, Callable[[], str]] = {
    "recipes": recipes,
    "objectives": lambda: cells.objectives(working()),
    "pieces": dependencies.shared,
    "parts": parts,
    "parts-classes": lambda: commands.classes(working(), KINDS),
    "recipe-settings": lambda: commands.recipe_settings(working()),
    "command-line": commands.command_line,
    "app-commands": commands.app_commands,
    "settings": commands.settings,
    "bench-memory": benchmarks.memory,
    "bench-speed": benchmarks.speed,
    "bench-peers": benchmarks.peers,
    "bench-caching": benchmarks.caching,
    "bench-views-peers": benchmarks.views,
    "bench-recommenders": benchmarks.recommenders,
    "bench-recommender-recall": benchmarks.recommender_recall,
    "bench-recommender-noise": benchmarks.recommender_noise,
    "demo": demo,
    "demo-films": ranked.films,
    "graphrec-noise": ranked.noise,
    **{
        f"graphrec-{what}-{data}": partial(make, data)
        for data in CLAIMED
        for what, make in (
            ("ranking", ranked.ranking),
            ("gains", ranked.gains),
            ("trials", ranked.trials),
            ("commands", ranked.commands_of),
            ("curves", ranked.shown),
        )
    },
    "demo-emoji": paired.emoji,
    **{f"multimodal-floors-{data}": partial(paired.floors, data) for data in CAPTIONED},
    "multimodal-floors-gains": partial(paired.gains, *CAPTIONED),
    "multimodal-floors-tried": partial(paired.tried, CAPTIONED[0]),
    **{f"multimodal-recipes-{data}": partial(paired.recipes, data) for data in RECIPES},
    **{f"multimodal-gains-{data}": partial(paired.gains, f"recipes-{data}") for data in RECIPES},
    **{f"multimodal-tried-{data}": partial(paired.tried, f"recipes-{data}") for data in RECIPES},
    "multimodal-prompts": paired.prompts,
    "multimodal-prompt-gains": paired.prompt_gains,
    "multimodal-fusion": paired.fusion,
    "multimodal-fusion-gains": paired.fusion_gains,
    "multimodal-commands": partial(paired.commands_of, "recipes-fashion-products"),
    **claimed.WRITERS,
    "checks": checks,
    "conformance": conformance,
    "methods": methods,
    "dcl": dcl,
    **{
        f"bench-{name}": bench(name)
        for name in (
            *("losses", "zoo", "supremix", "views", "knn", "gradient_caching", "training", "pairs"),
            "graphrec_scale",
        )
    },
}

PICTURES: dict[Path, Callable[[], str]] = {
    **{RESULTS / f"graphrec-{data}.svg": partial(ranked.picture, data) for data in CLAIMED},
    RESULTS / "objectives-scores.svg": claimed.picture,
    ROOT / "docs" / "explanation" / "objectives.svg": dependencies.picture,
}
"""File -> what is in it; empty: there is no such file."""


def generated(text: str) -> str:
    """``text`` with every generated part as it should be now."""
    return PART.sub(lambda m: f"{m[1]}{WRITERS[m[2]]()}\n{m[3]}", text)


def pages() -> list[Path]:
    """Every page that may have generated parts."""
    return [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts)]


def stale() -> list[Path]:
    """Pages whose generated parts are not what they should be, and pictures that are not."""
    told = [page for page in pages() if (text := page.read_text(encoding="utf-8")) != generated(text)]
    return told + [path for path, draw in PICTURES.items() if _drawn(path) != draw()]


def _drawn(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def write(path: Path) -> None:
    """Write a page or a picture as it should be; a picture of nothing goes."""
    text = PICTURES[path]() if path in PICTURES else generated(path.read_text(encoding="utf-8"))
    if text:
        path.write_text(text, encoding="utf-8")
    else:
        path.unlink()


def main(arguments: list[str]) -> int:
    """Write, or with ``--check`` only compare."""
    changed = stale()
    for path in changed:
        if "--check" not in arguments:
            write(path)
        print(f"{'stale' if '--check' in arguments else 'written'}: {path.relative_to(ROOT)}")
    return 1 if changed and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
