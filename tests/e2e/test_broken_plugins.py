"""Plugins on a bad day, as real distributions: every command tells reason and remedy, and no other plugin suffers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from environments import counterpoint, distribution

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PLUGIN = """
from counterpoint.plugin import Plugin

plugin = Plugin("{name}", "waves", ("wave",), datasets={{}}, views={{}}, encoders={{}}, requires={requires!r})
"""
TOLD = {
    "radar": ("raises ZeroDivisionError at import: division by zero", "report it to counterpoint-radar"),
    "sonar": ("old-friend 1.0 is installed, old-friend>=2 is needed", "pip install --upgrade 'old-friend>=2'"),
    "seismic": ("old-friend 1.0 is installed, old-friend>=3 is needed", "pip install --upgrade 'old-friend>=3'"),
    "thermal": ("cannot import no_such_camera", "pip install --upgrade counterpoint-thermal"),
    "lidar": (
        "the name 'lidar' is claimed 2 times: counterpoint-lidar, other-lidar",
        "pip uninstall counterpoint-lidar",
    ),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Distributions: one whose plugin raises, two with a too old dependency, one that misses one, two of one name."""
    place = tmp_path_factory.mktemp("site")
    sources = {
        "radar": "1 / 0",
        "sonar": PLUGIN.format(name="sonar", requires=("old-friend>=2",)),
        "seismic": "from old_friend import what_only_version_3_has",
        "thermal": "import no_such_camera",
        "lidar": PLUGIN.format(name="lidar", requires=()),
    }
    for name, source in sources.items():
        (place / f"counterpoint_{name}.py").write_text(source)
        needed = "old-friend>=3" if name == "seismic" else ""
        plugins = {name: f"counterpoint_{name}:plugin"}
        distribution(place, f"counterpoint-{name}", plugins=plugins, requires=needed)
    (place / "other_lidar.py").write_text(sources["lidar"])
    distribution(place, "other-lidar", plugins={"lidar": "other_lidar:plugin"})
    distribution(place, "old-friend")
    (place / "old_friend.py").write_text("")
    return place


def test_plugins_lists_each_with_reason_and_remedy_and_the_others_as_ever(site: Path) -> None:
    done = counterpoint("plugins", site=site)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for name, (reason, remedy) in TOLD.items():
        assert f"{name} 1.0 (counterpoint-{name}): BROKEN\n  problem   {reason}" in done.stdout
        assert f"  to mend   {remedy}" in done.stdout
    assert "  to mend   pip uninstall other-lidar" in done.stdout
    ours = re.split(r"\n(?=\w)", counterpoint("plugins").stdout.strip())
    assert [block.split()[0] for block in ours] == ["graphrec", "multimodal", "vision"]
    assert all(block in done.stdout for block in ours)


def test_doctor_counts_them(site: Path) -> None:
    done = counterpoint("doctor", site=site)
    assert done.returncode == 1
    assert done.stdout.count("BROKEN plugin") == len(TOLD) + 1
    assert "6 thing(s) broken" in done.stdout
    assert "ok     plugin vision" in done.stdout
    for reason, remedy in TOLD.values():
        assert reason in done.stdout
        assert f"to mend: {remedy}" in done.stdout


@pytest.mark.parametrize("name", TOLD)
def test_whoever_asks_for_one_is_told(name: str, site: Path, tmp_path: Path) -> None:
    reason, remedy = TOLD[name]
    for words in (["plugins", name], ["check", name], ["pretrain", f"{name}/simclr", "--data", "x"]):
        done = counterpoint(*words, site=site, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"counterpoint: Plugin '{name}' cannot be used: {reason}" in done.stderr
        assert f"To mend it: {remedy}" in done.stderr
        assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_recipes_and_new_plugin_live_with_them(site: Path, tmp_path: Path) -> None:
    done = counterpoint("recipes", site=site)
    assert done.returncode == 0
    assert {line.split("/")[0] for line in done.stdout.splitlines()} == {"graphrec", "multimodal", "vision"}
    done = counterpoint("new-plugin", "radar", site=site, cwd=tmp_path)
    assert "taken by plugin 'radar' of counterpoint-radar" in done.stderr
    assert list(tmp_path.iterdir()) == []
