"""The contact sheet: what is drawn where."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from counterpoint.errors import DataError, ShapeError
from counterpoint_vision.data import ImageFolder
from counterpoint_vision.tasks import Tile, contact_sheet, sheet

pytestmark = pytest.mark.unit

GREEN, RED = (0x2A, 0x9D, 0x5C), (0xD1, 0x49, 0x5B)


def image(height: int = 32, width: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def drawn(path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def count(pixels: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((pixels == color).all(-1).sum())


def test_one_row_per_query_one_column_per_neighbour(tmp_path):
    rows = [[Tile(image(), "x")] * 4, [Tile(image())]]
    one = drawn(contact_sheet([Tile(image())], rows[:1], tmp_path / "one.png"))
    two = drawn(contact_sheet([Tile(image())] * 2, rows, tmp_path / "new" / "two.png"))
    step = sheet.SIDE + sheet.LINE + sheet.GAP
    assert two.shape[0] - one.shape[0] == step and two.shape[1] == one.shape[1]
    wider = drawn(contact_sheet([Tile(image())], [rows[0] * 2], tmp_path / "one.png"))
    assert wider.shape[1] - one.shape[1] == 4 * (sheet.SIDE + sheet.GAP)


def test_small_images_are_enlarged_by_a_whole_factor_without_smoothing(tmp_path):
    pixels = drawn(contact_sheet([Tile(image())], [[]], tmp_path / "s.png"))
    enlarged = image().permute(1, 2, 0).numpy().repeat(4, 0).repeat(4, 1)
    left = sheet.MARGIN + sheet.FRAME
    rows = np.flatnonzero((pixels[:, left : left + 128] == enlarged[0]).all((1, 2)))
    assert len(rows) >= 4
    assert np.array_equal(pixels[rows[0] : rows[0] + 128, left : left + 128], enlarged)


def test_large_and_oblong_images_fit_their_tile():
    assert sheet.fitted(image(300, 600), 128).size == (128, 64)
    assert sheet.fitted(image(4000, 10), 128).size == (1, 128)
    assert sheet.fitted(image(50, 20), 128).size == (40, 100)


def test_frames_tell_whether_classes_agree(tmp_path):
    blank = torch.full((3, 32, 32), 255, dtype=torch.uint8)
    query = Tile(blank, label=1)
    right, wrong, unknown = Tile(blank, label=1), Tile(blank, label=0), Tile(blank)

    def frames(*row: Tile, asked: Tile = query) -> tuple[int, int]:
        pixels = drawn(contact_sheet([asked], [row], tmp_path / "f.png"))[: -2 * sheet.MARGIN]
        return count(pixels, GREEN), count(pixels, RED)

    edge = 136**2 - 128**2
    assert frames(right, right) == (2 * edge, 0)
    assert frames(right, wrong, unknown) == (edge, edge)
    assert frames(right, wrong, asked=unknown) == (0, 0)


def test_text_is_drawn_and_cut_to_the_tile(tmp_path):
    plain = drawn(contact_sheet([Tile(image())], [[Tile(image())]], tmp_path / "a.png"))
    long = Tile(image(), "a/very/long/path/" * 5 + "name.jpg", score=0.123)
    texts = drawn(contact_sheet([Tile(image())], [[long]], tmp_path / "b.png", title=""))
    assert plain.shape == texts.shape
    changed = np.flatnonzero((plain != texts).any((0, 2)))
    left = sheet._left(1)
    assert changed.min() >= left and changed.max() < left + sheet.SIDE
    titled = drawn(contact_sheet([Tile(image())], [[long]], tmp_path / "c.png", title="Nearest"))
    assert titled.shape[0] > texts.shape[0]


def test_a_path_keeps_its_end_and_a_word_its_beginning():
    def fits(text: str) -> bool:
        return len(text) <= 6

    assert sheet._cut("a/bc/def.png", fits) == "…f.png"
    assert sheet._cut("hippopotamus", fits) == "hippo…"
    assert sheet._cut("short", fits) == "short"
    assert sheet._cut("anything", lambda text: False) == ""


def test_tiles_of_a_dataset(tmp_path):
    for name in ("cat/1.png", "dog/2.png", "3.png"):
        place = tmp_path / name
        place.parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(place)
    (tmp_path / "4.png").touch()
    data = ImageFolder(str(tmp_path))
    tiles = {data.name(i): i for i in range(4)}
    tile = Tile.of(data, tiles["dog/2.png"], score=0.5)
    assert (tile.caption, tile.score, tile.label, tuple(tile.image.shape)) == ("dog", 0.5, 1, (3, 4, 4))
    assert Tile.of(data, tiles["3.png"]).caption == "3.png"
    with pytest.raises(DataError, match=r"image 4\.png: found empty file; allowed: an image that can be read"):
        Tile.of(data, tiles["4.png"])


def test_errors(tmp_path):
    with pytest.raises(ShapeError, match="neighbours: found 1 queries and 0 rows"):
        contact_sheet([Tile(image())], [], tmp_path / "x.png")
    with pytest.raises(ShapeError, match="neighbours: found 0 queries"):
        contact_sheet([], [], tmp_path / "x.png")
    with pytest.raises(ShapeError, match=r"image: found torch\.float32 \(3, 4, 4\); allowed: uint8 \(3, H, W\)"):
        contact_sheet([Tile(torch.rand(3, 4, 4))], [[]], tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
