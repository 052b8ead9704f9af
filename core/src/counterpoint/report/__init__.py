"""The report: one self-contained HTML file that says how a run went, and the same for several runs beside each other.

======================  ==============================================================================
`report.page`           `write_report`: the sections of a run, put together and written
`report.compare`        `compare_runs`: several runs at the shell and on one page
`report.context`        `Context`: what a section may look at
`report.section`        `Section` and what it is made of: text, tables, galleries, pictures
`report.charts`         lines over time, score distributions, maps: SVG, no library
`report.bars`           bars that are made of parts
======================  ==============================================================================

A plugin adds to it by two fields of `counterpoint.Plugin`: ``thumbnail``, a function ``(sample, side) -> Picture or
str``, and ``report``, name -> function ``(context) -> Section or None``. All text is escaped; a part that renders
itself has ``__html__`` (the protocol of markupsafe), and what it inserts must be escaped.
"""

from __future__ import annotations

from counterpoint.report.bars import StackedBars
from counterpoint.report.charts import Line, LineChart, level
from counterpoint.report.context import Context, Missing
from counterpoint.report.section import Answers, Entry, Gallery, Grid, Lists, Picture, Section, Table, Tile

__all__ = [
    "Answers",
    "Context",
    "Entry",
    "Gallery",
    "Grid",
    "Line",
    "LineChart",
    "Lists",
    "Missing",
    "Picture",
    "Section",
    "StackedBars",
    "Table",
    "Tile",
    "level",
]
