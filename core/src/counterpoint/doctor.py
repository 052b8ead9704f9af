"""``counterpoint doctor``: what is installed, what is broken and why, and the command that mends it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from counterpoint import plugin as plugins
from counterpoint.plugin import unmet

Finding = tuple[str, str, str]  # good | note | broken; what; remedy


def findings() -> Iterator[Finding]:
    """Each thing looked at: ``("good" | "note" | "broken", what was found, what mends it)``."""
    yield "good", f"Python {platform.python_version()} on {platform.platform()}", ""
    yield from _packages()
    yield from _plugins()
    yield from _torch()
    yield from _places()


def _packages() -> Iterator[Finding]:
    yield "good", f"counterpoint {metadata.version('counterpoint')}", ""
    requirements = tuple(r for r in metadata.requires("counterpoint") or () if "extra ==" not in r)
    for text, reason in unmet(requirements):
        yield "broken", reason, f"pip install --upgrade '{text}'"


def _plugins() -> Iterator[Finding]:
    found = plugins.discover()
    if not found:
        yield "note", "no plugin is installed", "pip install counterpoint-vision"
    for one in found:
        if one.plugin is None:
            yield "broken", f"plugin {one.name} ({one.distribution} {one.version}): {one.problem}", one.remedy
            continue
        problem = _unloadable(one.plugin)
        if problem:
            yield (
                "broken",
                f"plugin {one.name} ({one.distribution} {one.version}): {problem}",
                f"report it to {one.distribution}",
            )
        else:
            yield "good", f"plugin {one.name} ({one.distribution} {one.version}), all parts load", ""


def _unloadable(plugin: plugins.Plugin) -> str:
    for kind in ("datasets", "views", "encoders", "tasks", "methods"):
        for name, part in getattr(plugin, kind).items():
            try:
                part.load()
            except Exception as error:  # any bug of a plugin is a finding here, not our crash
                return f"{kind} {name!r} ({part.target}) cannot be loaded: {type(error).__name__}: {error}"
    return ""


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:  # a broken binary raises OSError, a missing one ImportError
        yield "broken", f"torch cannot be imported: {error}", "pip install --upgrade --force-reinstall torch"
        return
    from counterpoint.training.settings import default_threads

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    yield "good", f"torch {torch.__version__}, {gpus} GPU(s), {default_threads()} CPU thread(s) by default", ""


def _places() -> Iterator[Finding]:
    home = Path(os.environ.get("COUNTERPOINT_DATA") or Path.home() / ".cache" / "counterpoint")
    if not home.exists():
        yield "note", f"data home {home} does not exist yet; it is made when something is downloaded", ""
    elif not os.access(home, os.R_OK | os.X_OK):
        yield "broken", f"data home {home} cannot be read", "export COUNTERPOINT_DATA=<a folder of yours>"
    else:
        yield "good", f"data home {home}", ""
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    if free < 1:
        yield "note", f"only {free:.1f} GiB are free here", "make room before training"
    else:
        yield "good", f"{free:.0f} GiB free here", ""


def doctor() -> int:
    """Print all findings; 1 when something is broken, else 0."""
    marks = {"good": "ok     ", "note": "note   ", "broken": "BROKEN "}
    broken = 0
    for state, what, remedy in findings():
        broken += state == "broken"
        print(marks[state] + what)
        if remedy:
            print(f"        to mend: {remedy}")
    print(
        "Nothing is broken." if not broken else f"{broken} thing(s) broken; the remedies stand above.", file=sys.stdout
    )
    return 1 if broken else 0
