"""What a fine-tuned run answers where numbers were asked for: predicted beside true."""

from __future__ import annotations

from counterpoint.report.context import Context, Missing
from counterpoint.report.scatter import Scatter
from counterpoint.report.section import Section, number

TITLE = "Predicted and true"


def answers(context: Context) -> Section:
    """A dot for each measured sample, up to a thousand.

    Raises:
        Missing: nothing was measured yet.
    """
    measured = context.measured
    pairs = [(float(true), float(told)) for true, told in measured.get("pairs", [])]
    if not pairs:
        todo = context.command("evaluate") if context.finished else "finish the run first."
        raise Missing(f"This needs a measurement: {todo}")
    found = measured["metrics"]["learnt"]
    lead = (
        f"Samples of the {measured['split']} split. The typical error is {number(found['gmae'])} (geometric mean), the "
        f"mean one {number(found['mae'])}; the line is where both are equal."
    )
    note = "a cloud flatter than the line keeps to the middle of the range"
    return Section(TITLE, lead, [Scatter("Predicted by true", pairs, note)])
