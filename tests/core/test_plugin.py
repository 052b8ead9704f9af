"""Discovery isolates what is broken, names what is near, and overrides nothing silently."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import metadata
from types import SimpleNamespace

import pytest

from counterpoint import plugin as plugins
from counterpoint.errors import ConfigError, PluginError
from counterpoint.plugin import Part, Plugin

pytestmark = pytest.mark.unit

GOOD = Plugin("weather", "stations", ("series",), datasets={}, views={}, encoders={})


class Point:
    """An entry point that loads what it is told to."""

    def __init__(self, name: str, loads: object, distribution: str = "counterpoint-weather") -> None:
        self.name, self.value, self.loads = name, f"{distribution}:plugin", loads
        self.dist = SimpleNamespace(name=distribution, version="1.2", requires=None)

    def load(self) -> object:
        if isinstance(self.loads, Exception):
            raise self.loads
        return self.loads


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch):
    def put(*points: Point) -> tuple[plugins.Found, ...]:
        monkeypatch.setattr(metadata, "entry_points", lambda group: list(points))
        plugins.discover.cache_clear()
        return plugins.discover()

    yield put
    plugins.discover.cache_clear()


def test_a_good_plugin_is_found(install) -> None:
    (found,) = install(Point("weather", GOOD))
    assert found.works
    assert plugins.get("weather") is GOOD


def test_broken_plugins_are_listed_with_reason_and_remedy_and_leave_the_others_alone(install) -> None:
    found = install(
        Point("weather", GOOD),
        Point("sonar", ModuleNotFoundError("No module named 'open3d'", name="open3d"), "counterpoint-sonar"),
        Point("radar", ZeroDivisionError("division by zero"), "counterpoint-radar"),
        Point("lidar", object(), "counterpoint-lidar"),
    )
    by_name = {f.name: f for f in found}
    assert by_name["weather"].works
    assert "open3d" in by_name["sonar"].problem
    assert "pip install" in by_name["sonar"].remedy
    assert "ZeroDivisionError" in by_name["radar"].problem
    assert "not a Plugin" in by_name["lidar"].problem
    assert plugins.get("weather") is GOOD
    with pytest.raises(PluginError, match="division by zero") as caught:
        plugins.get("radar")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_two_plugins_with_one_name_are_an_error_not_an_override(install) -> None:
    found = install(Point("weather", GOOD), Point("weather", GOOD, "other-weather"))
    assert not any(f.works for f in found)
    with pytest.raises(PluginError, match="counterpoint-weather, other-weather"):
        plugins.get("weather")


def test_a_name_that_differs_from_the_entry_points_is_refused(install) -> None:
    (found,) = install(Point("wether", GOOD))
    assert "'weather'" in found.problem


@pytest.mark.parametrize(
    ("requirement", "words"),
    [("torch>=999", "torch>=999 is needed"), ("no-such-thing-at-all>=1", "is not installed")],
)
def test_unmet_requirements_are_found_before_anything_is_imported(install, requirement: str, words: str) -> None:
    (found,) = install(Point("weather", replace(GOOD, requires=(requirement,))))
    assert words in found.problem
    assert found.remedy == f"pip install --upgrade '{requirement}'"


def test_a_damaged_list_of_requirements_is_told(install) -> None:
    (found,) = install(Point("weather", replace(GOOD, requires=("torch >> 2",))))
    assert "requires is no list of requirements" in found.problem


def test_what_the_distribution_requires_is_found_before_the_import(install) -> None:
    point = Point("weather", ZeroDivisionError("an import that would break"))
    point.dist.requires = ["torch>=999", 'no-such-thing; extra == "all"']
    (found,) = install(point)
    assert found.problem.endswith("torch>=999 is needed")
    assert found.remedy == "pip install --upgrade 'torch>=999'"


def test_requirements_for_other_platforms_are_passed_over() -> None:
    assert plugins.unmet(('no-such-thing; sys_platform == "plan9"',)) == []


def test_unknown_names_get_the_nearest_and_what_to_install(install) -> None:
    install(Point("weather", GOOD))
    with pytest.raises(PluginError, match=r"No plugin called 'wether' is installed\. Did you mean 'weather'\?$"):
        plugins.get("wether")
    with pytest.raises(PluginError, match="pip install counterpoint-medical"):
        plugins.get("medical")


def test_parts_are_named_and_imported_only_when_used() -> None:
    part = Part("json:JSONDecoder", "a class")
    plugin = replace(GOOD, encoders={"decoder": part})
    assert plugin.part("encoders", "decoder").load() is sys.modules["json"].JSONDecoder
    with pytest.raises(ConfigError, match="Did you mean 'decoder'"):
        plugin.part("encoders", "decodr")


def test_parts_of_other_plugins_are_had_by_name(install) -> None:
    part = Part("math:sqrt", "a root")
    install(Point("weather", replace(GOOD, encoders={"tiny": part})))
    assert plugins.borrowed("encoders", "weather/tiny") is part
    with pytest.raises(ConfigError, match=r"'tiny' is not of the form plugin/part"):
        plugins.borrowed("encoders", "tiny")
    with pytest.raises(ConfigError, match=r"no encoders called 'tinny'.*tiny"):
        plugins.borrowed("encoders", "weather/tinny")
    with pytest.raises(PluginError, match="pip install counterpoint-sonar"):
        plugins.borrowed("encoders", "sonar/tiny")


def test_our_plugins_are_found_here() -> None:
    plugins.discover.cache_clear()
    assert "vision" in {f.name for f in plugins.discover() if f.works}
