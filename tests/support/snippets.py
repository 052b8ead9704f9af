"""The fenced code of a page, run as a reader would run it: in order, all in one folder.

A block's language says what it is for: ``bash`` is typed into a shell, ``python`` is a script, and what has a
``title="path"`` beside its language is written to that file. Other languages (``text``, ``console``) are only shown.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"^(?P<fence>`{3,})(?P<language>[\w+-]+)(?P<info>[^`\n]*)\n(?P<text>.*?)^(?P=fence)[ \t]*$", re.M | re.S
)
TITLE = re.compile(r'title="([^"]+)"')
RUN = ("bash", "python")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its language, its text, the file that it is (or ""), and the line where it stands."""

    language: str
    text: str
    title: str
    line: int


def blocks(page: Path, *languages: str) -> list[Block]:
    """The fenced blocks of ``page`` in order; of ``languages`` only, if any are named."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        title = TITLE.search(match["info"])
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(match["language"], match["text"], title[1] if title else "", line))
    return [block for block in found if not languages or block.language in languages]


def run(
    page: Path,
    folder: Path,
    *,
    python: Path | None = None,
    shorten: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[Block, str]]:
    """Run the blocks of ``page`` one after the other in ``folder``; each block with what it printed.

    Args:
        page: Markdown.
        folder: where files are written and commands run.
        python: interpreter whose folder of commands comes first (default: the running one).
        shorten: replacements that make a block quick, e.g. ``{"--epochs 20": "--epochs 1"}``; each must occur.
        environment: variables on top of the present ones.

    Raises:
        AssertionError: a block failed (with its line and what it printed), or a replacement never occurred.
    """
    interpreter = python or Path(sys.executable)
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "COUNTERPOINT_THREADS": "1", **(environment or {})}
    variables["PATH"] = f"{interpreter.parent}{os.pathsep}{variables['PATH']}"
    unused = dict(shorten or {})
    for block in blocks(page):
        text = block.text
        for long, short in (shorten or {}).items():
            if long in text:
                text = text.replace(long, short)
                unused.pop(long, None)
        if block.title:
            place = folder / block.title
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
            yield block, ""
        elif block.language in RUN:
            words = (
                ["bash", "-euo", "pipefail", "-c", text] if block.language == "bash" else [str(interpreter), "-c", text]
            )
            yield block, _output(words, folder, variables, f"{page.name}:{block.line}")
    assert not unused, f"{page.name}: nothing to replace by {unused}"


def _output(words: list[str], folder: Path, variables: Mapping[str, str], place: str) -> str:
    done = subprocess.run(
        words, cwd=folder, env=dict(variables), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{place}\n{words[-1]}\n{done.stdout}\n{done.stderr}"
    return done.stdout
