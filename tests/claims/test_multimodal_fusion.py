"""Claim (CoME-VL): CLIP's tokens that ask a self-supervised encoder ground better, and understand no worse.

Both encoders are small vision transformers trained on emoji of some concepts in three drawing styles: one with their
names (CLIP, patches of 6), one without (DINO, patches of 4), and both are frozen. Then a connector and a tiny decoder
learn on canvases of 2-4 emoji which categories are there, and in which box each is; they are measured on canvases of
emoji of *other* concepts. Each arm has the same decoder, learning rate, epochs and number of visual tokens. The seeds
draw canvases and weights, alike for all arms.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import claims
from counterpoint.nn import GatedMLP, LayerMixer, attention_entropy, calm_layers, token_entropy
from counterpoint.plugin import borrowed
from counterpoint.types import Batch, View
from counterpoint_multimodal.data import PairArrays, PairTable
from counterpoint_multimodal.encoders import Fusion, Stack
from counterpoint_multimodal.encoders.fusion import square
from counterpoint_multimodal.encoders.members import Member, from_run
from counterpoint_multimodal.tasks import Grounding, compose

pytestmark = pytest.mark.claim

SEEDS = (0,) if claims.SMOKE else (0, 1, 2)
SIDE = 24 if claims.SMOKE else 48
CANVASES = {"train": 24, "test": 12} if claims.SMOKE else {"train": 1000, "test": 400}
EPOCHS, WIDTH = (1, 16) if claims.SMOKE else (25, 64)
NETWORK = {"dim": 64, "depth": 4, "heads": 4, "size": 24}
WORDS = ("--batch_size", "128", "--select", "null", "--patience", "null", "--views.size", "24")
ABLATIONS = (
    "CLIP, last layer",
    "CoME, all layers",
    "CoME without rope",
    "CoME without mask",
    "CoME without orthogonality",
)
"""At the first seed only."""
UNDERSTANDING, GROUNDING, POINTING = "understanding[top-n]", "grounding[IoU]", "pointing[in box]"


def data() -> PairArrays | PairTable:
    """The emoji; in a smoke run, drawn shapes."""
    return PairTable(claims.MADE["pairs.csv"]()) if claims.SMOKE else PairArrays("emoji-styles")


def encoders(pairs: PairArrays | PairTable) -> tuple[Path, Path]:
    """Runs of the contrastive and of the self-supervised encoder (a smoke run has one for both)."""
    tower = ("--encoder.image", "vision/tinyvit", "--encoder.image_options", json.dumps({**NETWORK, "patch": 6}))
    words = ("multimodal/clip", "--data", "emoji-styles", *tower, *WORDS, "--epochs", "20")
    first = claims.trained(claims.Trial(words, 0))
    if claims.SMOKE:
        return first, first
    crops = claims.place("emoji") / "crops.npz"
    if not crops.is_file():
        images: Any = pairs.batch(pairs.splits()["train"].tolist()).data["image"]
        np.savez(crops, train_images=images.permute(0, 2, 3, 1).numpy())
    own = {**NETWORK, "patch": 4}
    network = [word for name, value in own.items() for word in (f"--encoder.{name}", str(value))]
    rest = ("--encoder", "TinyViT", *network, "--views.local_size", "12", *WORDS, "--epochs", "10")
    return first, claims.trained(claims.Trial(("vision/dino", "--data", str(crops), *rest), 0))


def canvases(pairs: PairArrays | PairTable, split: str, seed: int) -> tuple[View, Tensor]:
    """Canvases of a split's pictures as an encoder sees them, and their labels."""
    rows = pairs.splits()[split] if not claims.SMOKE else np.arange(len(pairs))
    batch = pairs.batch(rows.tolist())
    images: Any = batch.data["image"]
    assert batch.label is not None and pairs.classes is not None
    swatches = [number for number, name in enumerate(pairs.classes) if name == "Component"]  # patches of a colour
    labels = batch.label.masked_fill(torch.isin(batch.label, torch.tensor(swatches)), -1)
    things = (2, 3) if claims.SMOKE else (2, 4)
    made = compose(images, labels, CANVASES[split], SIDE, things, (0.35, 0.5), seed=2 * seed + (split == "test"))
    number = torch.arange(len(made))
    views = borrowed("views", "vision/simclr").load()(size=SIDE)
    return views.plain(Batch({"image": made.images}, number, number))[0], made.labels


@torch.no_grad()
def told(member: Member, view: View) -> Tensor:
    """Layers ``(N, K, T, F)`` of all canvases, in half precision."""
    parts = torch.split(view.data, 64)
    return torch.cat([member.eval()(View(part, "image"))[0].half() for part in parts])


class One(nn.Module):
    """One encoder alone: its layers mixed, its grid brought to ``tokens``, a linear map."""

    def __init__(self, which: int, stack: Stack, tokens: int, more: int = 0, last: bool = False) -> None:
        super().__init__()
        self.which, self.side = which, square(tokens)[0]
        self.mixer = LayerMixer(stack.dim, stack.layers)
        if last:
            self.mixer.choose([-1])
        self.dense = GatedMLP(stack.dim) if which else nn.Identity()
        self.project, self.norm = nn.Linear(stack.dim, WIDTH), nn.LayerNorm(WIDTH)
        self.more = nn.Sequential(nn.Linear(WIDTH, more), nn.GELU(), nn.Linear(more, WIDTH)) if more else None

    def forward(self, *stacks: Tensor) -> Tensor:
        """Stacks of both encoders -> ``(B, tokens, WIDTH)``."""
        tokens = self.norm(self.project(self.resized(self.dense(self.mixer(stacks[self.which])))))
        return tokens if self.more is None else tokens + self.more(tokens)

    def resized(self, tokens: Tensor) -> Tensor:
        """Tokens of a square grid -> those of the wanted one."""
        image = tokens.transpose(1, 2).unflatten(2, square(tokens.shape[1]))
        return F.interpolate(image, (self.side, self.side), mode="bilinear", antialias=True).flatten(2).transpose(1, 2)


class Both(nn.Module):
    """Both encoders at one grid, summed or joined by channels."""

    def __init__(self, stacks: tuple[Stack, Stack], tokens: int, joined: bool) -> None:
        super().__init__()
        self.parts = nn.ModuleList(One(which, stack, tokens) for which, stack in enumerate(stacks))
        self.join = nn.Linear(2 * WIDTH, WIDTH) if joined else None

    def forward(self, *stacks: Tensor) -> Tensor:
        """Stacks of both encoders -> ``(B, tokens, WIDTH)``."""
        tokens = [part(*stacks) for part in self.parts]
        return tokens[0] + tokens[1] if self.join is None else self.join(torch.cat(tokens, -1))


def size(module: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(p.numel() for p in module.parameters())


def arms(one: Stack, two: Stack, tokens: int, calm: list[int]) -> dict[str, Callable[[], nn.Module]]:
    """Name -> connector, made anew."""

    def come(layers: list[int] | None = None, **options: Any) -> nn.Module:
        fusion = Fusion(one, two, WIDTH, heads=4, pool=False, **options)
        if layers is not None:
            fusion.mixer(1).choose(layers)
        return fusion

    missing = size(come()) - size(One(0, one, tokens))
    half = two.layers // 2
    return {
        "CLIP": lambda: One(0, one, tokens),
        "DINO": lambda: One(1, two, tokens),
        "CLIP and as many parameters": lambda: One(0, one, tokens, more=missing // (2 * WIDTH)),
        "sum": lambda: Both((one, two), tokens, joined=False),
        "channels joined": lambda: Both((one, two), tokens, joined=True),
        "CoME": lambda: come(calm),
        "CLIP, last layer": lambda: One(0, one, tokens, last=True),
        "CoME, all layers": come,
        "CoME, early half of DINO": lambda: come(list(range(half))),
        "CoME, late half of DINO": lambda: come(list(range(half, two.layers))),
        "CoME without rope": lambda: come(calm, rope=False),
        "CoME without mask": lambda: come(calm, radius=None),
        "CoME without orthogonality": lambda: come(calm, orthogonal=False),
    }


def test_clip_that_asks_dino_grounds_better() -> None:
    pairs = data()
    runs = encoders(pairs)
    members = [Member(from_run(str(run))[0], frozen=True) for run in runs]
    found: dict[str, dict[str, list[float]]] = {}
    facts: dict[str, Any] = {"claim": "CoME above CLIP alone", "seeds": list(SEEDS), "arms": found}
    named = "-".join(run.name for run in runs)
    kept = claims.place("fusion") / f"{named}-{EPOCHS}-{WIDTH}-{CANVASES['train']}-{SIDE}.json"
    done: dict[str, dict[str, float]] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    for seed in SEEDS:
        seen = {split: canvases(pairs, split, seed) for split in CANVASES}
        stacks = {split: [told(member, view) for member in members] for split, (view, _) in seen.items()}
        if seed == SEEDS[0]:
            facts["entropies"] = entropies(members, seen["train"][0])
        tokens, calm = stacks["train"][0].shape[2], facts["entropies"]["calm"]
        for name, connector in arms(members[0].stack, members[1].stack, tokens, calm).items():
            if name in ABLATIONS and seed != SEEDS[0]:
                continue
            if f"{name}, {seed}" not in done:
                torch.manual_seed(seed)
                task = Grounding(connector(), WIDTH, epochs=EPOCHS, learning_rate=2e-3, seed=seed)
                task.fit(stacks["train"], seen["train"][1])
                done[f"{name}, {seed}"] = task.evaluate(stacks["test"], seen["test"][1])
                kept.write_text(json.dumps(done), encoding="utf-8")
            for metric, value in done[f"{name}, {seed}"].items():
                found.setdefault(name, {}).setdefault(metric, []).append(value)
            claims.write("multimodal-fusion", facts)
    gains = {
        f"CoME - {name}, {metric}": dataclasses.asdict(claims.gain(found["CoME"][metric], values[metric]))
        for name, values in found.items()
        for metric in (UNDERSTANDING, GROUNDING, POINTING)
        if name not in ("CoME", *ABLATIONS) and len(SEEDS) > 1
    }
    claims.write("multimodal-fusion", {**facts, "gains": gains})
    mean = {name: {metric: fmean(values[metric]) for metric in values} for name, values in found.items()}
    spread = float(np.std(found["CLIP"][GROUNDING]))
    claims.expect(lambda: mean["CoME"][GROUNDING] > mean["CLIP"][GROUNDING] + spread, json.dumps(mean))
    claims.expect(lambda: mean["CoME"][UNDERSTANDING] > mean["CLIP"][UNDERSTANDING] - 0.01, json.dumps(mean))


def entropies(members: list[Member], view: View) -> dict[str, Any]:
    """Curves of both encoders over their layers, and the calm layers of the second."""
    some = View(view.data[:128], "image")
    curves = {f"attention, {name}": attention_entropy(m.encoder, some) for name, m in zip(("CLIP", "DINO"), members)}
    layers = {f"tokens, {name}": token_entropy([*m(some)[0].unbind(1)]) for name, m in zip(("CLIP", "DINO"), members)}
    return {**curves, **layers, "calm": calm_layers(curves["attention, DINO"])}
