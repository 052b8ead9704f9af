"""The image sets that have a name of their own."""

from __future__ import annotations

from counterpoint.errors import DataError, message, nearest

PHOTOGRAPHS = "photographs"
SMALL_CIFAR = "cifar10-small"
PUBLIC = ("cifar10", "cifar100", "fashion-mnist", "kmnist", "mnist", "stl10")
NAMES = (PHOTOGRAPHS, SMALL_CIFAR, *PUBLIC)


def unknown(source: str) -> DataError:
    """The error for a source that is neither a path nor a name, with the nearest name."""
    return DataError(message("source", repr(source), "a path, or the name of a set", nearest(source, NAMES).strip()))
