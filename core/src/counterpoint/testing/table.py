"""A report at the shell, and in the documentation."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from counterpoint.files import write_text
from counterpoint.testing.kit import CHECKS
from counterpoint.testing.results import Report, Result
from counterpoint.testing.session import Session

STYLES = {"passed": "green", "failed": "bold red", "skipped": "yellow"}


def run_check(name: str, out: Path | None = None, every: bool = False) -> int:
    """``counterpoint check``: run the kit, print the table, write the JSON; 0 when the plugin conforms, else 1.

    Args:
        name: of the plugin.
        out: JSON file for the structured results.
        every: print a line for every check instead of one for every part.

    Raises:
        PluginError: it is not installed, or broken.
    """
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    session = Session(name)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        work = progress.add_task(f"checking {name}", total=len(session.cases))

        def tick(result: Result) -> None:
            progress.update(work, advance=1, description=f"{result.kind} {result.part}")

        report = session.report(tick)
    show(report, console, every)
    if out is not None:
        write_text(out, report.to_json())
        console.print(f"Every result: {escape(str(out))}", soft_wrap=True)
    return 0 if report.conforms else 1


def show(report: Report, console: Console, every: bool = False) -> None:
    """Print the table, what failed and why, what was skipped and why, and the count."""
    console.print(_each(report) if every else _by_part(report))
    for result in report.failures:
        console.print(f"[bold red]failed[/]  {escape(result.case)}: {escape(result.reason)}", soft_wrap=True)
        summary = next(c.summary for c in CHECKS if (c.kind, c.name) == (result.kind, result.check))
        console.print(f"        checked: {escape(summary)}", soft_wrap=True)
    for (place, reason), count in _skips(report).items():
        console.print(f"[yellow]skipped[/] {escape(place)} ({count}): {escape(reason)}", soft_wrap=True)
    if report.missing:
        first = escape(report.missing[0])
        console.print(f"[bold red]not reached[/] {len(report.missing)} checks, the first: {first}", soft_wrap=True)
    verdict = "[bold green]conforms[/]" if report.conforms else "[bold red]does NOT conform[/]"
    console.print(f"{escape(report.summary())}. It {verdict}.", soft_wrap=True)


def _skips(report: Report) -> Counter[tuple[str, str]]:
    skipped = [result for result in report.results if result.status == "skipped"]
    return Counter((f"{result.kind}/{result.part}", result.reason) for result in skipped)


def _by_part(report: Report) -> Table:
    table = Table("kind", "part", *(f"[{style}]{status}[/]" for status, style in STYLES.items()), "seconds")
    for column in table.columns[2:]:
        column.justify = "right"
    kind = ""
    for place, results in _parts(report).items():
        if kind and place[0] != kind:
            table.add_section()
        count = Counter(result.status for result in results)
        cells = [f"[{style}]{count[status]}[/]" if count[status] else "" for status, style in STYLES.items()]  # type: ignore[index]
        table.add_row("" if place[0] == kind else place[0], place[1], *cells, f"{sum(r.seconds for r in results):.1f}")
        kind = place[0]
    return table


def _each(report: Report) -> Table:
    table = Table("check", "status", "seconds", "remark")
    for result in report.results:
        status = f"[{STYLES[result.status]}]{result.status}[/]"
        table.add_row(escape(result.case), status, f"{result.seconds:.2f}", escape(result.reason))
    return table


def _parts(report: Report) -> dict[tuple[str, str], list[Result]]:
    found: dict[tuple[str, str], list[Result]] = {}
    for result in report.results:
        found.setdefault((result.kind, result.part), []).append(result)
    return found
