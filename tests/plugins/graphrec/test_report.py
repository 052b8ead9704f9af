"""What the plugin adds to the report: numbers of the evaluation, lists of val, and a page without errors."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import counterpoint as cp
from browser import open_page
from counterpoint.report import Context, Missing
from counterpoint.report.page import write_report
from counterpoint.report.sections.quality import quality
from counterpoint.run import Run
from counterpoint.training.evaluate import evaluate_run
from counterpoint.training.pretrain import pretrain
from counterpoint_graphrec.data import InteractionArrays
from counterpoint_graphrec.protocol import Case
from counterpoint_graphrec.report import _concentration, examples, popularity, uniformity
from tastes import table

SMALL = {"tensorboard": False, "progress": False, "epochs": 2, "batch_size": 100, "seed": 3}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short run on the small table."""
    folder = tmp_path_factory.mktemp("graphrec")
    table(folder)
    return pretrain("graphrec/lightgcn", data=str(folder / "small.npz"), out=folder / "run", **SMALL)


@pytest.fixture
def context(trained: Run, tmp_path: Path) -> Context:
    return Context(Run(shutil.copytree(trained.path, tmp_path / "run")))


def shown(section: object) -> str:
    return html.unescape("".join(p if isinstance(p, str) else p.__html__() for p in section.parts))


@pytest.mark.unit
def test_bars_show_what_was_measured(context: Context) -> None:
    before = popularity(context)
    assert "counterpoint evaluate" in before.lead
    assert "stack" not in shown(before)
    online = quality(context)
    assert "Labels" not in online.lead and "linear probe" not in shown(online), "a ranking has neither"
    assert "what needs no training" in shown(online)
    rows = evaluate_run(context.run, split="test", quick=True).rows
    text = shown(popularity(context))
    assert "test split" in text
    totals = re.findall(r'class="name">([^<]+)<.*?class="value">([^<]+)<', text)
    assert totals == [(name, f"{100 * row['recall@20']:.1f}%") for name, row in rows.items()]
    path = context.run.path / "evaluation-test.json"
    facts = json.loads(path.read_text())
    facts["metrics"]["EASE"] = {"recall@20": None}
    path.write_text(json.dumps(facts))
    assert "EASE" not in shown(popularity(context)), "a row without the parts is left out"


@pytest.mark.unit
def test_the_test_split_is_not_looked_at(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = InteractionArrays.matrix, list[str]()
    monkeypatch.setattr(InteractionArrays, "matrix", lambda self, split: asked.append(split) or real(self, split))
    popularity(context), examples(context), uniformity(context)
    assert set(asked) == {"train", "val"}


@pytest.mark.unit
def test_the_curve_of_concentration() -> None:
    curve = dict(_concentration([0] * 90 + [5] * 10))
    assert (curve[0], curve[10], curve[100]) == (0, 1, 1)
    assert curve[5] == pytest.approx(0.5)
    assert dict(_concentration(np.ones(200)))[37] == pytest.approx(0.37)


def drawn(context: Context) -> list[int]:
    """The users whom the section shows, under letters."""
    active = np.flatnonzero(np.diff(Case.of(context.dataset, "val").held_out.indptr))
    users: list[int] = np.sort(np.random.default_rng(context.config["seed"]).permutation(active)[:4]).tolist()
    return users


@pytest.mark.unit
def test_examples_are_what_the_encoder_ranks_first(context: Context) -> None:
    (lists,) = examples(context).parts
    case = Case.of(context.dataset, "val")
    users, items = context.run.encoder.nodes()
    scores = (users @ items.T).numpy()
    assert len(lists.cases) == 4
    assert [name for name, *_ in lists.cases] == ["user A", "user B", "user C", "user D"], "ids are personal data"
    for user, (_, note, had, offered) in zip(drawn(context), lists.cases):
        known = set(case.train[[user]].indices.tolist())
        assert {entry.text for entry in had} <= {f"Film {item}" for item in known}
        best = [item for item in np.argsort(-scores[user], kind="stable") if item not in known][:10]
        assert [entry.text for entry in offered] == [f"Film {item}" for item in best]
        truth = set(case.held_out[[user]].indices.tolist())
        assert [entry.right for entry in offered] == [item in truth for item in best]
        assert f"{sum(entry.right for entry in offered)} of {len(truth)} held-out" in note
    assert examples(context) == examples(context)


@pytest.mark.unit
def test_the_latest_come_first_where_times_are_known(tmp_path: Path) -> None:
    lines = [f"u{u}\tf{i}\t{1000 + (7 * i + u) % 31}" for u in range(12) for i in range(20) if (u + i) % 3]
    (tmp_path / "log.tsv").write_text("user\titem\ttime\n" + "\n".join(lines) + "\n", encoding="utf-8")
    run = cp.pretrain("graphrec/bprmf", data=str(tmp_path / "log.tsv"), out=tmp_path / "run", **SMALL)
    context = Context(run)
    (lists,) = examples(context).parts
    assert lists.given == "had, the latest first"
    _, _, had, _ = lists.cases[0]
    user = int(context.dataset.user_names[drawn(context)[0]].removeprefix("u"))
    times = [(7 * int(entry.text[1:]) + user) % 31 for entry in had]
    assert times == sorted(times, reverse=True)
    assert len(set(times)) > 3


@pytest.mark.unit
def test_uniformity_stands_beside_recall(context: Context) -> None:
    text = shown(uniformity(context))
    for title in ("Uniformity", "Recall@20", "Recall from the long tail", "Catalogue"):
        assert f"<b>{title}</b>" in text
    assert text.count("untrained") >= 4
    assert "Kept is the encoder after epoch" in uniformity(context).lead
    (context.run.path / "metrics.csv").write_text("step,epoch,metric,value\n")
    with pytest.raises(Missing, match="first epoch has not ended"):
        uniformity(Context(context.run))


@pytest.mark.browser
def test_the_page_is_whole_on_a_phone(context: Context) -> None:
    evaluate_run(context.run, split="val", quick=True)
    report = write_report(context.run)
    assert report.failures == []
    with open_page(report.path, width=390) as opened:
        assert opened.overflow == 0
        opened.page.locator(".whole").first.hover()
        assert "unpopular items" in opened.page.locator("#tip").inner_text()
        assert (opened.errors, opened.left) == ([], [])
