"""Numpy archives, and files packed in one of their arrays."""

from __future__ import annotations

import numpy as np
import pytest

from counterpoint.errors import DataError
from counterpoint.sources.arrays import read, unpacked

pytestmark = pytest.mark.unit


def test_read(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=[1, 2], y="text")
    found = read(tmp_path / "a.npz")
    assert found["x"].tolist() == [1, 2] and str(found["y"]) == "text"
    raw = (tmp_path / "a.npz").read_bytes()
    for broken in (b"", b"no archive", raw[:60], raw[:40] + bytes(20) + raw[60:]):
        (tmp_path / "a.npz").write_bytes(broken)
        with pytest.raises(DataError, match=r"source: found a.npz: .*plain arrays"):
            read(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=np.array([object()]))
    with pytest.raises(DataError, match=r"pickled objects are refused"):
        read(tmp_path / "a.npz")


def test_unpacked():
    packed = np.frombuffer(b"onethree", np.uint8)
    assert unpacked(packed, np.array([0, 3, 3, 8]), "offset") == [b"one", b"", b"three"]
    for offset in ([0], [0, 9], [3, 0], [-1, 3], [[0, 3]]):
        with pytest.raises(DataError, match=r"offset: found .*rising cuts between 0 and 8"):
            unpacked(packed, np.array(offset), "offset")
