"""What embeddings of users and items are good for."""

from __future__ import annotations

from counterpoint_graphrec.tasks.answers import Answer, Best, Hit, Reason
from counterpoint_graphrec.tasks.filters import Filters
from counterpoint_graphrec.tasks.names import Names
from counterpoint_graphrec.tasks.recommender import Recommender

__all__ = ["Answer", "Best", "Filters", "Hit", "Names", "Reason", "Recommender"]
