"""``counterpoint new-plugin`` refuses bad names, leaves nothing half-written, and writes what our own lint accepts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from counterpoint import cli, scaffold
from counterpoint.errors import ConfigError
from counterpoint.scaffold import new_plugin

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
RUFF = Path(sys.executable).with_name("ruff")


@pytest.mark.parametrize("name", ["", "Weather", "we-ather", "we_ather", "2d", "wéather", "class", "../up", "a b"])
def test_a_name_that_is_no_word_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"NAME: found .*; allowed: one word of a-z and 0-9"):
        new_plugin(name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "owner"),
    [("vision", "plugin 'vision' of counterpoint-vision"), ("apps", "distribution 'counterpoint-apps'")],
)
def test_a_name_that_is_taken_is_refused(name: str, owner: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"which is taken by {owner}"):
        new_plugin(name, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_a_module_that_is_taken_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "counterpoint_sonar.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="taken by module 'counterpoint_sonar'"):
        new_plugin("sonar", tmp_path / "new")


@pytest.mark.parametrize("kind", ["folder", "file", "dead link"])
def test_what_exists_is_left_alone(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "weather"
    if kind == "folder":
        place.mkdir()
    elif kind == "file":
        place.write_text("mine")
    else:
        place.symlink_to(tmp_path / "nowhere")
    assert cli.main(["new-plugin", "weather", "--out", str(place)]) == 1
    assert f"--out: found {place}, which exists" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["weather"]


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--out: found .*file/weather .*; allowed: a place that can be written to"):
        new_plugin("weather", tmp_path / "file" / "weather")


def test_nothing_half_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: object, **__: object) -> int:
        if path.name == "tasks.py":
            raise OSError(28, "No space left on device")
        return len(path.name)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        new_plugin("weather", tmp_path / "weather")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["ab", "weather", "electroencephalography"])
def test_what_is_written_is_formatted_and_lint_clean(name: str, tmp_path: Path) -> None:
    new_plugin(name, tmp_path / "new")
    for words in (["check"], ["format", "--check", "--diff"]):
        done = subprocess.run([RUFF, *words, "--no-cache", tmp_path / "new"], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    texts = [path.read_text() for path in (tmp_path / "new").rglob("*") if path.is_file()]
    assert len(texts) == len([path for path in scaffold.TEMPLATES.rglob("*") if path.is_file()])
    assert not [text for text in texts if "${" in text or "$name" in text]


def test_its_lint_is_ours(tmp_path: Path) -> None:
    new_plugin("weather", tmp_path / "new")
    own, ours = (tomllib.loads((place / "pyproject.toml").read_text())["tool"] for place in (tmp_path / "new", ROOT))
    for key in ("select", "ignore"):
        assert own["ruff"]["lint"][key] == ours["ruff"]["lint"][key]
    for key in ("strict", "warn_unreachable", "python_version"):
        assert own["mypy"][key] == ours["mypy"][key]
    assert own["ruff"]["line-length"] == ours["ruff"]["line-length"]
