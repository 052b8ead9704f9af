"""Options that the commands which search pictures share; nothing heavy is imported."""

from __future__ import annotations

import argparse
from typing import Any

from counterpoint_apps.shell import add_address, at_least


def add_update(verb: argparse.ArgumentParser) -> None:
    """``--rebuild``, ``--workers`` and ``--exact-below`` of ``index``."""
    verb.add_argument("--rebuild", action="store_true", help="start from nothing")
    verb.add_argument("--workers", type=int, default=0, help="processes that read pictures (default: 0)")
    verb.add_argument("--exact-below", type=int, help="pictures up to which search is exact (default: 50,000)")


def update_options(parsed: argparse.Namespace) -> dict[str, Any]:
    """Those of `add_update` as arguments of `update.update`.

    Raises:
        ConfigError: a number below 0.
    """
    from counterpoint_apps.store import EXACT_BELOW

    at_least("workers", parsed.workers, 0)
    limit = EXACT_BELOW if parsed.exact_below is None else at_least("exact-below", parsed.exact_below, 0)
    return {"rebuild": parsed.rebuild, "workers": parsed.workers, "exact_below": limit}


def add_page(verb: argparse.ArgumentParser) -> None:
    """``--max-upload`` and the address of ``serve``."""
    verb.add_argument("--max-upload", type=int, default=20, metavar="MB", help="largest upload in MB (default: 20)")
    add_address(verb)
