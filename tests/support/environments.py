"""Environments for whole paths: a virtual one that sees what is installed here, and distributions that are not real."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

PIP = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
"""Install what lies here, and nothing else (pip reads the third one the wrong way round: 0 means no isolation)."""
SCRIPTS = {"counterpoint": "counterpoint.cli", "pip": "pip", "pytest": "pytest"}


def make(folder: Path) -> Path:
    """A virtual environment in ``folder`` on top of the running one, in a second; its interpreter.

    What is installed into it stays in it. It has the commands of `SCRIPTS`.
    """
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    sites = [path for path in sys.path if path.endswith("site-packages")]
    (own,) = folder.glob("lib/*/site-packages")
    lines = [f"import site; site.addsitedir({site!r})" for site in sites]
    (own / "below.pth").write_text("\n".join(lines) + "\n")
    for command, module in SCRIPTS.items():
        script = folder / "bin" / command
        script.write_text(f'#!/bin/sh\nexec "{python}" -m {module} "$@"\n')
        script.chmod(0o755)
    return python


def distribution(
    site: Path, name: str, version: str = "1.0", *, plugins: Mapping[str, str] | None = None, requires: str = ""
) -> None:
    """A distribution's metadata in ``site``: name, version, and entry points of plugins."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    needed = f"Requires-Dist: {requires}\n" if requires else ""
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}")
    lines = [f"{key} = {value}" for key, value in (plugins or {}).items()]
    (info / "entry_points.txt").write_text("\n".join(["[counterpoint.plugins]", *lines]) + "\n")


def counterpoint(*words: object, site: Path | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, with the distributions in ``site``."""
    paths = [*([str(site)] if site else []), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, "-m", "counterpoint.cli", *map(str, words)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=200,
    )
