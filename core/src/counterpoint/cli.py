"""The command line. Importing it loads no torch, so that ``counterpoint --help`` answers at once."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from counterpoint._version import __version__
from counterpoint.errors import CounterpointError, Interrupted
from counterpoint.training.settings import default_threads

EXAMPLES = """examples:
  counterpoint plugins                                   what is installed, and what each offers
  counterpoint recipes                                   every plugin/method that can be trained
  counterpoint pretrain vision/simclr --data photos/ --out runs/photos
  counterpoint finetune runs/photos --task classify      teach it your classes, or numbers
  counterpoint predict runs/photos-classify photos/ --out predictions.csv
  counterpoint evaluate runs/photos                      how good is it, beside honest baselines
  counterpoint report runs/photos                        how it went, as one page to look at
  counterpoint compare runs/photos runs/again            several runs beside each other
  counterpoint embed runs/photos photos/ --out photos.parquet
  counterpoint diagnose runs/photos                      is it learning? in plain words
  counterpoint app                                       the apps: a task with a face
  counterpoint new-plugin weather                        a package of your own that trains, to be filled in
  counterpoint check weather                             does a plugin do what the contract says
  counterpoint doctor                                    what is broken, and the command that mends it

environment:
  COUNTERPOINT_DATA      where data sets live (default: ~/.cache/counterpoint)
  COUNTERPOINT_THREADS   CPU threads (default: all cores but one)
"""

CHECKING = """examples:
  counterpoint check vision
  counterpoint check weather --all --json weather.json

It ends with code 0 where the plugin conforms, else 1. In a test of your package:
  from counterpoint.testing import conformance
  test_conformance = conformance("weather")
"""
TUNING = """The head learns alone for a tenth of the steps, then both. It is looked at on val on the way, measured on
test at the end, beside a probe on the encoder that it began with. All other settings are those of pretrain:
  counterpoint finetune RUN --task TASK --help

examples:
  counterpoint finetune runs/photos --task classify
  counterpoint finetune runs/photos --task classify --data labelled/ --objective core-tuning --compare
  counterpoint finetune runs/photos --task classify --objective core-tuning --objective.weight 0.1 --labels-per-class 20
  counterpoint finetune runs/faces --task regress --data ages.csv --dataset.target_column age --objective supremix
  counterpoint finetune --resume runs/photos-classify
  counterpoint predict runs/photos-classify photos/ --out predictions.csv
"""
NEW = """examples:
  counterpoint new-plugin weather
  counterpoint new-plugin weather --out plugins/weather

then:
  pip install -e counterpoint-weather
  counterpoint check weather
  counterpoint pretrain weather/simclr
"""


def build_parser() -> argparse.ArgumentParser:
    """Commands and their options (``pretrain`` parses its own: they depend on the recipe)."""
    parser = argparse.ArgumentParser(
        prog="counterpoint",
        description="Contrastive self-supervised learning for every modality.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"counterpoint {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")

    def command(
        name: str, run: Callable[[argparse.Namespace], int], text: str, epilog: str = ""
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name, help=text, description=text, formatter_class=argparse.RawDescriptionHelpFormatter, epilog=epilog
        )
        made.set_defaults(run=run)
        return made

    plugins = command("plugins", _plugins, "list the installed plugins and what each offers")
    plugins.add_argument("name", nargs="?", help="show one plugin's parts")
    command("recipes", _recipes, "list every plugin/method that can be trained here")
    command("pretrain", _pretrain, "learn an encoder from unlabelled data (pretrain --help for its settings)")
    _add_finetune(command("finetune", _finetune, "teach a run's encoder classes or numbers", epilog=TUNING))
    evaluate = command(
        "evaluate",
        _evaluate,
        "measure a run's encoder beside the raw input and the untrained encoder",
        epilog="example:\n  counterpoint evaluate runs/photos --split test",
    )
    evaluate.add_argument("run_path", metavar="RUN", type=Path, help="run directory")
    evaluate.add_argument("--data", help="other data than the run's own")
    evaluate.add_argument("--split", choices=("val", "test"), default="test", help="what is measured (default: test)")
    evaluate.add_argument("--quick", action="store_true", help="kNN and geometry only: seconds instead of minutes")
    evaluate.add_argument("--out", type=Path, help="JSON file (default: RUN/evaluation-<split>.json)")
    report = command(
        "report",
        _report,
        "write the report of a run, finished or not: one HTML file with pictures that opens offline",
        epilog="example:\n  counterpoint report runs/photos --out photos.html",
    )
    report.add_argument("run_path", metavar="RUN", type=Path, help="run directory")
    report.add_argument("--out", type=Path, help="HTML file (default: RUN/report.html)")
    compare = command(
        "compare",
        _compare,
        "lay runs beside each other: a table here, and a page with curves",
        epilog="example:\n  counterpoint compare runs/simclr runs/moco --out compare.html",
    )
    compare.add_argument("run_paths", metavar="RUN", type=Path, nargs="+", help="run directories, two or more")
    compare.add_argument("--out", type=Path, default=Path("compare.html"), help="HTML file (default: compare.html)")
    embed = command(
        "embed",
        _embed,
        "write embeddings of any data to a Parquet file",
        epilog="example:\n  counterpoint embed runs/photos photos/ --out photos.parquet",
    )
    embed.add_argument("run_path", metavar="RUN", type=Path, help="run directory")
    embed.add_argument("data", help="a folder, a table, an archive, or the name of a data set")
    embed.add_argument("--out", type=Path, required=True, help="Parquet file: name, index, label, embedding")
    embed.add_argument("--batch-size", type=int, default=256, help="samples at once (default: 256)")
    embed.add_argument("--workers", type=int, default=0, help="processes that read data (default: 0)")
    predict = command(
        "predict",
        _predict,
        "write what a fine-tuned run says of any data: its classes or numbers",
        epilog="example:\n  counterpoint predict runs/photos-classify photos/ --out predictions.csv",
    )
    predict.add_argument("run_path", metavar="RUN", type=Path, help="run directory, made by counterpoint finetune")
    predict.add_argument("data", help="a folder, a table, an archive, or the name of a data set")
    predict.add_argument("--out", type=Path, required=True, help="CSV or Parquet file: name, prediction, probability")
    predict.add_argument("--batch-size", type=int, default=256, help="samples at once (default: 256)")
    predict.add_argument("--workers", type=int, default=0, help="processes that read data (default: 0)")
    diagnose = command("diagnose", _diagnose, "say in plain words whether a run learns, and what to do if not")
    diagnose.add_argument("run_path", metavar="RUN", type=Path, help="run directory, finished or not")
    command("doctor", _doctor, "check this installation: versions, plugins, data home; says what mends what is broken")
    command("app", _app, "run an app (app --help lists them)")
    check = command(
        "check", _check, "run the conformance kit on a plugin: every check, and why it fails", epilog=CHECKING
    )
    check.add_argument("name", metavar="PLUGIN", help="name of an installed plugin")
    check.add_argument("--json", type=Path, metavar="FILE", help="write every result to FILE")
    check.add_argument("--all", action="store_true", help="print a line for every check, not for every part")
    scaffold = command(
        "new-plugin", _new_plugin, "write the package of a new plugin, which trains as it is", epilog=NEW
    )
    scaffold.add_argument("name", metavar="NAME", help="name of the modality: one lower-case word")
    scaffold.add_argument("--out", type=Path, metavar="DIR", help="folder of the package (default: counterpoint-NAME)")
    return parser


def _add_finetune(finetune: argparse.ArgumentParser) -> None:
    """The settings that people reach for; it parses its own words, for the others depend on run and task."""
    finetune.add_argument("run_path", metavar="RUN", help="run directory, whose encoder begins")
    finetune.add_argument("--task", choices=("classify", "regress"), required=True, help="classes, or numbers")
    finetune.add_argument("--data", help="labelled data, if it is other than the run's own")
    objective = "plain (cross-entropy; absolute error), core-tuning, supremix, or any that takes labels or targets"
    finetune.add_argument("--objective", help=f"{objective} (default: plain)")
    finetune.add_argument("--compare", action="store_true", help="train the plain loss too, at equal steps; show both")
    finetune.add_argument("--epochs", help="passes over the labelled training samples (default: 30)")
    finetune.add_argument("--lr", help="peak learning rate (default: 0.001)")
    finetune.add_argument("--head-warmup", help="share of the steps in which the head learns alone (default: 0.1)")
    finetune.add_argument("--labels-per-class", help="classify: training samples of each class (default: all)")
    finetune.add_argument("--labels", help="regress: training samples in all (default: all)")
    finetune.add_argument("--out", help="run directory (default: RUN-TASK)")
    finetune.add_argument("--overwrite", action="store_true", help="start again in a directory that holds a run")
    finetune.add_argument("--resume", metavar="RUN", help="go on with an unfinished fine-tuning; nothing else is given")


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
        code: int = parsed.run(parsed)
        return code
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


def _pretrain(_: argparse.Namespace) -> int:
    return _pretrain_words([])


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


def _finetune(_: argparse.Namespace) -> int:
    return _finetune_words([])


def _finetune_words(words: list[str]) -> int:
    if words and words[0] in ("--help", "-h"):
        build_parser().parse_args(["finetune", "--help"])
    from counterpoint.training import finetune as tuning
    from counterpoint.workflow import resume_run, start_tuning

    resume = _take(words, "--resume", value=True)
    if resume is not None:
        if words:
            raise CounterpointError(f"--resume repeats the run as it was configured; leave out: {' '.join(words)}")
        resume_run(Path(resume))
        return 0
    overwrite = _take(words, "--overwrite") is not None
    task = _take(words, "--task", value=True)
    run = words.pop(0) if words and not words[0].startswith("-") else None
    if run is None:
        raise CounterpointError("Which run? For example: counterpoint finetune runs/photos --task classify")
    start_tuning(tuning.configured(run, task, words), overwrite=overwrite)
    return 0


def _take(words: list[str], option: str, *, value: bool = False) -> str | None:
    """Remove ``option`` (and its value) from ``words``; None when it is not there."""
    for number, word in enumerate(words):
        key, equals, text = word.partition("=")
        if key != option:
            continue
        del words[number]
        if value and not equals:
            if number >= len(words):
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


def _app(_: argparse.Namespace) -> int:
    from counterpoint.apps import main as app

    return app([])


def _check(parsed: argparse.Namespace) -> int:
    from counterpoint import plugin as plugins

    plugins.get(parsed.name)  # what is missing or broken is told before torch is loaded
    from counterpoint.testing.table import run_check

    return run_check(parsed.name, parsed.json, parsed.all)


def _new_plugin(parsed: argparse.Namespace) -> int:
    from counterpoint.scaffold import new_plugin

    print(new_plugin(parsed.name, parsed.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
