"""Objectives x the methods that plugins bring, and one of the core's, on each plugin's own data, views and encoders."""

from __future__ import annotations

import copy
import functools
from functools import partial
from typing import Any

import pytest
import torch

import generate
from counterpoint.errors import ConfigError
from counterpoint.methods import Method
from counterpoint.methods.fit import kinds, refusal, takes
from counterpoint.nn import Projector
from counterpoint.testing.kit import Session
from counterpoint.types import Batch, View
from zoo import MAKE, WIDTH, learns

pytestmark = pytest.mark.unit

HEADS: dict[str, dict[str, Any]] = {
    "SimCLR": {"projector": partial(Projector, hidden_dim=32, out_dim=WIDTH)},
    "Pair": {"projector": partial(Projector, layers=1, out_dim=WIDTH)},
}
STEPS = {"graphrec": 20}
"""A step on the graph moves few rows of its table, and is quick."""
SHARED = "simclr"
"""Stands for the core's methods, which are walked on digits."""


def methods() -> dict[tuple[str, str], type[Method]]:
    """(plugin, name) -> method, each class once a plugin, as far as it takes an objective."""
    found: dict[tuple[str, str], type[Method]] = {}
    for plugin in generate.working():
        session = Session(plugin.name)
        for name in (SHARED, *plugin.methods):
            cls = session.methods[name].load()
            if cls.calls_with and cls not in [c for (p, _), c in found.items() if p == plugin.name]:
                found[plugin.name, name] = cls
    return found


METHODS = methods()
CELLS = [(*key, kind.__name__) for key, cls in METHODS.items() for kind in kinds() if refusal(cls, kind) is None]
REFUSED = [(*key, kind.__name__) for key, cls in METHODS.items() for kind in kinds() if refusal(cls, kind) is not None]


@functools.cache
def session(plugin: str) -> Session:
    return Session(plugin)


@functools.cache
def encoder(plugin: str, method: str) -> Any:
    return session(plugin).encoder(session(plugin).recipe(method)["encoders"])


@functools.cache
def material(plugin: str, method: str) -> tuple[list[View], Batch]:
    batch = session(plugin).batch()
    views = session(plugin).views(session(plugin).recipe(method)["views"])
    return views(batch, torch.Generator().manual_seed(0)), batch


def build(plugin: str, method: str, objective: str) -> Method:
    torch.manual_seed(0)
    cls = METHODS[plugin, method]
    return cls(copy.deepcopy(encoder(plugin, method)), objective=MAKE[objective](), **HEADS.get(cls.__name__, {}))


def test_each_plugin_is_walked() -> None:
    assert {plugin for plugin, _ in METHODS} == {"graphrec", "multimodal", "vision"}
    assert {name for _, name in METHODS} == {"simclr", "clip", "rocket", "slip", "sgl", "simgcl", "xsimgcl"}


@pytest.mark.parametrize(("plugin", "method", "objective"), CELLS)
def test_an_allowed_cell_learns_a_tiny_batch_by_heart(plugin: str, method: str, objective: str) -> None:
    views, batch = material(plugin, method)
    made = build(plugin, method, objective)
    if objective == "Hydra" and batch.label is None:
        with pytest.raises(ConfigError, match=r"labels: found None; .* take a dataset with labels"):
            made(views, batch)
        return
    learns(made, views, batch, STEPS.get(plugin, 8))


@pytest.mark.parametrize(("plugin", "method", "objective"), REFUSED)
def test_a_cell_without_sense_is_refused_by_name(plugin: str, method: str, objective: str) -> None:
    with pytest.raises(ConfigError, match=f"objective: found {objective}; allowed: one "):
        build(plugin, method, objective)


def test_nodes_have_no_labels_to_go_by() -> None:
    named = [objective for plugin, method, objective in REFUSED if method == "sgl" and takes_labels(objective)]
    assert named == ["CoreTuning", "Hydra", "SupCon", "SupReMix"]
    with pytest.raises(ConfigError, match=r"one without labels or targets \(.*InfoNCE.*\), for its labels would be"):
        build("graphrec", "sgl", "SupCon")


def takes_labels(objective: str) -> bool:
    kind = type(MAKE[objective]())
    return takes(kind, "labels") or (takes(kind, "targets") and takes(kind, "embeddings"))
