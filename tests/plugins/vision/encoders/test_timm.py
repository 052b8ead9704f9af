"""Any timm model: its features, its tokens, its weights."""

from __future__ import annotations

import pickle

import pytest
import timm
import torch
from safetensors.torch import save_file

from counterpoint.errors import ConfigError, DataError
from counterpoint.types import View
from counterpoint_vision.encoders import Timm

pytestmark = pytest.mark.unit


def view(size: int = 64) -> View:
    return View(torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)), "image")


@pytest.mark.parametrize(
    "name, size, tokens",
    [
        ("test_resnet", 64, 4),
        ("test_vit", 160, 100),  # its class token is no place in the image
        ("test_efficientnet", 64, 4),
        ("test_convnext", 64, 4),
        ("test_mambaout", 64, 4),  # channels last inside
        ("mobilenetv3_small_050", 64, 4),  # pooled wider than tokens
    ],
)
def test_families(name, size, tokens):
    encoder = Timm(name).eval()
    with torch.no_grad():
        out = encoder(view(size))
    assert out.pooled.shape == (2, encoder.dim)
    assert out.tokens.shape == (2, tokens, encoder.model.num_features)


def test_pooled_is_what_timm_gives():
    torch.manual_seed(0)
    encoder = Timm("test_resnet").eval()
    with torch.no_grad():
        torch.testing.assert_close(encoder(view()).pooled, encoder.model(view().data))


def test_options_reach_timm():
    encoder = Timm("test_vit", options={"dynamic_img_size": True}).eval()
    assert encoder(view(64)).tokens.shape[1] == 16
    with pytest.raises(ConfigError, match=r"options: found \{'sise': 3\}; allowed: arguments of test_vit in timm"):
        Timm("test_vit", options={"sise": 3})


def test_the_normalisation_of_the_weights_is_known():
    encoder = Timm("resnet18")
    assert encoder.mean == (0.485, 0.456, 0.406) and encoder.std == (0.229, 0.224, 0.225)


@pytest.mark.parametrize("form", ["plain.safetensors", "plain.pt", "wrapped.pt"])
def test_local_weights(form, tmp_path):
    torch.manual_seed(0)
    state = timm.create_model("test_resnet").state_dict()  # with a classifier
    place = tmp_path / form
    if place.suffix == ".safetensors":
        save_file(state, place)
    elif form == "plain.pt":
        torch.save(state, place)
    else:
        torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, place)
    torch.manual_seed(1)
    encoder = Timm("test_resnet", weights=str(place))
    assert all(torch.equal(value, state[key]) for key, value in encoder.model.state_dict().items())


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"name: found 'resnet81'; .*Did you mean 'resnet\w+'\?"):
        Timm("resnet81")
    with pytest.raises(ConfigError, match=r"timm\.list_models\(\) lists them all"):
        Timm("!!!")


def test_tags_are_allowed():
    assert Timm("test_resnet.r160_in1k").dim == Timm("test_resnet").dim


def test_weights_that_do_not_fit(tmp_path):
    place = tmp_path / "w.safetensors"
    save_file({"conv1.weight": torch.zeros(1)}, place)
    with pytest.raises(DataError, match=r"w\.safetensors without \d+ and with \d+ unlike .*the weights of test_resnet"):
        Timm("test_resnet", weights=str(place))
    with pytest.raises(DataError, match=r"weights: found no file .*none\.pt"):
        Timm("test_resnet", weights=str(tmp_path / "none.pt"))
    with pytest.raises(ConfigError, match=r"one source of weights.*Drop pretrained=True"):
        Timm("test_resnet", pretrained=True, weights=str(place))


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('executed')",))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_is_refused(tmp_path):
    place = tmp_path / "w.pt"
    place.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match=r"tensors only, no pickle"):
        Timm("test_resnet", weights=str(place))
    torch.save({"state_dict": Evil()}, place)
    with pytest.raises(DataError, match=r"tensors only, no pickle"):
        Timm("test_resnet", weights=str(place))


def test_weights_out_of_reach(monkeypatch):
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("We couldn't connect\nmore")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(DataError, match=r"pretrained: found True, but We couldn't connect; .*weights=\.\.\."):
        Timm("test_resnet", pretrained=True)


def test_a_saved_encoder_is_built_again_without_fetching_weights() -> None:
    arguments = {"name": "resnet18", "pretrained": True, "weights": None, "channels": 1}
    assert Timm.blank(arguments) == {"name": "resnet18", "pretrained": False, "weights": None, "channels": 1}
    assert Timm.blank({"name": "resnet18", "weights": "elsewhere.safetensors"})["weights"] is None
