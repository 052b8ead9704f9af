"""The kit as one line of pytest: an item for each case, so that all failures are told and each has a name."""

from __future__ import annotations

from collections.abc import Callable

from counterpoint.errors import PluginError
from counterpoint.testing import kit  # noqa: F401 - fills the list of checks
from counterpoint.testing.session import Case, Session


def conformance(plugin: str) -> Callable[..., None]:
    """A parametrised test of everything that the installed plugin called ``plugin`` demands.

    ::

        test_conformance = conformance("weather")

    The last item fails if the others did not reach every case that the plugin's parts demand.
    """
    import pytest

    try:
        session = Session(plugin)
    except PluginError as error:
        return _broken(str(error))
    last = [pytest.param(None, id="every-check-was-reached")]

    @pytest.mark.parametrize("case", [*(pytest.param(case, id=str(case)) for case in session.cases), *last])
    def test_conformance(case: Case | None) -> None:
        if case is None:
            missing = session.so_far().missing
            if missing:
                pytest.fail(f"{len(missing)} checks were not reached, the first: {missing[0]}", pytrace=False)
            return
        result = session.result(case)
        if result.status == "failed":
            pytest.fail(f"{case}: {result.reason}\nchecked: {case.check.summary}", pytrace=False)
        if result.status == "skipped":
            pytest.skip(result.reason)

    return test_conformance


def _broken(reason: str) -> Callable[[], None]:
    def test_conformance() -> None:
        import pytest

        pytest.fail(reason, pytrace=False)

    return test_conformance
