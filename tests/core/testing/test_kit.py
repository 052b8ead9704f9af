"""The kit passes a right plugin, and catches each plugin that is made wrong by the one check that is meant for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

import faulty
from counterpoint import plugin as plugins
from counterpoint.methods.registry import METHODS
from counterpoint.plugin import Found, Part, Plugin
from counterpoint.testing import Report, check_plugin, session
from counterpoint.training import needs
from toy_plugin import TOY

pytestmark = pytest.mark.conformance

DIGITS, SHIFTS, NET, NEAREST = (
    TOY.datasets["digits"],
    TOY.views["shifts"],
    TOY.encoders["digitnet"],
    TOY.tasks["nearest"],
)


def wrong(kind: str, name: str, cls: type | str, **more: Any) -> Plugin:
    """The toy plugin with another class behind a part."""
    target = cls if isinstance(cls, str) else f"faulty:{cls.__name__}"
    part = getattr(TOY, kind).get(name, Part(target, "made wrong"))
    return replace(TOY, **{kind: {name: replace(part, target=target, **more)}})


def dataset(cls: type | str) -> Plugin:
    return wrong("datasets", "digits", cls)


def views(cls: type) -> Plugin:
    return wrong("views", "shifts", cls)


def encoder(cls: type, **more: Any) -> Plugin:
    return wrong("encoders", "digitnet", cls, **more)


def method(cls: type) -> Plugin:
    return wrong("methods", "mine", cls)


def task(cls: type) -> Plugin:
    return wrong("tasks", "nearest", cls)


FAULTS: dict[str, Plugin] = {
    "plugin/toy/described": replace(TOY, summary=""),
    "plugin/toy/supplies": replace(TOY, tasks={}),
    "plugin/toy/light": TOY,  # its entry point is then one that imports torch
    "plugin/toy/recipes": replace(TOY, recipes={"simclear": {"epochs": 2}}),
    "plugin/toy/protocol": replace(TOY, protocol=Part("faulty:Wavering", "other numbers each time")),
    "plugin/toy/protocol infinite": replace(TOY, protocol=Part("faulty:Infinitely", "no finite number")),
    "plugin/toy/reports": replace(TOY, report={"strokes": Part("eviltoy:broken", "with a bug")}),
    "plugin/toy/reports thumbnail": replace(TOY, thumbnail=Part("eviltoy:nothing_drawn", "draws nothing")),
    "datasets/digits/loads": dataset("toy:Nothing"),
    "datasets/digits/opens": dataset(faulty.AcceptsNothing),
    "datasets/digits/samples": dataset(faulty.OffByOne),
    "datasets/digits/labels": dataset(faulty.OtherLabels),
    "datasets/digits/repeats": dataset(faulty.Noisy),
    "datasets/digits/content": dataset(faulty.AllDuplicates),
    "datasets/digits/names": dataset(faulty.NamesTwice),
    "datasets/digits/digest": dataset(faulty.OtherDigest),
    "datasets/digits/splits": dataset(faulty.Leaking),
    "datasets/digits/batches": dataset(faulty.Sorting),
    "datasets/digits/empty": dataset(faulty.NeedsRows),
    "datasets/digits/workers": dataset(faulty.HoldsLambda),
    "datasets/digits/errors": dataset(faulty.TakesAnything),
    "views/shifts/loads": views(faulty.Foreign),
    "views/shifts/shapes": views(faulty.OneView),
    "views/shifts/shapes of floats": views(faulty.Infinite),
    "views/shifts/seeded": views(faulty.GlobalRandom),
    "views/shifts/seeded by state": views(faulty.Counting),
    "views/shifts/random": views(faulty.NoChance),
    "views/shifts/differ": views(faulty.Copies),
    "views/shifts/sizes": views(faulty.Squeezing),
    "views/shifts/plain": views(faulty.BatchMean),
    "views/shifts/untouched": views(faulty.InPlace),
    "views/shifts/errors": views(faulty.Nameless),
    "encoders/digitnet/loads": encoder(faulty.NoDataset),
    "encoders/digitnet/encodings": encoder(faulty.OtherWidth),
    "encoders/digitnet/capabilities": encoder(faulty.NoTokens),
    "encoders/digitnet/capabilities listed": replace(
        TOY, encoders={"digitnet": replace(NET, capabilities=frozenset({"tokens", "masking"}))}
    ),
    "encoders/digitnet/repeats": encoder(faulty.AlwaysDropout),
    "encoders/digitnet/alone": encoder(faulty.BatchStatistics),
    "encoders/digitnet/untouched": encoder(faulty.OverwritesView),
    "encoders/digitnet/gradients": encoder(faulty.IdleParameter),
    "encoders/digitnet/seeded": encoder(faulty.Unseeded),
    "encoders/digitnet/saves": encoder(faulty.ForgetsScale),
    "encoders/digitnet/device": encoder(faulty.StaysBehind),
    "encoders/digitnet/errors": encoder(faulty.NoErrors),
    "methods/mine/loads": method(faulty.NeedsMore),
    "methods/mine/steps": method(faulty.Unlearnable),
    "methods/mine/overfits": method(faulty.Stands),
    "methods/mine/resumes": method(faulty.Forgets),
    "methods/mine/uneven": method(faulty.OneSize),
    "methods/mine/single": method(faulty.TakesOne),
    "tasks/nearest/loads": task(faulty.NoDataset),
    "tasks/nearest/measures": task(faulty.NoNumber),
    "tasks/nearest/repeats": task(faulty.Guesses),
    "tasks/nearest/untouched": task(faulty.Normalises),
    "tasks/nearest/errors": task(faulty.Unready),
}
WHOLE = {  # with a pretraining and a core method on top: a fault of a lower floor is not told again on a higher one
    "plugin/toy/protocol",
    "plugin/toy/protocol infinite",
    "plugin/toy/reports",
    "plugin/toy/reports thumbnail",
    "datasets/digits/batches",
    "views/shifts/seeded",
    "encoders/digitnet/alone",
    "encoders/digitnet/saves",
}


def put(
    patch: pytest.MonkeyPatch, plugin: Plugin, entry: str = "toy_plugin:TOY", methods: tuple[str, ...] = ()
) -> None:
    """Make ``plugin`` the only one installed, with these core methods."""
    found = Found("toy", "counterpoint-toy", "1.2", plugin=plugin, entry=entry)
    patch.setattr(plugins, "discover", lambda: (found,))
    patch.setattr(needs, "METHODS", {name: METHODS[name] for name in methods})


def failed(report: Report) -> list[str]:
    return [result.case for result in report.failures]


@pytest.fixture(scope="module")
def right() -> Iterator[Report]:
    with pytest.MonkeyPatch.context() as patch:
        put(patch, TOY, methods=("simclr", "moco", "swav", "dino"))  # the vision plugin is tried with all of them
        yield check_plugin("toy")


def test_a_right_plugin_passes_everything(right: Report) -> None:
    assert failed(right) == []
    assert right.conforms
    skipped = {result.case: result.reason for result in right.results if result.status == "skipped"}
    assert skipped == {"views/mirrored/random": "without chance on purpose"}
    assert len(right.results) == len(right.demanded) == len(set(right.demanded)) > 80


def test_every_check_is_described_and_has_its_fault() -> None:
    from counterpoint.testing import CHECKS

    assert all(check.summary for check in CHECKS)
    assert len({(check.kind, check.name) for check in CHECKS}) == len(CHECKS)
    faults = {(case.split("/")[0], case.split("/")[2].split(" ")[0]) for case in FAULTS}
    without = {(check.kind, check.name) for check in CHECKS if check.kind != "apps"} - faults
    # What stands on everything below it, or needs a GPU, has no fault of its own here.
    assert without == {("plugin", "pretrains"), ("plugin", "embeds"), ("views", "device"), ("methods", "configures")}
    assert len(FAULTS) >= 15


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_caught_by_its_check_and_by_no_other(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = "toy:TOY" if case == "plugin/toy/light" else "toy_plugin:TOY"
    plugin = FAULTS[case]
    if case in WHOLE:
        put(monkeypatch, plugin, entry, methods=("simclr",))
    else:
        put(monkeypatch, replace(plugin, recipes={} if plugin.recipes is TOY.recipes else plugin.recipes), entry)
        slow = {"pretrains", "embeds", "protocol", "reports", "light"} - {case.split("/")[2]}
        monkeypatch.setattr(session, "CHECKS", [check for check in session.CHECKS if check.name not in slow])
    report = check_plugin("toy")
    assert failed(report) == [case.split(" ")[0]]
    assert not report.conforms
    assert report.missing == []
    assert all(result.reason for result in report.results if result.status != "passed")
