"""The conformance kit: what a plugin must do, as small named checks. One line of pytest runs it::

    from counterpoint.testing import conformance

    test_conformance = conformance("weather")

At the shell: ``counterpoint check weather``. Every check is a result with a status, its seconds and a reason; a check
that was not reached fails the report, and a skip needs a written reason (``Part.exempt``). Checks use small data that
the plugin names itself (``Part.example``).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counterpoint.testing.collect import conformance
    from counterpoint.testing.kit import CHECKS, check_plugin
    from counterpoint.testing.registry import Check
    from counterpoint.testing.results import Report, Result

_WHERE = {
    "CHECKS": "kit",
    "Check": "registry",
    "Report": "results",
    "Result": "results",
    "check_plugin": "kit",
    "conformance": "collect",
}

__all__ = ["CHECKS", "Check", "Report", "Result", "check_plugin", "conformance"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'counterpoint.testing' has no attribute {name!r}")
    return getattr(import_module(f"counterpoint.testing.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
