"""Stages: runs of their own, cells between them, one encoder at the end that everything takes as any other."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional as F

import toy
from counterpoint.errors import ConfigError, DataError, Interrupted, RunError
from counterpoint.nn import ConcatEncoder
from counterpoint.parts import Encoder, Views
from counterpoint.report.page import write_report
from counterpoint.run import Run
from counterpoint.training import config as configs
from counterpoint.training import stages as stages_module
from counterpoint.training.cells import write_cells
from counterpoint.training.embedding import embed
from counterpoint.training.encoder_files import build
from counterpoint.training.evaluate import evaluate_run, untrained
from counterpoint.training.logs import read_metrics
from counterpoint.training.pretrain import pretrain
from counterpoint.training.settings import Settings, Stages
from counterpoint.training.stages import CELLS
from counterpoint.training.statistics import recompute_statistics
from counterpoint.training.verdict import diagnose
from counterpoint.types import Batch, Encoding, View
from counterpoint.workflow import finetune

pytestmark = pytest.mark.unit

SMALL: dict[str, Any] = {"epochs": 1, "batch_size": 16, "tensorboard": False, "progress": False, "report": False}
SMALL |= {"dataset": {"count": 200}, "encoder": {"width": 16}, "monitor_epochs": 100}
THREE = {"stages": {"count": 3, "clusters": 3}}


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy.install(monkeypatch)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        toy.install(patch)
        return pretrain("toy/simclr", out=tmp_path_factory.mktemp("staged") / "run", **SMALL, **THREE)


def stage(run: Run, number: int) -> Run:
    return Run(run.path / "stages" / str(number))


def cells(run: Run, number: int) -> dict[str, list[int]]:
    found: dict[str, list[int]] = pq.read_table(stage(run, number).path / CELLS).to_pydict()
    return found


def weights(run: Run) -> bytes:
    return (run.path / "encoder" / "model.safetensors").read_bytes()


# What a staged run leaves


def test_a_stage_is_a_run_and_the_run_has_them_all(run: Run) -> None:
    assert sorted(path.name for path in (run.path / "stages").iterdir()) == ["0", "1", "2"]
    for number in range(3):
        one = stage(run, number)
        assert one.embed("digits").shape == (200, 16)
        assert one.config["stages"]["count"] == 1
        assert (one.path / CELLS).is_file() == (number > 0)
    assert run.config["stages"] == {**vars(Stages(count=3, clusters=3))}
    facts = json.loads((run.path / "run.json").read_text())
    each = [json.loads((stage(run, n).path / "run.json").read_text()) for n in range(3)]
    assert facts["steps"] == sum(one["steps"] for one in each)
    assert facts["samples_per_second"] == pytest.approx(facts["steps"] * 16 / facts["seconds"], rel=0.05)
    assert "cells" not in facts["stages"][0]
    assert all(one["cells"] > 1 and 0.5 < one["coverage"] <= 1 for one in facts["stages"][1:])
    assert "stages: 3, of each epochs: 1" in (run.path / "encoder" / "README.md").read_text()


def test_the_encoder_is_those_of_the_stages_side_by_side(run: Run) -> None:
    assert isinstance(run.encoder, ConcatEncoder)
    dataset = run.open()
    parts = [stage(run, number).features(dataset, range(9)).features for number in range(3)]
    assert torch.equal(run.features(dataset, range(9)).features, torch.cat(parts, 1))
    assert not torch.equal(parts[0], parts[1])
    np.testing.assert_allclose(run.embed("digits")[:9], F.normalize(torch.cat(parts, 1), dim=1), atol=1e-6)


def test_batches_of_a_stage_come_from_what_all_earlier_clusterings_put_together(run: Run) -> None:
    first, second = cells(run, 1), cells(run, 2)
    train = run.open().splits()["train"].tolist()
    assert first["index"] == second["index"] == train
    assert len(set(first["cell"])) <= 3
    assert all(first["cell"].count(cell) >= 16 for cell in first["cell"]), "none smaller than a step needs"
    pairs = {*zip(second["cell"], first["cell"])}
    assert len(pairs) == len(set(second["cell"])) >= len(set(first["cell"])), "a refinement"
    assert all(second["cell"].count(cell) >= 16 for cell in second["cell"])


def test_latest_forgets_the_clusterings_before(run: Run, tmp_path: Path) -> None:
    """The same until the third stage, as the card has it."""
    latest = pretrain("toy/simclr", out=tmp_path / "run", **SMALL, stages={**THREE["stages"], "cells": "latest"})
    assert cells(latest, 1) == cells(run, 1)
    assert weights(stage(latest, 1)) == weights(stage(run, 1))
    found = cells(latest, 2)
    assert found["cluster"] == cells(run, 2)["cluster"]
    assert len(set(found["cell"])) <= 3
    crossing = {*zip(found["cell"], cells(run, 1)["cell"])}
    assert len(crossing) > len(set(found["cell"])), "a cell that is no part of one before"


def test_the_log_is_the_stages_logs_one_after_the_other(run: Run) -> None:
    each = [read_metrics(stage(run, number).path) for number in range(3)]
    joined = read_metrics(run.path)
    steps = [one["train/loss"][-1][0] for one in each]
    wanted = [
        (step + sum(steps[:number]), value) for number, one in enumerate(each) for step, value in one["train/loss"]
    ]
    assert joined["train/loss"] == wanted
    assert joined["untrained/std"] == each[0]["untrained/std"]
    assert [value for _, value in joined["data/cells"]] == [one["data/cells"][0][1] for one in each[1:]]
    assert str(diagnose(run.path)).startswith("Stage 0: Too early to say")


def test_it_is_measured_beside_an_untrained_one_of_its_shape(run: Run, tmp_path: Path) -> None:
    found = evaluate_run(run, split="val", quick=True, out=tmp_path / "found.json")
    assert {"learnt", "untrained", "raw input"} <= found.rows.keys()
    blank = untrained(run, run.open())
    assert isinstance(blank, ConcatEncoder)
    first, second, _ = (one.conv1.weight for one in blank.encoders)  # type: ignore[union-attr]
    assert not torch.equal(first, second), "each with weights of its own"  # type: ignore[arg-type]


def test_the_report_has_a_section_of_them(run: Run, tmp_path: Path) -> None:
    report = write_report(run, tmp_path / "report.html")
    assert report.failures == []
    page = report.path.read_text(encoding="utf-8")
    assert "Encoders were trained one after the other" in page
    assert "all in one" in page
    plain = write_report(stage(run, 0), tmp_path / "plain.html")
    assert "Encoders were trained one after the other" not in plain.path.read_text(encoding="utf-8")


# Starts


@pytest.mark.parametrize("init", ["fresh", "base", "previous"])
def test_what_a_stage_begins_with(init: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[dict[str, torch.Tensor]] = []

    def _noted(method: Any) -> None:
        starts.append({name: one.clone() for name, one in method.encoder.state_dict().items()})

    from counterpoint.training import pretrain as training

    plan = training._plan
    monkeypatch.setattr(training, "_plan", lambda method, *rest: (_noted(method), plan(method, *rest)))
    run = pretrain(
        "toy/moco", data="digits", out=tmp_path / "run", **SMALL, stages={"count": 2, "clusters": 2, "init": init}
    )
    before = starts[0] if init != "previous" else stage(run, 0).encoder.state_dict()
    same = all(torch.equal(value, starts[1][name]) for name, value in before.items())
    assert same == (init != "fresh")
    other = weights(stage(run, 1)) != weights(stage(run, 0))
    assert other, "it learnt something else"


def test_a_run_may_begin_with_another_runs_weights(run: Run, tmp_path: Path) -> None:
    one = pretrain("toy/simclr", out=tmp_path / "run", **SMALL, init=stage(run, 0).path, max_steps=1)
    assert one.config["init"] == str(stage(run, 0).path)
    drift = (one.encoder.conv1.weight - stage(run, 0).encoder.conv1.weight).abs().max()
    assert drift < 0.01
    with pytest.raises(RunError, match="does not fit DigitNet"):
        pretrain("toy/simclr", out=tmp_path / "other", **{**SMALL, "encoder": {"width": 8}}, init=stage(run, 0).path)


# Cells of one's own, damaged samples, small cells


def test_cells_of_ones_own_begin_the_refinement(run: Run, tmp_path: Path) -> None:
    dataset = run.open()
    assert dataset.labels is not None
    even = {"index": np.arange(200), "cell": dataset.labels % 2}
    import pyarrow as pa

    path = tmp_path / "own.parquet"
    pq.write_table(pa.table(even), path)
    made = pretrain("toy/simclr", out=tmp_path / "run", **SMALL, cells=path, stages={"count": 2, "clusters": 2})
    assert read_metrics(stage(made, 0).path)["data/cells"] == [(0, 2.0)]
    found = cells(made, 1)
    parities = {(cell, int(dataset.labels[index] % 2)) for index, cell in zip(found["index"], found["cell"])}
    assert len(parities) == len(set(found["cell"])) > 2


def test_damaged_samples_are_in_no_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = {**SMALL, "dataset": {"count": 200, "damaged": 10}}
    made = pretrain("toy/simclr", out=tmp_path / "run", **small, stages={"count": 2, "clusters": 2})
    found = cells(made, 1)
    assert {cell == -1 for index, cell in zip(found["index"], found["cell"]) if index % 10 == 0} == {True}
    assert {cell == -1 for index, cell in zip(found["index"], found["cell"]) if index % 10} == {False}
    told = capsys.readouterr().out
    assert "damaged samples were left out" in told
    assert "samples never" in told


def test_small_cells_that_are_kept_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = {"count": 2, "clusters": 40, "min_cell": 1}
    pretrain("toy/simclr", out=tmp_path / "run", **SMALL, stages=stages)
    told = capsys.readouterr().out
    assert "batch_size 16 is more than there are training samples in the largest cell; using" in told
    assert "samples never, as their cells have fewer than" in told


# Resume and refusal


def test_stopped_between_stages_and_resumed_is_never_stopped(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every other moment is covered by tests/e2e/test_resume.py."""
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(stages_module, "_embedded", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(Interrupted, match=f"Go on with: counterpoint pretrain --resume {path}$"):
            pretrain("toy/simclr", out=path, **SMALL, **THREE)
    assert read_metrics(path)["train/loss"] == read_metrics(path / "stages" / "0")["train/loss"]
    again = pretrain(resume=path)
    assert weights(again) == weights(run)
    assert (path / "metrics.csv").read_bytes() == (run.path / "metrics.csv").read_bytes()


def test_a_stage_that_stops_names_the_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from counterpoint.training.checkpoints import SaveLast

    path = tmp_path / "run"
    monkeypatch.setattr(SaveLast, "_wish", lambda *_: 2)
    with pytest.raises(Interrupted, match=f"Go on with: counterpoint pretrain --resume {path}$"):
        pretrain("toy/simclr", out=path, **SMALL, **THREE)


def test_the_run_is_overwritten_with_its_stages(tmp_path: Path) -> None:
    path = tmp_path / "run"
    pretrain("toy/simclr", out=path, **SMALL, max_steps=1, stages={"count": 2, "clusters": 2})
    with pytest.raises(RunError, match="holds a run already"):
        pretrain("toy/simclr", out=path, **SMALL)
    pretrain("toy/simclr", out=path, **SMALL, max_steps=1, overwrite=True)
    assert not (path / "stages").exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"count": 0}, "stages.count: found 0; allowed: a whole number from 1"),
        ({"count": 2, "clusters": 1}, "stages.clusters: found 1; allowed: a whole number from 2"),
        ({"count": 2, "min_cell": 0}, "stages.min_cell: found 0"),
        ({"count": 2, "modality": "sound"}, "stages.modality: found 'sound'; allowed: digit"),
        ({"count": 2, "cells": "some"}, "cells"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        pretrain("toy/simclr", out=tmp_path / "run", **SMALL, stages=settings)


def test_what_has_no_stages_is_refused(run: Run, tmp_path: Path) -> None:
    two = {"out": str(tmp_path / "run"), "stages": {"count": 2}, **{k: SMALL[k] for k in ("epochs", "batch_size")}}
    with pytest.raises(ConfigError, match=r"stages\.count: found 2; allowed: 1 for toy/sepclr"):
        pretrain("toy/sepclr", background="digits", target="dotted", **two)
    with pytest.raises(ConfigError, match=r"stages\.count: found 2; allowed: 1 for toy/classify"):
        finetune(stage(run, 0).path, "classify", **two)
    assert not (tmp_path / "run" / "stages").exists()


def test_cells_of_ones_own_stay_cells_in_every_stage(tmp_path: Path) -> None:
    """The last clustering alone refines them, where ``latest`` drops the clusterings before it."""
    own, index = tmp_path / "own.parquet", np.arange(200)
    write_cells(own, index, {"cell": index % 2})
    stages = {"count": 3, "clusters": 2, "cells": "latest", "min_cell": 1}
    made = pretrain("toy/simclr", out=tmp_path / "run", **SMALL, cells=str(own), stages=stages)
    for number in (1, 2):
        found = cells(made, number)
        for cell in set(found["cell"]) - {-1}:
            assert len({i % 2 for i, c in zip(found["index"], found["cell"]) if c == cell}) == 1
    assert len(set(cells(made, 2)["cell"])) <= 4


def test_own_cells_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cells(tmp_path / "own.parquet", np.arange(200), {"cell": np.arange(200) % 2})
    monkeypatch.chdir(tmp_path)
    made = pretrain("toy/simclr", out="run", **SMALL, cells="own.parquet")
    assert made.config["cells"] == str(tmp_path / "own.parquet")


def test_the_others_hear_that_the_first_process_could_not_cluster(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configs.parse(["--config", str(run.path / "config.yaml")])
    arguments = config, Stages(count=2), 1, tmp_path / "stages" / "1"

    def broken(*_: Any) -> None:
        raise DataError("no sample can be read")

    def fit(*_: Any) -> Any:
        raise AssertionError("there are no cells")

    with monkeypatch.context() as patch:
        patch.setattr(stages_module, "_cluster", broken)
        with pytest.raises(DataError, match="no sample can be read"):
            stages_module._stage(*arguments, fit, False)
    monkeypatch.setattr(stages_module, "is_first_process", lambda: False)
    with pytest.raises(RunError, match=r"could not make .*: DataError: no sample can be read"):
        stages_module._stage(*arguments, fit, False)


def test_a_failure_of_an_earlier_attempt_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / stages_module.FAILED).write_text("DataError: no sample can be read")
    naps: list[float] = []

    def written(seconds: float) -> None:
        naps.append(seconds)
        write_cells(tmp_path / stages_module.CELLS, np.arange(4), {"cell": np.arange(4) % 2})

    monkeypatch.setattr(time, "sleep", written)
    stages_module._wait(tmp_path, stages_module._stamp(tmp_path))
    assert len(naps) == 1


def test_what_is_not_clustered_is_not_encoded() -> None:
    """Of an encoder with two towers one modality is, wherever it runs."""

    class Pair(Views):
        modalities: ClassVar[tuple[str, ...]] = ("a", "b")

        def __call__(self, batch: Batch, generator: torch.Generator) -> list[View]:
            return self.plain(batch)

        def plain(self, batch: Batch) -> list[View]:
            return [View(batch.data["digit"], name) for name in self.modalities]

    seen: list[str] = []

    def encode(view: View) -> torch.Tensor:
        seen.append(view.modality)
        return view.data.flatten(1)

    found = embed(stages_module._of("b", encode), Pair(), toy.Digits("digits", count=20), range(20), batch_size=8)
    assert found.features.shape == (20, 64) and set(seen) == {"b"}


def test_nothing_to_cluster_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = toy.Digits.__getitem__
    state = {"damaged": False}
    monkeypatch.setattr(
        toy.Digits,
        "__getitem__",
        lambda self, index: original(self, index) if not state["damaged"] else toy.Damaged(index, "x", "gone"),
    )
    cluster = stages_module._cluster

    def gone(*arguments: Any) -> None:
        state["damaged"] = True
        cluster(*arguments)

    monkeypatch.setattr(stages_module, "_cluster", gone)
    with pytest.raises(DataError, match="there is nothing to cluster"):
        pretrain("toy/simclr", out=tmp_path / "run", **SMALL, stages={"count": 2})


def test_a_composed_encoder_is_loaded_from_plain_values_only() -> None:
    inner = {"class_path": "toy.DigitNet", "init_args": {"width": 4}}
    composed = {"class_path": "counterpoint.nn.ConcatEncoder", "init_args": {"encoders": [inner, inner]}}
    assert build(toy.TOY, "encoders", composed).dim == 8
    composed["init_args"] = {"encoders": [{"class_path": "os.system"}]}
    with pytest.raises(RunError, match="is none of the encoders of plugin 'toy'"):
        build(toy.TOY, "encoders", composed)
    for wrong in ({}, {"encoders": inner}, {"encoders": [inner], "norm": {"class_path": "os.system"}}):
        with pytest.raises(RunError, match="takes a list of encoders"):
            build(toy.TOY, "encoders", {**composed, "init_args": wrong})


# Statistics


class Normed(Encoder):
    """Two batch norms over the digits, one of them frozen."""

    dim = 64

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.frozen = nn.BatchNorm1d(64), nn.BatchNorm1d(64)

    def train(self, mode: bool = True) -> Normed:
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, view: View) -> Encoding:
        return Encoding(self.frozen(self.norm(view.data.flatten(1))))


def test_statistics_are_those_of_mixed_batches_afterwards() -> None:
    dataset, views, encoder = toy.Digits("digits", count=160), toy.Mirrored(), Normed().eval()
    encoder.frozen.running_mean.fill_(3.0)
    encoder.norm.running_mean.fill_(9.0)
    indices = np.arange(160)
    recompute_statistics(encoder, views, dataset, indices, Settings(batch_size=32))
    pixels = torch.cat([dataset.images, dataset.images.flip(2)]).flatten(1)
    torch.testing.assert_close(encoder.norm.running_mean, pixels.mean(0))
    assert encoder.norm.momentum == 0.1
    assert (encoder.frozen.running_mean == 3).all(), "what was frozen stays"
    assert not encoder.training
    once = encoder.norm.running_var.clone()
    recompute_statistics(encoder, views, dataset, indices, Settings(batch_size=32))
    assert torch.equal(encoder.norm.running_var, once), "a function of the seed"


def test_a_configuration_of_before_stages_still_resumes(tmp_path: Path) -> None:
    made = pretrain("toy/simclr", out=tmp_path / "run", **SMALL, max_steps=1)
    config = yaml.safe_load((made.path / "config.yaml").read_text())
    for key in ("stages", "cells", "init"):
        config.pop(key)
    (made.path / "config.yaml").write_text(yaml.safe_dump(config))
    (made.path / "run.json").unlink()
    assert weights(pretrain(resume=made.path)) == weights(made)
