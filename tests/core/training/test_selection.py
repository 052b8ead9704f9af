"""The epoch that is best on val is the one that is kept, by a metric of the plugin's protocol or of the monitor."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import toy
from counterpoint import plugin as plugins
from counterpoint.errors import ConfigError, RunError
from counterpoint.parts import Dataset, Encoder, Protocol, Views
from counterpoint.plugin import Found, Part
from counterpoint.training import config as configs
from counterpoint.training.evaluate import evaluate_run
from counterpoint.training.logs import read_metrics
from counterpoint.training.pretrain import pretrain
from counterpoint.training.sizes import measure_sizes
from toy_plugin import TOY

pytestmark = pytest.mark.unit

SMALL: dict[str, Any] = {"batch_size": 32, "tensorboard": False, "progress": False, "dataset": {"count": 200}}
SMALL |= {"encoder": {"width": 16}, "optimization": {"warmup": 0.0, "final_lr": 1.0}}


class Scripted(Protocol):
    """Says what it is told to, one look after the other; the first look is at the untrained encoder."""

    said: tuple[float, ...] = ()
    looks = 0
    splits: ClassVar[set[str]] = set()

    def measure(self, encoder: Encoder, views: Views, dataset: Dataset, split: str) -> dict[str, float]:
        Scripted.looks += 1
        Scripted.splits.add(split)
        assert not encoder.training
        return {"recall@20": self.said[min(Scripted.looks, len(self.said)) - 1]}

    def floors(self, dataset: Dataset, split: str, quick: bool) -> dict[str, dict[str, float]]:
        return {"popularity": {"recall@20": 0.125}}


def install(monkeypatch: pytest.MonkeyPatch, *said: float, **changes: Any) -> None:
    plugin = replace(TOY, protocol=Part(f"{__name__}:Scripted", "scripted"), **changes)
    # pytest's importlib mode gives this module a name of its own, by which it cannot be imported again
    monkeypatch.setattr(Part, "load", _load(Part.load))
    monkeypatch.setattr(Scripted, "said", said)
    monkeypatch.setattr(Scripted, "looks", 0)
    monkeypatch.setattr(Scripted, "splits", set())
    monkeypatch.setattr(plugins, "discover", lambda: (Found("toy", "counterpoint-toy", "0", plugin=plugin),))


def _load(whole: Any) -> Any:
    return lambda part: Scripted if part.target.endswith(":Scripted") else whole(part)


def weights(path: Path) -> bytes:
    return (path / "encoder" / "model.safetensors").read_bytes()


def test_the_best_epoch_is_kept_and_training_ends_when_there_is_no_better(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch, 0.0, 0.2, 0.5, 0.4, 0.3, 0.9)
    run = pretrain("toy/simclr", out=tmp_path / "run", epochs=9, select="recall@20", patience=2, **SMALL)
    facts = json.loads((run.path / "run.json").read_text())
    assert facts["selected"]["epoch"] == 1
    assert facts["selected"]["value"] == 0.5
    epochs = len(read_metrics(run.path)["val/recall@20"])
    assert epochs == 4
    assert facts["steps"] == 4 * (facts["samples"] // 32)
    install(monkeypatch, 0.0)
    short = pretrain("toy/simclr", out=tmp_path / "short", epochs=2, **SMALL)
    assert weights(run.path) == weights(short.path)
    assert Scripted.splits == {"val"}


def test_without_patience_it_trains_to_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, 0.0, 0.5, 0.4, 0.3)
    run = pretrain("toy/simclr", out=tmp_path / "run", epochs=3, select="recall@20", **SMALL)
    assert len(read_metrics(run.path)["val/recall@20"]) == 3
    assert json.loads((run.path / "run.json").read_text())["selected"]["epoch"] == 0


def test_the_online_knn_can_choose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toy.install(monkeypatch)
    run = pretrain("toy/simclr", out=tmp_path / "run", epochs=2, select="knn[k=20,T=0.07]", **SMALL)
    looks = [value for _, value in read_metrics(run.path)["val/knn[k=20,T=0.07]"]]
    assert json.loads((run.path / "run.json").read_text())["selected"]["value"] == max(looks)


def test_a_stopped_and_resumed_run_keeps_the_same_epoch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Killed between the last look and the end: the checkpoint knows that there is no more hope."""
    install(monkeypatch, 0.0, 0.5, 0.4, 0.3)
    run = pretrain("toy/simclr", out=tmp_path / "run", epochs=9, select="recall@20", patience=2, **SMALL)
    before, facts = weights(run.path), json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").unlink()
    again = pretrain(resume=run.path)
    after = json.loads((run.path / "run.json").read_text())
    assert weights(again.path) == before
    assert (after["selected"], after["steps"]) == (facts["selected"], facts["steps"])


def test_a_metric_that_is_not_measured_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, 0.5)
    told = r"^select: found 'recal@20'; allowed: [^?]*recall@20[^?]*\. Did you mean 'recall@20'\?$"  # named once
    with pytest.raises(ConfigError, match=told):
        pretrain("toy/simclr", out=tmp_path / "run", epochs=1, select="recal@20", **SMALL)
    assert not (tmp_path / "run").exists(), "before a step is taken, and nothing is left"


def test_patience_needs_something_to_judge_by(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toy.install(monkeypatch)
    with pytest.raises(ConfigError, match="patience"):
        pretrain("toy/simclr", out=tmp_path / "run", patience=2, **SMALL)


def test_evaluate_shows_the_protocol_beside_its_floors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, 0.5)
    run = pretrain("toy/simclr", out=tmp_path / "run", epochs=1, **SMALL)
    rows = evaluate_run(run).rows
    assert rows == {name: {"recall@20": v} for name, v in (("learnt", 0.5), ("untrained", 0.5), ("popularity", 0.125))}
    assert Scripted.splits == {"val", "test"}


# Encoders that are made of their data


def test_the_encoder_is_prepared_before_its_method_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    toy.install(monkeypatch)
    monkeypatch.setattr(toy.DigitNet, "prepare", lambda self, dataset: setattr(self, "dim", len(dataset)))
    built = configs.instantiate(configs.parse(["toy/simclr", "--dataset.count=120"]))
    assert built.method.encoder.dim == 120
    assert built.method.projector(built.method.encoder.conv1.weight.new_zeros(3, 120)).shape[0] == 3


def test_a_transductive_encoder_gets_no_micro_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    toy.install(monkeypatch)
    built = configs.instantiate(configs.parse(["toy/simclr", "--dataset.count=120"]))
    monkeypatch.setattr("counterpoint.training.sizes.free_memory", lambda device: 10)
    indices, options = np.arange(100), {"per_rank": 32, "ranks": 1, "micro_batch": None}
    device = built.method.device
    assert measure_sizes(built.method, built.views, built.dataset, indices, **options, device=device).micro_batch == 1
    monkeypatch.setattr(toy.DigitNet, "transductive", True)
    sizes = measure_sizes(built.method, built.views, built.dataset, indices, **options, device=device)
    assert sizes.micro_batch is None


def test_a_transductive_run_refuses_other_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toy.install(monkeypatch)
    run = pretrain("toy/simclr", out=tmp_path / "run", epochs=1, **SMALL)
    monkeypatch.setattr(toy.DigitNet, "transductive", True)
    assert len(run.open()) == 200
    with pytest.raises(RunError, match=r"'elsewhere'.*'digits'.*train anew"):
        run.open("elsewhere")


def test_what_was_left_out_is_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.install(monkeypatch)
    monkeypatch.setattr(toy.Digits, "notes", ("3 of 203 rows have no user; left out.",))
    pretrain("toy/simclr", out=tmp_path / "run", epochs=1, **SMALL)
    assert "3 of 203 rows have no user; left out." in capsys.readouterr().out
