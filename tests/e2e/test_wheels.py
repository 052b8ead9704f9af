"""Every distribution builds a wheel that installs by itself and works far away from this workspace."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from email.parser import Parser
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "counterpoint": "core",
    "counterpoint-vision": "plugins/vision",
    "counterpoint-graphrec": "plugins/graphrec",
    "counterpoint-multimodal": "plugins/multimodal",
    "counterpoint-apps": "apps",
}
ENTRIES = {
    "counterpoint": "[console_scripts]\ncounterpoint = counterpoint.cli:main",
    "counterpoint-vision": "[counterpoint.plugins]\nvision = counterpoint_vision.plugin:plugin",
    "counterpoint-graphrec": "[counterpoint.plugins]\ngraphrec = counterpoint_graphrec.plugin:plugin",
    "counterpoint-multimodal": "[counterpoint.plugins]\nmultimodal = counterpoint_multimodal.plugin:plugin",
    "counterpoint-apps": "[counterpoint.apps]\nimage-search = counterpoint_apps.image_search:app\n"
    "picture-search = counterpoint_apps.picture_search:app\n"
    "recommender = counterpoint_apps.recommender:app",
}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("wheels")
    folders = [str(ROOT / folder) for folder in FOLDERS.values()]
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), *folders)
    found = {path.name.split("-")[0].replace("_", "-"): path for path in out.glob("*.whl")}
    assert found.keys() == FOLDERS.keys()
    return found


def pip(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def targets(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each wheel unpacked by pip into a directory of its own."""
    home = tmp_path_factory.mktemp("targets")
    for name, wheel in wheels.items():
        pip("install", "--no-deps", "--no-index", "--target", str(home / name), str(wheel))
    return {name: home / name for name in wheels}


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the running interpreter has installed, without anything of ours."""
    home = tmp_path_factory.mktemp("others")
    for entry in sys.path:
        for path in Path(entry).iterdir() if entry.endswith("site-packages") else ():
            ours = path.name.lower().lstrip("_").startswith("counterpoint") or path.suffix == ".pth"
            if not ours and not path.name.startswith("__editable__") and not (home / path.name).exists():
                (home / path.name).symlink_to(path)
    return home


@pytest.fixture
def run(
    targets: dict[str, Path], others: Path, tmp_path: Path
) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    def command(names: list[str], *words: object) -> subprocess.CompletedProcess[str]:
        places = [str(targets[name]) for name in names]
        return subprocess.run(
            [sys.executable, "-S", *map(str, words)],  # -S: nothing of the interpreter's own site, no .pth
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([*places, str(others)])},
        )

    yield command


CORE, VISION, GRAPHREC, MULTIMODAL, APPS = FOLDERS
CLI = ("-m", "counterpoint.cli")


@pytest.mark.parametrize("name", FOLDERS)
def test_what_a_wheel_holds(name: str, wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels[name]) as archive:
        names = archive.namelist()
        package, info = name.replace("-", "_"), next(n for n in names if n.endswith("/METADATA")).split("/")[0]
        meta = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        entries = archive.read(f"{info}/entry_points.txt").decode()
    assert f"{package}/py.typed" in names
    assert f"{info}/licenses/LICENSE" in names
    assert {n.split("/")[0] for n in names} == {package, info}
    assert not [
        n
        for n in names
        if ("test_" in n and "/templates/" not in n) or "__pycache__" in n or n.endswith((".ckpt", ".npz"))
    ]
    tracked = {path.relative_to(ROOT / FOLDERS[name] / "src").as_posix() for path in sources(name)}
    assert tracked <= set(names)
    assert entries.strip() == ENTRIES[name]
    assert (meta["Name"], meta["License-Expression"], meta["Requires-Python"]) == (name, "Apache-2.0", ">=3.10")
    assert meta.get_payload(), "the README is the page of the registry"
    wanted = [r.split(">=")[0] for r in meta.get_all("Requires-Dist")]
    assert ("counterpoint" in wanted) == (name != CORE)


def sources(name: str) -> list[Path]:
    files = [path for path in (ROOT / FOLDERS[name] / "src").rglob("*") if path.is_file()]
    found = [path for path in files if "__pycache__" not in path.parts]  # templates and style sheets as well
    assert found
    assert (name == CORE) == any(path.suffix == ".in" for path in found), "the templates of new-plugin"
    return found


def test_the_core_alone(run: Callable[..., subprocess.CompletedProcess[str]], targets: dict[str, Path]) -> None:
    done = run([CORE], "-c", "import counterpoint; print(counterpoint.__file__, counterpoint.__version__)")
    assert done.stdout.startswith(str(targets[CORE] / "counterpoint" / "__init__.py")), done.stderr
    done = run([CORE], *CLI, "plugins")
    assert (done.returncode, done.stdout.strip()) == (
        0,
        "No plugin is installed. For images: pip install counterpoint-vision",
    )
    done = run([CORE], *CLI, "pretrain", "vision/simclr", "--data", "photographs")
    assert done.returncode == 1
    assert "No plugin called 'vision' is installed." in done.stderr
    assert "pip install counterpoint-vision" in done.stderr
    done = run([CORE], *CLI, "new-plugin", "weather")
    assert "counterpoint-weather is a package" in done.stdout, done.stderr
    done = run([CORE], "-c", "import counterpoint as cp; print(cp.pretrain.__module__, cp.Towers.__name__)")
    assert done.stdout.split() == ["counterpoint.workflow", "Towers"], done.stderr


def test_the_plugin_beside_the_core(
    run: Callable[..., subprocess.CompletedProcess[str]], targets: dict[str, Path]
) -> None:
    done = run([CORE, VISION], *CLI, "plugins")
    assert done.stdout.startswith("vision "), done.stderr
    assert "BROKEN" not in done.stdout
    done = run([CORE, VISION], *CLI, "doctor")
    assert "Nothing is broken." in done.stdout, done.stdout
    words = [
        "pretrain",
        "vision/simclr",
        "--data",
        "photographs",
        "--dataset.train_patches",
        "5",
        "--batch_size",
        "16",
        "--max_steps",
        "1",
    ]
    done = run([CORE, VISION], *CLI, *words, "--out", "run", "--encoder.width", "8")
    assert done.returncode == 0, done.stderr
    assert "Report: run/report.html" in done.stdout
    assert "A section" not in done.stderr
    code = "import counterpoint as cp; r = cp.load('run'); print(r.encoder.__class__.__module__, r.plugin.__module__)"
    done = run([CORE, VISION], "-c", f"{code}; import counterpoint_vision as v; print(v.__file__)")
    assert done.stdout.split()[0].startswith("counterpoint_vision.encoders"), done.stderr
    assert done.stdout.split()[-1].startswith(str(targets[VISION]))


def test_the_graph_plugin_beside_the_core(
    run: Callable[..., subprocess.CompletedProcess[str]], targets: dict[str, Path]
) -> None:
    code = "from counterpoint_graphrec.data import examples; from pathlib import Path; print(examples.table(Path()))"
    assert run([CORE, GRAPHREC], "-c", code).returncode == 0
    words = ["pretrain", "graphrec/xsimgcl", "--data", "interactions.csv", "--epochs", "2", "--batch_size", "64"]
    done = run([CORE, GRAPHREC], *CLI, *words, "--out", "clicks")
    assert done.returncode == 0, done.stderr
    assert "recall@20" in done.stdout and "A section" not in done.stderr
    done = run([CORE, GRAPHREC, APPS], *CLI, "app", "recommender", "recommend", "u3", "--run", "clicks", "--csv")
    assert "The " in done.stdout, done.stderr


def test_the_multimodal_plugin_beside_the_core_and_vision(
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    code = "from counterpoint_multimodal.data import examples; from pathlib import Path; print(examples.table(Path()))"
    assert run([CORE, VISION, MULTIMODAL], "-c", code).returncode == 0
    words = ["pretrain", "multimodal/clip", "--data", "pairs.csv", "--max_steps", "2", "--batch_size", "16"]
    done = run([CORE, VISION, MULTIMODAL], *CLI, *words, "--out", "pairs")
    assert done.returncode == 0, done.stderr
    assert "A section" not in done.stderr
    done = run([CORE, MULTIMODAL], *CLI, *words, "--out", "other")
    assert "'multimodal' cannot be used: counterpoint-vision is not installed." in done.stderr
    assert "Traceback" not in done.stderr


def test_the_apps_beside_the_core(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = run([CORE, APPS], *CLI, "app")
    assert "image-search" in done.stdout, done.stderr
    done = run([CORE, APPS], *CLI, "app", "image-search", "query")
    assert done.returncode == 1
    assert "pip install counterpoint-vision" in done.stderr
    assert "Traceback" not in done.stderr
    done = run([CORE], *CLI, "app")
    assert "pip install counterpoint-apps" in done.stdout
