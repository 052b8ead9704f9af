"""The recommender by its words: fit, recommend, recommend-for, similar, batch; and what is wrong is named."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from counterpoint import apps
from counterpoint.errors import ConfigError, CounterpointError, DataError, RunError

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ODD = 'The "Odd" <b>one</b> & more 😀'


def asked(run: Path, *words: str) -> int:
    return apps.main(["recommender", words[0], "--run", str(run), *words[1:]])


def answered(run: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[dict]:  # type: ignore[type-arg]
    capsys.readouterr()
    assert asked(run, *words, "--json") == 0
    answers: list[dict] = json.loads(capsys.readouterr().out)  # type: ignore[type-arg]
    return answers


def test_a_reader_of_crime_gets_crime_with_reasons(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crime, gardens = answered(run, capsys, "recommend", "reader 0", "reader 1", "-k", "5")
    for answer, category in ((crime, "Crime"), (gardens, "Gardens")):
        assert answer["rule"] == "user"
        assert [item["group"] for item in answer["items"]].count(category) >= 4
        for item in answer["items"]:
            assert item["because"] and all(0 < why["share"] <= 1 and why["title"] for why in item["because"])


def test_a_newcomer_is_served_by_title_and_by_id(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (by_title,) = answered(run, capsys, "recommend-for", "garden book 3", "😀", "-k", "4")
    (by_id,) = answered(run, capsys, "recommend-for", "b0", "b23", "-k", "4")
    assert by_title["rule"] == "fold-in"
    assert by_title["items"] == by_id["items"]
    assert not {"b0", "b23"} & {item["item"] for item in by_id["items"]}
    (twice,) = answered(run, capsys, "recommend-for", "b0", "b23", "b0", "-k", "4")
    assert twice["items"] == by_id["items"] and "twice" in twice["notes"][0]


def test_table_and_csv_show_titles_as_they_are(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(run, "similar", "crime story 4", "-k", "39", "--csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 39 and ODD in [row["title"] for row in rows]
    assert rows[0]["rule"] == "likeness" and rows[0]["group"] == "Crime"
    assert asked(run, "similar", "crime story 4", "-k", "39") == 0
    told = capsys.readouterr().out
    assert "<b>one</b>" in told and "users of both" in told


def test_filters_by_category_and_by_lists(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stock = tmp_path / "stock.csv"
    stock.write_text("book,in_stock\nb20,yes\nb21,0\nb22,3\nb1,true\nb99,1\n", encoding="utf-8")
    (tmp_path / "gone.txt").write_text("b22\n", encoding="utf-8")
    words = ("recommend-for", "b30", "--only", f"{stock}:in_stock")
    (answer,) = answered(run, capsys, *words)
    assert {item["item"] for item in answer["items"]} == {"b20", "b22", "b1"}
    assert any("1 of 4 ids are no item's" in note for note in answer["notes"])
    (answer,) = answered(run, capsys, *words, "--group", "gardens", "--without", str(tmp_path / "gone.txt"))
    assert [item["item"] for item in answer["items"]] == ["b20"]
    (answer,) = answered(run, capsys, "recommend-for", "b30", "--group", "Crime", "-k", "40")
    assert {item["group"] for item in answer["items"]} == {"Crime"}
    assert "items are left to recommend; 40 were asked for" in answer["notes"][-1]


def test_a_table_for_everybody(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(run, "batch", "--out", str(tmp_path / "recs.parquet"), "-k", "3") == 0
    assert "180 recommendations for 60 users" in capsys.readouterr().out
    rows = [row for row in pq.read_table(tmp_path / "recs.parquet").to_pylist() if row["user"] == "reader 7"]
    (answer,) = answered(run, capsys, "recommend", "reader 7", "-k", "3")
    assert [row["item"] for row in rows] == [item["item"] for item in answer["items"]]


def test_it_works_when_the_table_is_gone(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    config = (moved / "config.yaml").read_text(encoding="utf-8")
    (moved / "config.yaml").write_text(config.replace("reads.csv", "gone.csv"), encoding="utf-8")
    before, after = (answered(place, capsys, "recommend", "reader 3") for place in (run, moved))
    assert before == after, "ids and titles are kept in the run"
    shutil.rmtree(moved / "recommender")
    with pytest.raises(DataError, match=r"data: found .*gone.csv.*Where does the table lie now\? --data FILE"):
        asked(moved, "recommend", "reader 3")
    table = str(run.parent / "reads.csv")
    assert answered(moved, capsys, "recommend", "reader 3", "--data", table) == before
    assert (moved / "recommender" / "items.parquet").is_file()


def test_another_table_is_refused(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "run"
    shutil.copytree(run, other)
    shutil.rmtree(other / "recommender")
    lines = (run.parent / "reads.csv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "reads.csv").write_text("\n".join(lines[:-20]), encoding="utf-8")
    with pytest.raises(DataError, match="training interactions are not those of the run"):
        asked(other, "recommend", "reader 3", "--data", str(tmp_path / "reads.csv"))
    assert not (other / "recommender").exists()


def test_what_is_torn_is_made_anew(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torn = tmp_path / "run"
    shutil.copytree(run, torn)
    (torn / "recommender" / "items.parquet").write_bytes(b"PAR1 torn")
    assert answered(torn, capsys, "recommend", "reader 3") == answered(run, capsys, "recommend", "reader 3")


def test_a_run_that_cannot_be_written_to_answers_all_the_same(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sealed = tmp_path / "run"
    shutil.copytree(run, sealed)
    shutil.rmtree(sealed / "recommender")
    (sealed / "recommender").write_text("a file where the folder would be", encoding="utf-8")
    with pytest.warns(UserWarning, match="a folder that can be written"):
        assert answered(sealed, capsys, "recommend", "reader 3") == answered(run, capsys, "recommend", "reader 3")


def test_ids_of_users_are_in_one_folder_only(run: Path) -> None:
    found = [path.relative_to(run).parts[0] for path in run.rglob("*") if path.is_file() and _has(path, b"reader 7")]
    assert set(found) == {"recommender"}


def _has(path: Path, text: bytes) -> bool:
    if path.suffix == ".parquet":
        return any(text.decode() in map(str, column.to_pylist()) for column in pq.read_table(path).columns)
    return text in path.read_bytes()


def test_what_is_wrong_is_named(run: Path, tmp_path: Path) -> None:
    cases: list[tuple[type[CounterpointError], str, tuple[str, ...]]] = [
        (ConfigError, "k: found 0", ("recommend", "reader 1", "-k", "0")),
        (DataError, "Did you mean 'reader 1", ("recommend", "readr 1")),
        (DataError, "Did you mean 'Garden book", ("similar", "gardn bok 7")),
        (DataError, r"several items answer to.*b\d+ \(Garden book", ("similar", "garden")),
        (DataError, "leave no item", ("recommend", "reader 1", "--min-users", "900")),
        (ConfigError, "Did you mean 'Gardens'", ("recommend", "reader 1", "--group", "Gardns")),
        (DataError, "there is no such file", ("recommend", "reader 1", "--only", "no.csv")),
        (ConfigError, "--out: found .*a folder", ("batch", "--out", str(tmp_path))),
        (RunError, "is no run directory", ("recommend", "reader 1", "--run", str(tmp_path))),
    ]
    for error, told, words in cases:
        with pytest.raises(error, match=told):
            asked(run, *words)
    for words in (("recommend",), ("recommend-for",), ("recommend", "reader 1", "--grop", "x"), ("recomend",)):
        with pytest.raises(SystemExit):
            asked(run, *words)


def test_an_unfinished_run_and_one_of_another_plugin_are_refused(run: Path, tmp_path: Path) -> None:
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run, unfinished)
    shutil.rmtree(unfinished / "encoder")
    with pytest.raises(RunError, match=r"no encoder here \(yet\)"):
        asked(unfinished, "recommend", "reader 1")
    foreign = tmp_path / "foreign"
    shutil.copytree(run, foreign)
    vision = {"class_path": "counterpoint_vision.encoders.SlimResNet", "init_args": {}}
    views = {"class_path": "counterpoint_vision.views.SimCLRViews", "init_args": {"size": 16}}
    from counterpoint.training.encoder_files import save_encoder
    from counterpoint_vision.encoders import SlimResNet

    save_encoder(foreign / "encoder", SlimResNet(), {"plugin": "vision", "encoder": vision, "views": views}, "")
    with pytest.raises(ConfigError, match="of plugin vision; allowed: a run of the graphrec plugin"):
        asked(foreign, "recommend", "reader 1")


@pytest.mark.parametrize("verb", ["fit", "recommend", "recommend-for", "similar", "batch", "serve"])
def test_every_verb_has_help_with_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        apps.main(["recommender", verb, "--help"])
    assert stop.value.code == 0
    assert f"counterpoint app recommender {verb} " in capsys.readouterr().out.partition("examples:")[2]
