"""Every command and snippet of docs/ runs, page by page, each page in an empty folder with some pictures."""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

import counterpoint as cp
import snippets
from pages import DOCS, photos, shorter

ELSEWHERE = {  # have tests of their own, which look at more
    "tutorials/first-plugin.md",
    "how-to/read-the-report.md",
    "how-to/search-your-pictures.md",
    "how-to/search-pictures.md",
}
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if snippets.blocks(page, *snippets.RUN)]
PAGES = [page for page in PAGES if str(page.relative_to(DOCS)) not in ELSEWHERE]


TUNED = ("photos-classify", "core", "core/plain", "ordered")
SOURCES = {"how-to/separate-common-and-salient.md": ("plain", "with-glasses")}  # folders of pictures beside photos/
LEFT = {  # what a page leaves behind
    "tutorials/first-encoder.md": ["neighbours.png", "photographs.parquet", "runs/first/evaluation-test.json"],
    "tutorials/your-own-data.md": [
        f"runs/{run}/run.json" for run in ("try", "unlabelled", "table", "arrays", "python")
    ],
    "how-to/fine-tune.md": ["predictions.csv", *(f"runs/{run}/head/config.json" for run in TUNED)],
    "how-to/resume.md": ["runs/photos/run.json", "runs/longer/run.json"],
    "how-to/stages.md": ["runs/two/stages/1/run.json", "runs/cameras/run.json", "photos.parquet"],
    "how-to/new-objective.md": ["runs/align/run.json"],
    "how-to/separate-common-and-salient.md": ["runs/glasses/evaluation-test.json", "runs/glasses/report.html"],
    "how-to/recommend.md": ["runs/shop/tried.json", "recommendations.parquet", "recommendations.csv", "compare.html"],
}


def name(page: Path) -> str:
    return str(page.relative_to(DOCS))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on photos/, for pages that begin where another ended."""
    place = tmp_path_factory.mktemp("trained")
    photos(place)
    run = cp.pretrain(
        "vision/simclr", data=place / "photos", out=place / "run", batch_size=16, max_steps=20, tensorboard=False
    )
    return run.path


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_runs(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    photos(tmp_path)
    for folder in SOURCES.get(name(page), ()):
        shutil.copytree(tmp_path / "photos", tmp_path / folder)
    text = page.read_text(encoding="utf-8")
    if "runs/photos" in text and "--out runs/photos" not in text:
        shutil.copytree(request.getfixturevalue("trained"), tmp_path / "runs" / "photos")
    environment = {"PYTHONPATH": str(tmp_path / "installed")}
    for block, told in snippets.run(page, tmp_path, shorten=shorter(page), environment=environment):
        if (look := LOOKS.get(name(page))) is not None:
            look(block, told, tmp_path)
    assert [left for left in LEFT.get(name(page), []) if not (tmp_path / left).is_file()] == []


def _resume(block: snippets.Block, told: str, place: Path) -> None:
    finished = place / "runs" / "photos" / "run.json"
    if "--out runs/photos" in block.text:
        finished.unlink()  # as if it had been stopped
    elif "--resume" in block.text:
        assert finished.is_file()
        assert "nothing to resume" not in told


def _two_processes(block: snippets.Block, told: str, place: Path) -> None:
    assert block.skip or "samples per step 32, micro-batch 16, candidates per anchor 63" in told


def _objective(block: snippets.Block, told: str, place: Path) -> None:
    assert "-m pytest" not in block.text or "2 passed" in told


def _app(block: snippets.Block, told: str, place: Path) -> None:
    if block.text.startswith("pip install"):
        assert "odd-ones" in told
        assert "BROKEN" not in told
    elif "odd-ones --run" in block.text:
        assert len([line for line in told.splitlines() if line.endswith(".png")]) == 3


LOOKS = {
    "how-to/resume.md": _resume,
    "how-to/several-gpus.md": _two_processes,
    "how-to/new-objective.md": _objective,
    "how-to/new-app.md": _app,
}


@pytest.mark.unit
def test_what_is_not_run_says_why_and_parses(tmp_path: Path) -> None:
    skipped = [(page, block) for page in PAGES for block in snippets.blocks(page) if block.skip]
    assert skipped, "the several machines' page has some"
    for page, block in skipped:
        assert len(block.skip) > 10, f"{page}:{block.line}"
        if block.language == "bash":
            subprocess.run(["bash", "-n", "-c", block.text], check=True)
        else:
            ast.parse(block.text)
