"""The small shop, with layers from 0 (LightGCN) and from 1 (XSimGCL)."""

from __future__ import annotations

import pytest

from shops import Shop
from shops import shop as made


@pytest.fixture(params=[0, 1], ids=["layers from 0", "layers from 1"])
def shop(request: pytest.FixtureRequest) -> Shop:
    return made(request.param)
