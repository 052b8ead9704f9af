"""All checks together, run from a name to a report."""

from __future__ import annotations

from collections.abc import Callable

from counterpoint.testing import _apps, _datasets, _encoders, _methods, _plugin, _tasks, _views  # noqa: F401
from counterpoint.testing.registry import CHECKS
from counterpoint.testing.results import Report, Result
from counterpoint.testing.session import Session

__all__ = ["CHECKS", "Session", "check_plugin"]


def check_plugin(name: str, tick: Callable[[Result], None] | None = None) -> Report:
    """Run every check of the installed plugin called ``name``.

    Args:
        name: of the plugin.
        tick: called with each result (progress).

    Raises:
        PluginError: it is not installed, or broken.
    """
    return Session(name).report(tick)
