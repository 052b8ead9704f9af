"""Interactions in a numpy archive."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from counterpoint.errors import DataError, message, nearest
from counterpoint.parts import SPLITS, data_home
from counterpoint.sources import arrays as archives
from counterpoint_graphrec.data.ids import Texts
from counterpoint_graphrec.data.interactions import Interactions
from counterpoint_graphrec.data.log import Log

NAMES = ("amazon-beauty", "douban-book", "lastfm")
_PAIRS = ("interactions", "pairs")


class InteractionArrays(Interactions):
    """Pairs of whole numbers in an ``.npz`` archive: ``train``, ``test`` and where it has it ``val``, each ``(n, 2)``.

    The parts are the fixed split; a val that is missing is drawn from train. ``interactions`` (or ``pairs``) instead of
    parts has none. ``n_users`` and ``n_items`` tell how many there are, if some have no interaction;
    ``train_position`` (or ``_time``) is each pair's place in its user's history (or its time); ``user_names``,
    ``item_names``, ``titles`` and ``groups`` are texts by number. Pickled objects are refused.

    Args:
        source: the archive, or the name of a folder of ``<data home>/rec`` that has one, such as ``douban-book``.
        options: those of `Interactions`.
    """

    @classmethod
    def accepts(cls, source: str) -> bool:
        """Whether ``source`` is an ``.npz`` file, or the name of a set in the data home."""
        place = Path(source).expanduser()
        return source in NAMES or (place.suffix.lower() == ".npz" and place.is_file()) or _at_home(source) is not None

    def _read(self, source: str, asked: dict[str, str | None]) -> Log:
        for kind, name in asked.items():
            if name:
                raise DataError(message(kind, f"{name!r} for arrays, which have no columns", "nothing"))
        place = _place(source)
        return _log(archives.read(place), place.name)


def _at_home(source: str) -> Path | None:
    if not source or source != Path(source).name or source.startswith("."):
        return None
    return next(iter(sorted((data_home() / "rec" / source).glob("*.npz"))), None)


def _place(source: str) -> Path:
    place = Path(source).expanduser()
    if place.suffix.lower() == ".npz" and place.is_file():
        return place
    found = _at_home(source)
    if found is not None:
        return found
    if source in NAMES:
        todo = "Set COUNTERPOINT_DATA to a folder that has it, or use 'movielens-100k', which is fetched."
        raise DataError(message("source", f"no {data_home() / 'rec' / source}", f"{source} in the data home", todo))
    kind = "the folder " if place.is_dir() else ""
    todo = nearest(source, NAMES).strip()
    raise DataError(message("source", f"{kind}{source!r}", "an .npz file, or the name of a set in the data home", todo))


def _log(arrays: dict[str, np.ndarray], where: str) -> Log:
    key = next((key for key in _PAIRS if key in arrays), None)
    keys = [key] if key is not None and "train" not in arrays else [split for split in SPLITS if split in arrays]
    if not keys or keys[0] not in ("train", *_PAIRS):
        found = f"{where} with {', '.join(sorted(arrays)) or 'nothing'}"
        raise DataError(message("source", found, "pairs (n, 2) called train and test, or interactions"))
    pairs = [_pairs(arrays[name], name, where) for name in keys]
    joined = np.concatenate(pairs)
    if not len(joined):
        raise DataError(message("source", f"no pair in {where}", "at least one interaction"))
    counts = [
        _count(arrays, name, int(joined[:, column].max()) + 1) for column, name in enumerate(("n_users", "n_items"))
    ]
    users, items = (_names(arrays, name, count) for name, count in zip(("user_names", "item_names"), counts))
    log = Log(joined[:, 0].astype(np.int32), joined[:, 1].astype(np.int32), users, items, numbered=True)
    log.titles, log.groups = _texts(arrays, "titles", counts[1]), _texts(arrays, "groups", counts[1])
    if keys[0] == "train" and len(keys) > 1:
        log.part = np.repeat(np.array([SPLITS.index(name) for name in keys], dtype=np.int8), [len(p) for p in pairs])
    _ordered(log, arrays, keys, pairs)
    return log


def _pairs(array: np.ndarray, name: str, where: str) -> np.ndarray:
    found = f"{array.dtype} {array.shape} in {where}"
    if array.ndim != 2 or array.shape[1] != 2 or not np.issubdtype(array.dtype, np.integer):
        raise DataError(message(name, found, "whole numbers (n, 2): user and item"))
    if len(array) and (array.min() < 0 or array.max() >= 2**31):
        raise DataError(message(name, f"{array.min()} to {array.max()} in {where}", "numbers from 0 to 2**31 - 1"))
    return array


def _count(arrays: dict[str, np.ndarray], name: str, least: int) -> int:
    if name not in arrays:
        return least
    array = arrays[name]
    if array.size != 1 or not np.issubdtype(array.dtype, np.integer) or int(array.reshape(-1)[0]) < least:
        raise DataError(message(name, f"{array.reshape(-1)[:3].tolist()}", f"one number of at least {least}"))
    return int(array.reshape(-1)[0])


def _names(arrays: dict[str, np.ndarray], key: str, count: int) -> Texts:
    named = _texts(arrays, key, count)
    if named is None:
        return Texts(np.arange(count).astype(str))
    if len(set(named)) < count:
        raise DataError(message(key, f"{count - len(set(named))} that are there twice", "one for each number"))
    return named


def _texts(arrays: dict[str, np.ndarray], key: str, count: int) -> Texts | None:
    if key not in arrays:
        return None
    if arrays[key].shape != (count,):
        raise DataError(message(key, f"{arrays[key].shape}", f"({count},), a text for each number"))
    return Texts(arrays[key].astype(str))


def _ordered(log: Log, arrays: dict[str, np.ndarray], keys: list[str], pairs: list[np.ndarray]) -> None:
    """Times, or places in each user's history; what has none (the test of a leave-one-out) comes last."""
    suffix = next((s for s in ("_time", "_position") if f"{keys[0]}{s}" in arrays), None)
    if suffix is None:
        return
    found = [arrays.get(f"{key}{suffix}") for key in keys]
    for key, order, part in zip(keys, found, pairs):
        if order is not None and order.shape != (len(part),):
            raise DataError(message(f"{key}{suffix}", f"{order.shape}", f"({len(part)},), one for each pair"))
    last = max(float(order.max(initial=0)) for order in found if order is not None)
    times = [
        np.full(len(part), last + 1 + number) if order is None else order.astype(np.float64)
        for number, (order, part) in enumerate(zip(found, pairs))
    ]
    log.time = np.concatenate(times)
    log.clock = suffix == "_time" and all(order is not None for order in found)
