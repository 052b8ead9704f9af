"""The metrics log of a run: two append-only tables that survive ``kill -9`` and resume exactly.

``metrics.csv`` holds what is a function of configuration and data alone: the same run on the same machine writes the
same bytes, stopped and resumed or not. What depends on the clock (metrics named ``time/...``) goes to ``timing.csv``
beside it, so that the first can be compared byte by byte. Both are in long form, one value a row:
``step,epoch,metric,value``; ``step`` is the number of optimiser updates done, values are written by ``repr`` and so
read back exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from counterpoint.errors import ConfigError, message
from counterpoint.training import _tables, scores
from counterpoint.training._tables import METRICS, TIMING, read_metrics
from counterpoint.training._tables import METRICS_HEADER as HEADER

__all__ = ["METRICS", "TABLES", "TIMING", "MetricsLog", "join", "read_metrics"]

TABLES = ((METRICS, HEADER), (TIMING, HEADER), (scores.SCORES, scores.HEADER))
"""Every table of a run and its header; step and epoch are the first two columns."""

CLOCK = "time/"
KEPT_STEPS = 16  # whose names are remembered against doubles; a resumed run repeats at most its checkpoint's step


class MetricsLog(Logger):
    """Lightning logger that appends to ``<run>/metrics.csv`` and, for ``time/...``, to ``<run>/timing.csv``.

    Each call is one write of whole lines; a line that a killed process left torn is dropped before the next write.
    Only rank zero writes. Hyper-parameters are not its business: ``config.yaml`` holds them.

    Args:
        run: the run directory; made on the first write.
    """

    def __init__(self, run: str | Path) -> None:
        super().__init__()
        self.run = Path(run)
        self._recent: dict[int, set[str]] | None = None

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.run.name

    @property
    def version(self) -> str:
        """Lightning wants one; a run has none."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run directory."""
        return str(self.run)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: ``config.yaml`` has them all."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Append one row a metric. The key ``epoch`` is not a metric: it fills the epoch column.

        A metric that this step already has is left as it is: a run resumed from a checkpoint of step ``s`` may compute
        the rows of ``s`` again.

        Raises:
            ConfigError: no step, or a metric's name has a line break.
            TrainingError: the disk does not take the rows.
        """
        if step is None:
            raise ConfigError(message("step", "None", "the number of updates done", "Pass step=trainer.global_step."))
        values = {name: float(value) for name, value in metrics.items()}
        epoch = values.pop("epoch", None)
        known = self._known(step)
        rows = [(step, "" if epoch is None else int(epoch), n, repr(v)) for n, v in values.items() if n not in known]
        for name, clock in ((METRICS, False), (TIMING, True)):
            _tables.append(self.run / name, HEADER, [row for row in rows if row[2].startswith(CLOCK) is clock])
        known.update(values)

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Forget every row after ``step`` (-1: every row), so that a resumed run continues where its checkpoint stands.

        That is in ``metrics.csv``, ``timing.csv`` and ``scores.csv``. Each is rewritten beside itself and moved into
        place: a kill at any moment leaves the old or the new one.
        """
        for name, header in TABLES:
            _tables.rewind(self.run / name, header, step)
        self._recent = None

    def _known(self, step: int) -> set[str]:
        """Names that ``step`` already has: read from the files once after a start, kept in memory from then on."""
        if self._recent is None:
            self._recent = {}
            for path in (self.run / METRICS, self.run / TIMING):
                _tables.mend(path)
                for row in _tables.read(path, HEADER) if path.exists() else ():
                    self._remember(int(row[0])).add(row[2])
        return self._remember(step)

    def _remember(self, step: int) -> set[str]:
        """The names of ``step``, which becomes the youngest; the oldest beyond a few are let go."""
        recent = {} if self._recent is None else self._recent
        names = recent[step] = recent.pop(step, set())
        while len(recent) > KEPT_STEPS:
            del recent[next(iter(recent))]
        return names


def join(runs: Sequence[Path], out: Path) -> None:
    """The tables of runs one after the other, steps and epochs counted on, written to ``out``.

    Of the untrained encoders only the first run's is kept.
    """
    tables: dict[str, list[list[str]]] = {name: [] for name, _ in TABLES}
    steps = epochs = 0
    for number, run in enumerate(runs):
        rows = {name: [*_tables.read(run / name, header)] for name, header in TABLES if (run / name).is_file()}
        for name, found in rows.items():
            tables[name] += [
                [str(steps + int(step)), str(epochs + int(epoch)) if epoch else "", *rest]
                for step, epoch, *rest in found
                if number == 0 or not rest[0].startswith("untrained/")
            ]
        told = rows.get(METRICS, [])
        steps += max((int(row[0]) for row in told), default=0)
        epochs += max((int(row[1]) + 1 for row in told if row[1]), default=0)
    for name, header in TABLES:
        if tables[name]:
            _tables.write(out / name, header, tables[name])
