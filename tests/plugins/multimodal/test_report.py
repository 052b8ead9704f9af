"""What the plugin adds to the report: what the encoder finds on val, marked as it is, and a page without errors."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from browser import open_page
from counterpoint.report import Context, Missing, Picture
from counterpoint.report.page import write_report
from counterpoint.run import Run
from counterpoint.training.evaluate import evaluate_run
from counterpoint.training.pretrain import pretrain
from counterpoint_multimodal import report
from counterpoint_multimodal.cases import embedded
from counterpoint_multimodal.data import PairTable
from counterpoint_multimodal.data.examples import toy
from counterpoint_multimodal.report import queries, thumbnail
from counterpoint_multimodal.tasks import ZeroShot

TOWERS = {"dim": 16, "image_options": {"width": 8}, "text_width": 16, "text_layers": 1, "text_heads": 2}
SMALL = {"tensorboard": False, "progress": False, "epochs": 1, "batch_size": 32, "seed": 3}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short run on drawn shapes."""
    folder = tmp_path_factory.mktemp("shapes")
    encoder = {"class_path": "counterpoint_multimodal.encoders.TwoTowers", "init_args": TOWERS}
    data = toy(folder, 96, 24)["source"]
    return pretrain("multimodal/clip", data=data, out=folder / "run", encoder=encoder, **SMALL)


@pytest.fixture
def context(trained: Run, tmp_path: Path) -> Context:
    return Context(Run(shutil.copytree(trained.path, tmp_path / "run")))


@pytest.mark.unit
def test_rows_are_what_a_text_finds_and_the_last_is_what_was_looked_for(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "FOUND", 3)
    monkeypatch.setattr(report, "LINES", 2)
    section = queries(context)
    gallery, _, answers = section.parts
    case, (found,) = embedded(context.run.encoder, context.run.views, context.dataset, "val")
    scores = normalize(found.texts, dim=1) @ normalize(found.images[case.rows], dim=1).T
    right = torch.zeros_like(scores, dtype=torch.bool)
    right[case.right[:, 1], case.right[:, 0]] = True
    assert len(gallery.rows) == len(answers.cases) == 6
    for asked, *tiles in gallery.rows:
        text = case.texts.index(asked.preview)
        order = scores[text].argsort(descending=True, stable=True).tolist()
        first = next(place for place, picture in enumerate(order) if right[text, picture])
        shown = 3 if first < 3 else 2
        assert [float(tile.note) for tile in tiles[:shown]] == pytest.approx(scores[text, order[:shown]], abs=0.006)
        assert [tile.mark == "same" for tile in tiles[:shown]] == right[text, order[:shown]].tolist()
        assert [tile.note for tile in tiles[shown:]] == [f"at place {first + 1}"] * (first >= 3)
    for tile, entries in answers.cases:
        (picture,) = {p for p in range(len(case.rows)) if tile.preview == _picture(context, case, p)}
        order = scores[:, picture].argsort(descending=True, stable=True).tolist()
        assert [entry.text for entry in entries] == [case.texts[text] for text in order[:2]]
        assert [entry.right for entry in entries] == right[order[:2], picture].tolist()
        assert bool(tile.note) == (not right[order[:2], picture].any())
    hits = sum(right[text, order[:10]].any() for text, order in enumerate(scores.argsort(descending=True)))
    assert f"{float(hits) / len(scores):.0%} find one among the first 10" in section.lead
    assert queries(context) == queries(context)


def _picture(context: Context, case: object, number: int) -> object:
    return context.preview(int(case.index[case.rows[number]]), report.LARGE)  # type: ignore[attr-defined]


@pytest.mark.unit
def test_only_val_is_looked_at_and_what_is_missing_is_said(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = PairTable.__getitem__, set[int]()
    monkeypatch.setattr(PairTable, "__getitem__", lambda self, i: asked.add(i) or real(self, i))
    queries(context)
    assert asked <= set(context.dataset.splits()["val"].tolist())
    for path in Path(context.config["data"]).parent.glob("images/*"):
        path.rename(path.with_suffix(".gone"))
    try:
        with pytest.raises(Missing, match="no pair that can be read"):
            queries(context)
    finally:
        for path in Path(context.config["data"]).parent.glob("images/*.gone"):
            path.rename(path.with_suffix(".png"))


@pytest.mark.unit
def test_a_thumbnail_is_the_picture(context: Context) -> None:
    made = thumbnail(context.dataset[0], 16)  # type: ignore[arg-type]
    assert isinstance(made, Picture)
    assert made.data[1:4] == b"PNG"


@pytest.mark.unit
def test_classes_are_read_from_a_run(context: Context) -> None:
    task = ZeroShot.of_run(context.run.path, context.dataset.classes, ["{}"])
    case, (found,) = embedded(context.run.encoder, context.run.views, context.dataset, "val")
    assert task.predict(found.images).shape == case.labels.shape
    assert 0 <= task.evaluate(found.images, case.labels)["zero_shot@1"] <= 1


@pytest.mark.browser
def test_the_page_is_whole_on_a_phone(context: Context) -> None:
    rows = evaluate_run(context.run, split="val", quick=True).rows
    assert list(rows) == ["learnt", "untrained", "colours + words", "3x3 colours + words", "chance"]
    written = write_report(context.run)
    assert written.failures == []
    text = html.unescape(written.path.read_text())
    assert len(re.findall(r'<div class="answer">', text)) == 6
    assert text.count("<dt>Recall@10") == 1
    with open_page(written.path, width=390) as opened:
        assert opened.overflow == 0
        assert (opened.errors, opened.left) == ([], [])
