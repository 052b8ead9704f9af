"""What is generated is not stale, what is shipped can be built, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import generate
from counterpoint.testing import Report
from counterpoint.testing.kit import Session
from counterpoint.training import config as configs
from counterpoint.training.recipes import find_recipe
from counterpoint_graphrec.data.examples import arrays as interactions
from counterpoint_multimodal.data.examples import arrays
from counterpoint_vision.data.examples import arrays as pictures

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def test_no_generated_table_is_stale() -> None:
    assert generate.stale() == [], "run: make docs"


def test_no_result_names_a_place_on_one_machine() -> None:
    results = list((ROOT / "docs" / "results").rglob("*.json"))
    assert len(results) > 10
    told = {path.name: re.search(r"[\" ](/\w[^\" ]*/[^\" ]*)", path.read_text(encoding="utf-8")) for path in results}
    assert {name: found[1] for name, found in told.items() if found} == {}


def test_a_stale_table_is_noticed() -> None:
    text = "<!-- generated:recipes -->\nold\n<!-- /generated:recipes -->\n"
    new = generate.generated(text)
    assert "vision/simclr" in new
    assert "old" not in new
    assert generate.generated(new) == new


@pytest.mark.parametrize("page", [*generate.pages(), ROOT / "CONTRIBUTING.md"], ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Files and headings; other hosts by shape only, for the tests are offline."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("mailto:"):
            assert re.fullmatch(r"https://[\w.-]+\.[a-z]+(/[\w./#%~+?=&:-]*)?", target), f"{page}: {target}"
            continue
        path, _, anchor = target.partition("#")
        place = page.parent / path if path else page
        assert place.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in headings(place), f"{page}: {target}"


def headings(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and MyST make them."""
    found = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_the_conformance_of_every_plugin_of_ours_is_of_these_checks() -> None:
    """The table is made from files; a part or a check that was added since makes them stale."""
    ours = {plugin.name for plugin in generate.working()}
    files = {path.stem: path for path in (ROOT / "docs" / "results" / "conformance").glob("*.json")}
    assert files.keys() == ours
    for name, path in files.items():
        report = Report.from_json(path.read_text(encoding="utf-8"))
        now = set(map(str, Session(name).cases))
        todo = f"counterpoint check {name} --json {path.relative_to(ROOT)} && make docs"
        assert set(report.demanded) == now, f"stale; run: {todo}"
        assert report.conforms, f"does not conform; run: {todo}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Something small for each domain."""
    clicks = interactions(tmp_path_factory.mktemp("clicks"))["source"]
    shapes = arrays(tmp_path_factory.mktemp("pairs"))["source"]
    other = pictures(tmp_path_factory.mktemp("other"))["source"]
    return {"vision": "photographs", "graphrec": clicks, "multimodal": shapes, "target": other}


def sources(path: Path, data: dict[str, str]) -> list[str]:
    """What the config's method learns from: one source, or two."""
    method, own = find_recipe(configs.read_yaml(path)["recipe"]).method.load(), data[path.parent.name]
    return ["--background", own, "--target", data["target"]] if method.contrasted else ["--data", own]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_shipped_config_can_be_built(path: Path, data: dict[str, str]) -> None:
    config = configs.parse(["--config", str(path), *sources(path, data)])
    built = configs.instantiate(config)
    assert built.encoder in built.method.encoder.modules()  # itself, or in one that the method makes of it
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert f"--config configs/{path.parent.name}/{path.name}" in first, "a config begins with the command that runs it"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_a_config_is_complete_when_written_out(path: Path, data: dict[str, str], tmp_path: Path) -> None:
    config = configs.parse(["--config", str(path), *sources(path, data)])
    full = tmp_path / "full.yaml"
    full.write_text(configs.dump(config))
    assert configs.dump(configs.parse(["--config", str(full)])) == full.read_text()
