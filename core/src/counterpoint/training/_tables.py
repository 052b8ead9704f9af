"""Append-only CSV files: whole lines or none, a torn last line is dropped, rewriting is atomic.

Every table starts with a header and has the step as its first column, so that a resumed run can forget what came after
its checkpoint.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from counterpoint.errors import ConfigError, RunError, TrainingError, message

METRICS = "metrics.csv"
TIMING = "timing.csv"
STAGES = "stages"
"""Folder of a run's stages, each a run of its own."""
METRICS_HEADER = ("step", "epoch", "metric", "value")


def read(path: Path, header: Sequence[str]) -> Iterator[list[str]]:
    """Rows of ``path`` without its header; a last line without its end is left out.

    Raises:
        RunError: a line is not of this table (columns, a step that is no number from 0).
    """
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    for number, row in enumerate(csv.reader(io.StringIO(whole)), start=1):
        if number == 1 and row == list(header):
            continue
        if len(row) != len(header) or not row[0].isdecimal():
            raise foreign(path, number, row, header)
        yield row


def foreign(path: Path, number: int, row: Sequence[str], header: Sequence[str]) -> RunError:
    """The error for a line that is not of this table."""
    columns = ",".join(header) if len(header) < 8 else f"{','.join(header[:4])},… ({len(header)} columns)"
    found = f"line {number} of {path} is {','.join(row)[:80]!r}"
    return RunError(message("run", found, columns, "Remove that line, or the file."))


def append(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Append ``rows`` in one write; a new file gets the header first.

    Raises:
        ConfigError: a value with a line break.
        TrainingError: the disk does not take them.
    """
    if not rows:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write(_text([header, *rows] if file.tell() == 0 else rows))
    except OSError as error:
        raise _disk(path, error) from error


def rewind(path: Path, header: Sequence[str], step: int) -> None:
    """Drop the rows after ``step``; the file is written beside itself and moved into place, if it is there at all.

    Raises:
        TrainingError: the disk does not take it.
    """
    if not path.exists():
        return
    write(path, header, [row for row in read(path, header) if int(row[0]) <= step])


def write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a whole table beside its place and move it there.

    Raises:
        TrainingError: the disk does not take it.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(_text([header, *rows]))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _disk(path, error) from error


def mend(path: Path) -> None:
    """Cut off a last line that a killed process left torn."""
    if path.exists():
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)


def _text(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        broken = [value for value in row if isinstance(value, str) and ("\n" in value or "\r" in value)]
        if broken:
            raise ConfigError(message("metric", repr(broken[0]), "a name without line breaks"))
        writer.writerow(row)
    return text.getvalue()


def _disk(path: Path, error: OSError) -> TrainingError:
    todo = "Free some space or mend the permissions, then resume: the checkpoint is unharmed."
    return TrainingError(message("disk", f"{path} cannot be written ({error.strerror})", "a writable disk", todo))


def stages_of(run: Path) -> list[Path]:
    """Directories of the stages of ``run`` that have begun, in their order; none of a run that has no stages."""
    return sorted((path.parent for path in (run / STAGES).glob(f"*/{METRICS}")), key=lambda path: int(path.name))


def read_metrics(path: str | Path) -> dict[str, list[tuple[int, float]]]:
    """Metric -> its ``(step, value)`` pairs in the order written.

    Args:
        path: a run directory (its ``metrics.csv``), or a file of the same form (``timing.csv``).

    Raises:
        RunError: there is no such file, or a line in it is not one of ours. A torn last line is no error: it is
            dropped.
    """
    path = Path(path)
    path = path / METRICS if path.is_dir() or path.suffix != ".csv" else path
    if not path.exists():
        todo = "Give the directory that `counterpoint pretrain --out` wrote; one appears with the first logged step."
        raise RunError(message("run", f"no {path.name} in {path.parent}", "a run directory with a metrics log", todo))
    metrics: dict[str, list[tuple[int, float]]] = {}
    for number, row in enumerate(read(path, METRICS_HEADER), start=2):
        metrics.setdefault(row[2], []).append((int(row[0]), _value(path, number, row)))
    return metrics


def _value(path: Path, number: int, row: list[str]) -> float:
    try:
        return float(row[3])
    except ValueError:
        raise foreign(path, number, row, METRICS_HEADER) from None
