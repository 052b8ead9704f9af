"""Recipes: ``plugin/method`` with defaults that work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from counterpoint import plugin as plugins
from counterpoint.errors import ConfigError, nearest
from counterpoint.methods.registry import FINE_TUNING
from counterpoint.plugin import Part, Plugin
from counterpoint.training.needs import lacks, methods_of

FINE_TUNING_SETTINGS: Mapping[str, Any] = {
    "epochs": 30,
    "batch_size": 64,
    "optimization": {"name": "adamw", "lr": 1e-3, "warmup": 0.1},
}
"""Few labels make few steps an epoch: smaller batches and more epochs than a pretraining, at a smaller rate."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One ``plugin/method``.

    Attributes:
        name: ``"vision/simclr"``.
        plugin: supplies data, views and encoders.
        method: the method's class, by name.
        settings: what differs from the method's own defaults on this plugin.
    """

    name: str
    plugin: Plugin
    method: Part
    settings: Mapping[str, Any]

    @property
    def tunes(self) -> bool:
        """Whether it is a task of fine-tuning, which needs labels or targets."""
        return self.method in FINE_TUNING.values()


def find_recipe(name: str) -> Recipe:
    """The recipe called ``plugin/method``, or ``plugin/task`` for a task of fine-tuning.

    Raises:
        ConfigError: the name has no slash, the method is unknown (with the nearest), or it needs what no encoder has.
        PluginError: the plugin is unknown or broken.
    """
    plugin_name, slash, method_name = name.partition("/")
    if not slash or not method_name:
        raise ConfigError(f"recipe {name!r} is not of the form plugin/method, e.g. vision/simclr")
    plugin = plugins.get(plugin_name)
    methods = methods_of(plugin)
    if method_name in FINE_TUNING and method_name not in methods:
        return Recipe(name, plugin, FINE_TUNING[method_name], FINE_TUNING_SETTINGS)
    if method_name not in methods:
        raise ConfigError(f"Plugin {plugin_name!r} has no method {method_name!r}.{nearest(method_name, methods)}")
    missing = lacks(plugin, methods[method_name])
    if missing:
        raise ConfigError(f"{name}: needs {', '.join(sorted(missing))}, which no encoder of {plugin_name!r} has")
    return Recipe(name, plugin, methods[method_name], plugin.recipes.get(method_name, {}))


def all_recipes() -> list[Recipe]:
    """Every recipe that can run in this environment."""
    recipes = []
    for found in plugins.discover():
        if found.plugin is None:
            continue
        for name, part in methods_of(found.plugin).items():
            if not lacks(found.plugin, part):
                recipes.append(find_recipe(f"{found.name}/{name}"))
    return recipes
