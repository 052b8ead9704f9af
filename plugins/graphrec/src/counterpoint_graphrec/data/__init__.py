"""Interaction data: tables, RecBole's files, arrays, and MovieLens-100k."""

from __future__ import annotations

from counterpoint_graphrec.data.arrays import InteractionArrays
from counterpoint_graphrec.data.catalogue import Catalogue
from counterpoint_graphrec.data.interactions import Interactions
from counterpoint_graphrec.data.movielens import MovieLens
from counterpoint_graphrec.data.recbole import RecBoleFile
from counterpoint_graphrec.data.table import InteractionTable

__all__ = ["Catalogue", "InteractionArrays", "InteractionTable", "Interactions", "MovieLens", "RecBoleFile"]
