"""The protocol: what is right, what is one text or picture, that val never sees test, both heads, the floors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from coloured import DAMAGED, AsTheyAre, Colour, Coloured, Told
from counterpoint.errors import ConfigError, DataError
from counterpoint.evaluation.cross_modal import cross_modal_retrieval
from counterpoint.parts import Dataset
from counterpoint.types import Sample
from counterpoint_multimodal import cases, protocol
from counterpoint_multimodal.baselines import PENALTIES, colours
from counterpoint_multimodal.cases import gather
from counterpoint_multimodal.data import PairTable
from counterpoint_multimodal.data.examples import toy
from counterpoint_multimodal.encoders import TwoTowers
from counterpoint_multimodal.protocol import PairRetrieval
from counterpoint_multimodal.views import PairViews

pytestmark = pytest.mark.unit

SHAPES = ("bar", "disc", "ring")


def many(count: int = 30, part: str = "val") -> Coloured:
    """Pictures of different colours, each with two texts of its own, one of them with the class in it."""
    samples = [((5 * n, 0, 200), [f"thing {n}", f"{SHAPES[n % 3]} {n}"], part) for n in range(count)]
    return Coloured(samples, [SHAPES[n % 3] for n in range(count)])


def number(text: str) -> int:
    return int("".join(filter(str.isdigit, text)) or -1)


def oracle(count: int = 30, flipped: bool = False) -> Told:
    """Which knows that the colour tells the number; prompts, which have none, lie where their class's pictures do."""
    directions = torch.linalg.qr(torch.randn(count + 3, count + 3, generator=torch.Generator().manual_seed(0)))[0]

    def image(colour: Colour, role: str) -> Tensor:
        n = colour[0] // 5
        return directions[(n + 1) % count if flipped else n] + 0.3 * directions[count + n % 3]

    def text(words: str, role: str) -> Tensor:
        n = number(words)
        shape = [SHAPES.index(s) for s in SHAPES if s in words]
        return directions[n] if n >= 0 else directions[count + shape[0]] if shape else directions[0]

    return Told(image, text)


@torch.no_grad()
def measured(encoder: torch.nn.Module, data: Coloured, split: str = "val") -> dict[str, float]:
    return PairRetrieval().measure(encoder, AsTheyAre(), data, split)  # type: ignore[arg-type]


def test_an_oracle_is_perfect_and_one_that_is_a_place_off_is_not() -> None:
    found = measured(oracle(), many())
    assert [found[f"recall@{k}"] for k in (1, 5, 10)] == [1.0, 1.0, 1.0]
    assert found["zero_shot@1"] == 1.0
    assert (found["images"], found["texts"]) == (30.0, 60.0)
    assert "zero_shot@5" not in found, "of three classes everything is among the best five"
    wrong = measured(oracle(flipped=True), many())
    assert wrong["recall@1"] == 0.0
    assert wrong["alignment"] > found["alignment"]
    assert set(PairRetrieval.words) <= set(found)
    assert all(0 <= found[name] <= 1 for name in PairRetrieval.words)


def test_what_is_right_and_what_is_one() -> None:
    red, green, blue = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    data = Coloured(
        [
            (red, ["a ball", "Round"], "val"),
            (green, ["round", "a pea"], "val"),  # shares a text with the first, and its picture with the last
            (blue, ["the sea"], "val"),
            (blue, ["a ball"], "train"),
            (green, ["a leaf"], "val"),
        ]
    )
    case, _ = gather(data, "val", colours)
    assert case.texts == ["a ball", "Round", "a pea", "the sea", "a leaf"]
    assert len(case.rows) == 3
    by_picture: dict[Colour, set[str]] = {}
    for picture, text in case.right.tolist():
        colour = data.colours[case.index[case.rows[picture]]]
        by_picture.setdefault(colour, set()).add(case.texts[text])
    # the pea is no ball, though both are linked through what they share
    assert by_picture == {red: {"a ball", "Round"}, green: {"Round", "a pea", "a leaf"}, blue: {"the sea"}}
    assert case.counts == {"images": 3.0, "texts": 5.0}


def test_val_never_sees_test(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [((5 * n, 0, 9), [f"thing {n}", f"it {n}"], ("train", "val", "test")[n % 3]) for n in range(45)]
    data, asked = Coloured(samples), set[int]()
    real = Coloured.__getitem__
    monkeypatch.setattr(Coloured, "__getitem__", lambda self, i: asked.add(i) or real(self, i))
    measured(oracle(45), data)
    assert asked == set(data.splits()["val"].tolist())
    monkeypatch.setattr(protocol, "FLOORS", {"colours + words": 1})
    PairRetrieval().floors(data, "val", quick=False)
    assert asked == set(np.flatnonzero(np.arange(45) % 3 != 2).tolist())
    with pytest.raises(ConfigError, match="split: found 'train'"):
        measured(oracle(45), data, "train")


def test_of_many_a_fixed_draw_is_measured_on_val_and_all_of_test(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = measured(oracle(), many())["images"]
    monkeypatch.setattr(cases, "MOST", 10)
    some = measured(oracle(), many())
    assert (everything, some["images"], some["texts"]) == (30, 10, 20)
    assert measured(oracle(), many()) == some
    assert measured(oracle(), many(part="test"), "test")["images"] == 30
    long = Coloured([((n, 0, 0), [f"{word} {n}" for word in "abcdefgh"], "val") for n in range(20)])
    assert measured(oracle(), long)["texts"] == 16, "and not more than twice as many texts"


def test_damaged_records_are_counted() -> None:
    data = many()
    data.colours[3] = data.colours[4] = DAMAGED
    found = measured(oracle(), data)
    assert (found["images"], found["damaged"], found["recall@1"]) == (28.0, 2.0, 1.0)
    data.colours[:] = [DAMAGED] * 30
    with pytest.raises(DataError, match=r"no pair that can be read \(30 damaged\)"):
        measured(oracle(), data)


def test_other_data_is_refused() -> None:
    with pytest.raises(DataError, match=r"dataset: found no pair in val; allowed: one at least\. Bring more pairs"):
        measured(oracle(), many(part="test"))
    with pytest.raises(ConfigError, match="dataset: found Clicks; allowed: pictures with texts"):
        PairRetrieval().floors(Clicks(), "val", quick=True)


class Clicks(Dataset):
    """No pairs."""

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> Sample:
        raise IndexError(index)

    def name(self, index: int) -> str:
        return ""

    def digest(self) -> str:
        return ""


def halves(seed: int = 0) -> Told:
    """Whose global heads know even numbers and whose local heads know odd ones, with noise."""
    draw = torch.Generator().manual_seed(seed)
    exact, noise = torch.randn(64, 24, generator=draw), torch.randn(2, 2, 64, 24, generator=draw)

    def vector(n: int, role: str, side: int) -> Tensor:
        known = n % 2 == (role == "local")
        return exact[n] + (0.2 if known else 1.5) * noise[int(role == "local"), side, n]

    return Told(
        lambda colour, role: vector(colour[0] // 4, role, 0), lambda text, role: vector(number(text), role, 1), True
    )


def test_both_heads_together_with_the_weight_that_is_best_on_val() -> None:
    samples = [((4 * n, 0, 0), [f"thing {n}"], ("val", "test")[n >= 32]) for n in range(64)]
    data, encoder = Coloured(samples), halves()
    assert not any("heads" in name or "local" in name for name in measured(encoder, data))
    found = measured(encoder, data, "test")

    def recall(numbers: range, weight: float) -> float:
        sides = [
            torch.cat(
                [
                    share * normalize(torch.stack([one(n, role) for n in numbers]), dim=1)
                    for share, role in ((weight**0.5, "global"), ((1 - weight) ** 0.5, "local"))
                ],
                dim=1,
            )
            for one in (lambda n, r: encoder.image((4 * n, 0, 0), r), lambda n, r: encoder.text(f"thing {n}", r))
        ]
        own = torch.arange(len(numbers))[:, None].expand(-1, 2)
        return cross_modal_retrieval(*sides, own)["recall@10"]

    best = max(protocol.WEIGHTS, key=lambda weight: recall(range(32), weight))
    assert found["weight,recall@10"] == best
    assert found["recall@10,both heads"] == pytest.approx(recall(range(32, 64), best))
    assert found["recall@10"] == pytest.approx(recall(range(32, 64), 1.0)), "the global heads alone"
    assert found["recall@10,local"] == pytest.approx(recall(range(32, 64), 0.0))


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> PairTable:
    return PairTable(**toy(tmp_path_factory.mktemp("drawings"), 120, 24))


def test_the_floor_beats_chance_and_its_penalty_is_chosen_on_val(
    drawings: PairTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = PairRetrieval().floors(drawings, "test", quick=False)
    assert list(rows) == ["colours + words", "3x3 colours + words", "chance"]
    monkeypatch.setattr(protocol, "FLOORS", {"colours + words": 1})  # small matrices
    floor, _, chance = rows.values()
    assert set(chance) == set(floor) - {"images", "texts"}
    assert floor["recall@1"] > 1.5 * chance["recall@1"]
    assert chance["zero_shot@1"] == pytest.approx(1 / 3)
    tried = []
    for penalty in PENALTIES:
        monkeypatch.setattr("counterpoint_multimodal.baselines.PENALTIES", (penalty,))
        val, test = (
            PairRetrieval().floors(drawings, split, quick=False)["colours + words"] for split in ("val", "test")
        )
        tried.append((val["recall@10"], test))
    assert max(tried, key=lambda pair: pair[0])[1] == floor
    assert set(PairRetrieval().floors(drawings, "test", quick=True)["colours + words"]) == set(floor)


def test_real_towers_are_measured_and_twice_the_same(drawings: PairTable) -> None:
    torch.manual_seed(0)
    encoder = TwoTowers(dim=16, image_options={"width": 8}, text_width=16, text_layers=1, text_heads=2)
    encoder.prepare(drawings)
    encoder.eval().requires_grad_(False)
    found = PairRetrieval().measure(encoder, PairViews(size=16), drawings, "val")
    assert found == PairRetrieval().measure(encoder, PairViews(size=16), drawings, "val")
    assert all(np.isfinite(value) for value in found.values())
    assert {"zero_shot@1", "alignment", "uniformity", "modality_gap", "recall@5,text-to-image"} <= set(found)


def test_samples_without_a_class_do_not_count() -> None:
    data = many()
    data.labels = np.where(np.arange(30) < 6, data.labels, -1)
    assert measured(oracle(), data)["zero_shot@1"] == 1.0
    data.labels = np.full(30, -1)
    found = measured(oracle(), data)
    assert not [name for name in found if name.startswith("zero_shot")]
    assert found["recall@1"] == 1.0
