"""Claim (GOPro): prompts learnt from a few labels tell base classes better than the written one, and keep the new.

On emoji in drawing styles. One small CLIP is trained on the train concepts in two styles, with captions that hold the
words of base and new classes; then it is frozen. A seed draws which half of the classes is base, the shots, and the
learner's weights. Every method has the same trials on the val concepts, at a seed that is not measured (with classes
drawn anew); what is measured are the test concepts, in the styles that CLIP saw and in one that it never saw.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import pytest
import torch
from torch import Tensor

import claims
import counterpoint as cp
from counterpoint.evaluation.linear import linear_probe
from counterpoint.evaluation.stats import accuracy
from counterpoint.training.logs import read_metrics
from counterpoint_multimodal.data import PairTable
from counterpoint_multimodal.embedding import embed_images
from counterpoint_multimodal.encoders import TwoTowers
from counterpoint_multimodal.tasks.prompts import PromptClasses, base_to_new
from counterpoint_multimodal.tasks.prompts.losses import consistency
from counterpoint_multimodal.tasks.prompts.seen import look
from counterpoint_multimodal.tasks.prompts.views import Images, PromptViews, batch_of
from counterpoint_multimodal.tasks.zero_shot import ZeroShot
from counterpoint_multimodal.views import PairViews
from drawings import SEEN, SHIFTED, Drawings, Emoji, Squares

pytestmark = pytest.mark.claim

TUNING = 100
SEEDS = (0,) if claims.SMOKE else (0, 1, 2, 3, 4)
CLASSES, SHOTS = 20, 16
EPOCHS, BATCH = (1, 8) if claims.SMOKE else (20, 16)
RATES = (0.02,) if claims.SMOKE else (1e-5, 1e-4, 1e-3, 1e-2)
"""The trials of each method: the learning rate, which matters most to it."""
TUNED = ("coop", "cocoop", "gopro")
PHRASES = ("a photo of a", "a picture of a", "an emoji of a", "a drawing of a")
"""The written prompts that are tried; learning starts from the best."""
GOPRO: dict[str, dict[str, Any]] = {
    "gopro": {},
    "gopro - consistency": {"consistency": 0.0},
    "gopro, projected": {"options": {"ce_on_projected": True}},
    "gopro - contrast": {"contrast": 0.0},
    "gopro, content": {"options": {"style": False}},
    "gopro, style": {"options": {"content": False}},
    "gopro, last layer": {"options": {"depth": "last"}},
}
KINDS = ("base", "new", "harmonic_mean")
CLIP = (
    "multimodal/clip",
    *("--encoder.dim", "128", "--encoder.image_options", '{"width": 32}', "--optimization.weight_decay", "0.5"),
    *("--views.image_options", '{"scale": [0.3, 1.0], "flip": 0.5, "strength": 0.3, "jitter_p": 0.8}'),
    *("--epochs", "40", "--select", "null", "--patience", "null", "--monitor_epochs", "10"),
)


@dataclasses.dataclass
class Frozen:
    """The pretrained towers, and how they were pretrained."""

    encoder: Any
    views: Any
    temperature: float
    facts: dict[str, Any]


@pytest.fixture(scope="module")
def drawings() -> Drawings:
    return Squares() if claims.SMOKE else Emoji(CLASSES)


@pytest.fixture(scope="module")
def frozen(drawings: Drawings, tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    if claims.SMOKE:  # untrained: what follows is exercised, and shows nothing
        vit = {"size": 16, "dim": 16, "depth": 4, "heads": 2}
        encoder = TwoTowers(16, "vision/tinyvit", vit, text_width=16, text_layers=1, text_heads=2, vocabulary=400)
        encoder.prepare(PairTable(str(drawings.table(tmp_path_factory.mktemp("pairs")))))
        return Frozen(encoder.eval().requires_grad_(False), PairViews(size=16), 0.07, {})
    words = (*CLIP, "--data", str(drawings.table(claims.ROOT / "runs" / "emoji-pairs")))
    trial = claims.Trial(words, 0)
    found = claims.measure(trial, "val", quick=True)
    run = cp.load(trial.folder)
    temperature = read_metrics(trial.folder)["parts/temperature"][-1][1]
    shown = {name: found["rows"]["learnt"][name] for name in ("recall@10",)}
    command = "counterpoint pretrain " + " ".join(CLIP)
    return Frozen(run.encoder, run.views, temperature, {"command": command, "temperature": temperature, "val": shown})


class Trials:
    """Prompts of any method on any draw of classes and shots.

    Args:
        drawings: the images.
        frozen: the towers.
    """

    def __init__(self, drawings: Drawings, frozen: Frozen) -> None:
        self.drawings, self.frozen, self.names = drawings, frozen, drawings.names
        self.phrase = PHRASES[0]
        self._images: dict[tuple[str, tuple[str, ...]], tuple[Tensor, Tensor]] = {}

    def images(self, split: str, styles: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        """Raw images and classes, read once."""
        if (split, styles) not in self._images:
            self._images[split, styles] = self.drawings.images(split, styles)
        return self._images[split, styles]

    def base(self, seed: int) -> list[int]:
        """Half of the classes."""
        order = torch.randperm(len(self.names), generator=torch.Generator().manual_seed(1000 + seed))
        return sorted(order[: len(order) // 2].tolist())

    def shots(self, seed: int) -> tuple[Tensor, Tensor]:
        """`SHOTS` images of each base class of the train concepts, labelled by their place among the base classes."""
        images, labels = self.images("train", SEEN)
        generator = torch.Generator().manual_seed(seed)
        drawn = [(labels == one).nonzero().flatten() for one in self.base(seed)]
        drawn = [rows[torch.randperm(len(rows), generator=generator)[:SHOTS]] for rows in drawn]
        places = torch.arange(len(drawn)).repeat_interleave(torch.tensor([len(rows) for rows in drawn]))
        return images[torch.cat(drawn)], places

    def fit(self, method: str, seed: int, **settings: Any) -> PromptClasses:
        """Prompts learnt at ``seed``."""
        common = {"batch_size": BATCH, "epochs": EPOCHS, "temperature": self.frozen.temperature, "seed": seed}
        common |= {"context": self.phrase, "augment": {"scale": (0.5, 1.0)}}  # the crops that CLIP was trained on
        classes = [self.names[one] for one in self.base(seed)]
        made = PromptClasses(self.frozen.encoder, self.frozen.views, classes, method, **{**common, **settings})
        return made.fit(*self.shots(seed))

    def measure(
        self, task: PromptClasses | Ensemble, seed: int, split: str, styles: tuple[str, ...]
    ) -> dict[str, float]:
        """Base, new and their harmonic mean."""
        return base_to_new(task, *self.images(split, styles), self.names, self.base(seed))

    def probe(self, seed: int, split: str, styles: tuple[str, ...]) -> float:
        """Accuracy of a linear probe of the frozen features on the base classes: what labels alone give."""
        shots, places = self.shots(seed)
        images, labels = self.images(split, styles)
        base = torch.tensor(self.base(seed))
        rows = torch.isin(labels, base)
        found = linear_probe(self._features(shots), places, self._features(images[rows]))
        return accuracy(base[found.predictions], labels[rows])

    def spread(self, task: PromptClasses, seed: int) -> float:
        """`consistency` of test images of base classes and their two augmented views under learnt prompts."""
        images = self.images("test", SEEN)[0][:64]
        views = PromptViews(self.frozen.views, task._plain(images[:1]).data.shape[-1])
        drawn = views(batch_of(images), torch.Generator().manual_seed(seed))
        with torch.no_grad():
            seen = [look(self.frozen.encoder, view, layers=True) for view in drawn]
            return float(consistency([task.prompts.encode(task.learner(one)) for one in seen]))

    def _features(self, images: Tensor) -> Tensor:
        return embed_images(self.frozen.encoder, self.frozen.views, batch_of(images))


@dataclasses.dataclass
class Ensemble:
    """Several written prompts a class, as `ZeroShot` joins them; nothing is learnt."""

    frozen: Frozen

    def predict(self, images: Images, classes: Sequence[str] | None = None) -> Tensor:
        """``(N,)`` positions in ``classes``."""
        task = ZeroShot().fit_classes(self.frozen.encoder, self.frozen.views, classes or ())
        return task.predict(embed_images(self.frozen.encoder, self.frozen.views, batch_of(images)))


def choose(trials: Trials) -> dict[str, dict[str, Any]]:
    """The phrase, then the learning rate of each method, best on val in styles that CLIP saw, at the tuning seed."""

    def on_val(method: str, **settings: Any) -> float:
        return trials.measure(trials.fit(method, TUNING, **settings), TUNING, "val", SEEN)["harmonic_mean"]

    phrases = {phrase: on_val("coop", epochs=0, context=phrase) for phrase in PHRASES}
    trials.phrase = max(phrases, key=lambda phrase: phrases[phrase])
    chosen: dict[str, dict[str, Any]] = {"written": {"context": trials.phrase, "val": phrases}}
    for method in TUNED:
        tried = {rate: on_val(method, lr=rate) for rate in RATES}
        chosen[method] = {"lr": max(tried, key=lambda rate: tried[rate]), "val": tried}
    return chosen


def arms(chosen: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Name -> method and its settings."""
    plain = {method: (method, {"lr": chosen[method]["lr"]}) for method in ("coop", "cocoop")}
    some = list(GOPRO)[:3] if claims.SMOKE else GOPRO
    ours = {name: ("gopro", {"lr": chosen["gopro"]["lr"], **GOPRO[name]}) for name in some}
    return {"written": ("coop", {"epochs": 0}), "written, ensemble": ("ensemble", {}), **plain, **ours}


def test_learnt_prompts_against_the_written_one(drawings: Drawings, frozen: Frozen) -> None:
    trials = Trials(drawings, frozen)
    chosen = choose(trials)
    found: dict[str, dict[str, list[Any]]] = {}
    result: dict[str, Any] = {
        "claim": "GOPro above the written prompt, CoOp and CoCoOp, base to new",
        "data": "emoji-styles",
        "seeds": list(SEEDS),
        "tuning seed": TUNING,
        "classes": len(drawings.names),
        "shots": SHOTS,
        "epochs": EPOCHS,
        "images": {kind: len(trials.images("test", styles)[1]) for kind, styles in _styles().items()},
        "clip": frozen.facts,
        "chosen on val": chosen,
    }
    for name, (method, settings) in arms(chosen).items():
        found[name] = measured(trials, method, settings)
        claims.write("multimodal-prompts", {**result, "arms": found})
    probes = {kind: [trials.probe(seed, "test", styles) for seed in SEEDS] for kind, styles in _styles().items()}
    gains = {
        f"gopro - {other}, {kind}, {metric}": claims.gain(found["gopro"][f"{kind} {metric}"], row[f"{kind} {metric}"])
        for other, row in found.items()
        for kind in _styles()
        for metric in KINDS
        if other != "gopro"
    }
    told = {name: dataclasses.asdict(gain) for name, gain in gains.items()}
    claims.write("multimodal-prompts", {**result, "arms": found, "linear probe, base": probes, "gains": told})
    _expect(found, gains)


def measured(trials: Trials, method: str, settings: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Every metric of one arm, seed by seed."""
    rows: dict[str, list[Any]] = {}
    for seed in SEEDS:
        task = Ensemble(trials.frozen) if method == "ensemble" else trials.fit(method, seed, **settings)
        for kind, styles in _styles().items():
            for metric, value in trials.measure(task, seed, "test", styles).items():
                rows.setdefault(f"{kind} {metric}", []).append(value)
        if isinstance(task, PromptClasses) and method == "gopro":
            rows.setdefault("consistency", []).append(trials.spread(task, seed))
    return rows


def _styles() -> dict[str, tuple[str, ...]]:
    return {"seen": SEEN, "shifted": SHIFTED}


def _expect(found: Mapping[str, Mapping[str, Sequence[float]]], gains: Mapping[str, Any]) -> None:
    """What the card says must hold."""

    def mean(arm: str, metric: str) -> float:
        return fmean(found[arm][metric])

    checks: dict[str, Callable[[], bool]] = {
        "base above the written prompt": lambda: gains["gopro - written, seen, base"].difference.mean > 0,
        "new: CoOp loses": lambda: mean("coop", "seen new") <= mean("written", "seen new"),
        "harmonic mean above CoOp": lambda: gains["gopro - coop, seen, harmonic_mean"].difference.mean > 0,
        "harmonic mean above the written prompt": lambda: (
            gains["gopro - written, seen, harmonic_mean"].difference.mean > 0
        ),
        "shifted style above the written prompt": lambda: (
            gains["gopro - written, shifted, harmonic_mean"].difference.mean > 0
        ),
        "texts of views agree": lambda: mean("gopro", "consistency") < mean("gopro - consistency", "consistency"),
        "contrast alone changes no answer": lambda: (
            found["gopro"]["seen base"] == found["gopro - contrast"]["seen base"]
        ),
    }
    for text, check in checks.items():
        claims.expect(check, f"{text}: {found}")
