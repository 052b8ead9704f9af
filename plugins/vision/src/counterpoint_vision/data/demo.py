"""``python -m counterpoint_vision.data.demo``: the name of the best data set that is at hand, for `make demo`.

What is in the data home comes first, then CIFAR-10 from its official place if that answers within seconds, then the
photographs that need nothing.
"""

from __future__ import annotations

import sys

from counterpoint.errors import DataError
from counterpoint_vision.data.arrays import ImageArrays
from counterpoint_vision.data.names import PHOTOGRAPHS, SMALL_CIFAR
from counterpoint_vision.data.public import PublicSet

SECONDS = 20.0
CIFAR = "cifar10"


def choose(seconds: float = SECONDS) -> tuple[str, str]:
    """Name of the set, and why it was chosen."""
    for name, kind in ((SMALL_CIFAR, ImageArrays), (CIFAR, PublicSet)):
        try:
            kind(name)
        except DataError:
            continue
        return name, "it is in the data home"
    try:
        PublicSet(CIFAR, download=True, seconds=seconds)
    except DataError:
        return (
            PHOTOGRAPHS,
            f"it needs no download ({CIFAR} is not in the data home, nor to be had within {seconds:.0f} s)",
        )
    return CIFAR, "it was fetched from its official place"


def main() -> int:
    """Print the name; the reason goes to standard error."""
    name, reason = choose()
    print(f"Data: {name}, since {reason}.", file=sys.stderr)
    print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
