"""Recommendations: the ranking against the plain formula, the parts of a score, newcomers, and what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from counterpoint.errors import ConfigError, DataError, ShapeError
from counterpoint_graphrec.tasks import Filters, Recommender
from shops import ITEMS, LONELY_ITEM, LONELY_USER, Shop, propagated

pytestmark = pytest.mark.unit


def test_ranking_is_the_plain_formula(shop: Shop) -> None:
    recommender = shop.recommender()
    for user in range(5):
        answer = recommender.recommend(f"user {user}", k=6)
        scores = (shop.users[user] @ shop.items.T).numpy().copy()
        scores[shop.known[[user]].toarray()[0] > 0] = -np.inf
        scores[LONELY_ITEM] = -np.inf
        wanted = np.argsort(-scores, kind="stable")[:6]
        assert [hit.number for hit in answer.hits] == wanted.tolist()
        assert [hit.score for hit in answer.hits] == pytest.approx(scores[wanted])
        assert answer.rule == "user" and answer.notes == ()


def test_parts_add_up_to_the_score(shop: Shop) -> None:
    recommender = shop.recommender(reasons=ITEMS)
    for user in (0, 3, 7):
        own = set(np.flatnonzero(shop.history[[user]].toarray()[0]))
        for hit in recommender.recommend(f"user {user}", k=4).hits:
            assert hit.rest == pytest.approx(float(shop.first[user] @ shop.items[hit.number]), abs=1e-9)
            parts = {recommender.names.known(reason.item): reason.part for reason in hit.reasons}
            assert set(parts) <= own and all(part > 0 for part in parts.values())
            assert list(parts.values()) == sorted(parts.values(), reverse=True)
            exact = shop.folds[sorted(own)] @ shop.items[hit.number] / len(own) ** 0.5
            assert float(exact.sum()) + hit.rest == pytest.approx(hit.score)
            assert parts == pytest.approx({i: v for i, v in zip(sorted(own), exact.tolist()) if v > 0})
            speaks = sum(parts.values()) + max(hit.rest, 0)
            assert [reason.share for reason in hit.reasons] == pytest.approx([v / speaks for v in parts.values()])


def test_only_the_largest_parts_are_named(shop: Shop) -> None:
    every = shop.recommender(reasons=ITEMS).recommend("user 0", k=3)
    some = shop.recommender(reasons=2).recommend("user 0", k=3)
    assert [hit.reasons for hit in some.hits] == [hit.reasons[:2] for hit in every.hits]
    assert all(not hit.reasons for hit in shop.recommender(reasons=0).recommend("user 0", k=3).hits)


def test_a_newcomer_is_what_propagation_would_make_of_it() -> None:
    """Fold-in against the dense graph with a user whose own embedding is 0 and whose items keep their degrees."""
    train = (np.random.default_rng(0).random((30, ITEMS)) < 0.25).astype(float)
    mean, sent, _ = propagated(train, 1)
    names = None
    history = csr_array(train)
    items, users = mean[30:], mean[:30]
    recommender = Recommender(reasons=ITEMS).fit(items, users=users, folds=sent[30:], history=history, names=names)
    own = np.flatnonzero(train[4])
    # Without layer 0 a trained user is nothing but its items: the newcomer with these items is that user.
    answer = recommender.recommend_for([str(number) for number in own], k=5)
    trained = recommender.recommend("4", k=5)
    assert answer.rule == "fold-in"
    assert [hit.number for hit in answer.hits] == [hit.number for hit in trained.hits]
    assert [hit.score for hit in answer.hits] == pytest.approx([hit.score for hit in trained.hits])
    for hit in answer.hits:
        assert hit.rest == pytest.approx(0, abs=1e-9)


def test_order_and_repetition_of_items_do_not_matter(shop: Shop) -> None:
    recommender = shop.recommender()
    one = recommender.recommend_for(["i0", "i2", "i7"])
    other = recommender.recommend_for(["i7", "blade runner (1982)", "i0", "i2"])
    assert [hit.number for hit in one.hits] == [hit.number for hit in other.hits]
    assert other.notes == ("An item that was given twice counts once.",)
    assert not {0, 2, 7} & {hit.number for hit in one.hits}


def test_items_that_nobody_touched_are_left_out_or_refused(shop: Shop) -> None:
    recommender = shop.recommender()
    answer = recommender.recommend_for(["i0", f"i{LONELY_ITEM}"])
    assert answer.notes[0] == f"Nobody touched i{LONELY_ITEM} (Film {LONELY_ITEM}) in training: left out."
    assert [hit.number for hit in answer.hits] == [hit.number for hit in recommender.recommend_for(["i0"]).hits]
    for ask in (lambda: recommender.recommend_for([f"i{LONELY_ITEM}"]), lambda: recommender.similar(f"i{LONELY_ITEM}")):
        with pytest.raises(DataError, match="which nobody touched in training"):
            ask()


def test_a_user_without_history_gets_the_popular_and_hears_of_it(shop: Shop) -> None:
    answer = shop.recommender().recommend(f"user {LONELY_USER}", k=5)
    counts = shop.history.toarray().sum(axis=0)
    hidden = shop.known[[LONELY_USER]].toarray()[0] > 0
    wanted = np.argsort(-np.where(hidden, -1, counts), kind="stable")[:5]
    assert answer.rule == "popularity"
    assert "no training interaction is known" in answer.notes[0]
    assert [hit.number for hit in answer.hits] == wanted.tolist()
    assert [hit.score for hit in answer.hits] == counts[wanted].tolist()
    assert all(not hit.reasons for hit in answer.hits)


def test_similar_is_cosine_and_counts_shared_users(shop: Shop) -> None:
    answer = shop.recommender().similar("Alien (1979)", k=4)
    unit = torch.nn.functional.normalize(shop.items, dim=1)
    scores = (unit @ unit[0]).numpy().copy()
    scores[[0, LONELY_ITEM]] = -np.inf
    wanted = np.argsort(-scores, kind="stable")[:4]
    train = shop.history.toarray()
    assert [hit.number for hit in answer.hits] == wanted.tolist()
    assert [hit.shared for hit in answer.hits] == [int((train[:, 0] * train[:, i]).sum()) for i in wanted]
    assert 0 not in [hit.number for hit in shop.recommender().similar("i0", k=ITEMS, filters=Filters(seen=True)).hits]


def test_without_propagation_there_are_no_reasons_and_newcomers_are_means(shop: Shop) -> None:
    shop.folds = None  # type: ignore[assignment]
    recommender = shop.recommender()
    answer = recommender.recommend("user 0")
    assert all(not hit.reasons for hit in answer.hits)
    assert "no reasons" in answer.notes[0]
    newcomer = recommender.recommend_for(["i0", "i1"], k=3)
    assert newcomer.rule == "likeness" and "ranked by cosine" in newcomer.notes[0]
    unit = torch.nn.functional.normalize(shop.items, dim=1)
    for hit in newcomer.hits:
        assert hit.score == pytest.approx(float(unit[hit.number] @ unit[:2].mean(dim=0)))
        assert hit.rest == pytest.approx(0, abs=1e-9)


def test_equal_scores_come_in_the_order_of_the_items() -> None:
    items = torch.ones(6, 2)
    history = csr_array(np.array([[1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]]))
    recommender = Recommender().fit(items, users=torch.ones(2, 2), folds=items, history=history)
    assert [hit.number for hit in recommender.recommend("0", k=4).hits] == [1, 2, 3, 4]


def test_seen_items_may_be_asked_for(shop: Shop) -> None:
    answer = shop.recommender().recommend("user 0", k=ITEMS, filters=Filters(seen=True))
    assert len(answer.hits) == ITEMS - 1  # but the one that nobody touched
    hidden = shop.recommender().recommend("user 0", k=ITEMS)
    assert not {hit.number for hit in hidden.hits} & set(np.flatnonzero(shop.known[[0]].toarray()[0]))
    assert hidden.notes == (f"{len(hidden.hits)} items are left to recommend; {ITEMS} were asked for.",)


def test_nothing_is_left_to_somebody_who_has_everything() -> None:
    history = csr_array(np.ones((2, 3)))
    recommender = Recommender().fit(torch.ones(3, 2), users=torch.ones(2, 2), folds=torch.ones(3, 2), history=history)
    answer = recommender.recommend("1", k=2)
    assert answer.hits == () and answer.notes == ("0 items are left to recommend; 2 were asked for.",)


def test_what_is_wrong_is_named(shop: Shop) -> None:
    recommender = shop.recommender()
    with pytest.raises(ConfigError, match="k: found 0"):
        recommender.recommend("user 0", k=0)
    with pytest.raises(ConfigError, match="k: found 0"):
        Recommender(k=0)
    with pytest.raises(ConfigError, match="reasons: found -1"):
        Recommender(reasons=-1)
    with pytest.raises(DataError, match=r"user: found 'user 99'.*Did you mean 'user 9'"):
        recommender.recommend("user 99")
    with pytest.raises(DataError, match="items: found none"):
        recommender.recommend_for([])
    with pytest.raises(DataError, match=r"item: found 'Alein'.*Did you mean 'Alien \(1979\)'"):
        recommender.similar("Alein")
    with pytest.raises(ConfigError, match="fit before predict"):
        Recommender().recommend("0")


def test_arrays_that_do_not_fit_are_refused(shop: Shop) -> None:
    with pytest.raises(ShapeError, match="items: found shape"):
        Recommender().fit(torch.zeros(0, 3))
    with pytest.raises(ShapeError, match="users: found shape"):
        Recommender().fit(shop.items, users=torch.zeros(4, DIM_OTHER))
    with pytest.raises(ShapeError, match="history: found shape"):
        Recommender().fit(shop.items, users=shop.users, history=csr_array(np.ones((2, 2))))
    with pytest.raises(ShapeError, match="labels: found 3"):
        Recommender().fit(shop.items, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ShapeError, match="features: found shape"):
        Recommender().fit(shop.items).predict(torch.zeros(2, DIM_OTHER))


DIM_OTHER = 5


def test_the_tasks_contract_on_arrays() -> None:
    items, labels = torch.eye(4).repeat(3, 1), torch.arange(4).repeat(3)
    task = Recommender(k=4).fit(items, labels)
    assert task.evaluate(torch.eye(4), torch.arange(4)) == {"label_precision@4": 0.75, "label_hit@4": 1.0}
    assert task.predict(torch.eye(4)[:1]).items[0, :3].tolist() == [0, 4, 8]
    with pytest.raises(ConfigError, match="without labels"):
        Recommender().fit(items).evaluate(torch.eye(4), torch.arange(4))
    with pytest.raises(ShapeError, match="none that is known"):
        task.evaluate(torch.eye(4), torch.full((4,), -1))
