"""The picture of objectives and their pieces says what the imports say."""

from __future__ import annotations

import importlib
import re

import pytest

import dependencies

pytestmark = pytest.mark.unit


def test_the_arrows_are_the_imports() -> None:
    """Each import is an arrow or follows from arrows, and each arrow is an import."""
    graph, every = dependencies.pieces(), dependencies.imports()
    everyone = set(dependencies.common(every))
    inside = dependencies.reach(every, dependencies.KERNEL) - everyone
    assert everyone | inside | graph.keys() == every.keys()
    for name, used in graph.items():
        imported = {dependencies.KERNEL if other in inside else other for other in every[name] - everyone} - {name}
        assert used <= imported <= dependencies.reach(graph, name), name


def test_imports_are_found_as_python_does_them() -> None:
    module = importlib.import_module("counterpoint.objectives.mochi")
    assert {"kernel", "mixing", "_hardened", "mining"} <= dependencies.imports()["mochi"]
    assert module.largest.__module__ == "counterpoint.objectives._largest"


def test_whatever_is_made_of_pieces_has_a_box_right_of_them() -> None:
    graph, named = dependencies.pieces(), dependencies.objectives()
    text = dependencies.picture()
    places = {label: float(x) for x, label in re.findall(r'class="name" x="([\d.]+)" y="[\d.]+">(\w+)<', text)}
    for name, used in graph.items():
        for other in used:
            left, right = (places[named.get(one, one.strip("_"))] for one in (other, name))
            assert left < right, f"{other} -> {name}"
    assert "BPR" not in places


def test_a_new_import_changes_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    before, imports = dependencies.picture(), dependencies.imports()
    imports["bpr"].add("mining")
    monkeypatch.setattr(dependencies, "imports", lambda: imports)
    after = dependencies.picture()
    assert ">BPR<" in after
    assert ">BPR<" not in before
