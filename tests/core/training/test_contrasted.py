"""Two sources as one data set: origins, splits, batches that hold both, and a run from options to probes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import toy
from counterpoint.errors import ConfigError, DataError
from counterpoint.nn import TwoSpaces
from counterpoint.report.page import write_report
from counterpoint.run import Run
from counterpoint.training.config import dump, parse
from counterpoint.training.contrasted import Contrasted, StratifiedSampler, quotas
from counterpoint.training.data import RunData
from counterpoint.training.evaluate import evaluate_run, untrained
from counterpoint.training.pretrain import pretrain
from counterpoint.training.sources import Sources

pytestmark = pytest.mark.unit

PAIR = ["--background", "digits", "--target", "dotted"]
SMALL: dict[str, Any] = {"epochs": 2, "batch_size": 32, "tensorboard": False, "progress": False}
SMALL |= {"background": "digits", "target": "dotted", "encoder": {"width": 8}, "method": {"code": 4}}
SMALL |= {"dataset": {"options": {"count": 200}}}


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy.install(monkeypatch)


def both(**options: Any) -> Contrasted:
    return Contrasted("digits", "dotted", "toy", {"count": 50, **options})


def test_origin_is_the_label_the_name_and_nothing_else_changes() -> None:
    found, one = both(), toy.Digits("digits", count=50)
    assert (len(found), found.first, found.classes) == (100, 50, ["background", "target"])
    assert [found.name(0), found.name(50)] == ["background/digit-0", "target/digit-0"]
    first, later, plain = found[4], found[54], one[4]
    assert (first.label, later.label, later.index) == (0, 1, 54)
    assert torch.equal(later.data["digit"], plain.data["digit"])
    assert first.content == later.content == plain.content  # so that they are never negatives of each other
    assert found.digest() not in (one.digest(), both(count=49).digest())


def test_every_sample_stays_in_its_sources_split() -> None:
    found, one = both().splits(), toy.Digits("digits", count=50).splits()
    for split, rows in one.items():
        assert found[split].tolist() == [*rows, *(rows + 50)]


def test_a_batch_holds_origins_and_damaged_samples_by_their_place() -> None:
    batch = both(damaged=10).batch([1, 2, 51, 60])
    assert batch.label.tolist() == [0, 0, 1]
    assert batch.index.tolist() == [1, 2, 51]
    assert [(one.index, one.name) for one in batch.damaged] == [(60, "target/digit-10")]


def test_what_the_targets_are_known_to_have_is_a_factor() -> None:
    factors = both().factors()
    assert [(name, one.space) for name, one in factors.items()] == [("origin", "salient"), ("class", "common")]
    assert factors["class"].labels[:50].tolist() == [-1] * 50
    assert factors["class"].labels[50:].tolist() == toy.Digits("digits", count=50).labels.tolist()
    assert list(both(labelled=False).factors()) == ["origin"]
    other = both()
    for classes, space in ((["x"], "salient"), ([*reversed(other.parts[1].classes), "more"], "common")):
        other.parts[0].classes = classes
        assert other.factors()["class"].space == space


@pytest.mark.parametrize(("counts", "rows", "expected"), [((5, 5), 8, [4, 4]), ((1, 999), 10, [1, 9])])
def test_quotas(counts: tuple[int, ...], rows: int, expected: list[int]) -> None:
    assert quotas(counts, rows) == expected
    assert quotas((3, 3, 1), 7) == [3, 3, 1]


@pytest.mark.parametrize("sizes", [(70, 50), (4, 116)])
def test_every_batch_of_every_rank_holds_both(sizes: tuple[int, int]) -> None:
    strata = np.repeat([0, 1], sizes)
    indices = np.arange(120)
    samplers = [StratifiedSampler(indices, 8, 3, strata=strata, rank=r, ranks=2) for r in range(2)]
    assert len(samplers[0]) == 120 // 16
    epoch = [list(sampler) for sampler in samplers]
    shares = {int((strata[batch] == 0).sum()) for rank in epoch for batch in rank}
    assert len(shares) == 1 and 0 < shares.pop() < 8
    drawn = [i for rank in epoch for batch in rank for i in batch]
    large = [i for i in drawn if strata[i] == int(np.argmax(sizes))]
    assert len(large) == len(set(large))  # none twice where there are enough
    if sizes == (4, 116):
        assert {i for i in drawn if strata[i] == 0} == {0, 1, 2, 3}
    assert any(strata[batch[0]] != strata[batch[-1]] for rank in epoch for batch in rank)  # mixed, not one after other
    for number, sampler in enumerate(samplers):
        sampler.skip = 3
        assert list(sampler) == epoch[number][3:]
        sampler.set_epoch(1)
        assert list(sampler) != epoch[number]


def test_what_a_sampler_refuses() -> None:
    with pytest.raises(DataError, match=r"found training samples of 1 kind\(s\); allowed: .*both background and"):
        StratifiedSampler(np.arange(10), 4, 0, strata=np.zeros(10))
    with pytest.raises(DataError, match=r"batch_size: found 1; allowed: 2 or more"):
        StratifiedSampler(np.arange(10), 1, 0, strata=np.arange(10) % 2)


def test_sources() -> None:
    assert str(Sources(background="plain", target="marked")) == "marked against plain"
    assert str(Sources("digits")) == "digits"
    assert not Sources()
    for given in ({"background": "a"}, {"target": "a"}, {"data": "a", "background": "a", "target": "b"}):
        with pytest.raises(ConfigError, match="give either --data, or --background and --target"):
            Sources(**given)


def test_the_configuration_names_both_and_fed_back_is_the_same(tmp_path: Path) -> None:
    config = parse(["toy/sepclr", *PAIR])
    assert (config.data, config.background, config.target) == (None, "digits", "dotted")
    path = tmp_path / "config.yaml"
    path.write_text(dump(config))
    assert dump(parse(["--config", str(path)])) == path.read_text()


def test_any_method_can_learn_from_both_and_sepclr_from_nothing_else() -> None:
    assert parse(["toy/simclr", *PAIR]).dataset.class_path.endswith("Contrasted")
    with pytest.raises(ConfigError, match="toy/sepclr learns from two sources instead of --data: --background"):
        parse(["toy/sepclr", "--data", "digits"])
    for one, other in (("background", "target"), ("target", "background")):
        with pytest.raises(ConfigError, match=f"--{other} is missing beside --{one}: give either --data, or"):
            parse(["toy/simclr", f"--{one}", "digits"])
    with pytest.raises(ConfigError, match="--target 'nothing' is nothing that plugin 'toy' opens"):
        Contrasted("digits", "nothing", "toy")


def test_a_copy_of_the_background_is_told() -> None:
    told = "Background and target are the same samples: nothing tells them apart."
    assert Contrasted("digits", "digits", "toy", {"count": 50}).notes == (told,)
    assert both().notes == ()


@pytest.mark.parametrize("option", ["--background", "--target", "--data"])
@pytest.mark.parametrize("form", ["{option} a {option}=b", "{option}=a --epochs 1 {option} b"])
def test_no_source_is_dropped_without_a_word(option: str, form: str) -> None:
    with pytest.raises(ConfigError, match=rf"{option}: found 2 sources \(a and b\); allowed: one"):
        parse(["toy/sepclr", *form.format(option=option).split()])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        toy.install(patch)
        return pretrain("toy/sepclr", out=tmp_path_factory.mktemp("apart") / "run", **SMALL)


def test_a_run_is_opened_loaded_and_embedded_with(run: Run) -> None:
    own = run.open()
    assert isinstance(own, Contrasted) and len(own) == 400
    assert isinstance(run.encoder, TwoSpaces) and run.encoder.widths == [4, 4]
    assert run.embed(own).shape == (400, 8)
    assert len(run.open("digits")) == 1797  # other data is opened as it is
    assert type(untrained(run, own)) is TwoSpaces
    assert json.loads((run.path / "run.json").read_text())["data"] == "dotted against digits"
    assert "`dotted` against `digits`" in (run.path / "encoder" / "README.md").read_text()


def test_an_evaluation_probes_both_spaces_and_the_report_shows_them(run: Run) -> None:
    rows = evaluate_run(run, split="val").rows
    names = [f"probe[{factor},{space}]" for factor in ("origin", "class") for space in ("common", "salient")]
    for row in (rows["learnt"], rows["untrained"]):
        assert {*names, "delta_tot"} <= set(row)
        wanted = abs(1 - row["probe[origin,salient]"]) + abs(0.5 - row["probe[origin,common]"])
        assert row["delta_tot"] > wanted
    assert names[0] not in rows["raw input"]
    told = json.loads((run.path / "evaluation-val.json").read_text())["spaces"]
    assert told["class"]["home"] == "common"
    report = write_report(run.path)
    page = report.path.read_text()
    assert report.failures == []
    assert "<span>on</span> dotted against digits <span>in</span>" in page
    assert "learnt from a background and targets" in (run.path / "encoder" / "README.md").read_text()
    assert "which training never saw" not in page, "its classes are the two sources"
    assert "Common and salient" in page and "from the salient space" in page and "Length of the salient code" in page


def test_a_stopped_run_goes_on_to_the_same_weights(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped, views = tmp_path / "stopped", RunData.on_after_batch_transfer

    def struck(data: RunData, *batch: Any) -> Any:
        if data.trainer.global_step == 12:  # in the second epoch
            raise RuntimeError("struck")
        return views(data, *batch)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="struck"):
        patch.setattr(RunData, "on_after_batch_transfer", struck)
        pretrain("toy/sepclr", out=stopped, **SMALL)
    assert not (stopped / "run.json").exists()
    weights = [
        (pretrain(resume=stopped).path / "encoder" / "model.safetensors"),
        run.path / "encoder/model.safetensors",
    ]
    assert weights[0].read_bytes() == weights[1].read_bytes()
