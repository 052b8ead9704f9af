"""Fine-tuning from a run to its answers: what it leaves, repeats, resumes, measures and refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from jsonargparse import Namespace

import counterpoint as cp
import toy
from counterpoint import cli
from counterpoint.errors import ConfigError, DataError, Interrupted, RunError
from counterpoint.methods.finetune import Regress
from counterpoint.objectives import SupReMix
from counterpoint.run import Run
from counterpoint.training import finetune as tuning
from counterpoint.training import pretrain as training
from counterpoint.training import verdict
from counterpoint.training.answers import known, measured, supervised
from counterpoint.training.embedding import Embedded
from counterpoint.training.evaluate import evaluate_run
from counterpoint.training.finetune import configured, spelt_out
from counterpoint.training.head_files import load_head
from counterpoint.training.logs import read_metrics

pytestmark = pytest.mark.unit

QUIET: dict[str, Any] = {"tensorboard": False, "progress": False, "report": False}
DATA: dict[str, Any] = {"dataset": {"count": 400, "ordered": True}}
SHORT: dict[str, Any] = {**QUIET, **DATA, "epochs": 2, "batch_size": 32, "lr": 5e-3}


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy.install(monkeypatch)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A pretrained run."""
    with pytest.MonkeyPatch.context() as patch:
        toy.install(patch)
        folder = tmp_path_factory.mktemp("started") / "run"
        yield cp.pretrain("toy/simclr", out=folder, epochs=4, batch_size=64, encoder={"width": 32}, **QUIET, **DATA)


@pytest.fixture(scope="module")
def classified(started: Run) -> Iterator[Run]:
    """Fine-tuned by Core-tuning, beside the plain loss."""
    with pytest.MonkeyPatch.context() as patch:
        toy.install(patch)
        settings = {**SHORT, "epochs": 20, "objective": "core-tuning", "method": {"objective": {"weight": 0.5}}}
        yield cp.finetune(started, "classify", compare=True, **settings)


def metrics(run: Run) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = json.loads((run.path / "evaluation-test.json").read_text())["metrics"]
    return found


# What it leaves


def test_the_run_directory(classified: Run, started: Run) -> None:
    assert classified.path == Path(f"{started.path}-classify")
    assert {"encoder", "head", "plain", "config.yaml", "run.json", "metrics.csv", "evaluation-test.json"} <= {
        path.name for path in classified.path.iterdir()
    }
    config = yaml.safe_load((classified.path / "config.yaml").read_text())
    assert (config["recipe"], config["compare"]) == ("toy/classify", True)
    assert Path(config["start"]) == started.path.resolve()
    assert config["method"]["init_args"]["objective"]["init_args"]["weight"] == 0.5
    assert config["encoder"]["init_args"]["width"] == 32 and config["dataset"]["init_args"]["count"] == 400
    assert "fine-tuned to classify" in (classified.path / "encoder" / "README.md").read_text()


def test_it_begins_with_the_runs_encoder(started: Run, tmp_path: Path) -> None:
    """With a rate that rounds to 0, which is refused itself, the encoder is that of the run, to the bit."""
    run = cp.finetune(started, "classify", out=tmp_path / "run", **{**SHORT, "lr": 1e-300})
    name = "encoder/model.safetensors"
    assert (run.path / name).read_bytes() == (started.path / name).read_bytes()


def test_it_learns_and_stands_beside_plain_frozen_and_constant(classified: Run) -> None:
    rows = metrics(classified)
    assert list(rows) == ["learnt", "plain", "frozen + probe", "constant"]
    assert rows["learnt"]["accuracy"] > rows["constant"]["accuracy"] + 0.3
    assert rows["plain"]["accuracy"] > rows["constant"]["accuracy"] + 0.3
    assert rows["plain"] != rows["learnt"]
    assert rows["learnt"]["scatter_ratio"] < rows["frozen + probe"]["scatter_ratio"], "classes draw together"
    plain, own = (json.loads((path / "run.json").read_text()) for path in (classified.path / "plain", classified.path))
    assert plain["steps"] == own["steps"] and plain["samples"] == own["samples"]


def test_val_is_looked_at_and_test_is_not(classified: Run) -> None:
    looks = read_metrics(classified.path)
    assert len(looks["val/accuracy"]) == 20 and len(looks["untrained/accuracy"]) == 1
    assert not any(name.startswith("test") for name in looks)
    assert looks["val/accuracy"][-1][1] > looks["untrained/accuracy"][0][1] + 0.3


def test_the_confusions_are_those_of_the_head(classified: Run) -> None:
    stored = json.loads((classified.path / "evaluation-test.json").read_text())
    counts = np.array(stored["confusion"]["counts"])
    assert counts.sum() == len(known(classified.open(), classified.open().splits()["test"], "classify"))
    assert np.trace(counts) / counts.sum() == pytest.approx(stored["metrics"]["learnt"]["accuracy"])


def test_regression_by_supremix_ends_with_a_linear_map(started: Run, tmp_path: Path) -> None:
    run = cp.finetune(started, "regress", objective="supremix", out=tmp_path / "run", **SHORT)
    rows = metrics(run)
    assert rows["learnt"]["mae"] < rows["constant"]["mae"] and rows["learnt"]["spearman"] > 0.2
    stored = json.loads((run.path / "evaluation-test.json").read_text())
    true, told = np.array(stored["pairs"]).T
    assert np.abs(true - told).mean() == pytest.approx(rows["learnt"]["mae"], rel=1e-5)
    answers = run.predict("digits").answers
    assert isinstance(answers, np.ndarray) and answers.dtype == np.float32 and len(answers) == 400


def test_plain_regression_begins_with_the_probe(started: Run, tmp_path: Path) -> None:
    run = cp.finetune(started, "regress", out=tmp_path / "run", **{**SHORT, "lr": 1e-300})
    rows = metrics(run)
    assert rows["learnt"]["mae"] == pytest.approx(rows["frozen + probe"]["mae"], rel=1e-3)


# Repeating, stopping, going on


def test_the_configuration_repeats_it_bitwise(started: Run, tmp_path: Path) -> None:
    first = cp.finetune(started, "classify", out=tmp_path / "a", **SHORT)
    again = training.pretrain(config=first.path / "config.yaml", out=tmp_path / "b")
    for name in ("encoder/model.safetensors", "head/model.safetensors", "metrics.csv"):
        assert (first.path / name).read_bytes() == (again.path / name).read_bytes(), name


@pytest.mark.parametrize(("task", "objective"), [("classify", "core-tuning"), ("regress", "supremix")])
def test_stopped_and_resumed_ends_like_never_stopped(
    started: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, objective: str
) -> None:
    """Stopped after 4 of 20 steps, within the second half of the head's warm-up, the started run being gone."""
    settings = {**SHORT, "objective": objective, "head_warmup": 0.4}
    whole = cp.finetune(started, task, out=tmp_path / "whole", **settings)
    step = training.SaveLast.on_train_batch_end

    def stop(self: Any, trainer: Any, *args: Any) -> None:
        if trainer.global_step == 4:
            self.stop.asked = "SIGINT"
        step(self, trainer, *args)

    with monkeypatch.context() as patch:
        patch.setattr(training.SaveLast, "on_train_batch_end", stop)
        with pytest.raises(Interrupted, match="Stopped at step 4; everything is saved"):
            cp.finetune(started, task, out=tmp_path / "stopped", **settings)
    with pytest.raises(RunError, match=r"stopped: is not finished: counterpoint finetune --resume .*stopped$"):
        cp.load(tmp_path / "stopped").predict("digits")
    config = tmp_path / "stopped" / "config.yaml"
    config.write_text(config.read_text().replace(str(started.path.resolve()), str(tmp_path / "gone")))
    resumed = cp.finetune(resume=tmp_path / "stopped")
    for name in ("encoder/model.safetensors", "head/model.safetensors", "metrics.csv"):
        assert (whole.path / name).read_bytes() == (resumed.path / name).read_bytes(), name
    assert "frozen + probe" not in metrics(resumed) and metrics(resumed)["learnt"] == metrics(whole)["learnt"]


def test_a_comparison_that_was_stopped_goes_on(
    started: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**SHORT, "objective": "core-tuning", "compare": True, "out": tmp_path / "run", "report": True}
    page = tmp_path / "run" / "report.html"

    def refuse(*_: Any, **__: Any) -> None:
        raise Interrupted("now")

    with monkeypatch.context() as patch:
        patch.setattr(tuning, "_train_plain", refuse)
        with pytest.raises(Interrupted, match=r"Go on with: counterpoint finetune --resume .*run"):
            cp.finetune(started, "classify", **settings)
    assert not (tmp_path / "run" / "evaluation-test.json").exists()
    assert "measured on the test split" not in page.read_text()
    assert cli.main(["finetune", "--resume", str(tmp_path / "run")]) == 0
    assert "measured on the test split" in page.read_text(), "the log did not change, but there is more to show"
    assert list(metrics(Run(tmp_path / "run")))[:2] == ["learnt", "plain"]
    assert cli.main(["pretrain", "--resume", str(tmp_path / "run")]) == 0
    assert "finished already" in capsys.readouterr().out


def test_the_best_epoch_keeps_encoder_and_head(started: Run, tmp_path: Path) -> None:
    run = cp.finetune(started, "classify", select="accuracy", out=tmp_path / "run", **{**SHORT, "epochs": 4})
    looks = [value for _, value in read_metrics(run.path)["val/accuracy"]]
    chosen = json.loads((run.path / "run.json").read_text())["selected"]
    assert chosen["value"] == max(looks) and chosen["epoch"] == looks.index(max(looks))
    dataset = run.open()
    found = run.features(dataset, known(dataset, dataset.splits()["val"], "classify").tolist())
    answers = run.head.module(found.features).argmax(1)
    assert measured(answers, found)["accuracy"] == pytest.approx(max(looks))


# What it says


def test_predict(classified: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = classified.predict(toy.Digits("digits", count=50, damaged=7))
    assert len(found.answers) == len(found.names) == 42 and len(found.damaged) == 8
    assert found.probabilities is not None and found.probabilities.shape == (42, 10)
    np.testing.assert_allclose(found.probabilities.sum(1), 1, rtol=1e-5)
    assert found.answers == [found.classes[i] for i in found.probabilities.argmax(1)]
    for name, read in (("p.csv", pyarrow.csv.read_csv), ("p.parquet", pq.read_table)):
        assert cli.main(["predict", str(classified.path), "digits", "--out", str(tmp_path / name)]) == 0
        table = read(tmp_path / name)
        assert table.column_names == ["name", "prediction", "probability"] and len(table) == 400
    assert "400 predictions in" in capsys.readouterr().out
    assert cli.main(["predict", str(classified.path), "digits", "--out", str(tmp_path / "p.txt")]) == 1
    assert "--out: found p.txt; allowed: a name ending in .csv or .parquet" in capsys.readouterr().err


def test_a_run_without_a_head_says_so(started: Run) -> None:
    with pytest.raises(
        RunError, match=r"there is no head here\. A run has one when it is made by: counterpoint finetune"
    ):
        started.predict("digits")


def test_a_head_is_read_strictly(classified: Run, tmp_path: Path) -> None:
    folder = tmp_path / "head"
    folder.mkdir()
    for text, told in (
        ("{", "is no config of a head"),
        ('{"task": "dance", "dim": 3, "classes": []}', "found 'dance'; allowed: classify, regress"),
        ('{"task": "regress", "dim": 3, "classes": []}', "there is no such file"),
    ):
        (folder / "config.json").write_text(text)
        with pytest.raises(RunError, match=told):
            load_head(folder)


def test_the_report_shows_answers(classified: Run, started: Run, tmp_path: Path) -> None:
    from counterpoint.report.page import write_report

    text = write_report(classified, tmp_path / "c.html").path.read_text()
    assert "Answers of the fine-tuned run, measured on the test split" in text
    assert "Balanced accuracy" in text and "The fine-tuned run, measured once on the test split." in text
    assert f"the encoder of {started.path.resolve()}" in text and "CoreTuning, cross-entropy included" in text
    run = cp.finetune(started, "regress", out=tmp_path / "run", **{**SHORT, "report": True})
    text = (run.path / "report.html").read_text()
    assert "Predicted and true" in text and "Mean absolute error" in text and "scatter" in text
    assert "the plain loss: absolute error" in text
    assert "What is taken for what" not in text, "numbers are not taken for each other"
    assert "not a number" not in text, "a constant has no correlation: a dash"
    rows = metrics(run)
    assert [rows["constant"][name] for name in ("pearson", "spearman")] == [None, None]
    assert "NaN" not in (run.path / "evaluation-test.json").read_text()


def test_a_page_of_few_labels_that_was_not_measured(started: Run, tmp_path: Path) -> None:
    from counterpoint.report.context import Context
    from counterpoint.report.headline import headline
    from counterpoint.report.page import write_report

    run = cp.finetune(started, "classify", out=tmp_path / "run", labels_per_class=3, **SHORT)
    (run.path / "evaluation-test.json").unlink()
    text = write_report(run, tmp_path / "page.html").path.read_text()
    assert "30, at most 3 of each class" in text
    assert '<i class="mark ring"></i>at the start</span>' in text
    assert '<i class="mark ring"></i>untrained</span>' not in text
    train = len(run.open().splits()["train"])
    assert f"among {train} samples of the train split" in text, "neighbours are not of what was trained on alone"
    context = Context(run)
    context.verdict = verdict.Verdict("not better than untrained", "")
    assert headline(context).title == "It is no better than at the start."


# Which samples


def test_draws_of_labels() -> None:
    data = toy.Digits("digits", count=400, ordered=True)
    train = set(data.splits()["train"].tolist())
    few = supervised(data, "classify", 0, labels_per_class=3)
    assert np.bincount(data.labels[few]).tolist() == [3] * 10 and set(few.tolist()) <= train
    assert np.array_equal(few, supervised(data, "classify", 0, labels_per_class=3))
    assert not np.array_equal(few, supervised(data, "classify", 1, labels_per_class=3))
    some = supervised(data, "regress", 0, labels=20)
    assert len(some) == 20 and data.targets[torch.from_numpy(some)].isfinite().all()
    assert len(supervised(data, "regress", 0)) == sum(1 for i in train if i % 10)


def test_answers_to_unknown_samples_are_not_measured() -> None:
    found = Embedded(torch.randn(4, 2), torch.arange(4), torch.tensor([0, 1, -1, -1]), [], torch.arange(4))
    assert measured(torch.tensor([0, 0, 1, 1]), found)["accuracy"] == 0.5
    assert measured(torch.zeros(4), found) == {}, "no targets"
    found.labels = None
    assert measured(torch.tensor([0, 0, 1, 1]), found) == {}


@pytest.mark.parametrize(
    ("task", "settings", "told"),
    [
        (
            "classify",
            {"labels_per_class": 1000},
            "more than 10 of 10 classes have (2: 4); using",
        ),
        ("regress", {"labels": 1000}, "labels 1000 is more than there are; using 67"),
        ("classify", {"labels_per_class": 4}, ""),
        ("regress", {"labels": 67}, ""),
    ],
)
def test_fewer_labels_than_asked_for_are_told_of(
    task: str, settings: dict[str, int], told: str, started: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = {**SHORT, "epochs": 1, "dataset": {"count": 100, "ordered": True}}
    cp.finetune(started, task, out=tmp_path / "run", **short, **settings)
    text = capsys.readouterr().out
    assert told in text and ("\nlabels" in text) is bool(told)


# Settings


@pytest.mark.parametrize(
    ("task", "words", "told"),
    [
        ("classify", "--labels 4", "--labels is for regress; for classify it is --labels-per-class"),
        ("regress", "--labels_per_class=4", "--labels-per-class is for classify; for regress it is --labels"),
        ("classify", "--loss l1", "--loss is for regress"),
        ("regress", "--weight 1", "--weight is for classify"),
    ],
)
def test_a_short_name_of_the_other_task(task: str, words: str, told: str, started: Run) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(started.path, task, words.split())
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("words", "full"),
    [
        ("--lr=1", "--optimization.lr=1"),
        ("--lr", "--optimization.lr"),
        ("--head-warmup=0.2", "--method.head_warmup=0.2"),
        ("--labels_per_class=5", "--method.labels_per_class=5"),
        ("--objective=core-tuning", "--method.objective=CoreTuning"),
        ("--objective.weight=0.1", "--method.objective.weight=0.1"),
        ("--objective=plain", "--method.objective=null"),
        (
            "--objective supremix --objective.weights none",
            "--method.objective SupReMix --method.objective.weights none",
        ),
        ("--out plain --data supremix", "--out plain --data supremix"),
        ("--objective --lr", "--method.objective --optimization.lr"),
        ("--compare", "--compare=true"),
        ("--epochs=3", "--epochs=3"),
    ],
)
def test_short_names(words: str, full: str) -> None:
    assert spelt_out(words.split()) == full.split()


@pytest.mark.parametrize("words", ["--objective=core-tunning", "--objective core-tunning"])
def test_a_misspelt_objective_is_answered_with_the_short_names(words: str) -> None:
    allowed = r"plain, core-tuning, supremix, or the class of an objective\. Did you mean 'core-tuning'\?"
    with pytest.raises(ConfigError, match=f"--objective: found 'core-tunning'; allowed: {allowed}"):
        spelt_out(words.split())


@pytest.mark.parametrize(
    "value", ["SupCon", "my.package.Mine", '{"class_path": "SupCon", "init_args": {"x": -1}}', "null"]
)
def test_an_objective_that_may_be_there_is_left_to_the_parser(value: str) -> None:
    assert spelt_out([f"--objective={value}"]) == [f"--method.objective={value}"]


def test_a_value_that_is_none_of_a_few_is_answered(started: Run) -> None:
    with pytest.raises(ConfigError, match=r"^method\.loss: found 'mae'; allowed: l1, mse\.$"):
        configured(started.path, "regress", ["--loss", "mae"])


def test_what_is_refused(started: Run, classified: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--task clasify: classify or regress\? Did you mean 'classify'\?"):
        cp.finetune(started, "clasify")
    with pytest.raises(ConfigError, match=r"--lr: found 0\.0; allowed: a number above 0"):
        cp.finetune(started, "classify", lr=0)
    with pytest.raises(ConfigError, match="--compare: there is nothing to compare with"):
        cp.finetune(started, "classify", compare=True)
    with pytest.raises(ConfigError, match="run: whose encoder shall begin"):
        cp.finetune()
    with pytest.raises(ConfigError, match="give it alone"):
        cp.finetune(resume=classified.path, epochs=3)
    with pytest.raises(ConfigError, match=r"Unknown setting 'epohcs'\. Did you mean 'epochs'"):
        cp.finetune(started, "classify", epohcs=3)
    out = {"out": tmp_path / "refused"}
    with pytest.raises(DataError, match="data: found no labels; allowed: labels, to classify"):
        cp.finetune(started, "classify", **{**SHORT, **out, "dataset": {"count": 100, "labelled": False}})
    with pytest.raises(DataError, match="data: found labels, but no targets; allowed: targets, to regress"):
        cp.finetune(started, "regress", **{**SHORT, **out, "dataset": {"count": 100, "ordered": False}})
    with pytest.raises(RunError, match="holds a run already"):
        cp.finetune(started, "classify", **SHORT)
    with pytest.raises(
        ConfigError, match=r"--out: found .*; allowed: a directory of its own, not the run that it begins"
    ):
        cp.finetune(started, "classify", **SHORT, out=started.path, overwrite=True)


def test_the_lines_say_that_it_had_learnt(started: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cp.finetune(started, "classify", out=tmp_path / "run", **{**SHORT, "progress": True, "epochs": 1})
    printed = capsys.readouterr().out
    assert "(at the start 0." in printed and "(untrained" not in printed


def test_of_errors_the_smallest_is_kept(started: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the verdict calls less of it better."""
    settings = {**SHORT, "epochs": 4, "lr": 0.05, "select": "mae"}
    run = cp.finetune(started, "regress", out=tmp_path / "run", **settings)
    looks = [value for _, value in read_metrics(run.path)["val/mae"]]
    kept = json.loads((run.path / "run.json").read_text())["selected"]
    assert kept["value"] == min(looks) < max(looks)
    numbers = {"selected": 5.0, "untrained selected": 10.0, "step": 1000.0}
    monkeypatch.setattr(verdict, "_healthy", lambda n: "Healthy: fine")
    assert verdict._measured(numbers, "mae")[0] == "healthy"
    assert verdict._measured({**numbers, "selected": 20.0}, "mae")[0] == "not better than untrained"
    assert verdict._measured({**numbers, "selected": 20.0}, "accuracy")[0] == "healthy"


def test_plain_sees_as_many_views(started: Run, tmp_path: Path) -> None:
    run = cp.finetune(started, "classify", out=tmp_path / "run", **SHORT, objective="SupCon", weight=0.5, compare=True)
    options = Run(run.path / "plain").config["method"]["init_args"]
    assert (options["objective"], options["views"], options["weight"]) == (None, 2, None)


@pytest.mark.parametrize("objective", ["core-tuning", "plain"])
def test_a_weight_that_weighs_nothing_is_refused(objective: str, started: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Classify: weight: found 3\.0; allowed: None"):
        cp.finetune(started, "classify", out=tmp_path / "run", **SHORT, objective=objective, weight=3.0)


def test_more_views_than_there_are_is_refused(started: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Classify: views: found 4; allowed: at most 2"):
        cp.finetune(started, "classify", out=tmp_path / "run", **SHORT, method={"views": 4})


def test_where_an_objective_teaches_no_head_learns_alone() -> None:
    method = Regress(toy.DigitNet(), SupReMix(), head_warmup=0.5)
    method.total_steps = 10
    assert not method.alone
    method.prepare(toy.Digits("digits", ordered=True), np.arange(100))
    assert not any(parameter.requires_grad for parameter in method.head.parameters())


def test_other_data_is_measured_by_the_names_of_its_classes(
    classified: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However they are numbered there; probe and constant are those of the run's own data."""
    same = evaluate_run(classified, out=tmp_path / "same.json").rows
    other = classified.open()
    assert isinstance(other, toy.Digits) and other.labels is not None
    other.labels, other.classes = 9 - other.labels, [str(9 - number) for number in range(10)]
    own = Run.open
    monkeypatch.setattr(Run, "open", lambda self, source=None: other if source == "other" else own(self, source))
    found = evaluate_run(classified, data="other", out=tmp_path / "other.json")
    assert found.rows["learnt"]["accuracy"] == same["learnt"]["accuracy"]
    assert found.rows["constant"]["accuracy"] == same["constant"]["accuracy"]
    assert json.loads((tmp_path / "other.json").read_text())["data"] == "other"
    other.classes = [*"abcdefghij"]
    with pytest.raises(DataError, match="classes of the data: found a, b"):
        evaluate_run(classified, data="other", out=tmp_path / "strange.json")


def test_resume_makes_up_for_a_comparison_that_is_missing(classified: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(classified.path, out)
    shutil.rmtree(out / "plain")
    cp.finetune(resume=out)
    assert (out / "plain" / "run.json").is_file()


def test_a_test_split_without_labels_is_told_and_no_failure(
    started: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = tuning.known

    def none(dataset: Any, indices: np.ndarray, task: str) -> np.ndarray:
        return known(dataset, indices, task)[:0]

    monkeypatch.setattr(tuning, "known", none)
    cp.finetune(started, "classify", out=tmp_path / "run", **SHORT)
    assert "Not measured: no sample of the test split has a label" in capsys.readouterr().out


def test_the_runs_own_data_by_a_relative_path_keeps_its_options(
    started: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "digits-here").mkdir()
    config = started.config | {"data": str(tmp_path / "digits-here")}
    monkeypatch.setattr(Run, "config", property(lambda self: config))
    monkeypatch.chdir(tmp_path)
    seen: list[list[str]] = []
    parsed = Namespace(compare=False, out="x", optimization=Namespace(lr=1.0))
    monkeypatch.setattr(tuning.configs, "parse", lambda words: seen.append(list(words)) or parsed)
    tuning.configured(started.path, "classify", ["--data=digits-here"])
    assert any(word.startswith("--dataset=") for word in seen[0])


@pytest.mark.parametrize("kind", ["stages", "two spaces"])
def test_an_encoder_that_is_made_of_several_is_tuned_too(kind: str, tmp_path: Path) -> None:
    settings = {**QUIET, "epochs": 1, "batch_size": 32, "max_steps": 3, "encoder": {"width": 8}}
    if kind == "stages":
        run = cp.pretrain("toy/simclr", **settings, out=tmp_path / "run", stages={"count": 2}, **DATA)
    else:
        run = cp.pretrain("toy/sepclr", **settings, out=tmp_path / "run", background="digits", target="dotted")
        with pytest.raises(ConfigError, match=r"--data: .*run learnt from two sources, whose labels say which"):
            cp.finetune(run, "classify", out=tmp_path / "tuned")
    tuned = cp.finetune(run, "classify", data="digits", out=tmp_path / "tuned", **QUIET, max_steps=2)
    assert type(tuned.encoder) is type(run.encoder) and tuned.encoder.dim == run.encoder.dim
    assert len(tuned.predict("digits").answers) == len(tuned.open())


def test_a_run_that_is_not_there_or_not_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (
        (["finetune"], "Which run? For example: counterpoint finetune"),
        (["finetune", "nowhere", "--task", "classify"], "is no run directory"),
        (["finetune", "nowhere"], "--task is missing: classify or regress?"),
        (["finetune", "nowhere", "--task", "--data", "x"], "--task needs a value"),
        (["finetune", "--task", "classify", "--epochs", "1", "nowhere"], "nowhere: is no run directory"),
        (["finetune", "--task=classify", "--compare", "nowhere", "--lr", "-1"], "nowhere: is no run directory"),
        (["finetune", "--task", "classify", "--data", "photos"], "Which run?"),
        (["finetune", "--resume", "nowhere"], "is no run directory"),
        (["finetune", "--resume", "x", "--epochs", "3"], "leave out: --epochs 3"),
        (["predict", "nowhere", "x", "--out", "p.csv"], "is no run directory"),
    ):
        assert cli.main(words) == 1
        assert told in capsys.readouterr().err


@pytest.mark.parametrize("words", ["run --help", "--help", "run -h", "--task classify --help"])
def test_help_where_run_or_task_is_missing(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["finetune", *words.split()])
    assert stop.value.code == 0
    usage = "usage: counterpoint finetune RUN --task TASK [options]\n       counterpoint finetune --resume RUN\n"
    assert capsys.readouterr().out.startswith(usage)


def test_help(started: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["finetune", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "--labels-per-class" in text and "counterpoint finetune runs/photos --task classify" in text
    with pytest.raises(SystemExit) as stop:
        configured(started.path, "classify", ["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "usage: counterpoint finetune" in text and "--compare" in text
    assert "run directory (default: RUN-TASK)" in text and "How a training runs" in text
    assert not any(word in text for word in ("--background", "--target", "--stages", "several encoders", "partial"))


def test_what_the_help_leaves_out_stays_in_the_configuration(classified: Run) -> None:
    stored = yaml.safe_load((classified.path / "config.yaml").read_text())
    assert {"background", "target", "stages"} <= set(stored)
