"""The command line answers at once, without torch, and names what is near."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from counterpoint import cli

pytestmark = pytest.mark.unit

PROBE = "import sys; from counterpoint.cli import main; main({words!r}); sys.exit('torch' in sys.modules)"


@pytest.mark.parametrize("words", [[], ["plugins"], ["recipes"], ["plugins", "vision"]])
def test_listing_loads_no_torch(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", PROBE.format(words=words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    names = (
        "plugins recipes pretrain finetune predict evaluate report compare embed diagnose doctor app check new-plugin"
    )
    for command in names.split():
        assert re.search(rf"^    {command}\s", text, re.MULTILINE), command


def test_errors_are_one_line_and_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins", "visoin"]) == 1
    assert "Did you mean 'vision'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["diagnose", "nowhere"], "nowhere"),
        (["embed", "nowhere", "x", "--out", "y.parquet"], "is no run directory"),
        (["evaluate", "nowhere"], "is no run directory"),
        (["report", "nowhere"], "is no run directory"),
        (["compare", "nowhere", "nowhere"], "is no run directory"),
        (["pretrain", "--resume", "nowhere"], "is no run directory"),
        (["pretrain", "--resume"], "needs a value"),
        (["pretrain", "--resume", "x", "--epochs", "3"], "leave out: --epochs 3"),
        (["pretrain"], "Which recipe?"),
        (["check", "visoin"], "Did you mean 'vision'?"),
        (["new-plugin", "vision"], "which is taken by plugin 'vision'"),
        (["app", "image-serch"], "Did you mean 'image-search'?"),
    ],
)
def test_what_is_missing_is_named(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 1
    assert expected in capsys.readouterr().err


def test_doctor_finds_nothing_broken_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    assert "Nothing is broken." in capsys.readouterr().out


def test_doctor_says_what_is_broken(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from counterpoint import plugin

    broken = plugin.Found("radar", "counterpoint-radar", "1", problem="cannot import x", remedy="pip install x")
    monkeypatch.setattr(plugin, "discover", lambda: (broken,))
    assert cli.main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "BROKEN plugin radar" in text
    assert "to mend: pip install x" in text


def test_threads_are_settled_before_anything_heavy_loads() -> None:
    code = (
        "import os; from counterpoint.cli import main; main(['plugins']); "
        "print([os.environ[n] for n in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS')])"
    )
    free = {k: v for k, v in os.environ.items() if not k.endswith("NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**free, "COUNTERPOINT_THREADS": "3"}, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "['3', '3']", done.stderr


def test_a_thread_count_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COUNTERPOINT_THREADS", "many")
    assert cli.main(["plugins"]) == 1
    assert "a whole number from 1" in capsys.readouterr().err
