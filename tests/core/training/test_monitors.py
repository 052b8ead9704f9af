"""The monitor: what it writes, that it changes nothing, and that a resumed run's files equal an undisturbed one's."""

from __future__ import annotations

import logging
import math
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from counterpoint.errors import ConfigError
from counterpoint.evaluation.geometry import rankme
from counterpoint.training.logs import read_metrics
from counterpoint.training.measures import (
    batch_measures,
    duplicate_share,
    encoder_measures,
    queue_measures,
    undisturbed,
)
from counterpoint.training.monitors import Monitor
from counterpoint.training.scores import read_scores
from counterpoint.types import Damaged

pytestmark = pytest.mark.unit


def embeddings(rows: int = 64, dim: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def test_batch_measures_of_random_embeddings_by_plain_formulas() -> None:
    a, b, content = embeddings(), embeddings(seed=1), torch.arange(1, 65)
    values, positive, negative = batch_measures(a, b, content)
    u, v = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    scores = u @ v.T
    assert values["batch/positive"] == pytest.approx(float(scores.diag().mean()), abs=1e-6)
    assert values["batch/negative"] == pytest.approx(float((scores.sum() - scores.trace()) / (64 * 63)), abs=1e-6)
    assert values["batch/std"] == pytest.approx(float(min(x.std(dim=0, correction=0).mean() for x in (u, v))) * 4)
    assert values["batch/alignment"] == pytest.approx(2 - 2 * values["batch/positive"], abs=1e-6)
    assert values["batch/rankme"] == pytest.approx(rankme(u))
    assert values["batch/rank_limit"] == 16
    assert (len(positive), len(negative)) == (64, 64 * 63)
    assert values["batch/positive_variance"] == pytest.approx(float(scores.diag().var(correction=0)), abs=1e-7)
    others = scores[~torch.eye(64, dtype=torch.bool)].view(64, 63)
    assert values["batch/negative_variance"] == pytest.approx(float(others.var(dim=1, correction=0).mean()), abs=1e-7)


def test_queue_measures_leave_out_the_anchors_own_older_keys() -> None:
    a, content = embeddings(6), torch.arange(1, 7)
    queue, owners = torch.cat([embeddings(40, seed=2), a]), torch.cat([torch.arange(11, 51), content])
    values, scores = queue_measures(a, queue, content, owners)
    cosines = (a / a.norm(dim=1, keepdim=True)) @ (queue / queue.norm(dim=1, keepdim=True)).T
    own = content[:, None] == owners
    assert len(scores) == 6 * 45
    assert values["queue/negative"] == pytest.approx(float(cosines[~own].mean()), abs=1e-6)
    variance = cosines[~own].view(6, 45).var(dim=1, correction=0).mean()
    assert values["queue/negative_variance"] == pytest.approx(float(variance), abs=1e-7)
    assert queue_measures(a, a[:1], torch.full((6,), 5), torch.full((1,), 5))[0] == {}
    broken = queue.clone()
    broken[3, 0] = torch.nan
    assert queue_measures(a, broken, content, owners)[0] == {}


def test_equal_content_is_no_negative() -> None:
    a = embeddings(4)
    content = torch.tensor([7, 7, 8, 0])
    _, _, negative = batch_measures(a, a, content)
    assert len(negative) == 4 * 3 - 2
    assert duplicate_share(content) == 0.25
    assert duplicate_share(torch.zeros(4, dtype=torch.int64)) == 0, "0 means not known"
    assert duplicate_share(torch.tensor([5, 5, 5, 5])) == 0.75


@pytest.mark.parametrize(("rows", "dim", "looked_at"), [(700, 16, 512), (700, 1024, 256), (20, 1024, 20)])
def test_cost_is_bounded(rows: int, dim: int, looked_at: int) -> None:
    z = embeddings(rows, dim)
    values, positive, _ = batch_measures(z, z, torch.arange(rows))
    assert len(positive) == looked_at
    assert values["batch/rank_limit"] == min(looked_at, dim)


def test_odd_batches() -> None:
    z = embeddings(8)
    assert batch_measures(z[:1], z[:1], torch.ones(1))[0] == {}
    broken = z.clone()
    broken[3, 2] = torch.nan
    values, positive, _ = batch_measures(z, broken, torch.arange(8))
    assert math.isnan(values.pop("batch/std")) and values == {} and len(positive) == 0
    same, _, negative = batch_measures(z[:4], z[:4], torch.full((4,), 9))
    assert "batch/negative" not in same and len(negative) == 0


def test_encoder_measures_with_and_without_labels() -> None:
    classes = torch.arange(60) % 3
    features = torch.eye(8)[classes] + 0.01 * embeddings(60, 8)
    labelled = encoder_measures(lambda split: (features, classes))
    assert labelled["knn[k=20,T=0.07]"] == 1.0 and labelled["queries"] == 60
    assert labelled["rankme"] == pytest.approx(rankme(features))
    half = torch.where(torch.arange(60) < 30, classes, -1)
    assert encoder_measures(lambda split: (features, half))["queries"] == 30
    asked = []
    unlabelled = encoder_measures(lambda split: (asked.append(split), (features, None))[1])
    assert set(unlabelled) == {"rankme", "std", "uniformity"} and asked == ["val"], "the bank is not encoded in vain"
    assert math.isnan(encoder_measures(lambda split: (features * torch.nan, classes))["std"])
    assert encoder_measures(lambda split: (features[:1], None)) == {}


def test_undisturbed_restores_modes_and_random_states_even_after_an_error() -> None:
    module = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Dropout(0.5))
    module[0].eval()
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    with pytest.raises(RuntimeError, match="broken"), undisturbed(module):
        assert not module.training and not torch.is_grad_enabled()
        random.random(), np.random.rand(), torch.rand(1)
        raise RuntimeError("broken")
    assert (module.training, module[0].training, module[1].training) == (True, False, True)
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


def test_a_run_is_measured_and_ends_with_the_same_weights_as_unwatched(
    lab: Any, toy: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched = toy()
    unwatched = toy()
    unwatched.load_state_dict(watched.state_dict())
    monitor = Monitor(lab.embed(watched), every_n_steps=4, every_n_epochs=2)
    torch.manual_seed(1)
    with caplog.at_level(logging.INFO):
        lab.fit(watched, [monitor], max_epochs=3)
    torch.manual_seed(1)
    lab.fit(unwatched, [], max_epochs=3)
    for name, value in watched.state_dict().items():
        assert torch.equal(value, unwatched.state_dict()[name]), name

    metrics = read_metrics(lab.run)
    assert [step for step, _ in metrics["train/loss"]] == [1, 4, 8, 10, 12, 16, 20, 24, 28, 30]
    assert {v for _, v in metrics["train/chance"]} == {math.log(255)}
    assert all(v > 0 for _, v in metrics["train/grad_norm"])
    assert {v for _, v in metrics["train/learning_rate"]} == {0.003}
    assert metrics["parts/term"] == metrics["train/loss"]
    assert [step for step, _ in metrics["untrained/knn[k=20,T=0.07]"]] == [0]
    assert metrics["untrained/queries"] == [(0, 517.0)] and "val/queries" not in metrics
    assert [step for step, _ in metrics["val/knn[k=20,T=0.07]"]] == [20, 30], "every second epoch, and the last"
    assert metrics["data/damaged"] == [(10, 1.0), (20, 1.0), (30, 1.0)]
    assert "Damaged records, left out: 1: torn.png (cut off)" in caplog.text
    assert not any(name.startswith("time/") for name in metrics)
    assert all(v > 0 for _, v in read_metrics(lab.run / "timing.csv")["time/samples_per_second"])
    assert [(h.step, h.pair, sum(h.counts)) for h in read_scores(lab.run)] == [
        *((10, "positive", 4 * 128), (10, "negative", 4 * 128 * 127)),
        *((step, pair, 3 * n) for step in (20, 30) for pair, n in (("positive", 128), ("negative", 128 * 127))),
    ]
    assert monitor.latest["train/loss"] == metrics["train/loss"][-1][1]


def test_damaged_records_of_the_whole_run_are_told(lab: Any, toy: Any, pairs: Any, tmp_path: Path) -> None:
    """Of epochs before the last one, of what the encoder is looked at on, and of before a checkpoint; each once."""

    class Torn(pairs):  # type: ignore[misc, valid-type]
        def __iter__(self) -> Any:
            for number, (batch, views) in enumerate(super().__iter__()):
                batch.damaged = [Damaged(5, "early.png", "cut off")] * (self.trainer.current_epoch == number == 0)
                yield batch, views

    class Looked:
        def __init__(self, features: Any) -> None:
            self.features, self.damaged = (
                features,
                {"val": [Damaged(7, "val.png", "cut off"), Damaged(5, "early.png", "cut off")]},
            )

        def __call__(self, split: str) -> Any:
            return self.features(split)

    told = "Damaged records, left out: 2: early.png (cut off), val.png (cut off)"
    one, two = toy(), toy()
    monitor = Monitor(Looked(lab.embed(one)), every_n_steps=4)
    lab.fit(one, [monitor, SaveAt(tmp_path / "c.ckpt", 17, -1)], Torn(), max_epochs=3)
    assert monitor.damaged == told
    assert read_metrics(lab.run)["data/damaged"] == [(10, 1.0), (20, 0.0), (30, 0.0)]
    later = Monitor(lab.embed(two), every_n_steps=4)
    lab.fit(two, [later], Torn(), checkpoint=tmp_path / "c.ckpt", max_epochs=3)
    assert later.damaged == told


class SaveAt(Callback):
    """A checkpoint at ``step`` (of a finished epoch: at its end), and the end of the process somewhat later."""

    def __init__(self, path: Path, step: int, die: int) -> None:
        self.path, self.step, self.die = path, step, die

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == self.step and not trainer.is_last_batch:
            trainer.save_checkpoint(self.path)
        if trainer.global_step == self.die:
            raise RuntimeError("power cut")

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("step", [0, 7, 20], ids=["no checkpoint", "mid-epoch", "epoch's end"])
def test_a_resumed_runs_files_equal_an_undisturbed_ones(lab: Any, toy: Any, tmp_path: Path, step: int) -> None:
    def monitor(module: Any) -> Monitor:
        return Monitor(lab.embed(module), every_n_steps=2)

    def module() -> Any:
        torch.manual_seed(0)
        made = toy()
        made.encoder.net[3].p = 0.0  # random draws of the step itself are not the monitor's to restore
        return made

    one = module()
    lab.fit(one, [monitor(one)], max_epochs=3)
    expected = {name: (lab.run / name).read_bytes() for name in ("metrics.csv", "scores.csv")}

    lab.run = tmp_path / "cut"
    two = module()
    with pytest.raises(RuntimeError, match="power cut"):
        lab.fit(two, [monitor(two), SaveAt(tmp_path / "c.ckpt", step, step + 6)], max_epochs=3)
    three = module()
    watching = monitor(three)
    lab.fit(three, [watching], checkpoint=tmp_path / "c.ckpt" if step else None, max_epochs=3)
    assert {name: (lab.run / name).read_bytes() for name in expected} == expected
    first = {name: v[-1][1] for name, v in read_metrics(lab.run).items() if name.startswith("untrained/")}
    assert first and watching.latest.items() >= first.items(), "the baseline is known"


def test_one_look_at_a_batch_costs_little() -> None:
    a, b, content = embeddings(512, 128), embeddings(512, 128, seed=1), torch.arange(512)
    batch_measures(a, b, content)
    seconds = []
    for _ in range(5):
        begin = time.process_time()  # whatever else runs here
        batch_measures(a, b, content)
        seconds.append(time.process_time() - begin)
    assert min(seconds) < 0.1, "20 steps of a small network at this batch size take 5 s on one core: this is 2 % of it"


@pytest.mark.parametrize("name", ["every_n_steps", "every_n_epochs", "k"])
def test_numbers_below_one_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: found 0; allowed: a whole number from 1"):
        Monitor(lambda split: (torch.zeros(1, 1), None), **{name: 0})
