"""The claims run, in their smoke size: everything is exercised, nothing is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from smoke import smoke

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_smoke(tmp_path: Path) -> None:
    smoke("claims", "claim", {"COUNTERPOINT_SMOKE": "1"}, tmp_path)
