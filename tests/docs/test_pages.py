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

ELSEWHERE = {"tutorials/first-plugin.md"}  # has a test of its own, which needs an environment of its own
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if snippets.blocks(page, *snippets.RUN)]
PAGES = [page for page in PAGES if str(page.relative_to(DOCS)) not in ELSEWHERE]


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
    text = page.read_text(encoding="utf-8")
    if "runs/photos" in text and "--out runs/photos" not in text:
        shutil.copytree(request.getfixturevalue("trained"), tmp_path / "runs" / "photos")
    environment = {"PYTHONPATH": str(tmp_path / "installed"), "COUNTERPOINT_DATA": str(tmp_path / "data")}
    for block, told in snippets.run(page, tmp_path, shorten=shorter(page), environment=environment):
        _after(page, block, told, tmp_path)


def _after(page: Path, block: snippets.Block, told: str, place: Path) -> None:
    """What a reader would look at."""
    made = {"first-encoder.md": "neighbours.png", "your-own-data.md": "pictures.csv"}.get(page.name)
    if page.name == "new-app.md" and "odd-ones --run" in block.text:
        assert len([line for line in told.splitlines() if line.endswith(".png")]) == 3
    if page.name == "new-objective.md" and "pytest" in block.text:
        assert "2 passed" in told
    if page.name == "resume.md" and "--out runs/photos" in block.text:
        (place / "runs" / "photos" / "run.json").unlink()  # as if it had been stopped before its end
    if page.name == "resume.md" and "--resume" in block.text:
        assert (place / "runs" / "photos" / "run.json").is_file()
    if page.name == "several-gpus.md" and not block.skip:
        assert "samples per step 32" in told, "two processes of 16"
    if made and block == snippets.blocks(page, *snippets.RUN)[-1]:
        assert (place / made).is_file()


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


@pytest.mark.unit
def test_a_broken_block_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\nfalse\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md:1"):
        list(snippets.run(page, tmp_path))
    page.write_text('```bash skip="no such machine"\nif true; then\n```\n')
    with pytest.raises(AssertionError, match=r"page\.md:1"):
        list(snippets.run(page, tmp_path))
    page.write_text('```bash skip="no such machine"\nsrun false\n```\n')
    assert len(list(snippets.run(page, tmp_path))) == 1
