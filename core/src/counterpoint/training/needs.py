"""Which methods run on which plugin: what a method needs, what an encoder can. Loads no torch."""

from __future__ import annotations

from counterpoint.methods.registry import METHODS
from counterpoint.plugin import Part, Plugin, abilities


def methods_of(plugin: Plugin) -> dict[str, Part]:
    """Every method that runs on ``plugin``: the core's and its own (its own win, as they were made for it)."""
    return {**METHODS, **plugin.methods}


def lacks(plugin: Plugin, method: Part) -> frozenset[str]:
    """Capabilities that ``method`` needs and no encoder of ``plugin`` has (empty: they fit)."""
    best = min((method.capabilities - can(e) for e in plugin.encoders.values()), key=len, default=frozenset())
    return frozenset(best)


def can(encoder: Part) -> frozenset[str]:
    """What a registered encoder can do; one of a graph is made of its training data."""
    return abilities(encoder.capabilities, transductive="graph" in encoder.capabilities)
