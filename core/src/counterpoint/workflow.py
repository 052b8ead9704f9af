"""What the command line and Python share: training and measuring, and the report that is written after both."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from counterpoint.errors import ConfigError, CounterpointError
from counterpoint.report.page import REPORT, write_report
from counterpoint.run import Run, is_run
from counterpoint.training import finetune as tuning
from counterpoint.training import pretrain as training
from counterpoint.training.checkpoints import PLAIN, is_tuned
from counterpoint.training.config import flatten
from counterpoint.training.evaluate import Evaluation, evaluate_run
from counterpoint.training.export import is_first_process


def pretrain(recipe: str | None = None, *, resume: str | Path | None = None, **settings: Any) -> Run:
    """Learn an encoder from unlabelled data, and write the report of it.

    ::

        run = cp.pretrain("vision/simclr", data="photos/", epochs=20)
        run = cp.pretrain("vision/simclr", data="photos/", method={"objective": "DCL"}, batch_size=64)
        run = cp.pretrain(resume="runs/photos")

    Args:
        recipe: ``plugin/method``.
        resume: go on with the unfinished run in this directory; nothing else may be given then.
        settings: any setting of the command line; nested ones as dictionaries. ``counterpoint pretrain --help`` lists
            them. ``overwrite=True`` starts again in a directory that holds a run, ``report=False`` writes no report.

    Returns:
        The finished run.

    Raises:
        ConfigError: a setting that is not right.
        Interrupted: Ctrl-C or SIGTERM; the state is saved and the message says how to go on.
        TrainingError: the loss is not finite, or the disk is full.
    """
    if resume is not None and recipe is None and not settings:
        return resume_run(Path(resume))
    if resume is not None:
        return training.pretrain(recipe, resume=resume, **settings)  # which says what is wrong with that
    overwrite = bool(settings.pop("overwrite", False))
    return start_run(training.configured(recipe, settings), overwrite=overwrite)


def finetune(
    run: str | Path | Run | None = None, task: str | None = None, *, resume: str | Path | None = None, **settings: Any
) -> Run:
    """Teach a run's encoder a task, beside a fresh head: classes from labels, or numbers from targets.

    The head learns alone for a tenth of the steps, then both. At the end it is measured on the test split beside a
    probe on the frozen encoder, and written down with the encoder: ``run.predict(...)``.

    ::

        run = cp.finetune("runs/photos", "classify", data="labelled/", epochs=20)
        run = cp.finetune("runs/photos", "classify", objective="core-tuning", labels_per_class=20, compare=True)
        run = cp.finetune("runs/faces", "regress", data="ages.csv", dataset={"target_column": "age"})

    Args:
        run: run or its directory, whose encoder begins.
        task: ``"classify"`` or ``"regress"``.
        resume: go on with the unfinished fine-tuning in this directory; nothing else may be given then.
        settings: those of ``counterpoint finetune --help``: ``objective`` (``"plain"``, ``"core-tuning"``,
            ``"supremix"``, or any that takes labels or targets), ``lr``, ``head_warmup``, ``labels_per_class``,
            ``compare``, ``data``, ``out``, ``epochs``, ``batch_size`` and all of `pretrain`; ``overwrite=True``.

    Returns:
        The finished run.

    Raises:
        ConfigError: a setting that is not right.
        DataError: data without labels, or without targets.
        Interrupted: Ctrl-C or SIGTERM; the state is saved and the message says how to go on.
    """
    if resume is not None:
        if run is not None or task is not None or settings:
            raise ConfigError("resume repeats the run as it was configured: give it alone, without other settings")
        return resume_run(Path(resume))
    if run is None:
        raise ConfigError("run: whose encoder shall begin? For example: cp.finetune('runs/photos', 'classify')")
    overwrite = bool(settings.pop("overwrite", False))
    clean = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    path = run.path if isinstance(run, Run) else run
    return start_tuning(tuning.configured(path, task, flatten(clean)), overwrite=overwrite)


def start_tuning(config: Namespace, *, overwrite: bool = False) -> Run:
    """Begin a fine-tuning in ``config.out``, and write its report, however it ends."""
    return _reported(lambda: tuning.start(config, overwrite=overwrite), Path(config.out))


def start_run(config: Namespace, *, overwrite: bool = False) -> Run:
    """Begin a run in ``config.out``, and write its report, however it ends."""
    return _reported(lambda: training.start_run(config, overwrite=overwrite), Path(config.out))


def resume_run(path: Path) -> Run:
    """Go on with the run at ``path``, and write its report, however it ends."""
    tuned = is_run(path) and is_tuned(Run(path).config)
    return _reported(lambda: tuning.resume(path) if tuned else training.resume_run(path), path)


def evaluate(run: str | Path | Run, **options: Any) -> Evaluation:
    """Measure a run's encoder beside its baselines, and refresh the run's report.

    Args:
        run: run or its directory.
        options: those of `counterpoint.training.evaluate.evaluate_run`: data, split, out, quick.
    """
    run = run if isinstance(run, Run) else Run(run)
    found = evaluate_run(run, **options)
    if run.config.get("report", True):
        report_after(run.path)
    return found


def _reported(train: Callable[[], Run], out: Path) -> Run:
    """Train, then report. A failure of training stays what it is; the report says that the run is not finished."""
    before = _mark(out)
    try:
        run = train()
    except CounterpointError:
        if is_first_process() and _mark(out) != before and _wanted(out):
            with suppress(KeyboardInterrupt):  # who is in a hurry still hears how to go on
                report_after(out)
        raise
    done_before = _mark(out) == before and (out / REPORT).is_file()
    if is_first_process() and _wanted(out) and not done_before:
        report_after(out)
    return run


def _mark(out: Path) -> list[int | None]:
    """When what the report shows was last written: a run that was refused has written nothing, and gets no report.

    Of a fine-tuning that is resumed for its comparison and measurement alone, the log stays as it is.
    """
    paths = [out / name for name in ("metrics.csv", f"{PLAIN}/run.json", "evaluation-test.json")]
    return [path.stat().st_mtime_ns if path.is_file() else None for path in paths]


def _wanted(out: Path) -> bool:
    return is_run(out) and bool(Run(out).config.get("report", True))


def report_after(out: Path) -> None:
    """Write the report of what has just been done. Whatever becomes of it, what was done stays done: it only warns."""
    try:
        report = write_report(out)
    except Exception as error:  # a bug as well: `counterpoint report` shows it in full, and training is done already
        reason = str(error) if isinstance(error, CounterpointError) else f"{type(error).__name__}: {error}"
        print(f"The report was not written; everything else is in {out}. {reason}", file=sys.stderr)
        return
    tell_failures(report.failures)
    print(f"Report: {report.path}")


def tell_failures(failures: list[str]) -> None:
    """Name the sections that failed, where a person looks for errors."""
    for failure in failures:
        print(f"A section of the report failed. {failure}", file=sys.stderr)
