"""What the vision plugin adds to the report: thumbnails and views, small and true."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import counterpoint as cp
from browser import open_page
from counterpoint.errors import DataError
from counterpoint.report import Context, Gallery
from counterpoint.report.page import write_report
from counterpoint.training.pretrain import pretrain
from counterpoint.types import Sample
from counterpoint_vision.report import thumbnail
from counterpoint_vision.report import views as shown_views

SMALL = {"tensorboard": False, "progress": False, "epochs": 1, "batch_size": 16}


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.unit
def test_a_small_image_is_kept_pixel_by_pixel() -> None:
    image = torch.randint(0, 256, (3, 8, 12), dtype=torch.uint8)
    made = thumbnail(Sample(0, {"image": image}), 64)
    assert made.media_type == "image/png"
    assert np.array_equal(np.asarray(opened(made.data)), image.permute(1, 2, 0).numpy())


@pytest.mark.unit
@pytest.mark.parametrize("size", [(700, 300), (2, 4000), (65, 65)])
def test_a_large_image_becomes_small_and_keeps_its_form(size: tuple[int, int]) -> None:
    made = thumbnail(Sample(0, {"image": torch.zeros(3, *size, dtype=torch.uint8)}), 64)
    picture = opened(made.data)
    assert max(picture.size) <= 64
    assert (picture.height >= picture.width) == (size[0] >= size[1])
    assert len(made.data) < 4000


@pytest.mark.unit
def test_a_sample_without_an_image_is_named() -> None:
    with pytest.raises(DataError, match="one called 'image'"):
        thumbnail(Sample(0, {"sound": torch.zeros(3)}), 64)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a short run on real pictures."""
    out = tmp_path_factory.mktemp("vision") / "run"
    run = pretrain("vision/simclr", data="photographs", out=out, dataset={"train_patches": 20}, max_steps=4, **SMALL)
    report = write_report(run)
    assert report.failures == []
    return report.path


@pytest.mark.unit
def test_a_run_on_pictures_shows_pictures(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "What training compared" in text
    assert text.count(">global view</span>") == 12
    assert text.count("data:image/png;base64,") > 100
    assert page.stat().st_size < 5_000_000


@pytest.mark.unit
@pytest.mark.parametrize(("objective", "views"), [("plain", 1), ("SupCon", 2)])
def test_a_fine_tuning_shows_the_views_and_samples_that_it_saw(
    page: Path, tmp_path: Path, objective: str, views: int
) -> None:
    settings = {**SMALL, "report": False, "max_steps": 2, "labels_per_class": 1}
    run = cp.finetune(page.parent, "classify", out=tmp_path / "run", objective=objective, **settings)
    context = Context(run)
    section = shown_views(context)
    assert section.title == "What training saw"
    (gallery,) = section.parts
    assert isinstance(gallery, Gallery)
    assert [len(row) for row in gallery.rows] == [1 + views] * 6
    taught = {context.dataset.name(index) for index in context.trained_on}
    assert len(taught) == len(context.dataset.classes or ())
    assert {row[0].caption for row in gallery.rows} <= taught


@pytest.mark.unit
def test_local_views_and_unlabelled_folders(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(24):
        picture = Image.fromarray(draw.integers(0, 255, (40, 60, 3)).astype(np.uint8))
        picture.save(tmp_path / "photos" / f"<b>{number}.png")
    (tmp_path / "photos" / "torn.png").write_bytes(b"no picture")
    run = cp.pretrain("vision/swav", data=tmp_path / "photos", out=tmp_path / "run", **SMALL)
    text = (run.path / "report.html").read_text(encoding="utf-8")
    assert "local view" in text
    assert "&lt;b&gt;" in text
    assert not re.search(r"<b>\d+\.png", text)


@pytest.mark.browser
def test_hovering_the_map_shows_the_thumbnail(page: Path) -> None:
    with open_page(page) as browser:
        tab = browser.page
        tab.locator(".field svg").scroll_into_view_if_needed()
        tab.locator(".field .spot").first.hover(force=True)
        assert tab.locator("#tip img").evaluate("image => image.complete && image.naturalWidth") == 32
        assert tab.locator(".gallery img").evaluate_all("all => all.every(one => one.naturalWidth > 0)")
        assert (browser.errors, browser.left) == ([], [])
