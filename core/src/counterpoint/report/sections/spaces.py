"""Two spaces: is what only the targets have found in one, and what both have in the other?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from counterpoint.report.charts import Line, LineChart
from counterpoint.report.context import Context
from counterpoint.report.section import Code, Grid, HasHtml, Section, number, percent
from counterpoint.report.sections.quality import marked_line

SPACES = ("common", "salient")
NORMS = ("target", "background")


def spaces(context: Context) -> Section | None:
    """Probes of each factor from each space, and how long the salient codes of background and targets are."""
    measured = context.measured
    about: Mapping[str, Mapping[str, Any]] = measured.get("spaces") or {}
    norms = _norms(context)
    if not about and norms is None:
        return None
    parts: list[str | HasHtml] = []
    lead = (
        "The common space should tell what background and targets share, the salient space what only targets have: "
        "a filled mark should stand far to the right, a ring at chance."
    )
    if about:
        rows: Mapping[str, Mapping[str, float]] = measured["metrics"]
        parts.append(ProbePlot(about, rows["learnt"]))
        told = ", ".join(f"{name} {number(found['delta_tot'])}" for name, found in rows.items() if "delta_tot" in found)
        parts.append(f"Distance from the ideal, over all of them (0 is perfect): {told}.")
    elif context.finished:
        parts += ["For the probes of both spaces, run:", Code(context.command("evaluate"))]
    if norms is not None:
        parts.append(Grid([norms]))
    return Section("Common and salient", lead, parts)


def _norms(context: Context) -> LineChart | None:
    points = {name: context.metrics.get(f"parts/{name}_norm", []) for name in NORMS}
    if not all(points.values()):
        return None
    lines = [Line(name, points[name], color) for color, name in enumerate(NORMS, 1)]
    return LineChart("Length of the salient code", lines, "the background's should go to 0, the targets' should not")


@dataclass(frozen=True, slots=True)
class ProbePlot:
    """A line for each factor and space, from 0 to 100 %, with the factor's chance level.

    Attributes:
        about: factor -> ``home`` and ``chance``.
        values: ``probe[factor,space]`` -> balanced accuracy.
    """

    about: Mapping[str, Mapping[str, Any]]
    values: Mapping[str, float]

    def __html__(self) -> str:
        key = Markup(
            '<span><i class="mark learnt"></i>where it belongs</span>'
            '<span><i class="mark ring"></i>where it does not</span><span><i class="mark bar"></i>chance</span>'
            "<span>each line: 0 to 100%</span>"
        )
        lines = Markup("").join(self._line(factor, space) for factor in self.about for space in SPACES)
        return Markup('<figure class="dots"><figcaption>{}</figcaption>{}</figure>').format(key, lines)

    def _line(self, factor: str, space: str) -> Markup:
        value, chance = self.values[f"probe[{factor},{space}]"], float(self.about[factor]["chance"])
        at_home = self.about[factor]["home"] == space
        wanted = "should be found" if at_home else "should be at chance"
        told = f"from the {space} space {percent(value)}, chance {percent(chance)}: {wanted}"
        mark = Markup('<i class="mark {}" style="left:{:.2f}%"></i>')
        marks = mark.format("bar", 100 * chance) + mark.format("learnt" if at_home else "ring", 100 * value)
        about = f"from the {space} space: {wanted}"
        return marked_line(factor, about, told, marks, percent(value), f"chance {percent(chance)}")
