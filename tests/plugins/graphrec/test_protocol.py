"""The protocol: what is masked and dropped on each split, that val never sees test, and the floors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError, DataError
from counterpoint.evaluation.geometry import uniformity
from counterpoint.parts import Encoder
from counterpoint.types import Encoding, View
from counterpoint_graphrec import baselines, protocol
from counterpoint_graphrec.data import InteractionArrays
from counterpoint_graphrec.encoders import LightGCN
from counterpoint_graphrec.protocol import Case, Ranking, spread, vectors
from counterpoint_graphrec.views import NodeViews
from tastes import ITEMS, NEWCOMER, NOVELTY, USERS, drawn, table

pytestmark = pytest.mark.unit


class Given(Encoder):
    """Whose score for a user and an item is the entry of a matrix."""

    dim = ITEMS

    def __init__(self, scores: np.ndarray) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.from_numpy(scores.astype(np.float32)))

    def nodes(self) -> tuple[Tensor, Tensor]:
        return self.scores, torch.eye(ITEMS)

    def forward(self, view: View) -> Encoding:
        return Encoding(dict(zip(("user", "item"), self.nodes()))[view.modality][view.data["node"]])


@pytest.fixture
def data(tmp_path: Path) -> InteractionArrays:
    return table(tmp_path)


def dense(data: InteractionArrays) -> dict[str, np.ndarray]:
    return {split: data.matrix(split).toarray() for split in ("train", "val", "test")}


@torch.no_grad()
def measured(scores: np.ndarray, data: InteractionArrays, split: str) -> dict[str, float]:
    return Ranking().measure(Given(scores), NodeViews(), data, split)


@pytest.mark.parametrize("split", ["val", "test"])
def test_an_oracle_is_perfect_whatever_it_thinks_of_what_was_seen(data: InteractionArrays, split: str) -> None:
    parts = dense(data)
    before = {"val": parts["train"], "test": parts["train"] + 2 * parts["val"]}[split]
    found = measured(parts[split] + 5 * before, data, split)
    assert found["ndcg@20"] == pytest.approx(1.0)
    assert found["ndcg@10"] == pytest.approx(1.0)
    assert found["hit@20"] == 1.0
    assert found["recall@20"] == pytest.approx(
        found["recall@20,unpopular"] + found["recall@20,normal"] + found["recall@20,popular"]
    )


def test_val_does_not_know_what_is_in_test(
    data: InteractionArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = dense(data)
    scores = parts["test"] * 2 + parts["val"]  # what is in test ranks first, and is no hit
    expected = measured(scores, data, "val")
    assert expected["ndcg@20"] < 0.95
    floors = Ranking().floors(data, "val", quick=False)

    real = InteractionArrays.matrix
    opened = InteractionArrays(str(tmp_path / "small.npz"))
    asked: list[str] = []
    monkeypatch.setattr(InteractionArrays, "matrix", lambda self, split: asked.append(split) or real(self, split))
    assert measured(scores, opened, "val") == expected
    assert Ranking().floors(opened, "val", quick=False) == floors
    assert set(asked) == {"train", "val"}


def test_pairs_that_training_does_not_know_are_dropped(data: InteractionArrays) -> None:
    val, test = Case.of(data, "val"), Case.of(data, "test")
    strange = data.matrix("test")[[NEWCOMER]].nnz
    assert strange >= 4
    assert test.held_out[[NEWCOMER]].nnz == 0
    assert data.matrix("val")[:, [NOVELTY]].nnz > 0
    assert val.held_out[:, [NOVELTY]].nnz == 0
    assert test.held_out.nnz == data.matrix("test").nnz - strange
    users = np.unique(drawn()["test"][:, 0])
    assert measured(np.ones((USERS, ITEMS)), data, "test")["queries"] == len(users) - 1


def test_nothing_to_measure_is_said(tmp_path: Path) -> None:
    only = table(tmp_path, test=np.array([[NEWCOMER, 1], [NEWCOMER, 2]]))
    with pytest.raises(DataError, match="test: no pair whose user and item are in train"):
        Ranking().floors(only, "test", quick=True)
    with pytest.raises(ConfigError, match="split: found 'train'"):
        Case.of(only, "train")
    with pytest.raises(ConfigError, match="dataset: found Catalogue"):
        Case.of(only.entities(), "val")


def test_users_are_drawn_where_there_are_very_many(data: InteractionArrays, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).random((USERS, ITEMS))
    everybody = measured(scores, data, "val")["queries"]
    monkeypatch.setattr(protocol, "LEAST_USERS", 7)
    monkeypatch.setattr(protocol, "VAL_SCORES", 10 * ITEMS)
    some = measured(scores, data, "val")
    assert some["queries"] == 10 < everybody
    assert measured(scores, data, "val") == some
    assert {name: row["queries"] for name, row in Ranking().floors(data, "val", True).items()} == {
        "popularity": 10,
        "item kNN": 10,
    }
    assert measured(scores, data, "test")["queries"] > 10  # what is reported is of everybody


def test_floors_are_chosen_on_val_and_beat_chance(data: InteractionArrays, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Ranking().floors(data, "test", quick=False)
    assert list(rows) == ["popularity", "item kNN", "EASE"]
    chance = measured(np.random.default_rng(1).random((USERS, ITEMS)), data, "test")
    names = set(chance) - {"uniformity"}
    assert all(set(row) == names for row in rows.values())
    assert rows["EASE"]["ndcg@20"] > rows["popularity"]["ndcg@20"] > chance["ndcg@20"]
    assert rows["popularity"]["coverage@20"] < chance["coverage@20"]
    val, train = Case.of(data, "val"), data.matrix("train")
    tried = [val.rank(baselines.Ease(train).scores(p)).recall(20).mean() for p in baselines.PENALTIES]
    chosen = baselines.PENALTIES[int(np.argmax(tried))]
    monkeypatch.setattr(baselines, "PENALTIES", (chosen,))
    assert Ranking().floors(data, "test", quick=False)["EASE"] == rows["EASE"]


def test_floors_that_take_long_are_left_out(data: InteractionArrays, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(Ranking().floors(data, "test", quick=True)) == ["popularity", "item kNN"]
    monkeypatch.setattr(protocol, "LARGEST", {"item kNN": 10, "EASE": ITEMS})
    assert list(Ranking().floors(data, "test", quick=False)) == ["popularity", "EASE"]


def test_vectors_come_from_the_nodes_or_from_plain_views(data: InteractionArrays) -> None:
    encoder = LightGCN(dim=8, layers=2)
    encoder.prepare(data)
    encoder.eval().requires_grad_(False)
    users, items = vectors(encoder, NodeViews(), (USERS, ITEMS))

    class Closed(Encoder):
        """One that has no ``nodes``."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = encoder

        def forward(self, view: View) -> Encoding:
            made: Encoding = self.inner(view)
            return made

    by_views = vectors(Closed(), NodeViews(), (USERS, ITEMS))
    torch.testing.assert_close(by_views[0], users)
    torch.testing.assert_close(by_views[1], items)


def test_uniformity_is_of_popular_items_and_users_together(
    data: InteractionArrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "UNIFORM_ITEMS", 5)
    generator = torch.Generator().manual_seed(0)
    users, items = torch.randn(USERS, 4, generator=generator), torch.randn(ITEMS, 4, generator=generator)
    train = data.matrix("train")
    counts = train.toarray().sum(axis=0)
    popular = np.argsort(-counts, kind="stable")[:5]
    active = np.flatnonzero(train.toarray().any(axis=1))
    assert NEWCOMER not in active
    expected = uniformity(torch.cat([users[active], items[popular.copy()]]))
    assert spread(users, items, train) == pytest.approx(expected, abs=1e-6)
    monkeypatch.setattr(protocol, "UNIFORM_COUNT", 10)
    assert (counts > 10).sum() > 5
    more = uniformity(torch.cat([users[active], items[counts > 10]]))
    assert spread(users, items, train) == pytest.approx(more, abs=1e-6)


def test_the_words_are_of_metrics_that_there_are(data: InteractionArrays) -> None:
    found = measured(np.random.default_rng(1).random((USERS, ITEMS)), data, "val")
    assert set(Ranking.words) <= set(found)
    assert all(0 <= found[name] <= 1 for name in Ranking.words)
