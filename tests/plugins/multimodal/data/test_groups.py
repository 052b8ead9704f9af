"""Groups: whatever is linked by a caption or a picture, directly or through others."""

from __future__ import annotations

import numpy as np
import pytest

from counterpoint_multimodal.data.groups import connected, draw, shared_keys

pytestmark = pytest.mark.unit


def test_links_go_through_others():
    keys = [["a"], ["b"], ["c"], ["b", "c"], [], ["d", "a"]]
    assert connected(keys).tolist() == [0, 1, 1, 1, 4, 0]
    assert connected([]).tolist() == []


def test_as_a_plain_search_finds_them():
    random = np.random.default_rng(0)
    keys = [random.integers(0, 60, random.integers(0, 3)).tolist() for _ in range(50)]
    linked = np.array([[bool(set(a) & set(b)) or i == j for j, b in enumerate(keys)] for i, a in enumerate(keys)])
    for _ in range(6):  # paths of up to 2**6 steps
        linked = (linked.astype(int) @ linked.astype(int)) > 0
    assert connected(keys).tolist() == [int(np.flatnonzero(row)[0]) for row in linked]


def test_what_links():
    one, two = shared_keys(["Red Shoe", "", "shoe"], b"1"), shared_keys(["RED SHOE"], b"2")
    assert len(set(one) & set(two)) == 1
    assert not set(shared_keys([""], b"1")) & set(shared_keys([""], b"2"))
    assert not set(shared_keys(["x"], "y")) & set(shared_keys(["y"], "x"))  # a text is no picture


def test_whole_groups_are_drawn_in_their_shares():
    names = [f"{number}.jpg" for number in range(4_000)]
    groups = np.arange(4_000) // 2 * 2
    parts = draw(groups, names)
    assert (parts[::2] == parts[1::2]).all()
    assert np.bincount(parts) / 4_000 == pytest.approx([0.8, 0.1, 0.1], abs=0.02)
    assert (draw(groups[:1_000], names[:1_000]) == parts[:1_000]).all()  # what comes later moves nothing
