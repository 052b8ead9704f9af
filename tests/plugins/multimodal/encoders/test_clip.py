"""CLIP and SigLIP: equal to transformers from a checkpoint, at any size without one, and bad checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from counterpoint.errors import ConfigError, DataError, ShapeError
from counterpoint.training import config as configs
from counterpoint.training.encoder_files import load_weights, save_weights
from counterpoint.types import View
from counterpoint_multimodal.data.examples import toy
from counterpoint_multimodal.encoders import CLIPTowers

pytestmark = pytest.mark.unit


def test_at_the_shell_its_own_defaults_hold(tmp_path) -> None:
    """SigLIP's space is as wide as its transformers; the 128 of `TwoTowers` would be refused."""
    words = ["multimodal/clip", "--data", toy(tmp_path)["source"], "--encoder", "CLIPTowers"]
    config = configs.parse([*words, "--encoder.family", "siglip", "--encoder.width", "32"])
    assert config.encoder.init_args.dim is None
    assert configs.instantiate(config).encoder.dim == 32


def test_what_a_recipe_says_itself_holds_for_the_chosen_class(tmp_path) -> None:
    """CLIP-rocket wants heads for strong views, whichever towers there are."""
    config = configs.parse(["multimodal/rocket", "--data", toy(tmp_path)["source"], "--encoder", "CLIPTowers"])
    assert config.encoder.init_args.local_heads is True and config.encoder.init_args.dim is None


TEXTS = ["a red circle", "A Blue square!", "", "Straße in 東京 🎉", "circle " * 40]
LENGTH = 10
TOWER = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


class Saved(NamedTuple):
    """A checkpoint, and what transformers makes of it."""

    path: Path
    model: Any
    tokenizer: Any

    def ids(self, texts: list[str]) -> Any:
        padding = "max_length" if self.model.config.model_type == "siglip" else "longest"
        return self.tokenizer(texts, padding=padding, max_length=LENGTH, truncation=True, return_tensors="pt")


def clip(path: Path) -> Saved:
    """A random CLIP with its own kind of tokenizer."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *alphabet, *(letter + "</w>" for letter in alphabet)]
    merges = [("r", "e"), ("re", "d</w>"), ("c", "i"), ("ci", "r")]
    vocabulary += ["".join(pair) for pair in merges]
    tokenizer = transformers.CLIPTokenizer(vocab={word: i for i, word in enumerate(vocabulary)}, merges=merges)
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = transformers.CLIPConfig(
        text_config={**TOWER, "vocab_size": len(vocabulary), "max_position_embeddings": LENGTH, **ends},
        vision_config={**TOWER, "num_hidden_layers": 3, "image_size": 16, "patch_size": 4},
        projection_dim=12,
    )
    return saved(path, transformers.CLIPModel(config), tokenizer)


def siglip(path: Path) -> Saved:
    """A random SigLIP with a unigram tokenizer, as SentencePiece makes them."""
    rules = Tokenizer(models.Unigram())
    rules.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    rules.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    rules.train_from_iterator(
        TEXTS, trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False)
    )
    rules.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=rules, eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    config = transformers.SiglipConfig(
        text_config={**TOWER, "vocab_size": 60, "max_position_embeddings": LENGTH, "projection_size": 16},
        vision_config={**TOWER, "image_size": 16, "patch_size": 4},
    )
    return saved(path, transformers.SiglipModel(config), tokenizer)


def saved(path: Path, model: Any, tokenizer: Any) -> Saved:
    model.eval().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return Saved(path, model, tokenizer)


@pytest.fixture(scope="module", params=[clip, siglip], ids=["clip", "siglip"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    make: Callable[[Path], Saved] = request.param
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make(tmp_path_factory.mktemp(make.__name__))


@torch.no_grad()
def test_a_checkpoint_gives_the_features_of_transformers(checkpoint: Saved, words, pictures) -> None:
    encoder, image = CLIPTowers(str(checkpoint.path)).eval(), pictures(3)
    theirs = checkpoint.model.get_image_features(pixel_values=image.data).pooler_output
    torch.testing.assert_close(encoder(image).pooled, theirs, rtol=0, atol=1e-5)
    for texts in (TEXTS, TEXTS[:1]):
        ids = checkpoint.ids(texts).input_ids
        assert torch.equal(encoder.tokenize(texts).ids, ids)
        theirs = checkpoint.model.get_text_features(input_ids=ids).pooler_output
        torch.testing.assert_close(encoder(words(*texts)).pooled, theirs, rtol=0, atol=1e-5)


@torch.no_grad()
def test_images_of_another_size_are_seen_with_interpolated_positions(checkpoint: Saved, pictures) -> None:
    encoder, image = CLIPTowers(str(checkpoint.path)).eval(), pictures(2, 24)
    found = encoder(image)
    theirs = checkpoint.model.get_image_features(pixel_values=image.data, interpolate_pos_encoding=True)
    torch.testing.assert_close(found.pooled, theirs.pooler_output, rtol=0, atol=1e-5)
    assert found.tokens is not None and found.tokens.shape == (2, 36, 16)


@torch.no_grad()
def test_embedded_tokens_give_what_their_text_gives(checkpoint: Saved, words) -> None:
    encoder = CLIPTowers(str(checkpoint.path)).eval()
    ids, mask = encoder.tokenize(TEXTS)
    found = encoder.encode_text_embeds(encoder.token_embedding(ids), mask, mask.sum(1) - 1)
    torch.testing.assert_close(found, encoder(words(*TEXTS)).pooled, rtol=0, atol=1e-6)


@torch.no_grad()
def test_layers_are_those_of_transformers_without_class_tokens(checkpoint: Saved, words, pictures) -> None:
    encoder, image = CLIPTowers(str(checkpoint.path)).eval(), pictures(2)
    theirs = checkpoint.model.vision_model(image.data, output_hidden_states=True).hidden_states[1:]
    ours = encoder.layers(image)
    assert len(ours) == checkpoint.model.config.vision_config.num_hidden_layers
    for a, b in zip(ours[:-1], theirs, strict=False):  # the last of theirs may be behind a norm
        torch.testing.assert_close(a, b[:, -16:], rtol=0, atol=1e-5)
    assert [tuple(x.shape) for x in encoder.layers(words("a red circle", "a"))] == [
        (2, encoder.tokenize(["a red circle"]).ids.shape[1], 16)
    ] * 2


def test_blank_keeps_the_shape_without_the_checkpoint(checkpoint: Saved, words, pictures, tmp_path: Path) -> None:
    gone = tmp_path / "checkpoint"
    shutil.copytree(checkpoint.path, gone)
    encoder, plain = CLIPTowers(str(gone)).eval(), CLIPTowers.blank({"source": str(gone)})
    shutil.rmtree(gone)
    assert plain["source"] is None and json.loads(json.dumps(plain)) == plain
    assert CLIPTowers.blank(plain) == plain
    save_weights(encoder, tmp_path / "model.safetensors")
    again = CLIPTowers(**plain).eval()
    load_weights(again, tmp_path / "model.safetensors")
    for view in (pictures(2), words(*TEXTS)):
        assert torch.equal(again(view).pooled, encoder(view).pooled)


def test_a_checkpoints_vocabulary_is_kept_and_its_weights_learn(checkpoint: Saved, captions, words, pictures) -> None:
    encoder = CLIPTowers(str(checkpoint.path))
    file = encoder.text.tokenizer.file.clone()
    encoder.prepare(captions)
    assert torch.equal(encoder.text.tokenizer.file, file)
    (encoder(pictures(2)).pooled.square().sum() + encoder(words("a", "b")).pooled.square().sum()).backward()
    assert all(p.grad is not None for p in encoder.parameters())


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_without_a_checkpoint_the_vocabulary_is_learnt(family: str, captions, words, pictures) -> None:
    encoder = CLIPTowers(family=family, width=16, layers=2, heads=2, image_size=16, vocabulary=300, max_tokens=12)
    encoder.prepare(captions)
    found = encoder.eval()(words("a red circle", "Straße"))
    assert found.pooled.shape == (2, encoder.dim) == (2, 16) and found.tokens.shape == (2, 12, 16)
    assert encoder(pictures(2)).tokens.shape == (2, 16, 16)
    together = encoder(words("a red circle", "a large blue square on a white sheet")).pooled[0]
    torch.testing.assert_close(encoder(words("a red circle")).pooled[0], together, rtol=0, atol=1e-5)


def test_local_views_may_have_heads_of_their_own(words) -> None:
    encoder = CLIPTowers(width=16, layers=1, heads=2, dim=8, vocabulary=300, local_heads=True, local_hidden=20)
    assert encoder.dims == {"image": 8, "text": 8}
    assert set(encoder.local_heads) == {"image", "text"} and encoder.local_heads["text"].out_dim == 8


def test_options_are_transformers_own(words) -> None:
    encoder = CLIPTowers(width=16, layers=2, heads=2, options={"text_config": {"num_hidden_layers": 3}})
    assert len(encoder.text.blocks) == 3 and len(encoder.image.model.encoder.layers) == 2


def broken(checkpoint: Saved, place: Path, *names: str) -> Path:
    """A copy of a checkpoint without some of its files."""
    shutil.copytree(checkpoint.path, place)
    for name in names:
        (place / name).unlink()
    return place


def test_bad_checkpoints_are_named(checkpoint: Saved, tmp_path: Path) -> None:
    pickled = broken(checkpoint, tmp_path / "pickled", "model.safetensors")
    torch.save(checkpoint.model.state_dict(), pickled / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"source: found .*pickled.*read from safetensors only"):
        CLIPTowers(str(pickled))
    partial = broken(checkpoint, tmp_path / "partial")
    state = load_file(partial / "model.safetensors")
    save_file(
        {k: v for k, v in state.items() if "text_model.final" not in k}, partial / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(DataError, match=r"partial' without text_model.final_layer_norm.bias; allowed: all weights"):
        CLIPTowers(str(partial))
    with pytest.raises(DataError, match=r"mute' without a tokenizer; allowed: tokenizer.json"):
        CLIPTowers(str(broken(checkpoint, tmp_path / "mute", "tokenizer.json", "tokenizer_config.json")))
    with pytest.raises(DataError, match="there is no such directory"):
        CLIPTowers(str(tmp_path / "nowhere"))


def test_a_checkpoint_of_another_family_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(DataError, match="a bert; allowed: clip or siglip"):
        CLIPTowers(str(tmp_path))


def test_siglips_python_tokenizer_is_written_out(tmp_path: Path) -> None:
    """Its canonical form: small letters, no punctuation, single spaces."""
    with torch.random.fork_rng():
        made = siglip(tmp_path)
    rules = json.loads((tmp_path / "tokenizer.json").read_text())
    rules["normalizer"] = None
    (tmp_path / "tokenizer.json").write_text(json.dumps(rules))
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "SiglipTokenizer", "pad_token": "</s>"})
    )
    encoder = CLIPTowers(str(tmp_path))
    ids, mask = encoder.tokenize(["  A red,   circle! ", "a red circle"])
    assert torch.equal(ids[0], ids[1]) and (ids[~mask] == 1).all() and ids.shape == (2, LENGTH)
    theirs = made.ids(["a red circle"])
    assert torch.equal(ids[1][mask[1]], theirs.input_ids[0][theirs.attention_mask[0].bool()])


def test_normalisation_is_the_checkpoints(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        clip(tmp_path)
    assert CLIPTowers(str(tmp_path)).image.mean[0] == pytest.approx(0.4815, abs=1e-4)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    found = CLIPTowers(str(tmp_path)).image
    assert found.mean == found.std == (0.5, 0.5, 0.5)


def test_errors(pictures) -> None:
    for arguments, text in (
        ({"width": 10}, "width: found 10; allowed: multiples of heads=4"),
        ({"layers": 0}, "layers: found 0"),
        ({"image_size": 30}, "image_size: found 30; allowed: multiples of patch=4"),
        ({"family": "siglip", "dim": 8, "width": 16}, "dim: found 8; allowed: width=16"),
        ({"family": "align"}, "family: found 'align'; allowed: clip or siglip"),
        ({"vocabulary": 10}, "vocabulary: found 10"),
    ):
        with pytest.raises(ConfigError, match=text):
            CLIPTowers(**arguments)
    encoder = CLIPTowers(width=16, layers=1, heads=2)
    for data in (
        None,
        torch.zeros(2, 1, 16, 16),
        torch.zeros(2, 3, 2, 2),
        torch.zeros(2, 3, 16, 16, dtype=torch.uint8),
    ):
        with pytest.raises(ShapeError, match=r"view.data: found .*; allowed: float tensor \(B, 3, H, W\)"):
            encoder(View(data, "image"))
    with pytest.raises(ShapeError, match="embeds: found 40 tokens"):
        encoder.text.encode(torch.zeros(1, 40, 16), torch.ones(1, 40).bool())
