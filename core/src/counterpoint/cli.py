"""The command line. Importing it loads no torch, so that ``counterpoint --help`` answers at once."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from counterpoint.arguments import build_parser
from counterpoint.errors import CounterpointError, Interrupted
from counterpoint.training.settings import default_threads


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``counterpoint``; returns the exit code (0 good, 1 failed, 2 wrong usage, 130 interrupted)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _prepare_threads()
        if words[:1] == ["pretrain"]:
            return _pretrain_words(words[1:])
        if words[:1] == ["finetune"]:
            return _finetune_words(words[1:])
        if words[:1] == ["app"]:
            from counterpoint.apps import main as app

            return app(words[1:])
        parser = build_parser()
        parsed = parser.parse_args(words)
        if parsed.command is None:
            parser.print_help()
            return 0
        return RUN[parsed.command](parsed)
    except Interrupted as stop:
        if os.environ.get("LOCAL_RANK", "0") != "0":
            return 0  # all processes stop together; the first one tells, and a failure of another would kill it
        print(stop, file=sys.stderr)
        return 130
    except CounterpointError as error:
        print(f"counterpoint: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `counterpoint plugins | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _prepare_threads() -> None:
    """One number of threads for torch and for the BLAS under NumPy, SciPy and scikit-learn (read when these load).

    Waiting threads must sleep, not spin: a spinning thread on a busy core costs everybody.
    """
    threads = str(default_threads())
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _pretrain_words(words: list[str]) -> int:
    from counterpoint import plugin as plugins

    if words and "/" in words[0] and not words[0].startswith("-"):
        plugins.get(words[0].partition("/")[0])  # what is missing or broken is told before torch is loaded
    from counterpoint.training import config as configs
    from counterpoint.workflow import resume_run, start_run

    resume = _take(words, "--resume", value=True)
    if resume is not None:
        if words:
            raise CounterpointError(f"--resume repeats the run as it was configured; leave out: {' '.join(words)}")
        resume_run(Path(resume))
        return 0
    overwrite = _take(words, "--overwrite") is not None
    start_run(configs.parse(words), overwrite=overwrite)
    return 0


def _finetune_words(words: list[str]) -> int:
    resume = _take(words, "--resume", value=True)
    if resume is not None:
        if words:
            raise CounterpointError(f"--resume repeats the run as it was configured; leave out: {' '.join(words)}")
        from counterpoint.workflow import resume_run

        resume_run(Path(resume))
        return 0
    overwrite = _take(words, "--overwrite") is not None
    task, run = _take(words, "--task", value=True), _take_run(words)
    if (run is None or task is None) and {"--help", "-h"} & {*words}:  # with both there are more settings to be shown
        build_parser().parse_args(["finetune", "--help"])
    if run is None:
        raise CounterpointError("Which run? For example: counterpoint finetune runs/photos --task classify")
    from counterpoint.training import finetune as tuning
    from counterpoint.workflow import start_tuning

    start_tuning(tuning.configured(run, task, words), overwrite=overwrite)
    return 0


_FLAGS = ("-h", "--help", "--compare", "--print_config", "--print-config")
"""Options of a fine-tuning that have no value of their own; every other one has."""


def _take_run(words: list[str]) -> str | None:
    """Remove the run from ``words``: the first that is neither an option nor the value of one; None: there is none."""
    valued = False  # whether the word before is an option that waits for its value
    for number, word in enumerate(words):
        if valued and not word.startswith("--"):
            valued = False
        elif word.startswith("-"):
            valued = "=" not in word and word not in _FLAGS
        else:
            return words.pop(number)
    return None


def _take(words: list[str], option: str, *, value: bool = False) -> str | None:
    """Remove ``option`` (and its value) from ``words``; None when it is not there."""
    for number, word in enumerate(words):
        key, equals, text = word.partition("=")
        if key != option:
            continue
        del words[number]
        if value and not equals:
            if number >= len(words) or words[number].startswith("--"):
                raise CounterpointError(f"{option} needs a value")
            return words.pop(number)
        return text
    return None


def _plugins(parsed: argparse.Namespace) -> int:
    from counterpoint.listing import show_plugin, show_plugins

    return show_plugins() if parsed.name is None else show_plugin(parsed.name)


def _recipes(_: argparse.Namespace) -> int:
    from counterpoint.listing import show_recipes

    return show_recipes()


def _doctor(_: argparse.Namespace) -> int:
    from counterpoint.doctor import doctor

    return doctor()


def _evaluate(parsed: argparse.Namespace) -> int:
    from counterpoint.training.evaluate import show
    from counterpoint.workflow import evaluate

    found = evaluate(parsed.run_path, data=parsed.data, split=parsed.split, out=parsed.out, quick=parsed.quick)
    show(found)
    return 0


def _report(parsed: argparse.Namespace) -> int:
    from counterpoint.report.page import write_report
    from counterpoint.workflow import tell_failures

    report = write_report(parsed.run_path, parsed.out)
    print(f"Report: {report.path}")
    tell_failures(report.failures)
    return 1 if report.failures else 0


def _compare(parsed: argparse.Namespace) -> int:
    from counterpoint.report.compare import compare_runs

    compare_runs(parsed.run_paths, parsed.out)
    return 0


def _embed(parsed: argparse.Namespace) -> int:
    from counterpoint.training.tables import embed_to_parquet

    embed_to_parquet(parsed.run_path, parsed.data, parsed.out, batch_size=parsed.batch_size, workers=parsed.workers)
    return 0


def _predict(parsed: argparse.Namespace) -> int:
    from counterpoint.training.tables import predict_to_table

    predict_to_table(parsed.run_path, parsed.data, parsed.out, batch_size=parsed.batch_size, workers=parsed.workers)
    return 0


def _diagnose(parsed: argparse.Namespace) -> int:
    from counterpoint.training.verdict import diagnose

    verdict = diagnose(parsed.run_path)
    print(verdict)
    return 0


def _check(parsed: argparse.Namespace) -> int:
    from counterpoint import plugin as plugins

    plugins.get(parsed.name)  # what is missing or broken is told before torch is loaded
    from counterpoint.testing.table import run_check

    return run_check(parsed.name, parsed.json, parsed.all)


def _new_plugin(parsed: argparse.Namespace) -> int:
    from counterpoint.scaffold import new_plugin

    print(new_plugin(parsed.name, parsed.out))
    return 0


RUN: dict[str, Callable[[argparse.Namespace], int]] = {
    "plugins": _plugins,
    "recipes": _recipes,
    "evaluate": _evaluate,
    "report": _report,
    "compare": _compare,
    "embed": _embed,
    "predict": _predict,
    "diagnose": _diagnose,
    "doctor": _doctor,
    "check": _check,
    "new-plugin": _new_plugin,
}
"""The commands whose words `build_parser` reads; the others read their own."""


if __name__ == "__main__":
    sys.exit(main())
