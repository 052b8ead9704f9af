"""What every command of the command line takes, and its ``--help``. Loads no torch."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from counterpoint._version import __version__

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


Parser = argparse.ArgumentParser


class Command(NamedTuple):
    """One command: its name, what it does in a line, its options, and what stands below them in its help."""

    name: str
    text: str
    add: Callable[[Parser], None] | None = None
    epilog: str = ""


def build_parser() -> Parser:
    """Commands and their options (``pretrain`` and ``app`` parse their own: they depend on the recipe, or the app)."""
    shown = argparse.RawDescriptionHelpFormatter
    text = "Contrastive self-supervised learning for every modality."
    parser = Parser("counterpoint", description=text, epilog=EXAMPLES, formatter_class=shown)
    parser.add_argument("--version", action="version", version=f"counterpoint {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    for one in COMMANDS:
        made = commands.add_parser(
            one.name, help=one.text, description=one.text, epilog=one.epilog, formatter_class=shown
        )
        if one.add is not None:
            one.add(made)
    return parser


def _run(parser: Parser, told: str = "run directory") -> None:
    parser.add_argument("run_path", metavar="RUN", type=Path, help=told)


def _plugins(parser: Parser) -> None:
    parser.add_argument("name", nargs="?", help="show one plugin's parts")


def _evaluate(parser: Parser) -> None:
    _run(parser)
    parser.add_argument("--data", help="other data than the run's own")
    parser.add_argument("--split", choices=("val", "test"), default="test", help="what is measured (default: test)")
    parser.add_argument("--quick", action="store_true", help="kNN and geometry only: seconds instead of minutes")
    parser.add_argument("--out", type=Path, help="JSON file (default: RUN/evaluation-<split>.json)")


def _report(parser: Parser) -> None:
    _run(parser)
    parser.add_argument("--out", type=Path, help="HTML file (default: RUN/report.html)")


def _compare(parser: Parser) -> None:
    parser.add_argument("run_paths", metavar="RUN", type=Path, nargs="+", help="run directories, two or more")
    parser.add_argument("--out", type=Path, default=Path("compare.html"), help="HTML file (default: compare.html)")


def _embed(parser: Parser) -> None:
    _run(parser)
    _table(parser, "Parquet file: name, index, label and target (where there are any), embedding")


def _predict(parser: Parser) -> None:
    _run(parser, "run directory, made by counterpoint finetune")
    _table(parser, "CSV or Parquet file: name, prediction, probability")


def _table(parser: Parser, out: str) -> None:
    """Options of what goes through data once and writes a row for each sample."""
    parser.add_argument("data", help="a folder, a table, an archive, or the name of a data set")
    parser.add_argument("--out", type=Path, required=True, help=out)
    parser.add_argument("--batch-size", type=_count(1), default=256, help="samples at once (default: 256)")
    parser.add_argument("--workers", type=_count(0), default=0, help="processes that read data (default: 0)")


def _count(least: int) -> Callable[[str], int]:
    """Reads a whole number from ``least`` on."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least}")
        return int(text)

    return read


def _diagnose(parser: Parser) -> None:
    _run(parser, "run directory, finished or not")


def _check(parser: Parser) -> None:
    parser.add_argument("name", metavar="PLUGIN", help="name of an installed plugin")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every result to FILE")
    parser.add_argument("--all", action="store_true", help="print a line for every check, not for every part")


def _new_plugin(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="name of the modality: one lower-case word")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the package (default: counterpoint-NAME)")


def _finetune(parser: Parser) -> None:
    """The settings that people reach for; it parses its own words, for the others depend on run and task."""
    parser.usage = "counterpoint finetune RUN --task TASK [options]\n       counterpoint finetune --resume RUN"
    parser.add_argument("run_path", metavar="RUN", help="run directory, whose encoder begins")
    parser.add_argument("--task", choices=("classify", "regress"), required=True, help="classes, or numbers")
    parser.add_argument("--data", help="labelled data, if it is other than the run's own")
    objective = "plain (cross-entropy; absolute error), core-tuning, supremix, or any that takes labels or targets"
    parser.add_argument("--objective", help=f"{objective} (default: plain)")
    parser.add_argument("--compare", action="store_true", help="train the plain loss too, at equal steps; show both")
    parser.add_argument("--weight", help="classify: of an objective beside the cross-entropy (default: 1)")
    parser.add_argument("--loss", help="regress: l1 or mse, without an objective (default: l1)")
    parser.add_argument("--epochs", help="passes over the labelled training samples (default: 30)")
    parser.add_argument("--lr", help="peak learning rate (default: 0.001)")
    parser.add_argument("--head-warmup", help="share of the steps in which the head learns alone (default: 0.1)")
    parser.add_argument("--labels-per-class", help="classify: training samples of each class (default: all)")
    parser.add_argument("--labels", help="regress: training samples in all (default: all)")
    parser.add_argument("--out", help="run directory (default: RUN-TASK)")
    parser.add_argument("--overwrite", action="store_true", help="start again in a directory that holds a run")
    parser.add_argument("--resume", metavar="RUN", help="go on with an unfinished fine-tuning; nothing else is given")


COMMANDS = (
    Command("plugins", "list the installed plugins and what each offers", _plugins),
    Command("recipes", "list every plugin/method that can be trained here"),
    Command("pretrain", "learn an encoder from unlabelled data (pretrain --help for its settings)"),
    Command("finetune", "teach a run's encoder classes or numbers", _finetune, TUNING),
    Command(
        "evaluate",
        "measure a run's encoder beside the raw input and the untrained encoder",
        _evaluate,
        "example:\n  counterpoint evaluate runs/photos --split test",
    ),
    Command(
        "report",
        "write the report of a run, finished or not: one HTML file with pictures that opens offline",
        _report,
        "example:\n  counterpoint report runs/photos --out photos.html",
    ),
    Command(
        "compare",
        "lay runs beside each other: a table here, and a page with curves",
        _compare,
        "example:\n  counterpoint compare runs/simclr runs/moco --out compare.html",
    ),
    Command(
        "embed",
        "write embeddings of any data to a Parquet file",
        _embed,
        "example:\n  counterpoint embed runs/photos photos/ --out photos.parquet",
    ),
    Command(
        "predict",
        "write what a fine-tuned run says of any data: its classes or numbers",
        _predict,
        "example:\n  counterpoint predict runs/photos-classify photos/ --out predictions.csv",
    ),
    Command("diagnose", "say in plain words whether a run learns, and what to do if not", _diagnose),
    Command("doctor", "check this installation: versions, plugins, data home; says what mends what is broken"),
    Command("app", "run an app (app --help lists them)"),
    Command("check", "run the conformance kit on a plugin: every check, and why it fails", _check, CHECKING),
    Command("new-plugin", "write the package of a new plugin, which trains as it is", _new_plugin, NEW),
)
