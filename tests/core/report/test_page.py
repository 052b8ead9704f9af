"""The page: what it says of whole runs and of spoilt ones, and that one bad section loses nothing else."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

import eviltoy
from counterpoint import cli
from counterpoint.errors import Interrupted, RunError
from counterpoint.parts import Dataset
from counterpoint.report import Context
from counterpoint.report.context import TASK_WORDS
from counterpoint.report.page import LARGEST, write_report
from counterpoint.report.sections.curves import charts
from counterpoint.report.sections.quality import DotPlot
from counterpoint.run import Run
from counterpoint.training import pretrain as training
from counterpoint.training.checkpoints import STOP, SaveLast
from counterpoint.training.embedding import Embedded
from counterpoint.training.evaluate import evaluate_run

pytestmark = pytest.mark.unit


class Outline(HTMLParser):
    """Headings, and everything that could run or fetch something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[int] = []
        self.scripts: list[str | None] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "script":
            self.scripts.append(given.get("type"))
        self.addresses += [str(given[name]) for name in ("src", "href", "action") if name in given]
        self.handlers += [name for name in given if name.startswith("on")]
        self.ids += [str(given["id"])] if "id" in given else []


def written(run: Path) -> str:
    report = write_report(run)
    assert report.failures == []
    return report.path.read_text(encoding="utf-8")


def small(out: Path, **changes: object) -> Path:
    settings = {"epochs": 1, "batch_size": 8, "tensorboard": False, "progress": False} | changes
    training.pretrain("toy/simclr", out=out, **settings)
    return out


# A whole run


def test_the_page_holds_everything_it_shows(whole: Path) -> None:
    text = whole.read_text(encoding="utf-8")
    for told in ("Loss", "chance", "kNN accuracy", "untrained", "Effective rank", "Spread", "Alignment", "Uniformity",
                 "Positives and negatives", "Map of the embeddings", "t-SNE (perplexity", "Nearest neighbours",
                 "What is taken for what", "never on training samples", "data digest", "samples per second",
                 "machine", "Complete configuration", "Strokes"):  # fmt: skip
        assert told in text, told
    assert len(text.encode()) < LARGEST


def test_nothing_on_it_runs_or_fetches_but_its_own(whole: Path) -> None:
    outline = Outline(whole.read_text(encoding="utf-8"))
    assert outline.scripts == [None]
    assert outline.handlers == []
    assert [a for a in outline.addresses if not a.startswith(("#", "data:"))] == []
    assert "Content-Security-Policy" in whole.read_text(encoding="utf-8")


def test_headings_are_in_order_and_anchors_unique(whole: Path) -> None:
    outline = Outline(whole.read_text(encoding="utf-8"))
    assert outline.headings[0] == 1
    assert set(outline.headings[1:]) == {2}
    assert len(outline.ids) == len(set(outline.ids))
    assert {a[1:] for a in outline.addresses if a.startswith("#")} <= set(outline.ids)


def test_it_says_what_is_measured_before_evaluate_and_after(run: Path) -> None:
    before = written(run)
    assert f"counterpoint evaluate {run}" in before
    assert "validation samples (never on training samples)" in before
    evaluate_run(run, split="test")
    after = written(run)
    assert "Measured by counterpoint evaluate on the test split" in after
    assert "measured once on the test split" in after
    for told in ("Linear probe", "raw input, PCA", "5 labels per class", "Recall@1"):
        assert told in after, told
    stored = json.loads((run / "evaluation-test.json").read_text())["confusion"]
    assert sum(map(sum, stored["counts"])) == len(Run(run).open().splits()["test"])


def test_a_run_that_is_told_labels_says_so(run: Path, tmp_path: Path) -> None:
    told = small(tmp_path / "told", batch_size=32, method={"objective": "SupCon"})
    words = ("Labels were not used in training", "labels are not used in training", "which training never saw")
    for word in words:
        assert word in written(run) and word not in written(told), word
    assert "Labels were used in training" in written(told)
    cards = [(path / "encoder" / "README.md").read_text() for path in (run, told)]
    assert "learnt without labels" in cards[0] and "learnt with labels" in cards[1]


def changed(run: Path, **facts: object) -> Path:
    """The run, its ``run.json`` with other facts."""
    path = run / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))
    return run


@pytest.mark.parametrize("metric", ["accuracy", "mae", "spearman"])
def test_answers_are_drawn_from_the_start_on(metric: str) -> None:
    """A fine-tuning that made the first answers worse, and then less so, is not shown as one that helped."""
    (chart,) = charts({f"untrained/{metric}": [(0, 0.3)], f"val/{metric}": [(5, 0.9), (9, 0.6)]}, before="at the start")
    held_out, start = chart.lines  # type: ignore[attr-defined]
    assert held_out.points == [(0, 0.3), (5, 0.9), (9, 0.6)]
    assert (start.name, start.points) == ("at the start", [(0, 0.3), (9, 0.3)])


def test_the_marks_have_a_scale(run: Path) -> None:
    assert "<span>each line: 0 to 100%</span>" in written(run)
    plot = DotPlot({"learnt": {"spearman": 0.5}, "constant": {"spearman": -2.0}}, TASK_WORDS["regress"]).__html__()
    assert "each line: 0 to 1<" in plot and "left:0.00%" in plot


def test_the_speed_says_what_it_includes(run: Path) -> None:
    assert "s in all, set-up and looks included" in written(run)


def test_the_seconds_of_a_resumed_run_are_not_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: SaveLast, trainer: object) -> int:
        return STOP if trainer.global_step == 3 else 0  # type: ignore[attr-defined]

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(SaveLast, "_wish", stop)
        small(tmp_path / "run", batch_size=32)
    training.pretrain(resume=tmp_path / "run")
    text = written(tmp_path / "run")
    assert "s in all" not in text
    assert text.count("s, without 3 updates before it was resumed, set-up and looks included") == 1
    assert text.count(", without 3 updates before it was resumed") == 2


def test_samples_per_step_are_those_of_all_processes(run: Path) -> None:
    step = "samples per step</th><td>{}</td>"
    assert step.format("32") in written(run)
    assert step.format("64, 32 on each of 2") in written(changed(run, processes=2))


def test_the_encoder_that_was_kept_is_told_of_and_its_look_is_shown(run: Path) -> None:
    knn = "knn[k=20,T=0.07]"
    rows = list(csv.reader((run / "metrics.csv").open()))
    first, *later = [row for row in rows if row[2] == f"val/{knn}"]
    first[3] = "0.875"
    for row in later:
        row[3] = "0.125"
    with (run / "metrics.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    assert "The monitor&#39;s last look at the validation split" in written(run)
    text = written(changed(run, selected={"by": knn, "value": 0.875, "epoch": 0, "step": int(first[0])}))
    assert "The monitor&#39;s look at the validation split after epoch 1, whose encoder was kept" in text
    assert f"after epoch 1: best on validation, {knn} 87.5%" in text
    assert "<dt>kNN accuracy</dt><dd><b>87.5%</b>" in text
    assert '<div class="value"><b>87.5%</b>' in text


def test_a_method_that_is_gone_loses_no_section(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["method"]["class_path"] = "gone.Method"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    text = written(run)
    assert "Is it learning?" in text
    for told in ("used in training", "which training never saw", "Training needs none"):
        assert told not in text, "nobody knows whether it took labels"


def test_numbers_of_a_stage_are_told_as_that_stages(tmp_path: Path) -> None:
    text = written(small(tmp_path / "run", batch_size=32, stages={"count": 2, "clusters": 2}))
    assert "at the encoder of stage 1 alone and not at all of them side by side" in text
    assert "<dt>loss, stage 0</dt>" in text, "the stage that the verdict is of: the first that is in trouble"
    assert "a line jumps where the next one begins" in text


def test_a_method_without_pairs_is_not_said_to_wait_for_an_epoch(run: Path) -> None:
    (run / "scores.csv").unlink()
    assert "This method compares no pairs" in written(run)
    (run / "run.json").unlink()
    assert "No score was counted yet" in written(run)


def test_nothing_is_said_of_the_speed_of_no_update(run: Path) -> None:
    text = written(changed(run, samples_per_second=0.0, untimed=21))
    assert "<dt>samples per second</dt><dd><b>–</b>" in text


def test_commands_can_be_typed_as_they_stand(run: Path) -> None:
    moved = run.rename(run.parent / "my run")
    assert f"<code>counterpoint evaluate &#39;{moved}&#39;</code>" in written(moved)
    (moved / "run.json").unlink()
    assert f"counterpoint pretrain --resume &#39;{moved}&#39;" in written(moved)


def test_the_test_split_is_never_opened(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[int] = set()
    read = eviltoy.EvilDigits.__getitem__
    monkeypatch.setattr(eviltoy.EvilDigits, "__getitem__", lambda self, i: asked.add(i) or read(self, i))
    written(run)
    splits = Run(run).open().splits()
    assert asked & set(splits["val"].tolist())
    assert not asked & set(splits["test"].tolist())


def test_neighbours_are_training_samples_and_the_map_shows_validation(run: Path) -> None:
    context = Context(Run(run))
    splits = context.dataset.splits()
    assert set(context.bank.index.tolist()) <= set(splits["train"].tolist())
    assert set(context.held_out.index.tolist()) <= set(splits["val"].tolist())


def test_the_same_run_gives_the_same_page_but_for_its_date(run: Path, tmp_path: Path) -> None:
    pages = [write_report(run, tmp_path / f"{i}.html").path.read_text() for i in (1, 2)]
    stripped = [re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "", page) for page in pages]
    assert stripped[0] == stripped[1]


# What plugins add


def test_a_plugins_section_and_thumbnail(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eviltoy.install(monkeypatch, "strokes", "nothing")
    text = written(run)
    assert ">Strokes</h2>" in text
    assert 'id="plugin-nothing"' not in text and "#plugin-nothing" not in text, "nothing to show, nothing shown"
    assert 'id="spaces"' not in text
    assert "digit 3 &lt;script&gt;" in text, "text in the place of a picture, escaped"


def test_a_section_that_fails_says_so_and_loses_nothing_else(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    eviltoy.install(monkeypatch, "broken", "strokes")
    assert cli.main(["report", str(run)]) == 1
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "This section failed: KeyError" in text
    assert ">Strokes</h2>" in text
    assert ">The run</h2>" in text
    assert "A section of the report failed. Broken: This section failed" in capsys.readouterr().err


def test_a_plugins_section_that_cannot_be_imported_fails_alone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eviltoy.install(monkeypatch, "not_there")
    report = write_report(run)
    assert len(report.failures) == 1
    assert "AttributeError" in report.failures[0]


def test_a_section_that_is_too_large_is_left_out(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eviltoy.install(monkeypatch, "huge")
    report = write_report(run)
    assert report.path.stat().st_size < LARGEST
    assert report.failures == ["Huge: Left out: 6.0 MB are too much for a page of 5 MB."]
    assert ">Nearest neighbours</h2>" in report.path.read_text()


# Runs that lack something


def test_a_run_without_labels(tmp_path: Path) -> None:
    text = written(small(tmp_path / "run", dataset={"count": 120, "labelled": False}))
    assert "This needs labels, and the data has none. Training needs none either." in text
    assert "and the raw input beside it" in text and "linear probe" not in text
    assert "Map of the embeddings" in text
    assert "kNN accuracy" not in text


@pytest.mark.parametrize("count", [5, 40])
def test_tiny_runs(tmp_path: Path, count: int) -> None:
    text = written(small(tmp_path / "run", batch_size=2, dataset={"count": count, "labelled": count > 5}))
    assert "It is too early to say." in text
    assert "Nearest neighbours" in text


def test_classes_that_share_a_mark_are_told_of(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "share a mark" not in written(run)
    monkeypatch.setattr("counterpoint.report.sections.embeddings.MARKS", 5)
    assert re.search(r"Of \d+ some share a mark: press one to see it alone\.", written(run))


def test_a_run_of_one_class(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_class(self: eviltoy.EvilDigits, source: str, count: int = 400, labelled: bool = True) -> None:
        eviltoy.toy.Digits.__init__(self, source, count)
        assert self.labels is not None
        self.labels, self.classes = self.labels * 0, ["all"]

    monkeypatch.setattr(eviltoy.EvilDigits, "__init__", one_class)
    assert "This needs known labels of two classes or more." in written(run)


def test_an_unfinished_run_says_how_to_go_on(run: Path) -> None:
    (run / "run.json").unlink()
    shutil.rmtree(run / "encoder")
    text = written(run)
    assert f"counterpoint pretrain --resume {run}" in text
    assert "counterpoint evaluate" not in text, "which would refuse it"
    assert "finish the run first" in text
    assert "This needs the trained encoder, which is written when the run is finished." in text
    assert "Loss" in text


def test_a_run_that_has_logged_nothing(run: Path) -> None:
    for path in ("run.json", "metrics.csv", "timing.csv", "scores.csv"):
        (run / path).unlink()
    shutil.rmtree(run / "encoder")
    text = written(run)
    assert "Nothing to judge yet." in text
    assert "Nothing was logged yet" in text


def test_a_run_whose_data_moved_away(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"], config["dataset"] = "gone/photos", None
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    text = written(run)
    assert "This needs the run&#39;s data, which cannot be opened" in text
    assert "gone/photos" in text
    assert ">Is it learning?</h2>" in text


def test_a_run_whose_data_changed(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "digest": "0123"}))
    assert "0123; the data has changed since" in written(run)


def test_samples_that_cannot_be_read(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from counterpoint.types import Damaged

    monkeypatch.setattr(eviltoy.EvilDigits, "__getitem__", lambda self, i: Damaged(i, self.name(i), "torn"))
    text = written(run)
    assert "validation samples can be read" in text
    assert "(torn)" in text


def test_features_that_are_no_numbers_are_left_out(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = Run.features

    def spoilt(self: Run, dataset: Dataset, indices: Sequence[int]) -> Embedded:
        found = features(self, dataset, indices)
        found.features[:count] = math.nan
        return found

    monkeypatch.setattr(Run, "features", spoilt)
    count = 1
    text = written(run)
    assert "are of the query&#39;s class" in text and "(never on training samples)" in text
    count = 10_000
    assert "validation samples hold numbers that are not finite" in written(run)


def test_a_batch_that_stopped_a_run_is_told_until_training_went_past_it(run: Path) -> None:
    (run / "run.json").unlink()
    last = Context(Run(run)).updates
    for step, told in ((last, True), (last - 1, False)):
        (run / "non-finite.json").write_text(json.dumps({"step": step, "reason": "the loss is nan"}))
        assert ("It was stopped: the loss is nan. To go on" in written(run)) is told


def test_a_name_that_is_all_there_is_to_see_stands_once(tmp_path: Path) -> None:
    text = written(small(tmp_path / "run", dataset={"count": 120, "labelled": False}))
    tiles = re.findall(r'<figure class="tile.*?</figure>', text, re.S)
    assert tiles and all('<figcaption><span title=""></span>' in tile for tile in tiles)


def test_numbers_that_are_none(run: Path) -> None:
    with (run / "metrics.csv").open("a") as file:
        file.write("999,3,train/loss,nan\n999,3,batch/std,nan\n999,3,batch/rankme,inf\n")
    text = written(run)
    assert "It has diverged." in text
    assert 'd="Mnan' not in text.lower()


def test_a_log_that_somebody_edited_fails_in_its_place(run: Path) -> None:
    (run / "metrics.csv").write_text("step,epoch,metric,value\nfour,0,train/loss,1\n")
    report = write_report(run)
    text = report.path.read_text()
    assert "The verdict could not be made." in text
    assert ">Nearest neighbours</h2>" in text
    assert any("line 2" in failure for failure in report.failures)


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(tmp_path)]) == 1
    assert "is no run directory" in capsys.readouterr().err


# Bad days


def test_a_full_disk_leaves_the_old_report_and_nothing_else(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "report.html").write_text("old")
    before = sorted(path.name for path in run.iterdir())

    def full(self: Path, text: str, **_: object) -> int:
        with self.open("w") as file:
            file.write(text[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(RunError, match=r"out: found .*report.html cannot be written \(No space left on device\)"):
        write_report(run)
    monkeypatch.undo()
    assert (run / "report.html").read_text() == "old"
    assert sorted(path.name for path in run.iterdir()) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_disk_that_is_really_full(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        (disk / "report.html").write_text("old")
        assert cli.main(["report", str(run), "--out", str(disk / "report.html")]) == 1
        assert "No space left" in capsys.readouterr().err
        assert [path.name for path in disk.iterdir()] == ["report.html"]
        assert (disk / "report.html").read_text() == "old"
    finally:
        subprocess.run(["umount", disk], check=True)
