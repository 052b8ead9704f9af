"""A table of recommendations for everybody: the same as asking one by one, and whole or not there."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from counterpoint.errors import ConfigError, DataError, TrainingError
from counterpoint_graphrec.tasks import Filters, batch
from shops import LONELY_USER, USERS, Shop

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("filters", [Filters(), Filters(seen=True), Filters(groups=["Drama"], without=["i5"])], ids=str)
def test_it_is_what_each_user_would_be_answered(
    shop: Shop, tmp_path: Path, filters: Filters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MOST_USERS", 7)  # several row groups
    recommender, done = shop.recommender(reasons=2), []
    told = recommender.batch(tmp_path / "recs.parquet", 5, filters, tick=done.append)
    assert pq.ParquetFile(tmp_path / "recs.parquet").num_row_groups == len(done) > 3
    assert sum(done) == told.users == USERS
    rows = pq.read_table(tmp_path / "recs.parquet").to_pylist()
    assert len(rows) == told.rows
    for user in shop.names.users:
        answer = recommender.recommend(user, 5, filters)
        mine = [row for row in rows if row["user"] == user]
        assert [row["rank"] for row in mine] == list(range(1, len(mine) + 1))
        assert [(row["item"], row["title"]) for row in mine] == [(hit.item, hit.title) for hit in answer.hits]
        assert [row["score"] for row in mine] == pytest.approx([hit.score for hit in answer.hits], abs=1e-6)
        assert [row["because"] for row in mine] == [[why.item for why in hit.reasons] for hit in answer.hits]
        assert {row["rule"] for row in mine} == {answer.rule}
    assert told.popular == 1 and told.empty == 0


def test_some_users_only(shop: Shop, tmp_path: Path) -> None:
    told = shop.recommender().batch(tmp_path / "r.parquet", 3, users=["user 4", f"user {LONELY_USER}"])
    assert told.users == 2 and told.popular == 1
    assert pq.read_table(tmp_path / "r.parquet")["user"].unique().to_pylist() == ["user 4", f"user {LONELY_USER}"]


def test_who_has_everything_is_counted(shop: Shop, tmp_path: Path) -> None:
    only = [shop.names.items[number] for number in shop.known[[0]].indices]
    told = shop.recommender().batch(tmp_path / "r.parquet", 3, Filters(only=only))
    assert told.empty >= 1
    assert "user 0" not in pq.read_table(tmp_path / "r.parquet")["user"].to_pylist()


def test_stopped_halfway_it_leaves_nothing_and_an_older_table_alone(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MOST_USERS", 7)
    out = tmp_path / "recs.parquet"

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shop.recommender().batch(out, tick=stop)
    assert list(tmp_path.iterdir()) == []
    shop.recommender().batch(out, 2)
    before = out.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        shop.recommender().batch(out, 3, tick=stop)
    assert out.read_bytes() == before and list(tmp_path.iterdir()) == [out]


def test_what_is_wrong_is_named(shop: Shop, tmp_path: Path) -> None:
    out = tmp_path / "recs.parquet"
    with pytest.raises(ConfigError, match="k: found 0"):
        shop.recommender().batch(out, 0)
    with pytest.raises(ConfigError, match="found 0 users"):
        shop.recommender().batch(out, users=[])
    with pytest.raises(DataError, match="user: found 'nobody'"):
        shop.recommender().batch(out, users=["nobody"])
    with pytest.raises(DataError, match="leave no item"):
        shop.recommender().batch(out, filters=Filters(least_users=1000))
    (tmp_path / "folder").mkdir()
    with pytest.raises(TrainingError, match=r"out: found .*folder"):
        shop.recommender().batch(tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder"]
