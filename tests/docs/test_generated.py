"""What is generated is not stale, what is shipped can be built, and links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from counterpoint.testing import Report
from counterpoint.testing.kit import Session
from counterpoint.training import config as configs

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def generator() -> ModuleType:
    """docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_generated_table_is_stale() -> None:
    assert generator().stale() == [], "run: make docs"


def test_a_stale_table_is_noticed() -> None:
    text = "<!-- generated:recipes -->\nold\n<!-- /generated:recipes -->\n"
    new = generator().generated(text)
    assert "vision/simclr" in new
    assert "old" not in new
    assert generator().generated(new) == new


def test_the_conformance_of_every_plugin_of_ours_is_of_these_checks() -> None:
    """The table is made from files; a part or a check that was added since makes them stale."""
    ours = {plugin.name for plugin in generator().working()}
    files = {path.stem: path for path in (ROOT / "docs" / "results" / "conformance").glob("*.json")}
    assert files.keys() == ours
    for name, path in files.items():
        report = Report.from_json(path.read_text(encoding="utf-8"))
        now = set(map(str, Session(name).cases))
        todo = f"counterpoint check {name} --json {path.relative_to(ROOT)} && make docs"
        assert set(report.demanded) == now, f"stale; run: {todo}"
        assert report.conforms, f"does not conform; run: {todo}"


@pytest.mark.parametrize("page", generator().pages(), ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_shipped_config_can_be_built(path: Path) -> None:
    config = configs.parse(["--config", str(path), "--data", "photographs"])
    built = configs.instantiate(config)
    assert built.method.encoder is built.encoder
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert f"--config configs/vision/{path.name}" in first, "a config begins with the command that runs it"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_a_config_is_complete_when_written_out(path: Path, tmp_path: Path) -> None:
    config = configs.parse(["--config", str(path), "--data", "photographs"])
    full = tmp_path / "full.yaml"
    full.write_text(configs.dump(config))
    assert configs.dump(configs.parse(["--config", str(full)])) == full.read_text()
