"""The encoder on disk: a round trip without loss; nothing in it is code, and nothing leads out of its folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import toy
from counterpoint.errors import PluginError, RunError
from counterpoint.training.encoder_files import (
    build,
    load_encoder,
    load_weights,
    object_in,
    read_config,
    registered,
    save_encoder,
)

pytestmark = pytest.mark.unit

DESCRIBED = {
    "plugin": "toy",
    "encoder": {"class_path": "toy.DigitNet", "init_args": {"width": 24, "dropout": 0.5}},
    "views": {"class_path": "toy.NoisyShifts", "init_args": {"noise": 0.1}},
}


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy.install(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_encoder(tmp_path / "encoder", toy.DigitNet(24, 0.5), DESCRIBED, "# card\n")
    return tmp_path / "encoder"


def change(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_round_trip(folder: Path) -> None:
    torch.manual_seed(0)
    saved = toy.DigitNet(24, 0.5)
    encoder, views, plugin, config = load_encoder(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert encoder.state_dict().keys() == saved.state_dict().keys()
    assert all(torch.equal(t, saved.state_dict()[n]) for n, t in encoder.state_dict().items())
    assert not encoder.training
    assert not any(p.requires_grad for p in encoder.parameters())
    assert (encoder.dim, encoder.dropout.p, views.noise, plugin.name) == (24, 0.5, 0.1, "toy")
    assert (config["dim"], config["format"]) == (24, 1)


def test_tied_weights_are_written_too(tmp_path: Path) -> None:
    tied = toy.DigitNet()
    tied.conv2.weight = torch.nn.Parameter(tied.conv2.weight.detach().transpose(0, 1).contiguous().transpose(0, 1))
    tied.register_parameter("again", tied.conv2.weight)
    save_encoder(tmp_path, tied, DESCRIBED, "")
    assert torch.equal(load_file(tmp_path / "model.safetensors")["again"], tied.conv2.weight)


class Touched:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_refused_and_not_run(folder: Path, tmp_path: Path) -> None:
    payload = tmp_path / "payload"
    torch.save({"conv1.weight": Touched(payload)}, folder / "model.safetensors")
    with pytest.raises(RunError, match=r"is not a safetensors file \(.*Pickled weights are not read."):
        load_encoder(folder)
    assert not payload.exists()
    torch.load((folder / "model.safetensors").rename(tmp_path / "x.pt"), weights_only=False)
    assert payload.exists(), "the test can fail: unpickled freely, the file leaves its mark"


@pytest.mark.parametrize("kind", ["missing", "more", "shape", "torn"])
def test_weights_load_strictly(kind: str, folder: Path) -> None:
    path = folder / "model.safetensors"
    if kind == "torn":
        path.write_bytes(path.read_bytes()[:-7])
    else:
        state = load_file(path)
        if kind == "missing":
            del state["conv1.bias"]
        elif kind == "more":
            state["surprise"] = torch.ones(1)
        else:
            state["conv1.bias"] = torch.ones(3)
        save_file(state, path)
    expected = "is not a safetensors file" if kind == "torn" else r"does not fit DigitNet: .*(conv1.bias|surprise)"
    with pytest.raises(RunError, match=f"(?s){expected}"):
        load_encoder(folder)


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no such file"):
        load_weights(toy.DigitNet(), tmp_path / "nothing.safetensors")


@pytest.mark.parametrize(
    "path", ["subprocess.Popen", "toy.Digits", "os.system", "torch.nn.Linear", "", "counterpoint.run.Run"]
)
@pytest.mark.parametrize("key", ["encoder", "views"])
def test_only_what_the_plugin_registers_is_built(path: str, key: str, folder: Path) -> None:
    change(folder, **{key: {"class_path": path, "init_args": {}}})
    kind = {"encoder": "encoders", "views": "views"}[key]
    with pytest.raises(RunError, match=rf"'{path}' is none of the {kind} of plugin 'toy', so it is not loaded."):
        load_encoder(folder)


def test_the_nearest_class_is_named(folder: Path) -> None:
    change(folder, encoder={"class_path": "toy.DigtNet"})
    with pytest.raises(RunError, match=r"Did you mean 'toy\.DigitNet'"):
        load_encoder(folder)


@pytest.mark.parametrize("weights", ["../outside.safetensors", "/etc/passwd", "a/../../outside.safetensors"])
def test_weights_cannot_lie_outside(weights: str, folder: Path) -> None:
    save_file(toy.DigitNet(24).state_dict(), folder.parent / "outside.safetensors")
    change(folder, weights=weights)
    with pytest.raises(RunError, match="leads outside"):
        load_encoder(folder)


def test_weights_cannot_lie_outside_by_a_link(folder: Path) -> None:
    save_file(toy.DigitNet(24).state_dict(), folder.parent / "outside.safetensors")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(folder.parent / "outside.safetensors")
    with pytest.raises(RunError, match="leads outside"):
        load_encoder(folder)


@pytest.mark.parametrize(
    "value",
    [
        {"class_path": "os.system", "init_args": {"command": "true"}},
        [{"class_path": "os.system"}],
        {"deep": {"deeper": [1, {"class_path": "os.system"}]}},
    ],
)
def test_arguments_ask_for_no_class(value: Any, folder: Path) -> None:
    change(folder, encoder={"class_path": "toy.DigitNet", "init_args": {"width": value}})
    with pytest.raises(RunError, match=r"an argument asks for class 'os\.system'; plain values are allowed"):
        load_encoder(folder)
    assert object_in(value) == "os.system"
    assert object_in({"a": [1, {"b": None}], "c": "class_path"}) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "there is no encoder here .*Is the run finished"),
        ('{"format": 1, "plug', "is not JSON"),
        ("[1, 2]", r"format \?; 1 is needed"),
        ('{"format": 99}', "format 99; 1 is needed"),
        ("{}", "format None; 1 is needed"),
    ],
)
def test_configs_that_are_none(text: str | None, expected: str, folder: Path) -> None:
    path = folder / "config.json"
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    with pytest.raises(RunError, match=expected):
        read_config(folder)


def test_the_plugin_must_be_there(folder: Path) -> None:
    change(folder, plugin="radar")
    with pytest.raises(PluginError, match="No plugin called 'radar' is installed"):
        load_encoder(folder)


def test_registered_by_both_of_its_names() -> None:
    assert registered(toy.TOY, "encoders", "toy.DigitNet") == "digitnet"
    assert registered(toy.TOY, "encoders", "toy.Digits") is None
    assert build(toy.TOY, "encoders", {"class_path": "toy.DigitNet"}).dim == 32


def test_a_failed_write_leaves_the_old_encoder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "model.safetensors").read_bytes()

    def full(state: Any, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space")

    monkeypatch.setattr("counterpoint.training.encoder_files.save_file", full)
    with pytest.raises(OSError, match="no space"):
        save_encoder(folder, toy.DigitNet(24), DESCRIBED, "")
    assert (folder / "model.safetensors").read_bytes() == before
    assert len(list(folder.iterdir())) == 3
