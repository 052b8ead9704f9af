"""``counterpoint new-plugin``: a package with dataset, views, encoder and task that trains before a line is changed.

The templates are files beside this one; ``$name`` and ``${Name}`` in them, and ``NAME`` in their paths, are replaced.
"""

from __future__ import annotations

import keyword
import re
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from string import Template

from counterpoint import plugin as plugins
from counterpoint.errors import ConfigError, message

TEMPLATES = Path(__file__).parent / "templates"
NEXT = """{out} is a package that installs and trains. Next:
  pip install -e {out}
  counterpoint check {name}
  counterpoint pretrain {name}/simclr
Then fill in the four things, in {out}/src/counterpoint_{name}: data.py, views.py, encoders.py, tasks.py.
"""


def new_plugin(name: str, out: Path | None = None) -> str:
    """Write the package ``counterpoint-<name>``; all of it or nothing.

    Args:
        name: of the modality: one lower-case word.
        out: folder to write (default: ``counterpoint-<name>``).

    Returns:
        What to do next.

    Raises:
        ConfigError: a name that is no word or is taken, a folder that exists, or a place that cannot be written to.
    """
    _check(name)
    place = Path(f"counterpoint-{name}") if out is None else out
    if place.exists() or place.is_symlink():
        raise ConfigError(message("--out", f"{place}, which exists", "a folder that does not exist yet"))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as unfinished:
            package = Path(unfinished, "package")
            package.mkdir()
            _write(TEMPLATES, package, {"name": name, "Name": name.capitalize()})
            package.rename(place)
    except OSError as error:
        raise ConfigError(message("--out", f"{place} ({error.strerror})", "a place that can be written to")) from None
    return NEXT.format(name=name, out=place).rstrip()


def _check(name: str) -> None:
    """Refuse what cannot be the name of a plugin and a part of a module's name."""
    if not re.fullmatch(r"[a-z][a-z0-9]*", name) or keyword.iskeyword(name):
        todo = "For example: weather."
        raise ConfigError(message("NAME", repr(name), "one word of a-z and 0-9 that starts with a letter", todo))
    taken = [f"plugin {one.name!r} of {one.distribution}" for one in plugins.discover() if one.name == name]
    taken += [f"distribution {name!r}" for name in [f"counterpoint-{name}"] if _installed(name)]
    taken += [f"module {module!r}" for module in [f"counterpoint_{name}"] if find_spec(module) is not None]
    if taken:
        raise ConfigError(message("NAME", f"{name!r}, which is taken by {taken[0]}", "a name that is free"))


def _installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _write(source: Path, target: Path, words: dict[str, str]) -> None:
    """Write every template below ``source`` to ``target``."""
    for item in source.iterdir():
        path = target / item.name.replace("NAME", words["name"]).removesuffix(".in").replace("dot-", ".")
        if item.is_dir():
            path.mkdir()
            _write(item, path, words)
        else:
            path.write_text(Template(item.read_text(encoding="utf-8")).substitute(words), encoding="utf-8")
