"""A run from its first file to its last: what it leaves, how it is repeated, loaded, embedded with and measured."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

import counterpoint as cp
import snippets
import toy
from counterpoint.errors import ConfigError, DataError, PluginError, RunError, ShapeError, TrainingError
from counterpoint.parts import Encoder
from counterpoint.plugin import Part, Plugin
from counterpoint.run import Run
from counterpoint.training import pretrain as training
from counterpoint.training.config import parse
from counterpoint.training.embedding import embed, encode_with
from counterpoint.training.evaluate import evaluate_run, untrained
from counterpoint.training.export import described
from counterpoint.training.pretrain import pretrain
from counterpoint.training.tables import embed_to_parquet
from counterpoint.types import Encoding, View

pytestmark = pytest.mark.unit

SMALL: dict[str, Any] = {"epochs": 2, "batch_size": 32, "tensorboard": False, "progress": False}
SMALL |= {"dataset": {"count": 200}, "encoder": {"width": 16}}


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy.install(monkeypatch)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        toy.install(patch)
        yield pretrain("toy/simclr", out=tmp_path_factory.mktemp("trained") / "run", **SMALL)


def weights(run: Run | Path) -> bytes:
    path = run.path if isinstance(run, Run) else run
    return (path / "encoder" / "model.safetensors").read_bytes()


# What a run leaves


def test_the_run_directory(run: Run) -> None:
    found = {path.name for path in run.path.iterdir()}
    assert found == {"config.yaml", "metrics.csv", "timing.csv", "scores.csv", "checkpoints", "encoder", "run.json"}
    assert not [path for path in run.path.rglob("*") if path.name.startswith(".")]


def test_run_json_names_what_the_numbers_depend_on(run: Run) -> None:
    facts = json.loads((run.path / "run.json").read_text())
    dataset = toy.Digits("digits", count=200)
    train = len(dataset.splits()["train"])
    assert facts["recipe"] == "toy/simclr"
    assert (facts["data"], facts["digest"], facts["samples"]) == ("digits", dataset.digest(), train)
    assert (facts["seed"], facts["steps"]) == (0, 2 * (train // 32))
    assert facts["samples_per_second"] == pytest.approx(facts["steps"] * 32 / facts["seconds"], rel=0.02)
    assert facts["versions"]["torch"] == metadata.version("torch")
    assert {"python", "counterpoint", "lightning", "numpy"} <= facts["versions"].keys()
    assert {"system", "cores", "threads", "gpu"} <= facts["machine"].keys()


def test_the_card_and_config_of_the_encoder(run: Run) -> None:
    card = (run.path / "encoder" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: counterpoint\n")
    assert "# toy/simclr" in card
    assert "- data: `digits`" in card
    config = json.loads((run.path / "encoder" / "config.json").read_text())
    assert config["encoder"]["init_args"] == {"width": 16, "dropout": 0.0}
    assert (config["plugin"], config["dim"]) == ("toy", 16)


def test_the_saved_encoder_needs_nothing_that_its_weights_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its config says the blank encoder's arguments; that of the run still says what was asked for."""
    blank = classmethod(lambda cls, arguments: {**arguments, "dropout": 0.25})
    monkeypatch.setattr(toy.DigitNet, "blank", blank)
    config = parse(["toy/simclr", "--data=digits"])
    assert described(config)["encoder"]["init_args"]["dropout"] == 0.25
    assert config.encoder.init_args.dropout == 0.0


def test_what_the_card_shows_works(run: Run, tmp_path: Path) -> None:
    (block,) = snippets.blocks(run.path / "encoder" / "README.md", "python")
    script = tmp_path / "script.py"
    script.write_text(block.text.replace("path/to/run", str(run.path)).replace("path/to/data", "digits"))
    found = runpy.run_path(str(script))
    assert found["embeddings"].shape == found["others"].shape == (200, 16)


def test_the_configuration_repeats_the_run_bitwise(run: Run, tmp_path: Path) -> None:
    config = yaml.safe_load((run.path / "config.yaml").read_text())
    assert config["batch_size"] == config["micro_batch"] == 32
    again = pretrain(config=run.path / "config.yaml", out=tmp_path)
    assert weights(again) == weights(run)
    assert (again.path / "metrics.csv").read_bytes() == (run.path / "metrics.csv").read_bytes()
    other = pretrain(config=run.path / "config.yaml", out=tmp_path / "other", seed=1)
    assert weights(other) != weights(run)


def test_keywords_are_options(tmp_path: Path) -> None:
    made = cp.pretrain("toy/simclr", out=tmp_path, max_steps=1, method={"objective": "DCL"}, **{**SMALL, "epochs": 1})
    assert made.config["method"]["init_args"]["objective"]["class_path"].endswith("DCL")
    assert json.loads((tmp_path / "run.json").read_text())["steps"] == 1


def test_an_objective_without_its_labels_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = "The data has no labels: SupCon learns from views alone"
    for number, labelled in enumerate((True, False)):
        dataset = {"count": 60, "labelled": labelled}
        settings = {**SMALL, "max_steps": 1, "dataset": dataset, "method": {"objective": "SupCon"}}
        pretrain("toy/simclr", out=tmp_path / str(number), **settings)
        assert (told in capsys.readouterr().out) is not labelled


# What is refused before anything is written


def test_a_run_is_not_overwritten_unasked(run: Run, tmp_path: Path) -> None:
    before = weights(run)
    with pytest.raises(
        RunError, match=r"holds a run already. Go on with it: .*--resume .*or start again with --overwrite"
    ):
        pretrain("toy/simclr", out=run.path, **SMALL)
    assert weights(run) == before


def test_overwrite_removes_the_run_and_nothing_else(tmp_path: Path) -> None:
    pretrain("toy/simclr", out=tmp_path, **{**SMALL, "epochs": 1})
    (tmp_path / "evaluation-test.json").write_text("{}")
    (tmp_path / "mine.parquet").write_text("precious")
    first = weights(tmp_path)
    pretrain("toy/simclr", out=tmp_path, overwrite=True, **{**SMALL, "epochs": 1, "seed": 7})
    assert weights(tmp_path) != first
    assert not (tmp_path / "evaluation-test.json").exists(), "a number of the run that is gone"
    assert (tmp_path / "mine.parquet").read_text() == "precious"
    steps = [line.split(",")[0] for line in (tmp_path / "metrics.csv").read_text().splitlines()]
    assert steps.count("step") == 1


def test_a_mistake_that_shows_late_leaves_things_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that ``select`` may have are known when the untrained encoder has been measured."""
    wrong = {**SMALL, "select": "acuracy"}
    with pytest.raises(ConfigError, match="select: found 'acuracy'"):
        pretrain("toy/simclr", out=tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()
    run = pretrain("toy/simclr", out=tmp_path / "run", **SMALL)
    before = {path.relative_to(run.path): path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="select: found 'acuracy'"):
        pretrain("toy/simclr", out=run.path, overwrite=True, **wrong)
    with pytest.raises(ShapeError, match=r"SimCLR: views: found 1 view\(s\); allowed: at least 2. The views make"):
        pretrain("toy/simclr", out=run.path, overwrite=True, **SMALL, views={"views": 1})
    for stopped in (KeyboardInterrupt(), OSError("no space left")):
        with monkeypatch.context() as patch, pytest.raises(type(stopped)):
            patch.setattr(training, "require_disk", Mock(side_effect=stopped))
            pretrain("toy/simclr", out=run.path, overwrite=True, **SMALL)
    with pytest.raises(ConfigError, match=r"--out: found .*; allowed: a directory of its own, not that of --init"):
        pretrain("toy/simclr", out=run.path, overwrite=True, **SMALL, init=str(run.path))
    after = {path.relative_to(run.path): path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("foreign", ["notes.txt", "config.yaml"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_directory_is_refused(foreign: str, overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / foreign).write_text("name: somebody's project\n")
    with pytest.raises(RunError, match=r"exists and is no run directory\. Choose another\."):
        pretrain("toy/simclr", out=tmp_path, overwrite=overwrite, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == [foreign]


def test_a_failed_start_leaves_the_old_run(tmp_path: Path) -> None:
    """--overwrite with settings that fail: what was there is still there."""
    pretrain("toy/simclr", out=tmp_path, **{**SMALL, "epochs": 1})
    before = weights(tmp_path)
    with pytest.raises(DataError):
        pretrain("toy/simclr", out=tmp_path, overwrite=True, **{**SMALL, "dataset": {"count": 1}})
    with pytest.raises(DataError, match=r"None of the \d+ training samples can be read"):
        pretrain("toy/simclr", out=tmp_path, overwrite=True, **{**SMALL, "dataset": {"count": 50, "damaged": 1}})
    assert weights(tmp_path) == before
    assert (tmp_path / "run.json").exists()


class Private(Encoder):
    """An encoder that no plugin registers."""

    dim = 8

    def forward(self, view: View) -> Encoding:
        return Encoding(view.data.flatten(1)[:, :8])


def test_what_could_not_be_loaded_again_is_not_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    module = types.ModuleType("private_parts")
    module.Private = Private  # type: ignore[attr-defined]
    monkeypatch.setattr(Private, "__module__", "private_parts")
    monkeypatch.setitem(sys.modules, "private_parts", module)
    with pytest.raises(PluginError, match=r"private_parts.Private is none of the encoders that plugin 'toy' registers"):
        pretrain("toy/simclr", out=tmp_path / "run", encoder="private_parts.Private", max_steps=1)
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_seen_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**30, 2**30 - 2**20, 2**20))
    with pytest.raises(TrainingError, match=r"about \d+ MiB are needed .*, 1 MiB are free"):
        pretrain("toy/simclr", out=tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()


def test_a_batch_larger_than_the_data_is_made_smaller_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = len(toy.Digits("digits", count=40).splits()["train"])
    made = pretrain("toy/simclr", out=tmp_path, **{**SMALL, "batch_size": 256, "dataset": {"count": 40}})
    told = f"batch_size 256 is more than there are training samples; using {train}\n"
    assert capsys.readouterr().out.count(told) == 1
    assert made.config["batch_size"] == train
    assert json.loads((tmp_path / "run.json").read_text())["steps"] == 2


def test_damaged_samples_are_counted_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = toy.Digits("digits", count=200).splits()
    train = splits["train"]
    damaged = [int(i) for i in (*train, *splits["val"]) if i % 10 == 0]
    assert len(damaged) > sum(int(i) % 10 == 0 for i in train)
    pretrain(
        "toy/simclr", out=tmp_path, **{**SMALL, "batch_size": len(train), "dataset": {"count": 200, "damaged": 10}}
    )
    said = capsys.readouterr().out
    assert f"Damaged records, left out: {len(damaged)}: digit-" in said
    assert "(made so)" in said


def test_resume_takes_nothing_else(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="give it alone"):
        pretrain(resume=run.path, epochs=3)
    assert pretrain(resume=run.path).path == run.path
    assert "is finished already; nothing to resume" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(RunError, match="is no run directory"):
        pretrain(resume=run.path.parent)


def test_a_data_sets_name_is_not_taken_for_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder here that is called like a data set does not change what the name means, now or at --resume."""
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert pretrain("toy/simclr", out="run", **{**SMALL, "max_steps": 1}).config["data"] == "digits"


def test_odd_names_are_printed_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Brackets are no markup, and a long path is not broken in two."""
    out = tmp_path / "a [bold] name [/] in a folder with a name that is longer than a line of a terminal usually is"
    pretrain("toy/simclr", out=out, **{**SMALL, "max_steps": 1})
    assert f"Run: {out}\n" in capsys.readouterr().out


# The trained thing


def test_embeddings_are_unit_rows_and_repeat(run: Run) -> None:
    loaded = cp.load(run.path)
    rows = loaded.embed("digits")
    assert rows.shape == (200, 16)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(200), abs=1e-5)
    assert np.array_equal(loaded.embed("digits"), rows)
    assert np.array_equal(cp.load(run.path).embed(toy.Digits("digits", count=200)), rows)
    assert np.allclose(loaded.embed("digits", batch_size=7), rows, atol=1e-6)
    assert np.linalg.matrix_rank(rows) > 1


def test_embedding_uses_the_trained_weights(run: Run) -> None:
    dataset = run.open()
    fresh = embed(encode_with(untrained(run, dataset)), run.views, dataset, list(range(50))).features
    assert not torch.allclose(fresh, run.features(dataset, range(50)).features, atol=1e-3)
    assert torch.equal(fresh, embed(encode_with(untrained(run, dataset)), run.views, dataset, list(range(50))).features)


def test_a_run_opens_its_data_as_it_was_configured(run: Run) -> None:
    assert len(run.open()) == len(run.open("digits")) == 200
    with pytest.raises(ConfigError, match="is nothing that plugin 'toy' opens"):
        run.open("photos")


@pytest.mark.parametrize("content", [None, "a: [", "seed: 3\n", "- a\n"])
def test_what_is_no_run(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(RunError, match=r"is no run directory .*Runs are made by: counterpoint pretrain"):
        cp.load(tmp_path)


def test_an_unfinished_run_says_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes((run.path / "config.yaml").read_bytes())
    with pytest.raises(RunError, match="there is no encoder here"):
        cp.load(tmp_path).embed("digits")


def test_the_dataset_of_a_config_must_be_registered(run: Run, tmp_path: Path) -> None:
    config = yaml.safe_load((run.path / "config.yaml").read_text())
    config["dataset"]["class_path"] = "os.system"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "encoder").symlink_to(run.path / "encoder")
    with pytest.raises(RunError, match=r"'os\.system' is none of the datasets of plugin 'toy'"):
        cp.load(tmp_path).open()


def test_damaged_samples_are_left_out_and_counted(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, opened = tmp_path / "e.parquet", toy.Digits("digits", count=50, damaged=7)
    monkeypatch.setattr(Run, "open", lambda self, source=None: opened)
    table = embed_to_parquet(run.path, "digits", out, batch_size=16)
    sound = [i for i in range(50) if i % 7]
    assert pq.read_table(out).equals(table)
    assert table["index"].to_pylist() == sound
    assert table["name"].to_pylist() == [f"digit-{i}" for i in sound]
    assert table["label"].to_pylist() == [int(opened.labels[i]) for i in sound]
    rows = np.stack(table["embedding"].to_numpy())
    assert rows.dtype == np.float32
    assert np.array_equal(rows, run.embed(opened, batch_size=16))
    said = capsys.readouterr().out
    assert "8 damaged samples were left out" in said
    assert "digit-7: made so" in said
    assert "42 embeddings of 16 dimensions in" in said


def test_nothing_to_embed_is_an_error(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holes = toy.Digits("digits", count=6, damaged=1)
    with pytest.raises(DataError, match="none of its 6 samples can be read"):
        run.embed(holes)
    monkeypatch.setattr(Run, "open", lambda self, source=None: holes)
    with pytest.raises(DataError, match="digits: none of its 6 samples can be read"):
        embed_to_parquet(run.path, "digits", tmp_path / "e.parquet")
    assert not list(tmp_path.iterdir())


def test_data_without_labels_has_no_label_column(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "open", lambda self, source=None: toy.Digits("digits", count=20, labelled=False))
    assert embed_to_parquet(run.path, "digits", tmp_path / "e.parquet").column_names == ["name", "index", "embedding"]


# Evaluation


def test_evaluation_stands_beside_its_baselines(run: Run, tmp_path: Path) -> None:
    found = evaluate_run(run.path, out=tmp_path / "e.json", quick=True)
    assert list(found.rows) == ["learnt", "untrained", "raw input"]
    full = evaluate_run(run, out=tmp_path / "full.json")
    assert list(full.rows) == ["learnt", "untrained", "raw input", "raw input, PCA"]
    facts = json.loads((tmp_path / "full.json").read_text())
    assert facts["metrics"] == full.rows
    assert (facts["split"], facts["seed"], facts["recipe"]) == ("test", 0, "toy/simclr")
    assert facts["digest"] == toy.Digits("digits", count=200).digest()
    metrics = {row: set(values) for row, values in full.rows.items()}
    assert any(name.startswith("knn[") for name in metrics["learnt"])
    assert metrics["learnt"] & metrics["raw input"]


class Sealed(toy.Digits):
    """Raises when a sample of the test split is looked at."""

    def __getitem__(self, index: int) -> Any:
        assert index not in set(self.splits()["test"].tolist()), f"sample {index} of the sealed test split was read"
        return super().__getitem__(index)


def sealed() -> Plugin:
    import dataclasses

    return dataclasses.replace(toy.TOY, datasets={"digits": Part("sealed_digits:Sealed", "the digits")})


def test_the_test_split_is_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training with its monitors, and evaluation on val, never read a test sample; the final evaluation does."""
    import sys
    import types

    from counterpoint import plugin as plugins
    from counterpoint.plugin import Found

    module = types.ModuleType("sealed_digits")
    module.Sealed = Sealed  # type: ignore[attr-defined]
    monkeypatch.setattr(Sealed, "__module__", "sealed_digits")
    monkeypatch.setitem(sys.modules, "sealed_digits", module)
    monkeypatch.setattr(plugins, "discover", lambda: (Found("toy", "counterpoint-toy", "0", plugin=sealed()),))
    made = pretrain("toy/simclr", out=tmp_path, **SMALL)
    assert evaluate_run(made, split="val", quick=True).path.name == "evaluation-val.json"
    with pytest.raises(AssertionError, match="of the sealed test split was read"):
        evaluate_run(made, split="test", quick=True)


def test_runs_without_labels(tmp_path: Path) -> None:
    made = pretrain("toy/simclr", out=tmp_path, **{**SMALL, "dataset": {"count": 200, "labelled": False}})
    found = evaluate_run(made, quick=True)
    assert found.classes is None
    assert not [name for name in found.rows["learnt"] if name.startswith(("knn", "linear"))]
    assert found.rows["learnt"], "what needs no labels is measured"
