"""Recipes: ``plugin/method`` with defaults that work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from counterpoint import plugin as plugins
from counterpoint.errors import ConfigError, nearest
from counterpoint.plugin import Part, Plugin
from counterpoint.training.needs import lacks, methods_of


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


def find_recipe(name: str) -> Recipe:
    """The recipe called ``plugin/method``.

    Raises:
        ConfigError: the name has no slash, the method is unknown (with the nearest), or it needs what no encoder has.
        PluginError: the plugin is unknown or broken.
    """
    plugin_name, slash, method_name = name.partition("/")
    if not slash or not method_name:
        raise ConfigError(f"recipe {name!r} is not of the form plugin/method, e.g. vision/simclr")
    plugin = plugins.get(plugin_name)
    methods = methods_of(plugin)
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
