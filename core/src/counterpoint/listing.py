"""``counterpoint plugins`` and ``counterpoint recipes``: plain text, no torch, no heavy import."""

from __future__ import annotations

from collections.abc import Mapping

from counterpoint import plugin as plugins
from counterpoint.methods.registry import METHODS
from counterpoint.plugin import Found, Part
from counterpoint.training.needs import lacks, methods_of

KINDS = ("datasets", "views", "encoders", "tasks", "methods", "report")


def show_plugins() -> int:
    """Print each plugin: version, summary, parts; the broken ones with reason and remedy."""
    found = plugins.discover()
    if not found:
        print("No plugin is installed. For images: pip install counterpoint-vision")
    for one in found:
        print(_line(one))
        if one.plugin is not None:
            for kind in KINDS:
                parts = getattr(one.plugin, kind)
                if parts:
                    print(f"  {kind:9} {', '.join(parts)}")
            if one.plugin.protocol is not None:
                print(f"  protocol  {one.plugin.protocol.summary}")
        else:
            print(f"  problem   {one.problem}\n  to mend   {one.remedy}")
    return 0


def _line(one: Found) -> str:
    what = one.plugin.summary if one.plugin is not None else "BROKEN"
    return f"{one.name} {one.version} ({one.distribution}): {what}"


def show_plugin(name: str) -> int:
    """Print one plugin's parts with a line each.

    Raises:
        PluginError: it is unknown or broken.
    """
    plugin = plugins.get(name)
    print(f"{plugin.name}: {plugin.summary}\nmodalities: {', '.join(plugin.modalities)}")
    for kind in KINDS:
        parts: Mapping[str, Part] = getattr(plugin, kind)
        for part_name, part in parts.items():
            able = f" [{', '.join(sorted(part.capabilities))}]" if part.capabilities else ""
            print(f"  {kind:9} {part_name:18} {part.summary}{able}")
    if plugin.protocol is not None:
        print(f"  {'protocol':9} {'':18} {plugin.protocol.summary}")
    return 0


def show_recipes() -> int:
    """Print the table methods × plugins as one line a recipe; what cannot run says what it lacks."""
    found = [(f.name, f.plugin) for f in plugins.discover() if f.plugin is not None]
    for plugin_name, plugin in found:
        for name, part in methods_of(plugin).items():
            missing = lacks(plugin, part)
            note = f" — needs {', '.join(sorted(missing))}" if missing else ""
            print(f"{plugin_name + '/' + name:22} {part.summary}{note}")
    if not found:
        print(f"{len(METHODS)} methods, and no plugin to run them on. For images: pip install counterpoint-vision")
    return 0
