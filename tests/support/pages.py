"""What the pages of README and docs/ find when they are run: pictures, clicks, and shorter trainings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import snippets
from counterpoint_graphrec.data.examples import table
from counterpoint_multimodal.data.examples import toy

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

PICTURES = f"{ROOT}/core {ROOT}/plugins/vision {ROOT}/apps"
WHOLE = f"{ROOT}/core {ROOT}/plugins/vision {ROOT}/plugins/graphrec {ROOT}/plugins/multimodal {ROOT}/apps"
DISTRIBUTIONS = (
    "./core ./plugins/vision ./plugins/graphrec ./plugins/multimodal './apps[image-search,recommender,picture-search]'"
)
PIP = "pip install --dry-run --no-deps --no-build-isolation --quiet"
INTO = "pip install --no-deps --no-build-isolation --no-index --quiet --target"
SHORT = "--max_steps 20 --tensorboard false --progress false"
SHORTER = {  # what a page says: what is run
    "make demo": f"make --dry-run -C {ROOT} demo",
    "make test": f"make --dry-run -C {ROOT} test",
    f"pip install {DISTRIBUTIONS}": f"{PIP} {WHOLE}",
    "pip install ./core ./plugins/vision './apps[image-search]'": f"{PIP} {PICTURES}",
    "pip install ./odd-ones": f"{INTO} installed ./odd-ones",
    "--epochs 20": SHORT,
    "--epochs 100": SHORT,
    "--epochs 10": SHORT,
    "epochs=20": "max_steps=20, tensorboard=False, progress=False",
    "--max_steps 20": SHORT,
    "--max_steps 40": "--max_steps 24",
    "--data photographs --out runs/first": "--data photographs --dataset.train_patches 50 --out runs/first",
    "evaluate runs/first": "evaluate runs/first --quick",
    "evaluate runs/photos\n": "evaluate runs/photos --quick\n",
}


def shorter(page: Path) -> dict[str, str]:
    """Those replacements that what is run of ``page`` has a use for."""
    text = "\n".join(f"{block.text}\n" for block in snippets.blocks(page) if not block.skip)
    found = {}
    for long, short in SHORTER.items():
        if long in text:
            found[long] = short
            text = text.replace(long, "")  # "--epochs 10" is in "--epochs 100" too
    return found


def photos(folder: Path) -> None:
    """A folder with photos/: 40 small pictures in two classes."""
    draw = np.random.default_rng(0)
    for number in range(40):
        place = folder / "photos" / ("light" if number % 2 else "dark")
        place.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 128, (40, 48, 3)) + (number % 2) * 100
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number}.png")


def clicks(folder: Path) -> None:
    """A folder with clicks.csv: forty users, u0 to u39, and thirty items, i0 to i29, with titles and categories."""
    Path(table(folder)["source"]).rename(folder / "clicks.csv")


def captions(folder: Path) -> None:
    """A folder with captions.csv: 48 drawn shapes in images/ and what they are."""
    toy(folder)
    (folder / "pairs.csv").rename(folder / "captions.csv")
