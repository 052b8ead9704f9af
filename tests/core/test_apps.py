"""Apps by entry point: one that is broken is listed as such and stops no other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import toy
from counterpoint import apps
from counterpoint.apps import App
from counterpoint.errors import ConfigError, PluginError

pytestmark = pytest.mark.unit

GOOD = App("sorter", "sorts digits", "test_apps_command:run", "toy")


class Point:
    """As much of an entry point as is looked at."""

    def __init__(self, name: str, app: Any, owner: str = "somebody") -> None:
        self.name, self.app, self.dist = name, app, SimpleNamespace(name=owner)

    def load(self) -> Any:
        if isinstance(self.app, Exception):
            raise self.app
        return self.app


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    toy.install(monkeypatch)

    def put(*points: Point) -> None:
        monkeypatch.setattr(apps.metadata, "entry_points", lambda group: list(points))

    return put


def test_a_broken_app_stops_no_other(install: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    import sys

    calls: list[list[str]] = []
    monkeypatch.setitem(
        sys.modules,
        "test_apps_command",
        SimpleNamespace(run=lambda words: calls.append(words) or 3),  # type: ignore[func-returns-value]
    )
    install(Point("torn", ImportError("no module gradio")), Point("sorter", GOOD), Point("odd", 7))
    assert apps.main([]) == 0
    listed = capsys.readouterr().out
    assert "sorter           sorts digits\n                   needs plugin toy: installed\n" in listed
    assert "torn             BROKEN: App 'torn' (somebody) cannot be imported: no module gradio." in listed
    assert "odd              BROKEN: App 'odd' (somebody) is a int, not an App. Report it to somebody." in listed
    assert apps.main(["sorter", "--all"]) == 3
    assert calls == [["--all"]]
    with pytest.raises(PluginError, match="cannot be imported: no module gradio") as caught:
        apps.main(["torn"])
    assert isinstance(caught.value.__cause__, ImportError)


def test_two_of_one_name_are_an_error(install: Any) -> None:
    install(Point("sorter", GOOD), Point("sorter", App("sorter", "other", "x:y", "toy"), "another"))
    with pytest.raises(PluginError, match=r"Two apps are called 'sorter'; one is of another\. Uninstall one"):
        apps.main(["sorter"])
    install(Point("sorter", GOOD), Point("sorter", GOOD))
    assert apps.apps() == {"sorter": GOOD}, "found twice, but the same"


def test_unknown_names_and_missing_plugins(install: Any, capsys: Any) -> None:
    install(Point("sorter", GOOD), Point("scans", App("scans", "reads scans", "x:y", "medical")))
    with pytest.raises(ConfigError, match=r"There is no app 'sortr'\. Did you mean 'sorter'"):
        apps.main(["sortr"])
    with pytest.raises(PluginError, match="pip install counterpoint-medical"):
        apps.main(["scans"])
    install()
    assert apps.main([]) == 0
    assert "pip install counterpoint-apps" in capsys.readouterr().out


def test_what_an_app_needs_is_listed_and_demanded(install: Any, capsys: Any) -> None:
    """Looked up among the installed distributions, not imported."""
    needs = App(
        "sorter", "sorts", "x:y", "toy", ("numpy>=1", "no-such-package>=2", "numpy>=99"), "pip install 'all[it]'"
    )
    install(Point("sorter", needs), Point("scans", App("scans", "reads scans", "x:y", "medical")))
    assert apps.main([]) == 0
    listed = capsys.readouterr().out
    assert "numpy>=1: installed" in listed
    assert "no-such-package>=2: no-such-package is not installed" in listed
    assert "numpy>=99 is needed" in listed
    assert "to install: pip install 'all[it]'" in listed
    assert "needs plugin medical: missing\n                   to install: pip install counterpoint-medical" in listed
    needs.demand("numpy>=1")
    with pytest.raises(PluginError, match=r"no-such-package is not installed.*pip install 'all\[it\]'"):
        needs.demand()
    with pytest.raises(PluginError, match=r"App 'sorter': no-such-package is not installed\. To install"):
        needs.demand("no-such-package")
