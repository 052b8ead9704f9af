"""The well-known small image sets, from where torchvision keeps them."""

from __future__ import annotations

import gzip
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision import datasets

from counterpoint.errors import DataError, message
from counterpoint.parts import data_home
from counterpoint_vision.data import cifar
from counterpoint_vision.data.download import fetch
from counterpoint_vision.data.memory import ImageMemory, Pixels
from counterpoint_vision.data.names import PUBLIC, unknown

_CIFAR: dict[str, Any] = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}
_DIGITS: dict[str, Any] = {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST, "kmnist": datasets.KMNIST}


class PublicSet(ImageMemory):
    """CIFAR-10, CIFAR-100, MNIST, Fashion-MNIST, KMNIST or STL-10, with their official test parts.

    The files are looked for in torchvision's own layout in ``<data home>/torchvision``. STL-10 has its labelled parts
    only, and is not downloaded (2.6 GB).

    Args:
        source: ``"cifar10"``, ``"cifar100"``, ``"mnist"``, ``"fashion-mnist"``, ``"kmnist"`` or ``"stl10"``.
        download: fetch what is missing from the official place.
        seconds: give up the download after this long.

    Raises:
        DataError: unknown name, files that are missing or damaged, or a download that fails.
    """

    def __init__(self, source: str, download: bool = False, seconds: float = 120.0) -> None:
        if source not in PUBLIC:
            raise unknown(source)
        self.root = data_home() / "torchvision"
        if download:
            _download(source, self.root, seconds)
        try:
            train, test, self.classes = _open(source, self.root)
        except (RuntimeError, FileNotFoundError):  # torchvision's words for "not there"
            raise _absent(source, self.root) from None
        self._images = np.concatenate([train[0], test[0]])
        self.labels = np.concatenate([train[1], test[1]]).astype(np.int64)
        self.parts = np.repeat([0, 2], [len(train[1]), len(test[1])])

    @classmethod
    def accepts(cls, source: str) -> bool:
        """Whether ``source`` is one of the names."""
        return source in PUBLIC

    def __len__(self) -> int:
        return len(self._images)

    def _pixels(self) -> Pixels:
        images = torch.from_numpy(self._images)
        return Pixels(images.unsqueeze(1).expand(-1, 3, -1, -1) if images.dim() == 3 else images)


_Part = tuple[np.ndarray, np.ndarray]


def _open(source: str, root: Path) -> tuple[_Part, _Part, list[str]]:
    if source in _CIFAR:
        kind = _CIFAR[source]
        folder = root / kind.base_folder
        if not all((folder / name).is_file() for name, _ in _cifar_files(kind)):
            raise _absent(source, root)
        key = "labels" if source == "cifar10" else "fine_labels"
        train = [cifar.read_batch(folder / name, md5, key) for name, md5 in kind.train_list]
        test = [cifar.read_batch(folder / name, md5, key) for name, md5 in kind.test_list]
        meta = kind.meta
        names = cifar.read_names(folder / meta["filename"], meta["md5"], meta["key"])
        return _joined(train), _joined(test), names
    if source in _DIGITS:
        parts = [_DIGITS[source](root, train=train) for train in (True, False)]
        one, two = ((part.data.numpy(), part.targets.numpy()) for part in parts)
        return one, two, list(parts[0].classes)
    parts = [datasets.STL10(root, split=split) for split in ("train", "test")]
    one, two = ((part.data, part.labels) for part in parts)
    return one, two, list(parts[0].classes)


def _joined(parts: list[_Part]) -> _Part:
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def _cifar_files(kind: Any) -> list[tuple[str, str]]:
    files = [tuple(pair) for pair in (*kind.train_list, *kind.test_list)]
    return [*files, (kind.meta["filename"], kind.meta["md5"])]


def _download(source: str, root: Path, seconds: float) -> None:
    """Fetch what is missing; the limit holds for all files together."""
    deadline = time.monotonic() + seconds
    if source in _CIFAR:
        kind = _CIFAR[source]
        names = [name for name, _ in _cifar_files(kind)]
        if not all((root / kind.base_folder / name).is_file() for name in names):
            archive = root / Path(kind.url).name
            fetch(kind.url, archive, kind.tgz_md5, seconds)
            cifar.unpack(archive, root / kind.base_folder, names)
    elif source in _DIGITS:
        kind = _DIGITS[source]
        folder = root / kind.__name__ / "raw"
        for name, md5 in kind.resources:
            plain = folder / Path(name).stem
            if not plain.is_file():
                fetch(kind.mirrors[0] + name, folder / name, md5, max(0.1, deadline - time.monotonic()))
                plain.write_bytes(gzip.decompress((folder / name).read_bytes()))
    else:
        todo = "Get it through torchvision.datasets.STL10."
        raise DataError(message("download", f"True for {source}", "sets of less than 200 MB", todo))


def _absent(source: str, root: Path) -> DataError:
    todo = "Add download=True, or use 'photographs', which needs no download."
    return DataError(message("source", f"no files of {source!r} in {root}", "torchvision's files there", todo))
