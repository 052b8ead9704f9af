"""Probes of two spaces: a perfect separation, none at all, the sum, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.evaluation.two_space import Found, delta_total, two_space_probe

pytestmark = pytest.mark.unit

HOMES = {"digit": "salient", "photograph": "common"}
SIZES = {"train": 300, "val": 60, "test": 200}


def material() -> tuple[dict[str, dict[str, Tensor]], dict[str, dict[str, Tensor]]]:
    """Each space tells its own factor and is noise beside; both factors are drawn independently."""
    generator = torch.Generator().manual_seed(0)
    labels = {
        factor: {split: torch.randint(0, k, (n,), generator=generator) for split, n in SIZES.items()}
        for factor, k in (("digit", 4), ("photograph", 2))
    }

    def code(factor: str, split: str) -> Tensor:
        noise = 0.1 * torch.randn(SIZES[split], 6, generator=generator)
        return noise + torch.nn.functional.pad(one_hot(labels[factor][split]).float(), (0, 6))[:, :6]

    codes = {home: {split: code(factor, split) for split in SIZES} for factor, home in HOMES.items()}
    return codes, labels


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_perfect_separation_is_seen(split: str) -> None:
    codes, labels = material()
    found = two_space_probe(codes, labels, HOMES, split=split)
    assert list(found) == ["digit", "photograph"]
    for factor, chance in (("digit", 0.25), ("photograph", 0.5)):
        one = found[factor]
        assert (one.home, one.chance) == (HOMES[factor], chance)
        assert one.accuracy[one.home] == 1
        away = next(value for space, value in one.accuracy.items() if space != one.home)
        assert away == pytest.approx(chance, abs=0.12)
        assert one.gap == pytest.approx(1 - away)
        assert one.delta == pytest.approx(abs(away - chance))
    assert delta_total(found) == pytest.approx(sum(one.delta for one in found.values()))


def test_one_space_twice_is_no_separation() -> None:
    codes, labels = material()
    both = {split: torch.cat([codes["common"][split], codes["salient"][split]], dim=1) for split in SIZES}
    found = two_space_probe({"common": both, "salient": both}, labels, HOMES)
    assert [one.gap for one in found.values()] == [0, 0]
    assert delta_total(found) == pytest.approx(0.75 + 0.5)


def test_delta_counts_both_ways_from_the_ideal() -> None:
    assert Found("s", 0.1, {"s": 0.9, "c": 0.3}).delta == pytest.approx(0.1 + 0.2)
    assert Found("s", 0.5, {"s": 1.0, "c": 0.4}).delta == pytest.approx(0.1)


def test_rows_that_are_not_known_are_left_out() -> None:
    codes, labels = material()
    hidden = {split: torch.where(torch.arange(n) % 2 == 0, labels["digit"][split], -1) for split, n in SIZES.items()}
    found = two_space_probe(codes, {"digit": hidden}, HOMES)
    assert found["digit"].accuracy["salient"] == 1


def test_what_is_refused() -> None:
    codes, labels = material()
    with pytest.raises(ConfigError, match=r'split: found \'train\'; allowed: "val" or "test"\. Metrics on train'):
        two_space_probe(codes, labels, HOMES, split="train")
    with pytest.raises(ConfigError, match=r"codes: found 1 space\(s\); allowed: two or more"):
        two_space_probe({"common": codes["common"]}, labels, HOMES)
    with pytest.raises(ConfigError, match=r"homes\['digit'\]: found None; allowed: one of salient, common"):
        two_space_probe(codes, labels, {"photograph": "common"})
    labels["digit"]["test"] = torch.zeros(200, dtype=torch.int64)
    with pytest.raises(ShapeError, match=r"labels\['digit'\]: found 1 class\(es\) on test; allowed: two or more"):
        two_space_probe(codes, labels, HOMES)
