"""Where search apps keep vectors: one small interface, and behind it an embedded store (imported when opened)."""

from __future__ import annotations

from counterpoint_apps.store.base import EXACT_BELOW, Hits, Store
from counterpoint_apps.store.ledger import Ledger

__all__ = ["EXACT_BELOW", "Hits", "Ledger", "Store"]
