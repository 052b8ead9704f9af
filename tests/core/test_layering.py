"""Imports run one way, public names are documented, nothing unpickles, listing loads no torch: by the sources."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import counterpoint

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "core" / "src"
SOURCES = [CORE, *sorted(ROOT.glob("plugins/*/src")), ROOT / "apps" / "src"]

WORDS = {"errors", "types", "parts", "files", "_version"}
"""What every layer may use: the words as types, and their errors."""
ALLOWED = {
    "_version": set(),
    "arguments": {"_version"},
    "errors": set(),
    "types": {"errors"},
    "parts": WORDS,
    "files": {"errors"},
    "sources": WORDS,
    "plugin": {"errors"},
    "objectives": WORDS,
    "nn": WORDS | {"objectives"},
    "methods": WORDS | {"objectives", "nn", "plugin"},  # the registry names its parts as a plugin does
    "evaluation": WORDS | {"objectives"},  # alignment and uniformity are one formula for both
    "training": WORDS | {"objectives", "nn", "methods", "evaluation", "plugin", "run"},
    "run": WORDS | {"training", "plugin"},
    "report": WORDS | {"objectives", "nn", "methods", "evaluation", "training", "plugin", "run"},
    "workflow": WORDS | {"training", "report", "run"},  # what training and report do together
    "listing": WORDS | {"methods", "training", "plugin"},
    "doctor": WORDS | {"training", "plugin"},
    "apps": WORDS | {"plugin"},
    "testing": WORDS | {"objectives", "nn", "methods", "evaluation", "training", "report", "plugin", "run", "apps"},
    "scaffold": WORDS | {"plugin"},
}
TOP = {"cli", "__init__"}  # which may use everything
HEAVY_FREE = {"objectives": {"torch", "numpy"}, "nn": {"torch", "numpy"}}
"""The only packages beside the standard library that a layer may use."""


def files(package: Path) -> list[Path]:
    found = sorted(package.rglob("*.py"))
    assert found
    return found


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that ``path`` imports, inside functions and ``if TYPE_CHECKING`` too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            if node.module == "counterpoint":
                yield from ((f"counterpoint.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield str(node.module), node.lineno


def layer(path: Path) -> str:
    return path.relative_to(CORE / "counterpoint").parts[0].removesuffix(".py")


def test_every_file_of_the_core_has_its_layer() -> None:
    assert {layer(path) for path in files(CORE)} <= ALLOWED.keys() | TOP


def test_imports_of_the_core_run_one_way() -> None:
    wrong = []
    for path in files(CORE):
        own = layer(path)
        for module, line in imports(path):
            if own in TOP or not module.startswith("counterpoint"):
                continue
            used = module.split(".")[1] if "." in module else "__init__"
            if used != own and used not in ALLOWED[own]:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {own} imports {module}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", HEAVY_FREE)
def test_objectives_and_nn_are_usable_alone(name: str) -> None:
    used = {module.split(".")[0] for path in files(CORE / "counterpoint" / name) for module, _ in imports(path)}
    assert used - HEAVY_FREE[name] - set(sys.stdlib_module_names) == {"counterpoint"}


def test_the_core_never_names_a_plugin_and_plugins_no_other() -> None:
    homes = {path.name for source in SOURCES for path in source.iterdir() if path.name.startswith("counterpoint_")}
    assert "counterpoint_vision" in homes
    wrong = []
    for source in SOURCES:
        own = {path.name for path in source.iterdir()}
        allowed = homes if own == {"counterpoint_apps"} else own
        for path in files(source):
            named = {module.split(".")[0] for module, _ in imports(path)} & homes
            if source == CORE:
                named |= {home for home in homes if home in path.read_text(encoding="utf-8")} - {"counterpoint_apps"}
            wrong += [f"{path.relative_to(ROOT)}: {name}" for name in named - allowed]
    assert not wrong, "\n".join(wrong)


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> object:
    found = [k.value.value for k in call.keywords if k.arg == name and isinstance(k.value, ast.Constant)]
    return found[0] if found else None


def unsafe(path: Path) -> list[str]:
    """What could run code from data."""
    banned = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    found = [f"import {module}" for module, _ in imports(path) if module.split(".")[0] in banned]
    for name, call in calls(path):
        if name.endswith("torch.load") and keyword(call, "weights_only") is not True:
            found.append("torch.load without weights_only=True")
        if name.endswith(".fit") and any(k.arg == "ckpt_path" for k in call.keywords):
            found += [] if keyword(call, "weights_only") is True else ["fit(ckpt_path) without weights_only=True"]
        if keyword(call, "allow_pickle") not in (None, False):
            found.append("allow_pickle")
        if keyword(call, "trust_remote_code") not in (None, False):
            found.append("trust_remote_code")
        if name in ("eval", "exec", "yaml.load", "yaml.unsafe_load", "torch.hub.load", "np.load", "numpy.load"):
            safe = name.endswith("np.load") or name == "numpy.load"
            found += [] if safe and keyword(call, "allow_pickle") is False else [name]
    return found


def test_nothing_unpickles() -> None:
    wrong = {str(path.relative_to(ROOT)): unsafe(path) for source in SOURCES for path in files(source)}
    assert not {path: found for path, found in wrong.items() if found}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=safe)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "trainer.fit(method, ckpt_path=path)",
        "yaml.load(text)",
    ],
)
def test_the_search_finds_what_it_looks_for(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(text)
    assert unsafe(path)
    path.write_text("torch.load(path, weights_only=True); np.load(path, allow_pickle=False); model.eval()")
    assert not unsafe(path)


def test_no_absolute_paths_in_the_sources() -> None:
    pattern = re.compile(r"[\"'](/(?:home|root|tmp|work|Users|opt|mnt)/)")
    wrong = [str(path) for source in SOURCES for path in files(source) if pattern.search(path.read_text("utf-8"))]
    assert not wrong


def packages() -> list[str]:
    return ["counterpoint", *(m.name for m in pkgutil.walk_packages(counterpoint.__path__, "counterpoint.") if m.ispkg)]


def test_every_public_name_can_be_imported_and_is_documented() -> None:
    missing, seen = [], 0
    for name in packages():
        module = importlib.import_module(name)
        assert len(set(getattr(module, "__all__", []))) == len(getattr(module, "__all__", [])), f"doubles in {name}"
        for public in getattr(module, "__all__", []):
            thing = getattr(module, public)
            seen += 1
            if (inspect.isclass(thing) or inspect.isroutine(thing)) and not (thing.__doc__ or "").strip():
                missing.append(f"{name}.{public}")
    assert not missing
    assert seen > 60
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = counterpoint.nothing


def test_public_names_have_docstrings() -> None:
    """Modules, classes, functions and methods without a leading underscore; overridden methods keep their parent's."""
    missing = []
    for source in SOURCES:
        for path in files(source):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            missing += [f"{path.relative_to(ROOT)}: {name}" for name in undocumented(tree)]
    assert not missing, "\n".join(missing)


def undocumented(tree: ast.Module) -> list[str]:
    found = []
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            found += [] if ast.get_docstring(node) else [node.name]
            inner = node.body if isinstance(node, ast.ClassDef) else []
            found += [
                f"{node.name}.{m.name}"
                for m in inner
                if isinstance(m, ast.FunctionDef)
                and not m.name.startswith("_")
                and not m.decorator_list
                and not ast.get_docstring(m)
            ]
    return found


@pytest.mark.parametrize(
    "code",
    [
        "import counterpoint",
        "import counterpoint.plugin, counterpoint.cli, counterpoint.listing, counterpoint.apps, counterpoint.doctor",
        "from counterpoint import plugin; plugin.discover()",
        "from counterpoint.cli import main; main(['recipes'])",
        "from counterpoint.cli import main; main(['app'])",
    ],
)
def test_what_loads_no_torch(code: str) -> None:
    heavy = "{'torch', 'numpy', 'lightning', 'jsonargparse', 'timm', 'PIL', 'pyarrow', 'rich'}"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; sys.exit(str({heavy} & set(sys.modules) or ''))"],
        capture_output=True,
        text=True,
    )
    assert done.stderr.strip() == ""
