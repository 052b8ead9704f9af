"""Apps by entry point: a task with a face. Anybody's distribution can bring one.

::

    [project.entry-points."counterpoint.apps"]
    image-search = "counterpoint_apps.image_search:app"

An app is an `App`: a name, a line, the plugin and the packages that it needs, and where its command lives (imported
when it is run).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

from counterpoint import plugin as plugins
from counterpoint.errors import ConfigError, PluginError, nearest

GROUP = "counterpoint.apps"


@dataclass(frozen=True, slots=True)
class App:
    """One app.

    Attributes:
        name: what is typed after ``counterpoint app``.
        summary: one line.
        command: ``"module:function"``; the function takes the remaining words and returns an exit code.
        plugin: name of the plugin whose task it shows.
        requires: requirement strings of what it needs besides, e.g. ``"gradio>=6"``; looked up, not imported.
        install: the command that installs all of that.
    """

    name: str
    summary: str
    command: str
    plugin: str
    requires: tuple[str, ...] = ()
    install: str = ""

    def load(self) -> Callable[[Sequence[str]], int]:
        """The command's function."""
        module, _, attribute = self.command.partition(":")
        function: Callable[[Sequence[str]], int] = getattr(importlib.import_module(module), attribute)
        return function

    def demand(self, *packages: str) -> None:
        """Make sure that those of `requires` that a verb is about to use are here (none named: all of them).

        Raises:
            PluginError: one is missing or too old, with the command that installs it.
        """
        wrong = [why for text, why in plugins.unmet(self.requires) if not packages or text.startswith(packages)]
        if wrong:
            raise PluginError(f"App {self.name!r}: {'; '.join(wrong)}. To install: {self.install}")


def apps() -> dict[str, App | PluginError]:
    """Every installed app by name; a broken one as the error that says why, so that it stops no other."""
    found: dict[str, App | PluginError] = {}
    for point in sorted(metadata.entry_points(group=GROUP), key=lambda p: p.name):
        app = _load(point)
        if found.get(point.name, app) != app:
            app = PluginError(
                f"Two apps are called {point.name!r}; one is of {_owner(point)}. Uninstall one of the two."
            )
        found[point.name] = app
    return found


def _owner(point: metadata.EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "unknown"


def _load(point: metadata.EntryPoint) -> App | PluginError:
    owner = _owner(point)
    try:
        app = point.load()
    except Exception as error:
        broken = PluginError(f"App {point.name!r} ({owner}) cannot be imported: {error}. Report it to {owner}.")
        broken.__cause__ = error
        return broken
    if isinstance(app, App):
        return app
    return PluginError(f"App {point.name!r} ({owner}) is a {type(app).__name__}, not an App. Report it to {owner}.")


def main(words: Sequence[str]) -> int:
    """``counterpoint app``: list the apps, or run one.

    Raises:
        ConfigError: no app has that name.
        PluginError: the app is broken, or the plugin that it needs is missing or broken.
    """
    found = apps()
    if not words or words[0] in ("-h", "--help"):
        _list(found)
        return 0
    if words[0] not in found:
        raise ConfigError(f"There is no app {words[0]!r}.{nearest(words[0], found)}")
    app = found[words[0]]
    if isinstance(app, PluginError):
        raise app
    plugins.get(app.plugin)
    return app.load()(list(words[1:]))


def _list(found: Mapping[str, App | PluginError]) -> None:
    print(
        "usage: counterpoint app NAME ...     (NAME --help: its verbs, with examples)\n"
        if found
        else "No app is installed. To install ours: pip install counterpoint-apps"
    )
    for name, app in found.items():
        if isinstance(app, PluginError):
            print(f"  {name:16} BROKEN: {app}")
            continue
        print(f"  {name:16} {app.summary}")
        for line in _needs(app):
            print(f"  {'':16} {line}")


def _needs(app: App) -> list[str]:
    """What the app needs, whether that is here, and the command that installs what is not."""
    broken = next((p for p in plugins.discover() if p.name == app.plugin and p.plugin is None), None)
    known = any(p.name == app.plugin for p in plugins.discover())
    wrong = dict(plugins.unmet(app.requires))
    state = f"BROKEN ({broken.problem})" if broken else "installed" if known else "missing"
    parts = [f"plugin {app.plugin}: {state}"]
    parts += [f"{text}: {wrong.get(text, 'installed')}" for text in app.requires]
    lines = ["needs " + ", ".join(parts)]
    if wrong or not known:
        lines.append(f"to install: {app.install or f'pip install counterpoint-{app.plugin}'}")
    return lines
