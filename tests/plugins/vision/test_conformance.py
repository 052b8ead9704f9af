"""The vision plugin through the conformance kit, as a third party's would go."""

from __future__ import annotations

import pytest

from counterpoint.testing import conformance

pytestmark = [pytest.mark.conformance, pytest.mark.slow]

test_conformance = conformance("vision")
