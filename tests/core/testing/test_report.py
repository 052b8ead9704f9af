"""A report fails for what failed, was not reached, or was skipped in silence; how it is shown and collected."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from counterpoint import cli
from counterpoint import plugin as plugins
from counterpoint.apps import App
from counterpoint.plugin import Found, Part
from counterpoint.testing import Report, Result, conformance, session
from counterpoint.testing.kit import Session
from counterpoint.training import needs
from toy_plugin import TOY

pytestmark = pytest.mark.unit

CASES = ("datasets/digits/loads", "datasets/digits/opens")
GOOD = tuple(Result(*case.split("/"), status="passed", seconds=0.1) for case in CASES)  # type: ignore[misc]


def report(*results: Result) -> Report:
    return Report("toy", "1.0", CASES, results)


def test_what_conforms() -> None:
    assert report(*GOOD).conforms
    assert report(*GOOD).summary() == ("toy 1.0: 2 checks demanded, 2 ran: 2 passed, 0 failed; 0 skipped with a reason")


@pytest.mark.parametrize(
    "results",
    [
        (GOOD[0],),
        (),
        (GOOD[0], replace(GOOD[1], status="failed", reason="why")),
        (GOOD[0], replace(GOOD[1], status="skipped", reason=" ")),
    ],
    ids=["not reached", "nothing reached", "failed", "skipped in silence"],
)
def test_what_does_not_conform(results: tuple[Result, ...]) -> None:
    assert not report(*results).conforms


def test_a_report_that_demands_nothing_does_not_conform() -> None:
    assert not Report("toy", "1.0", (), ()).conforms


def test_json_round_trip() -> None:
    told = report(GOOD[0], replace(GOOD[1], status="skipped", reason="no GPU"))
    assert Report.from_json(told.to_json()) == told
    assert json.loads(told.to_json())["conforms"] is True


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy plugin, no core method, and the checks of datasets only."""
    wrong = replace(TOY, recipes={}, datasets={"digits": replace(TOY.datasets["digits"], target="faulty:NamesTwice")})
    found = Found("toy", "counterpoint-toy", "1.2", plugin=wrong, entry="toy_plugin:TOY")
    monkeypatch.setattr(plugins, "discover", lambda: (found,))
    monkeypatch.setattr(needs, "METHODS", {})
    monkeypatch.setattr(session, "CHECKS", [check for check in session.CHECKS if check.kind == "datasets"])


@pytest.mark.usefixtures("few")
def test_the_command_prints_what_failed_and_writes_every_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "toy.json"
    assert cli.main(["check", "toy", "--json", str(out)]) == 1
    told = capsys.readouterr().out
    assert "failed  datasets/digits/names: name: found 'digit-0' twice; allowed: a name for each sample." in told
    assert "checked: Every sample has a name of its own." in told
    assert "skipped datasets/digits (4): not tried, because datasets/digits/names failed" in told
    assert "It does NOT conform." in told
    read = Report.from_json(out.read_text())
    assert [result.case for result in read.failures] == ["datasets/digits/names"]
    assert len(read.results) == len(read.demanded)
    assert cli.main(["check", "toy", "--all"]) == 1
    assert capsys.readouterr().out.count("datasets/digits/") >= len(read.results)


@pytest.mark.usefixtures("few")
def test_ctrl_c_leaves_a_report_of_what_was_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    reached = Session("toy")

    def stop(result: Result) -> None:
        if result.check == "opens":
            raise KeyboardInterrupt

    found = reached.report(stop)
    assert [result.check for result in found.results] == ["loads", "opens"]
    assert found.missing[0] == "datasets/digits/samples"
    assert not found.conforms


def items(test: Any) -> dict[str, Any]:
    (mark,) = test.pytestmark
    return {param.id: param.values[0] for param in mark.args[1]}


@pytest.mark.usefixtures("few")
def test_one_line_of_pytest_has_an_item_for_each_check() -> None:
    test = conformance("toy")
    found = items(test)
    assert list(found)[:2] == ["datasets/digits/loads", "datasets/digits/opens"]
    assert list(found)[-1] == "every-check-was-reached"
    test(found["datasets/digits/opens"])
    with pytest.raises(pytest.fail.Exception, match="datasets/digits/names: name: found 'digit-0' twice"):
        test(found["datasets/digits/names"])
    with pytest.raises(pytest.skip.Exception, match="not tried, because datasets/digits/names failed"):
        test(found["datasets/digits/splits"])
    with pytest.raises(pytest.fail.Exception, match="checks were not reached"):
        test(None)
    for case in list(found.values())[:-1]:
        try:
            test(case)
        except (pytest.fail.Exception, pytest.skip.Exception):
            continue
    test(None)


def test_a_plugin_that_is_not_there_is_one_failing_item() -> None:
    with pytest.raises(pytest.fail.Exception, match="Did you mean 'vision'"):
        conformance("visoin")()


@pytest.mark.usefixtures("few")
def test_exemptions_need_a_reason_and_leave_something_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    from counterpoint.testing.registry import CHECKS

    for exempt, case, words in (
        ({"names": " "}, "datasets/digits/names", "exempt without a written reason"),
        ({"*": "must be downloaded"}, "plugin/toy/supplies", "datasets: found every one exempt from everything"),
    ):
        plugin = replace(TOY, recipes={}, datasets={"digits": replace(TOY.datasets["digits"], exempt=exempt)})
        found = Found("toy", "counterpoint-toy", "1.2", plugin=plugin, entry="toy_plugin:TOY")
        monkeypatch.setattr(plugins, "discover", lambda found=found: (found,))
        chosen = ("supplies", "loads", "names")
        monkeypatch.setattr(session, "CHECKS", [check for check in CHECKS if check.name in chosen])
        failures = {result.case: result.reason for result in Session("toy").report().failures}
        assert list(failures) == [case]
        assert words in failures[case]


@pytest.mark.parametrize(
    ("app", "failing"),
    [
        (App("digits", "the digits", "faulty:command", "toy"), []),
        (App("digits", "the digits", "faulty:nothing", "toy"), ["apps/digits/loads"]),
        (App("digits", "", "faulty:command", "toy"), ["apps/digits/loads"]),
        (App("digits", "the digits", "faulty:silent", "toy"), ["apps/digits/helps", "apps/digits/refuses"]),
        (App("digits", "the digits", "faulty:command", "other"), None),
    ],
    ids=["right", "no command", "no summary", "silent", "of another plugin"],
)
@pytest.mark.usefixtures("few")
def test_apps(app: App, failing: list[str] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    from counterpoint.testing.registry import CHECKS

    monkeypatch.setattr(session, "apps", lambda: {"digits": app})
    monkeypatch.setattr(session, "CHECKS", [check for check in CHECKS if check.kind == "apps"])
    found = Session("toy").report()
    assert [result.case for result in found.failures] == (failing or [])
    assert len(found.demanded) == (0 if failing is None else 3)


def test_an_example_may_be_a_function(tmp_path: Path) -> None:
    part = Part("faulty:NamesTwice", "made wrong", example="faulty:example")
    assert part.arguments(tmp_path) == {"source": "digits", "count": 20}
    assert (tmp_path / "note.txt").is_file()
