"""The store behind its interface: whole changes, exact and approximate search with the recall measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from counterpoint.errors import ConfigError, DataError, ShapeError
from counterpoint_apps.store import Ledger, Store
from counterpoint_apps.store.lance import LanceStore

pytestmark = pytest.mark.unit

FACTS = ("size", "time")


def rows(count: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def facts(*sizes: int) -> dict[str, list[int]]:
    return {"size": list(sizes), "time": [2**40 + size for size in sizes]}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = LanceStore(tmp_path / "store", 8, FACTS)
    made.put(["a", "b'; --", "ü/100%"], rows(3), facts(1, 2, 3))
    return made


def test_put_replaces_and_remove_removes(store: Store, tmp_path: Path) -> None:
    assert len(store) == 3
    store.put(["a", "d"], rows(2, seed=1) * 5, facts(7, 8))
    assert len(store) == 4
    assert store.facts_of(["a", "b'; --", "no"]) == {
        "a": {"size": 7, "time": 2**40 + 7},
        "b'; --": {"size": 2, "time": 2**40 + 2},
    }
    assert store.facts_of([]) == {}
    assert np.linalg.norm(store.vectors_of(["a"])["a"]) == pytest.approx(1, abs=1e-6)
    store.remove(["b'; --", "no"])
    again = LanceStore(tmp_path / "store")
    assert sorted(key for keys, _, _ in again.read() for key in keys) == ["a", "d", "ü/100%"]
    assert (again.dim, again.facts) == (8, FACTS)


def test_search_is_cosine(store: Store) -> None:
    hits = store.search(3 * rows(3)[1], 10)
    assert hits.keys[0] == "b'; --" and hits.exact
    unit = rows(3) / np.linalg.norm(rows(3), axis=1, keepdims=True)
    assert hits.scores == pytest.approx(np.sort(unit @ unit[1])[::-1], abs=1e-5)


def test_what_is_wrong_is_named(store: Store, tmp_path: Path) -> None:
    bad = rows(1)
    bad[0, 0] = np.nan
    with pytest.raises(ShapeError, match=r"vectors: found shape \(1, 8\), 1 values not finite"):
        store.put(["x"], bad, facts(1))
    with pytest.raises(ShapeError, match=r"vectors: found shape \(2, 9\)"):
        store.put(["x", "y"], rows(2, 9), facts(1, 2))
    with pytest.raises(ShapeError, match="facts"):
        store.put(["x"], rows(1), {"size": [1]})
    with pytest.raises(ConfigError, match="k: found 0"):
        store.search(rows(1)[0], 0)
    with pytest.raises(DataError, match="vectors of 8 dimensions; allowed: 9"):
        LanceStore(tmp_path / "store", 9, FACTS)
    with pytest.raises(DataError, match="no table in"):
        LanceStore(tmp_path / "empty")


def test_a_full_disk_in_plain_words(store: LanceStore) -> None:
    with pytest.raises(DataError, match=r"the disk is full. What was written before is kept"), store._told():
        raise OSError("LanceError(IO): No space left on device (os error 28)")
    with pytest.raises(DataError, match=r"cannot be written.*--index"), store._told():
        raise OSError("Permission denied (os error 13)")
    with pytest.raises(KeyboardInterrupt), store._told():
        raise KeyboardInterrupt


def test_recall_of_the_approximate_index(tmp_path: Path) -> None:
    """On patches of photographs (32 numbers each), against the exact search of the same store."""
    from counterpoint_vision.data import Photographs

    data = Photographs("photographs", train_patches=250)
    pixels = np.stack([data[i].data["image"].numpy()[0].ravel() for i in range(len(data))]).astype(np.float32)  # type: ignore[union-attr]
    pixels -= pixels.mean(1, keepdims=True)
    vectors = pixels @ np.random.default_rng(0).normal(size=(pixels.shape[1], 32)).astype(np.float32)
    store = LanceStore(tmp_path / "store", 32, ())
    store.put([str(i) for i in range(len(vectors))], vectors, {})
    assert len(store) > 4_000
    assert not store.approximate
    store.tidy(exact_below=1_000)
    assert store.approximate
    queries = vectors[:: len(vectors) // 100]
    hits = total = 0
    for query in queries:
        exact, near = store.search(query, 10, exact=True), store.search(query, 10)
        assert exact.exact and not near.exact
        hits += len(set(exact.keys) & set(near.keys))
        total += 10
    print(f"recall@10 of the approximate index: {hits / total:.3f}")
    assert hits / total >= 0.9
    store.put(["new"], -vectors[:1], {})
    assert store.search(-vectors[0], 1).keys == ["new"], "what came after the index was built is found as well"
    store.tidy()
    assert not store.approximate


def test_the_ledger_knows_what_is_there(store: Store) -> None:
    ledger = Ledger(store, FACTS)  # type: ignore[arg-type]
    assert len(ledger) == 3
    assert ledger.meet("a", (1, 2**40 + 1)) is True
    assert ledger.meet("ü/100%", (3, 0)) is False
    assert ledger.meet("other", (1, 1)) is None
    assert [ledger.lost(key) for key in ("a", "b'; --", "ü/100%", "other")] == [False, True, False, False]
    assert ledger.missing == 1


def test_captions_are_kept_beside_the_vectors(store: Store) -> None:
    assert store.captions_of(["a", "no"]) == {"a": ""}
    store.put(["a", "e"], rows(2, seed=2), facts(1, 1), ["red shoe · it's", "ж"])
    assert store.captions_of(["a", "e", "d"]) == {"a": "red shoe · it's", "e": "ж"}
    with pytest.raises(ShapeError, match="captions: found 1; allowed: 2"):
        store.put(["a", "e"], rows(2), facts(1, 1), ["one"])
