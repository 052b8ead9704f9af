"""The plugin contract and its discovery. Loads no torch: listing is instant, parts are imported when used.

A plugin is one `Plugin` object behind one entry point in the group ``counterpoint.plugins``::

    [project.entry-points."counterpoint.plugins"]
    weather = "counterpoint_weather.plugin:plugin"

Its parts are named as ``"module:attribute"``. Four things in (dataset, views, encoder, task); every core method, the
command line, evaluation, checkpoints, resume and distributed training out.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from counterpoint.errors import ConfigError, PluginError, nearest, suggestion

GROUP = "counterpoint.plugins"
CAPABILITIES = frozenset({"tokens", "masking", "dense", "modalities", "graph"})
"""What encoders declare. A method may also need ``"inductive"``, which all have but those of a graph, and
``"unimodal"``, which all have but those of several modalities."""


def abilities(capabilities: frozenset[str], transductive: bool) -> frozenset[str]:
    """What an encoder with these capabilities can do.

    One that is not made of its training data is ``"inductive"`` besides, one of a single modality ``"unimodal"``.
    """
    derived = {"inductive": not transductive, "unimodal": "modalities" not in capabilities}
    return capabilities | {name for name, there in derived.items() if there}


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that a plugin supplies.

    Attributes:
        target: ``"module:attribute"`` of a class, or of a function for thumbnails and sections of the report.
        summary: one line for the listings.
        capabilities: for encoders, what they can do; a method declares what it needs.
        example: arguments with which the conformance kit may build the part anywhere in a second: ``{"source": "toy"}``
            for a dataset, ``{"width": 8}`` for a large encoder. Or ``"module:function"``: it is given an empty folder,
            may write files into it, and returns such arguments.
        exempt: check of the conformance kit -> why it does not apply to this part; ``"*"`` stands for all of them.
    """

    target: str
    summary: str
    capabilities: frozenset[str] = frozenset()
    example: Mapping[str, Any] | str = field(default_factory=dict, hash=False)
    exempt: Mapping[str, str] = field(default_factory=dict, hash=False)

    def load(self) -> Any:
        """The class or function itself (imports its module)."""
        return _named(self.target)

    def arguments(self, folder: Path) -> dict[str, Any]:
        """The arguments of ``example``; a function may write its files into ``folder``."""
        if isinstance(self.example, str):
            function: Callable[[Path], Mapping[str, Any]] = _named(self.example)
            return dict(function(folder))
        return dict(self.example)


def _named(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


@dataclass(frozen=True)
class Plugin:
    """A named bundle of datasets, views, encoders, tasks, and the methods that only its modality has.

    The first entry of ``datasets``, ``views`` and ``encoders`` is the default.

    Attributes:
        name: lower-case word; the distribution is ``counterpoint-<name>``.
        summary: one line for the listings.
        modalities: names of the modalities in its samples.
        datasets: name -> `Part`.
        views: name -> `Part`.
        encoders: name -> `Part`.
        tasks: name -> `Part`.
        methods: name -> `Part`; the core's run without being named here.
        recipes: method name -> settings that differ from the method's defaults (the keys of a configuration file);
            a method without an entry runs with its own defaults.
        protocol: class of a `counterpoint.parts.Protocol` that measures this modality's encoders; without it they are
            measured by kNN and probes where there are labels, and by their geometry.
        thumbnail: function ``(sample, side) -> Picture or str`` that shows a sample to a person (see
            `counterpoint.report`); without it the report shows names.
        decode: function ``(bytes, ...) -> value`` from a file's content to what a sample of the (first) modality holds;
            ValueError, with the reason, where it cannot be read. For plugins of several modalities, and for uploads.
        report: name -> function ``(context) -> Section or None``: sections that the plugin adds to the report.
        requires: requirement strings checked before anything is imported, e.g. ``"timm>=1.0"``.
    """

    name: str
    summary: str
    modalities: tuple[str, ...]
    datasets: Mapping[str, Part]
    views: Mapping[str, Part]
    encoders: Mapping[str, Part]
    tasks: Mapping[str, Part] = field(default_factory=dict)
    methods: Mapping[str, Part] = field(default_factory=dict)
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    protocol: Part | None = None
    thumbnail: Part | None = None
    decode: Part | None = None
    report: Mapping[str, Part] = field(default_factory=dict)
    requires: tuple[str, ...] = ()

    def part(self, kind: str, name: str) -> Part:
        """The part called ``name`` among ``kind`` ("datasets", "views", …), or an error with the nearest name."""
        parts: Mapping[str, Part] = getattr(self, kind)
        if name not in parts:
            raise ConfigError(f"{self.name} has no {kind} called {name!r}.{nearest(name, parts)}")
        return parts[name]


@dataclass(frozen=True, slots=True)
class Found:
    """One plugin as discovery saw it; broken ones are listed with the reason and the command that mends them."""

    name: str
    distribution: str
    version: str
    plugin: Plugin | None = None
    problem: str = ""
    remedy: str = ""
    cause: BaseException | None = None
    entry: str = ""  # "module:attribute" of the plugin object

    @property
    def works(self) -> bool:
        """Whether the plugin can be used."""
        return self.plugin is not None


def unmet(requirements: tuple[str, ...]) -> list[tuple[str, str]]:
    """``(requirement, what is wrong)`` for every requirement that this environment does not meet."""
    wrong = []
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            have = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append((text, f"{requirement.name} is not installed"))
            continue
        if not requirement.specifier.contains(have, prereleases=True):
            wrong.append((text, f"{requirement.name} {have} is installed, {text} is needed"))
    return wrong


def _inspect(point: metadata.EntryPoint) -> Found:
    distribution = point.dist.name if point.dist is not None else "unknown"
    version = point.dist.version if point.dist is not None else "?"

    def broken(problem: str, remedy: str, cause: BaseException | None = None) -> Found:
        return Found(point.name, distribution, version, problem=problem, remedy=remedy, cause=cause)

    try:
        declared = unmet(tuple(point.dist.requires or ()) if point.dist is not None else ())
    except InvalidRequirement as error:
        return broken(f"its metadata is damaged: {error}", f"pip install --force-reinstall {distribution}", error)
    if declared:  # told before the import that it would break
        return broken(*_reason_and_remedy(declared))
    try:
        plugin = point.load()
    except ImportError as error:
        missing = error.name or str(error)
        return broken(f"cannot import {missing}: {error}", f"pip install --upgrade {distribution}", error)
    except Exception as error:
        # Isolation: one plugin's bug must not take the others down; it is shown here and raised when it is asked for.
        return broken(f"raises {type(error).__name__} at import: {error}", f"report it to {distribution}", error)
    if not isinstance(plugin, Plugin):
        return broken(f"{point.value} is a {type(plugin).__name__}, not a Plugin", f"report it to {distribution}")
    if plugin.name != point.name:
        return broken(
            f"the entry point says {point.name!r}, the plugin {plugin.name!r}", f"report it to {distribution}"
        )
    try:
        wrong = unmet(plugin.requires)
    except InvalidRequirement as error:
        return broken(f"requires is no list of requirements: {error}", f"report it to {distribution}", error)
    if wrong:
        return broken(*_reason_and_remedy(wrong))
    return Found(point.name, distribution, version, plugin=plugin, entry=point.value)


def _reason_and_remedy(wrong: list[tuple[str, str]]) -> tuple[str, str]:
    needed = " ".join(f"'{text}'" for text, _ in wrong)
    return "; ".join(reason for _, reason in wrong), f"pip install --upgrade {needed}"


@cache
def discover() -> tuple[Found, ...]:
    """Every plugin in this environment, by name; two with one name are both listed as broken, never overridden."""
    points = sorted(metadata.entry_points(group=GROUP), key=lambda p: (p.name, p.value))
    unique = {(p.name, p.value, p.dist.name if p.dist else ""): p for p in points}
    found = [_inspect(point) for point in unique.values()]
    names = [f.name for f in found]
    return tuple(f if names.count(f.name) == 1 else _doubled(f, found) for f in found)


def _doubled(one: Found, found: list[Found]) -> Found:
    owners = sorted({f.distribution for f in found if f.name == one.name})
    return Found(
        one.name,
        one.distribution,
        one.version,
        problem=f"the name {one.name!r} is claimed {len(owners)} times: {', '.join(owners)}",
        remedy=f"pip uninstall {one.distribution}",
    )


def get(name: str) -> Plugin:
    """The installed plugin called ``name``.

    Raises:
        PluginError: it is unknown (with the nearest name, or what to install), broken (with the reason and the command
            that mends it), or doubled.
    """
    found = [f for f in discover() if f.name == name]
    if not found:
        names = [f.name for f in discover()]
        hint = nearest(name, names)
        if not suggestion(name, names):  # a misspelt name is nothing to install
            hint += f" To install it: pip install counterpoint-{name}"
        raise PluginError(f"No plugin called {name!r} is installed.{hint}")
    one = found[0]
    if one.plugin is None:
        raise PluginError(f"Plugin {name!r} cannot be used: {one.problem}. To mend it: {one.remedy}") from one.cause
    return one.plugin


def borrowed(kind: str, name: str) -> Part:
    """A part of any installed plugin by ``plugin/part``: ``borrowed("encoders", "vision/tinyvit")``.

    How a plugin of several modalities uses those of one, which it never imports.

    Raises:
        PluginError: the plugin is not installed, or broken.
        ConfigError: the name has no slash, or the plugin no such part.
    """
    owner, slash, part = name.partition("/")
    if not slash or not part:
        raise ConfigError(f"{kind}: {name!r} is not of the form plugin/part, e.g. vision/tinyvit")
    return get(owner).part(kind, part)
