"""Tables of commands and settings say what the parsers say."""

from __future__ import annotations

import argparse
from dataclasses import fields

import pytest

import benchmarks
import commands
from counterpoint.arguments import build_parser
from counterpoint.training.settings import Optimization, Settings

pytestmark = pytest.mark.unit


def test_every_command_is_there_with_every_option() -> None:
    told = commands.command_line()
    for parser, _ in commands.verbs(build_parser()):
        assert f"## `{parser.prog}`" in told
        for action in parser._actions:
            for option in action.option_strings:
                assert f"`{option}" in told or option in ("-h", "--help"), f"{parser.prog} {option}"
    assert "--resume RUN" in told


def test_every_setting_is_there_with_its_default() -> None:
    told = commands.settings()
    for field in fields(Settings):
        assert f"| `{field.name}` |" in told
    for field in fields(Optimization):
        assert f"| `optimization.{field.name}` |" in told
    assert "| `batch_size` | `256` |" in told
    assert "| `tensorboard` | `true` |" in told


def test_every_verb_of_an_app_is_there() -> None:
    told = commands.app_commands()
    assert "### `counterpoint app image-search query`" in told
    assert "| `--sheet, --out SHEET` |" in told
    assert "### `counterpoint app picture-search classify`" in told
    assert "Needs `counterpoint-vision`" in told


def test_the_parser_is_caught_and_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    made = argparse.ArgumentParser("tool")
    assert commands.parser_behind(made.parse_args, ["--help"]) is made
    assert capsys.readouterr().out == ""


def test_help_becomes_markdown() -> None:
    assert commands.prose("share of ``lr`` | a\n  <name>, see --help.") == "share of `lr` \\| a &lt;name>, see `--help`"


def test_tables_of_benchmarks_come_from_the_files() -> None:
    rows = [line.split("|")[1:-1] for line in benchmarks.peers().splitlines() if line.startswith("| NT-Xent | 4,096")]
    ours, theirs, ratio = (float(cell.replace(",", "")) for cell in rows[0][3:])
    assert ratio == pytest.approx(theirs / ours, rel=0.05)
    assert {"ours", "lightly", "kornia"} <= {
        line.split("|")[1].strip() for line in benchmarks.views().splitlines() if "|" in line
    }
    assert len([line for line in benchmarks.memory().splitlines() if "ours" in line]) == 5
