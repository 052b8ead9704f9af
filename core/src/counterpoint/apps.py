"""Apps by entry point: a task with a face. Anybody's distribution can bring one.

::

    [project.entry-points."counterpoint.apps"]
    image-search = "counterpoint_apps.image_search:app"

An app is an `App`: a name, a line, the plugin that it needs, and where its command lives (imported when it is run).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
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
    """

    name: str
    summary: str
    command: str
    plugin: str

    def load(self) -> Callable[[Sequence[str]], int]:
        """The command's function."""
        module, _, attribute = self.command.partition(":")
        function: Callable[[Sequence[str]], int] = getattr(importlib.import_module(module), attribute)
        return function


def apps() -> dict[str, App]:
    """Every installed app by name.

    Raises:
        PluginError: an app cannot be imported, is no `App`, or its name is claimed twice.
    """
    found: dict[str, App] = {}
    for point in sorted(metadata.entry_points(group=GROUP), key=lambda p: p.name):
        owner = point.dist.name if point.dist is not None else "unknown"
        try:
            app = point.load()
        except Exception as error:
            raise PluginError(
                f"App {point.name!r} ({owner}) cannot be imported: {error}. Report it to {owner}."
            ) from error
        if not isinstance(app, App):
            raise PluginError(
                f"App {point.name!r} ({owner}) is a {type(app).__name__}, not an App. Report it to {owner}."
            )
        if found.get(point.name, app) != app:
            raise PluginError(f"Two apps are called {point.name!r}; one is of {owner}. Uninstall one of the two.")
        found[point.name] = app
    return found


def main(words: Sequence[str]) -> int:
    """``counterpoint app``: list the apps, or run one.

    Raises:
        ConfigError: no app has that name.
        PluginError: the plugin that it needs is missing or broken.
    """
    found = apps()
    if not words or words[0] in ("-h", "--help"):
        print(
            "usage: counterpoint app NAME ...\n"
            if found
            else "No app is installed. To install ours: pip install counterpoint-apps"
        )
        for app in found.values():
            print(f"  {app.name:16} {app.summary} (needs counterpoint-{app.plugin})")
        return 0
    if words[0] not in found:
        raise ConfigError(f"There is no app {words[0]!r}.{nearest(words[0], found)}")
    app = found[words[0]]
    plugins.get(app.plugin)
    return app.load()(list(words[1:]))
