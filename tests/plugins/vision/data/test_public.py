"""Public sets from files in torchvision's layout: read without unpickling, downloaded only when asked."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import struct
import tarfile
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from counterpoint.errors import DataError
from counterpoint_vision.data import PublicSet, cifar
from counterpoint_vision.data.download import fetch

pytestmark = pytest.mark.unit


def binstring(text: bytes) -> bytes:
    """A Python-2 string as the published pickles hold it."""
    if len(text) < 256:
        return b"U" + bytes([len(text)]) + text
    return b"T" + struct.pack("<i", len(text)) + text


def batch_file(images: np.ndarray, labels: list[int], key: bytes) -> bytes:
    """A pickle of the published form; labels in runs of 1,000, as pickle writes long lists."""
    runs = [labels[i : i + 1000] for i in range(0, len(labels), 1000)]
    numbers = b"".join(b"(" + b"".join(b"K" + bytes([n]) for n in run) + b"e" for run in runs)
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x05" + binstring(images.tobytes())
    return b"\x80\x02}q\x01(" + binstring(b"data") + array + binstring(key) + b"]q\x02" + numbers + b"u."


def meta_file(key: bytes, names: list[bytes]) -> bytes:
    listed = b"(" + b"".join(map(binstring, names)) + b"e"
    return b"\x80\x02}q\x01(" + binstring(key) + b"]q\x02" + listed + binstring(b"num_vis") + b"M\x00\x0cu."


def md5(raw: bytes) -> str:
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()


@pytest.fixture
def cifar10(monkeypatch):
    """The files of a small set of CIFAR-10's form, whose sums are the published ones for this test."""
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32)).astype(np.uint8)
    files = {f"data_batch_{n}": batch_file(images[:3] + n, [1, 0, n], b"labels") for n in (1, 2)}
    files["test_batch"] = batch_file(images[3:], [4, 5], b"labels")
    files["batches.meta"] = meta_file(b"label_names", [b"plane", b"car", b"bird", b"cat", b"deer", b"dog"])
    sums = {name: md5(raw) for name, raw in files.items()}
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [[f"data_batch_{n}", sums[f"data_batch_{n}"]] for n in (1, 2)])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    return files, images


@pytest.fixture
def home(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("COUNTERPOINT_DATA", str(tmp_path))
    return tmp_path / "torchvision"


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, raw in files.items():
        (folder / name).write_bytes(raw)


def check(data: PublicSet, images: np.ndarray) -> None:
    assert data.labels.tolist() == [1, 0, 1, 1, 0, 2, 4, 5]
    assert data.classes == ["plane", "car", "bird", "cat", "deer", "dog"]
    assert torch.equal(data[7].data["image"], torch.from_numpy(images[4]))
    assert torch.equal(data[3].data["image"], torch.from_numpy(images[0] + 2))
    assert data.splits()["test"].tolist() == [6, 7]


def test_cifar10_is_read(home, cifar10):
    files, images = cifar10
    write(home / "cifar-10-batches-py", files)
    check(PublicSet("cifar10"), images)


def test_long_label_lists_come_in_runs():
    labels = (np.arange(2500) % 7).tolist()
    raw = batch_file(np.zeros(4, dtype=np.uint8), labels, b"fine_labels")
    assert cifar.after(raw, "fine_labels", cifar._NUMBER) == labels


def test_a_changed_file_is_refused(home, cifar10):
    files, _ = cifar10
    write(home / "cifar-10-batches-py", files | {"test_batch": files["test_batch"] + b"."})
    with pytest.raises(DataError, match=r"found test_batch with other content; .*Delete it and download it again"):
        PublicSet("cifar10")


def test_nothing_in_a_pickle_is_executed(tmp_path, monkeypatch):
    marker = tmp_path / "executed"
    evil = b"\x80\x02cposix\nsystem\n" + binstring(f"touch {marker}".encode()) + b"\x85R."
    place = tmp_path / "batch"
    place.write_bytes(evil)
    with pytest.raises(DataError, match="batch without pixels"):
        cifar.read_batch(place, md5(evil), "labels")
    assert not marker.exists()


@pytest.mark.parametrize("source", ["cifar10", "cifar100", "mnist", "stl10"])
def test_absent_sets_say_where_they_were_looked_for(home, source):
    with pytest.raises(DataError, match=rf"no files of '{source}' in .*torchvision; .*Add download=True"):
        PublicSet(source)


def idx(values: np.ndarray) -> bytes:
    return struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


@pytest.fixture
def digits() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (7, 28, 28)).astype(np.uint8), np.arange(7, dtype=np.uint8)
    return {
        "train-images-idx3-ubyte": idx(images[:4]),
        "train-labels-idx1-ubyte": idx(labels[:4]),
        "t10k-images-idx3-ubyte": idx(images[4:]),
        "t10k-labels-idx1-ubyte": idx(labels[4:]),
    }


def test_mnist_is_read_as_three_channels(home, digits):
    write(home / "MNIST" / "raw", digits)
    data = PublicSet("mnist")
    assert data.labels.tolist() == list(range(7)) and data.splits()["test"].tolist() == [4, 5, 6]
    assert data[0].data["image"].shape == (3, 28, 28)
    batch = data.collate([data[0], data[6]])
    assert (batch.data["image"][:, 0] == batch.data["image"][:, 2]).all()


def test_a_misspelt_name(home):
    with pytest.raises(DataError, match=r"found 'cifar-10'; .*Did you mean 'cifar10'\?"):
        PublicSet("cifar-10")
    assert PublicSet.accepts("cifar10") and not PublicSet.accepts("cifar-10")


@pytest.fixture
def server(tmp_path):
    """A web server over a folder; gives the folder and its address."""
    folder = tmp_path / "www"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


def test_download_of_cifar10(home, cifar10, server, monkeypatch):
    files, images = cifar10
    folder, address = server
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, raw in {**files, "../../escaped": b"x"}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    (folder / "c.tar.gz").write_bytes(packed.getvalue())
    monkeypatch.setattr(datasets.CIFAR10, "url", address + "c.tar.gz")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(packed.getvalue()))
    check(PublicSet("cifar10", download=True), images)
    assert not list(home.parent.rglob("escaped"))
    (folder / "c.tar.gz").unlink()
    check(PublicSet("cifar10", download=True), images)  # what is there is not fetched again


def test_download_of_mnist(home, digits, server, monkeypatch):
    folder, address = server
    packed = {name + ".gz": gzip.compress(raw) for name, raw in digits.items()}
    for name, raw in packed.items():
        (folder / name).write_bytes(raw)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [address])
    monkeypatch.setattr(datasets.MNIST, "resources", [(name, md5(raw)) for name, raw in packed.items()])
    assert len(PublicSet("mnist", download=True)) == 7


def test_stl10_is_not_downloaded(home):
    with pytest.raises(DataError, match=r"download: found True for stl10; allowed: sets of less than 200 MB"):
        PublicSet("stl10", download=True)


def test_fetch_refuses_other_content_and_leaves_nothing(server, tmp_path):
    folder, address = server
    (folder / "file").write_bytes(b"other")
    target = tmp_path / "out" / "file"
    with pytest.raises(DataError, match=rf"content with MD5 {md5(b'other')}; allowed: 0000"):
        fetch(address + "file", target, "0000", 5)
    assert not list(target.parent.iterdir())
    fetch(address + "file", target, md5(b"other"), 5)
    assert [place.name for place in target.parent.iterdir()] == ["file"]


def test_fetch_names_what_failed(server, tmp_path):
    with pytest.raises(DataError, match=r"404.*allowed: a download within 5 s"):
        fetch(server[1] + "none", tmp_path / "file", "", 5)


def test_fetch_gives_up_in_time(tmp_path, server):
    (server[0] / "file").write_bytes(bytes(1 << 20))
    with pytest.raises(DataError, match="too slow"):
        fetch(server[1] + "file", tmp_path / "file", "", -1)
    assert not (tmp_path / "file").exists()
