"""The verdict: small real trainings, one for each state, and the rules on made-up numbers."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity

from counterpoint.errors import RunError
from counterpoint.methods.base import Method
from counterpoint.methods.byol import BYOL
from counterpoint.methods.simclr import SimCLR
from counterpoint.methods.simsiam import SimSiam
from counterpoint.nn.heads import Projector
from counterpoint.parts import Encoder
from counterpoint.training._remedies import advice
from counterpoint.training.logs import MetricsLog
from counterpoint.training.monitors import Monitor
from counterpoint.training.verdict import Verdict, diagnose, verdict
from counterpoint.types import Batch, Encoding, Step, View

pytestmark = pytest.mark.unit


def judged(lab: Any, module: Any, pairs: Any = None, epochs: int = 12) -> Verdict:
    lab.fit(module, [Monitor(lab.embed(module), every_n_steps=5, every_n_epochs=6)], pairs, max_epochs=epochs)
    return diagnose(lab.run)


def test_a_run_that_learns_is_healthy(lab: Any, toy: Any) -> None:
    found = judged(lab, toy())
    assert found.state == "healthy"
    assert (found.cause, found.remedy) == ("", "")
    assert found.numbers["knn"] > found.numbers["untrained knn"] + 0.1
    assert str(found).startswith("Healthy: loss 4.") and "(chance 5.54)" in str(found) and "untrained" in str(found)


def test_attraction_alone_collapses(lab: Any, toy: Any) -> None:
    found = judged(lab, toy("attract"))
    assert found.state == "collapsed" and found.numbers["std"] < 0.05
    assert str(found).startswith("Collapsed: all embeddings point the same way (std 0.0")
    assert "Likely cause: nothing in the objective holds the embeddings apart" in str(found)
    assert str(found).endswith("Try: lower optimization.lr by a factor of 3.")


class Constant(Encoder):
    dim = 64

    def __init__(self) -> None:
        super().__init__()
        self.answer = nn.Parameter(torch.randn(64))

    def forward(self, view: View) -> Encoding:
        return Encoding(self.answer.expand(len(view.data), -1) + 0.0 * view.data)


def test_a_constant_encoder_is_collapsed_even_with_negatives(lab: Any, toy: Any) -> None:
    module = toy()
    module.encoder = Constant()
    found = judged(lab, module)
    assert found.state == "collapsed"
    assert found.remedy == "look at one batch of views side by side, row by row"


def test_no_learning_rate_stays_at_chance(lab: Any, toy: Any) -> None:
    found = judged(lab, toy(lr=0.0))
    assert found.state == "at chance"
    assert (found.cause, found.remedy) == ("the learning rate is 0", "set optimization.lr above 0")
    assert "chance is 5.54, and it does not fall" in found.text


def test_shuffled_pairs_stay_at_chance(lab: Any, toy: Any, pairs: Any) -> None:
    found = judged(lab, toy(), pairs(shuffled=True))
    assert found.state == "at chance"
    assert "nothing in common" in found.cause and "side by side" in found.remedy


def test_a_bottleneck_is_a_dimensional_collapse(lab: Any, toy: Any) -> None:
    module = toy()
    module.projector = nn.Sequential(nn.ReLU(), nn.Linear(64, 1), nn.Linear(1, 32))
    found = judged(lab, module)
    assert found.state == "dimensional collapse"
    assert "of 32 dimensions" in found.text and found.remedy == "lower the temperature (0.1)"


def test_views_that_share_what_does_not_matter_teach_nothing(lab: Any, toy: Any, pairs: Any) -> None:
    class SharedNuisance(pairs):
        """What hides the class is the same in both views, and nearly all that they show."""

        def _view(self, index: torch.Tensor, generator: torch.Generator) -> Any:
            view = super()._view(index, generator)
            patterns = torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
            shared = torch.randn(1797, 4, generator=torch.Generator().manual_seed(3))[index]
            view.data = view.data * 0.05 + shared @ patterns
            return view

    found = judged(lab, toy(), SharedNuisance())
    assert found.state == "not better than untrained"
    assert found.numbers["loss"] < 0.7 * found.numbers["chance"], "the loss itself looks fine"
    assert "shortcut" in found.cause and found.remedy.startswith("strengthen the augmentation")


def test_a_huge_learning_rate_diverges(lab: Any, toy: Any) -> None:
    class Exploding(toy):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=1e38)

    found = judged(lab, Exploding(), epochs=6)
    assert found.state == "diverged"
    assert str(found).endswith("the learning rate is too high. Try: lower optimization.lr by a factor of 10.")


def test_a_few_updates_are_too_early(lab: Any, toy: Any) -> None:
    found = judged(lab, toy(), epochs=2)
    assert found.state == "too early"
    assert str(found) == "Too early to say: 20 updates; a verdict takes 50."


# --- the core's own methods ---


class NoStopGradient(SimSiam):
    """SimSiam as it must not be: the gradient flows into the target."""

    def step(self, views: list[View], batch: Batch) -> Step:
        embeddings = [self.projector(encoding.pooled) for encoding in self.encode(views)]
        a, b = embeddings
        loss = -(cosine_similarity(self.predictor(a), b) + cosine_similarity(self.predictor(b), a)).mean() / 2
        return Step(loss, {}, (a.detach(), b.detach()))


def small_projector(in_dim: int) -> nn.Module:
    return Projector(in_dim, hidden_dim=64, out_dim=32)


def identity(in_dim: int) -> nn.Module:
    return nn.Identity()


def judged_method(lab: Any, method: Method) -> Verdict:
    method.total_steps = 120
    method.optimization = lambda m: torch.optim.AdamW(m.parameter_groups(), lr=2e-3)
    return judged(lab, method)


def test_simclr_is_healthy(lab: Any, toy_encoder: Any) -> None:
    found = judged_method(lab, SimCLR(toy_encoder(), projector=small_projector))
    assert found.state == "healthy" and found.numbers["knn"] > 0.5


def test_simsiam_without_stop_gradient_is_collapsed_and_with_it_is_not(
    lab: Any, toy_encoder: Any, tmp_path: Path
) -> None:
    found = judged_method(lab, NoStopGradient(toy_encoder(), projector=small_projector))
    assert found.state == "collapsed" and found.numbers["std"] < 0.15
    lab.run = tmp_path / "sound"
    found = judged_method(lab, SimSiam(toy_encoder(), projector=small_projector))
    assert found.state != "collapsed" and found.numbers["std"] > 0.5


def test_byol_without_momentum_and_predictor_is_collapsed(lab: Any, toy_encoder: Any) -> None:
    lab.run.mkdir()
    (lab.run / "config.yaml").write_text("method:\n  class_path: counterpoint.methods.byol.BYOL\n")
    found = judged_method(lab, BYOL(toy_encoder(), projector=small_projector, momentum=0.0, predictor=identity))
    assert found.state == "collapsed" and found.numbers["std"] < 0.05
    assert found.remedy == "raise the target's momentum (0.996)"


# --- rules on numbers ---


def curve(metric: float | list[float], steps: int = 400, points: int = 20) -> list[tuple[int, float]]:
    values = metric if isinstance(metric, list) else [metric] * points
    return [((i + 1) * steps // len(values), value) for i, value in enumerate(values)]


def numbers(steps: int = 400, **changes: Any) -> dict[str, list[tuple[int, float]]]:
    metrics: dict[str, Any] = {
        "train/loss": [5.5 - 0.1 * i for i in range(20)],
        "train/chance": 5.54,
        "train/learning_rate": 0.001,
        "batch/std": 0.95,
        "batch/rankme": 50.0,
        "batch/rank_limit": 128.0,
        "batch/positive": 0.6,
        "batch/negative": 0.1,
    }
    metrics |= {name.replace("__", "/"): value for name, value in changes.items()}
    return {name: curve(value, steps) for name, value in metrics.items() if value is not None}


def knn(untrained: float, trained: float, queries: int = 1000, steps: int = 400) -> dict[str, list[tuple[int, float]]]:
    return {
        "untrained/knn[k=20,T=0.07]": [(0, untrained)],
        "untrained/queries": [(0, float(queries))],
        "val/knn[k=20,T=0.07]": [(steps // 2, untrained), (steps, trained)],
    }


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "healthy"),
        ({"batch__std": 0.04}, "collapsed"),
        ({"batch__std": [0.008 * 1.08**i for i in range(20)]}, "too early"),
        ({"batch__rankme": 1.2}, "collapsed"),
        ({"batch__rankme": 9.0}, "dimensional collapse"),
        ({"batch__rankme": 2.0, "batch__rank_limit": 3.0}, "healthy"),
        ({"train__loss": [5.53] * 20}, "at chance"),
        ({"train__loss": [4.2, 4.3] * 10}, "at chance"),
        ({"train__loss": [3.2, 3.3] * 10}, "healthy"),
        ({"train__loss": [4.0, 4.5, 5.0, 5.3] + [5.2 - 0.05 * i for i in range(16)]}, "healthy"),
        ({"train__loss": [5.53 - 0.004 * i for i in range(20)]}, "too early"),
        ({"batch__positive": 0.105}, "at chance"),
        ({"train__chance": None, "batch__positive": 0.955, "batch__negative": 0.95, "batch__std": 0.2}, "collapsed"),
        ({"train__chance": None, "batch__positive": 0.105}, "at chance"),
        ({"train__chance": None, "train__loss": [-0.5] * 20}, "healthy"),
        ({"train__loss": [5.0] * 19 + [math.nan]}, "diverged"),
        ({"batch__std": [0.9] * 19 + [math.nan]}, "diverged"),
        ({"train__loss": [5.0 + 0.2 * i for i in range(20)]}, "diverged"),
        ({"train__grad_norm": [1.0] * 19 + [math.inf]}, "healthy"),
        ({"steps": 40}, "too early"),
        ({"steps": 80, "train__loss": [5.5] * 20}, "too early"),
        ({"steps": 80, "train__loss": [4.5] * 20}, "too early"),
        ({"steps": 80}, "healthy"),
    ],
)
def test_rules(changes: dict[str, Any], state: str) -> None:
    assert verdict(numbers(**changes)).state == state


@pytest.mark.parametrize(
    ("untrained", "trained", "state"),
    [(0.30, 0.40, "healthy"), (0.30, 0.31, "not better than untrained"), (0.30, 0.20, "not better than untrained")],
)
def test_knn_is_held_against_the_untrained_encoder(untrained: float, trained: float, state: str) -> None:
    assert verdict(numbers() | knn(untrained, trained)).state == state


def test_a_gain_counts_when_it_is_beyond_the_samples_noise() -> None:
    assert verdict(numbers() | knn(0.30, 0.31, queries=100_000)).state == "healthy"
    early = verdict(numbers(steps=80) | knn(0.30, 0.25, steps=80))
    assert early.state == "too early" and "kNN is 25.0%, the untrained encoder's was 30.0%" in early.text


def test_few_dimensions_are_enough_where_the_knn_gains() -> None:
    few = numbers(batch__rankme=9.0)
    assert verdict(few | knn(0.30, 0.31)).state == "dimensional collapse"
    assert verdict(few | knn(0.30, 0.50)).state == "healthy"


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({}, "train for more epochs"),
        ({"train__loss": [5.5] * 4 + [3.0, 3.01] * 8}, "weaken the augmentation (larger crops, less colour)"),
        ({"batch__positive": 0.95}, "strengthen the augmentation (smaller crops, more colour)"),
        (
            {"train__chance": None, "batch__negative": [0.02 * i for i in range(20)], "batch__positive": 0.8},
            "lower optimization.lr by a factor of 3",
        ),
    ],
)
def test_what_to_do_about_an_encoder_no_better_than_untrained(changes: dict[str, Any], remedy: str) -> None:
    assert verdict(numbers(**changes) | knn(0.3, 0.3)).remedy == remedy


def test_scores_near_nothing_have_no_minus() -> None:
    scores = {"batch__negative": -0.0007, "batch__positive_variance": 0.04, "batch__negative_variance": 0.09}
    assert (
        "scores of positives 0.60 ± 0.20, volatility 0.000, of negatives 0.00 ± 0.30."
        in verdict(numbers(**scores)).text
    )


def test_duplicates_are_mentioned_and_blamed() -> None:
    assert "12% of a batch are duplicates" in str(verdict(numbers(batch__duplicates=0.12)))
    found = verdict(numbers(batch__duplicates=0.8, train__loss=[5.53] * 20))
    assert found.remedy == "remove repeated samples from the data"


@pytest.mark.parametrize(
    ("state", "method", "remedy"),
    [
        ("collapsed", "BYOL", "raise the target's momentum (0.996)"),
        ("collapsed", ["counterpoint.methods", "SwAV"][-1], "lower epsilon (0.03)"),
        ("at chance", "swav", "lower epsilon (0.03)"),
        ("at chance", "SimCLR", "raise optimization.lr by a factor of 3"),
        ("dimensional collapse", "barlow_twins", "raise the weight of the off-diagonal terms"),
        ("dimensional collapse", "vicreg", "raise the weight of the covariance term"),
        ("healthy", "byol", ""),
        ("too early", "byol", ""),
    ],
)
def test_remedies_fit_the_method(state: str, method: str, remedy: str) -> None:
    assert advice(state, method, {"highest learning rate": 0.1, "positive": 0.5, "negative": 0.1})[1] == remedy


def test_no_gradient_is_named() -> None:
    found = verdict(numbers(train__loss=[5.5] * 20, train__grad_norm=0.0))
    assert found.remedy == "look for frozen or detached parts in the encoder and the heads"


# --- a run directory ---


def written(run: Path, metrics: dict[str, list[tuple[int, float]]]) -> Path:
    log = MetricsLog(run)
    for name, points in metrics.items():
        for step, value in points:
            log.log_metrics({name: value}, step)
    return run


@pytest.mark.parametrize(
    "config",
    ["recipe: vision/swav\n", "recipe: vision/simclr\nmethod:\n  class_path: counterpoint.methods.swav.SwAV\n"],
)
def test_the_methods_name_comes_from_the_configuration(tmp_path: Path, config: str) -> None:
    written(tmp_path, numbers(train__loss=[5.53] * 20))
    (tmp_path / "config.yaml").write_text(config)
    assert diagnose(tmp_path).remedy == "lower epsilon (0.03)"


def test_the_batch_that_stopped_a_run_counts_until_the_run_went_past_it(tmp_path: Path) -> None:
    written(tmp_path, numbers())
    (tmp_path / "non-finite.json").write_text(json.dumps({"step": 400, "reason": "NaN"}))
    assert diagnose(tmp_path).state == "diverged"
    (tmp_path / "non-finite.json").write_text(json.dumps({"step": 300, "reason": "NaN"}))
    assert diagnose(tmp_path).state == "healthy"


def test_missing_and_empty_runs(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"run: found no metrics\.csv in .*nowhere; allowed: a run directory .* --out"):
        diagnose(tmp_path / "nowhere")
    (tmp_path / "metrics.csv").write_text("step,epoch,metric,value\n")
    with pytest.raises(RunError, match=r"run: found an empty metrics log .* allowed: a run that has logged a step"):
        diagnose(tmp_path)


def test_a_run_that_only_measured_the_untrained_encoder_is_too_early(tmp_path: Path) -> None:
    written(tmp_path, {"untrained/knn[k=20,T=0.07]": [(0, 0.3)]})
    assert str(diagnose(tmp_path)) == "Too early to say: 0 updates; a verdict takes 50."


def test_a_loss_that_stays_is_no_chance_level_where_positives_come_apart(tmp_path: Path) -> None:
    """MoCHi's loss rises when mixing starts, and stays near chance while positives and negatives part."""
    stays = numbers(**{"train/loss": [5.2] * 20, "batch/negative_variance": 0.04})
    held = diagnose(written(tmp_path / "flat", stays | {"batch/positive": curve(0.5)}))
    assert held.state == "at chance" and "does not fall" in held.text
    rising = curve([0.3 + 0.02 * i for i in range(20)])
    assert diagnose(written(tmp_path / "apart", stays | {"batch/positive": rising})).state == "healthy"


def test_the_verdict_needs_no_torch() -> None:
    code = "import sys, counterpoint.training.verdict; sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# What chooses the epoch decides


def ranked(untrained: float, best: float) -> dict[str, list[tuple[int, float]]]:
    looks = [(50, best / 2), (100, best), (150, 0.9 * best)]
    return {"untrained/recall@20": [(0, untrained)], "val/recall@20": looks}


def test_the_metric_that_chooses_the_epoch_decides_over_what_the_scores_hint_at() -> None:
    alike = numbers(batch__positive=0.99, batch__negative=0.985)
    assert verdict(alike).state == "at chance"
    found = verdict(alike | ranked(0.02, 0.2), select="recall@20")
    assert (found.state, found.remedy) == ("healthy", "")
    assert str(found).startswith("Healthy: recall@20 0.2000 on val, untrained 0.0200; loss")
    assert verdict(alike | ranked(0.02, 0.2)).state == "at chance"


def test_no_better_than_untrained_by_what_chooses_the_epoch() -> None:
    found = verdict(numbers() | ranked(0.02, 0.02), select="recall@20")
    assert found.state == "not better than untrained"
    assert "recall@20 0.0200 on val, untrained 0.0200" in str(found)


def test_a_fine_tuning_is_held_against_its_start() -> None:
    found = verdict(numbers() | ranked(0.02, 0.02), "Classify", "recall@20")
    assert found.text == "Not better than at the start: recall@20 0.0200 on val, at the start 0.0200."


def test_of_errors_the_smallest_look_is_judged() -> None:
    looks = {"untrained/mae": [(0, 4.0)], "val/mae": [(50, 8.0), (100, 1.0)]}
    assert verdict(numbers() | looks, "regress", "mae").text.startswith(
        "Healthy: mae 1.0000 on val, at the start 4.0000;"
    )


def test_a_run_that_is_a_little_better_is_judged_by_the_rest() -> None:
    assert verdict(numbers() | ranked(0.02, 0.025), select="recall@20").state == "healthy"
    assert verdict(numbers() | ranked(0.02, 0.025) | knn(0.3, 0.3), select="recall@20").state == "healthy"
    collapsed = numbers(batch__std=0.01) | ranked(0.02, 0.025)
    assert verdict(collapsed, select="recall@20").state == "collapsed"


@pytest.mark.parametrize(
    ("method", "metric", "start", "end", "state"),
    [
        ("Classify", "accuracy", 0.1, 0.12, "healthy"),
        ("Classify", "accuracy", 0.1, 0.1, "not better than untrained"),
        ("Regress", "mae", 7.0, 6.9, "healthy"),
        ("Regress", "mae", 7.0, 7.1, "not better than untrained"),
    ],
)
def test_a_fine_tuning_is_judged_by_its_answers(method: str, metric: str, start: float, end: float, state: str) -> None:
    """Its loss may stay near chance while the head learns to answer."""
    near = numbers(train__loss=0.9 * math.log(10), train__chance=math.log(10))
    looks = {f"untrained/{metric}": [(0, start)], f"val/{metric}": [(100, end), (150, end)]}
    found = verdict(near | looks, method)
    assert found.state == state
    assert f"{metric} {end:.4f} on val, at the start {start:.4f}" in str(found)


@pytest.mark.parametrize(("positive", "diverged"), [(0.6, False), (0.15, True)])
def test_a_hardened_loss_above_chance_has_not_diverged_while_scores_are_apart(positive: float, diverged: bool) -> None:
    found = verdict(
        numbers(train__loss=7.3, batch__positive=positive, batch__negative=0.1, batch__negative_variance=0.04)
    )
    assert (found.state == "diverged") is diverged
