"""MovieLens-100k, out of a wheel of the Python package index."""

from __future__ import annotations

from counterpoint_graphrec.data.recbole import RecBoleFile

NAME = "movielens-100k"


class MovieLens(RecBoleFile):
    """placeholder"""
