"""MovieLens-100k: fetched by pip from a wheel, checked, cached; here from a small wheel of our own."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from counterpoint.errors import DataError
from counterpoint_graphrec.data import InteractionTable, MovieLens, RecBoleFile, movielens

pytestmark = pytest.mark.unit

SMALL = {
    "ml-100k.inter": b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t7\t3\t5\n2\t8\t4\t6\n",
    "ml-100k.item": b"item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    b"7\tEmma\t1996\tDrama Romance\n8\tEmma\t\tDrama\n9\tUnseen\t1999\tWar\n",
}


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("COUNTERPOINT_DATA", str(tmp_path / "home"))
    return tmp_path / "home" / "movielens-100k"


@pytest.fixture
def wheels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that is all that pip can see."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for key, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{key}", value)
    monkeypatch.setattr(movielens, "FILES", {name: hashlib.sha256(raw).hexdigest() for name, raw in SMALL.items()})
    return folder


def pack(folder: Path, files: dict[str, bytes]) -> Path:
    """A wheel as small as pip takes it."""
    place = folder / "recbole-1.2.1-py3-none-any.whl"
    with zipfile.ZipFile(place, "w") as archive:
        for name, raw in files.items():
            archive.writestr(f"recbole/dataset_example/ml-100k/{name}", raw)
        archive.writestr("recbole-1.2.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n")
        archive.writestr("recbole-1.2.1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("recbole-1.2.1.dist-info/RECORD", "")
    return place


def test_it_is_fetched_once_with_titles_years_and_genres(home, wheels, capsys):
    wheel = pack(wheels, SMALL)
    data = MovieLens("movielens-100k")
    assert list(data.titles) == ["Emma (1996)", "Emma"] and list(data.groups) == ["Drama", "Drama"]
    assert {place.name for place in home.iterdir()} == set(SMALL)
    assert "Fetched movielens-100k into" in capsys.readouterr().err.replace("\n", " ")
    wheel.unlink()
    assert MovieLens("movielens-100k").digest() == data.digest()
    assert capsys.readouterr().err == ""
    (home / "ml-100k.inter").write_bytes(b"changed")
    with pytest.raises(DataError, match=r"ml-100k.inter with other content; .*Delete it, and it is fetched again"):
        MovieLens("movielens-100k")


def test_without_a_connection_it_says_what_to_do(home, wheels):
    with pytest.raises(DataError, match=r"movielens-100k is not here, and pip says: .*recbole==1.2.1.*connection once"):
        MovieLens("movielens-100k")
    assert not list(home.iterdir())


def test_other_content_is_refused_and_nothing_is_left(home, wheels):
    pack(wheels, SMALL | {"ml-100k.item": b"other"})
    with pytest.raises(DataError, match=r"ml-100k.item in recbole-1.2.1.*.whl with other content; allowed: SHA-256"):
        MovieLens("movielens-100k")
    assert not list(home.iterdir())
    pack(wheels, {"ml-100k.inter": SMALL["ml-100k.inter"]})
    with pytest.raises(DataError, match=r"is damaged"):
        MovieLens("movielens-100k")


def test_a_place_that_cannot_be_written(monkeypatch, tmp_path, wheels):
    pack(wheels, SMALL)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("COUNTERPOINT_DATA", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"movielens-100k: Not a directory; .*Set COUNTERPOINT_DATA to a folder"):
        MovieLens("movielens-100k")


def test_it_gives_up_in_time(home, wheels):
    pack(wheels, SMALL)
    with pytest.raises(DataError, match=r"pip says: no end after 0.01 s"):
        movielens.fetch(home, seconds=0.01)


def test_names():
    assert MovieLens.accepts("movielens-100k") and not MovieLens.accepts("movielens")
    assert not InteractionTable.accepts("movielens-100k") and not RecBoleFile.accepts("movielens-100k")
    with pytest.raises(DataError, match=r"source: found 'movielens-10k'; .*Did you mean 'movielens-100k'\?"):
        MovieLens("movielens-10k")


@pytest.mark.slow
def test_the_real_set(home):
    try:
        data = MovieLens("movielens-100k")
    except DataError as error:
        if "pip says" not in str(error):
            raise
        pytest.skip(f"pip has no connection: {error}")
    assert (len(data), data.n_users, data.n_items) == (100_000, 943, 1_682)
    assert (
        data.titles[data.item_number("1")] == "Toy Story (1995)" and data.groups[data.item_number("1")] == "Animation"
    )
    parts = data.splits()
    assert [len(rows) for rows in parts.values()] == [70_771, 9_596, 19_633]
    assert np.bincount(data.pairs[parts["test"], 0]).min() >= 4
    assert len(MovieLens("movielens-100k", min_rating=4)) == 55_375
    assert len({data.entities().name(i) for i in range(1_682)}) == 1_682
