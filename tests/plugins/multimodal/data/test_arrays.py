"""Archives of pictures and texts: packed or plain, in one style or several; and the two real sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from counterpoint.errors import ConfigError, DataError
from counterpoint.parts import data_home
from counterpoint.types import Damaged
from counterpoint_multimodal.data import PairArrays, examples
from counterpoint_multimodal.data.captions import decode

pytestmark = pytest.mark.unit
STYLES = ("ink", "oil", "chalk")
COUNT = 40


@pytest.fixture(scope="module")
def styles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty concepts in three styles; two share a keyword, and the last five are flags."""
    place = tmp_path_factory.mktemp("styles") / "styles.npz"
    arrays: dict[str, np.ndarray] = {}
    for number, style in enumerate(STYLES):
        drawn = [one.image for one in examples.drawings(COUNT, side=16 + number)]
        packed = [examples._png(image) for image in drawn]
        arrays |= {f"{style}_png": np.frombuffer(b"".join(packed), np.uint8)}
        arrays |= {f"{style}_offset": np.cumsum([0, *map(len, packed)])}
    words = [f"w{number}" for number in range(COUNT)]
    np.savez(
        place,
        **arrays,
        codepoint=[f"1F{number:03X}" for number in range(COUNT)],
        name=[f"Concept {word}" for word in words],
        short_names=[f"also_{word}|{word}-too" for word in words],
        keywords=["twin|pair" if number < 2 else f"{word}|key" for number, word in enumerate(words)],
        category=["Flags" if number >= 35 else "odd" if number % 2 else "even" for number in range(COUNT)],
    )
    return place


def test_the_example(tmp_path):
    data = PairArrays(**examples.arrays(tmp_path))
    assert len(data) == 48 and data.in_memory and data.classes == ["circle", "square", "triangle"]
    assert data.captions[0] == ["a small red circle", "circle in red, small"] and data.captions[1][1:] == []
    batch = data.batch([0, 47, 1])
    assert batch.data["image"].shape == (3, 3, 40, 40) and batch.content[0] == batch.content[1] != batch.content[2]
    assert decode(batch.data["text"]) == [data.captions[0], data.captions[47], data.captions[1]]
    assert [len(rows) for rows in data.splits().values()] == [31, 9, 8]


def test_styles(styles):
    data = PairArrays(str(styles))
    assert len(data) == 3 * 35 and any("Left out: 5 flags" in note for note in data.notes)
    assert data.name(0) == "ink/1F000" and data.columns["style"][35] == "oil" and data.classes == ["even", "odd"]
    assert data.captions[3] == ["Concept w3", "also w3", "w3 too", "w3, key"]
    assert data.groups()[[0, 1, 35, 36, 70]].tolist() == [0] * 5  # a keyword is shared
    assert data.groups()[[2, 37, 72]].tolist() == [2] * 3
    named = PairArrays(str(styles), texts="name", styles=["oil"], flags=True)
    assert len(named) == 40 and named.captions[0] == ["Concept w0"] and named.groups().tolist() == list(range(40))


def test_concepts_keep_their_part_whatever_the_options(styles):
    def concepts(**options) -> list[set[str]]:
        data = PairArrays(str(styles), **options)
        return [{data.columns["codepoint"][row] for row in rows} for rows in data.splits().values()]

    parts = concepts()
    assert all(parts) and not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert concepts(styles=["chalk"], texts="name") == parts
    assert [found - parts[number] for number, found in enumerate(concepts(flags=True))] != parts


def test_an_unseen_style(styles):
    data = PairArrays(str(styles), unseen="style", held_style="oil")
    parts = {part: [data.name(row).split("/") for row in rows] for part, rows in data.splits().items()}
    style = {part: {one for one, _ in names} for part, names in parts.items()}
    concept = {part: {one for _, one in names} for part, names in parts.items()}
    assert style == {"train": {"ink", "chalk"}, "val": {"ink", "chalk"}, "test": {"oil"}}
    assert concept["test"] == concept["train"] and not concept["train"] & concept["val"]
    assert len(data) == 3 * 35 - len(concept["val"])
    with pytest.raises(ConfigError, match=r"held_style: found 'twemoji'; allowed: one of two styles or more: ink, oil"):
        PairArrays(str(styles), unseen="style")
    with pytest.raises(ConfigError, match=r"styles: found 'inc'; .*Did you mean 'ink'\?"):
        PairArrays(str(styles), styles=["inc"])


def test_plain_pictures(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 9, 3)).astype(np.uint8)
    images[11] = images[0]
    np.savez(tmp_path / "a.npz", images=images, caption=[f"number {'abcdefghijkl'[n]}" for n in range(12)])
    data = PairArrays(str(tmp_path / "a.npz"))
    assert (data[3].data["image"].permute(1, 2, 0).numpy() == images[3]).all() and data.labels is None
    assert data[0].content == data[11].content != data[1].content and data.name(3) == "000003"
    assert (data.batch([2, 3]).data["image"][1] == data[3].data["image"]).all()


def test_a_damaged_picture_and_an_empty_text(tmp_path):
    packed = [examples._png(one.image) for one in examples.drawings(4, side=8)]
    packed[1] = b"broken"
    offset = np.cumsum([0, *map(len, packed)])
    texts = ["one", "two", " ", "four"]
    np.savez(tmp_path / "a.npz", x_png=np.frombuffer(b"".join(packed), np.uint8), x_offset=offset, text=texts)
    data = PairArrays(str(tmp_path / "a.npz"))
    assert isinstance(data[1], Damaged) and isinstance(data[2], Damaged) and data[2].reason == "no caption"
    assert data.batch(range(4)).index.tolist() == [0, 3]


@pytest.mark.parametrize(
    ("arrays", "error"),
    [
        ({"text": ["a"]}, r"a.npz with text; allowed: packed or plain uint8 pictures"),
        ({"images": np.zeros((2, 4, 4, 3)), "text": ["a", "b"]}, r"images: found float64 \(2, 4, 4, 3\)"),
        ({"images": np.zeros((2, 4, 4, 3), np.uint8)}, r"caption: found a.npz with nothing"),
        ({"images": np.zeros((2, 4, 4, 3), np.uint8), "text": ["a"]}, r"caption: found a.npz with nothing"),
        ({"x_png": np.zeros(9, np.uint8), "x_offset": np.array([0, 99]), "text": ["a"]}, r"x_offset: found \(2,\)"),
        ({"images": np.array([object()] * 2), "text": ["a", "b"]}, r"pickled objects are refused"),
    ],
)
def test_archives_that_cannot_be_used(tmp_path, arrays, error):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=error):
        PairArrays(str(tmp_path / "a.npz"))


def test_names(monkeypatch, tmp_path):
    monkeypatch.setenv("COUNTERPOINT_DATA", str(tmp_path))
    assert PairArrays.accepts("emoji-styles") and not PairArrays.accepts("emoji") and not PairArrays.accepts("x.npz")
    with pytest.raises(DataError, match=r"no .*emoji-styles; .*use 'emoji', which is fetched"):
        PairArrays("emoji-styles")
    with pytest.raises(DataError, match=r"source: found 'emoji-style'; .*Did you mean 'emoji-styles'\?"):
        PairArrays("emoji-style")


def real(name: str) -> None:
    if not (data_home() / "multimodal" / name).is_dir():
        pytest.skip("no data home: set COUNTERPOINT_DATA to a folder with real data sets")


def test_emoji_styles():
    real("emoji-styles")
    data = PairArrays("emoji-styles")
    assert len(data) == 3 * 1_641 and len(data.classes) == 9
    assert [len(rows) // 3 for rows in data.splits().values()] == [1_323, 180, 138]
    assert data.captions[100][0] == "cherry blossom" and data.name(100) == "openmoji/1F338"


def test_fashion_products():
    real("fashion-products")
    data = PairArrays("fashion-products")
    assert [len(rows) for rows in data.splits().values()] == [4_486, 514, 1_000] and len(data.classes) > 50
    groups = [set(data.groups()[rows].tolist()) for rows in data.splits().values()]
    assert not groups[0] & groups[1]
    assert any("In val and test: 279 samples share one with train" in note for note in data.notes)
