"""What a configuration says of labels, targets and views."""

from __future__ import annotations

from typing import Any

import pytest

import toy
from counterpoint.training.supervision import learnt, objective_in_words, supervision_of, views_of

pytestmark = pytest.mark.unit


def method(name: str, objective: str | None = None, **options: Any) -> dict[str, Any]:
    """As a configuration has it."""
    chosen = objective and {"class_path": f"counterpoint.objectives.{objective}", "init_args": {}}
    return {"class_path": f"counterpoint.methods.{name}", "init_args": {"objective": chosen, **options}}


@pytest.mark.parametrize(
    ("name", "objective", "given"),
    [
        ("SimCLR", None, ()),
        ("SimCLR", "DCL", ()),
        ("SimCLR", "SupCon", ("labels",)),
        ("SimCLR", "Hydra", ("labels",)),
        ("SimCLR", "SupReMix", ("targets",)),
        ("MoCoV3", "SupCon", ("labels",)),
        ("MoCo", "InfoNCE", ()),
        ("Classify", None, ("labels",)),
        ("Regress", "SupReMix", ("targets",)),
        ("SepCLR", None, ("labels",)),
    ],
)
def test_what_a_method_takes_from_the_samples(name: str, objective: str | None, given: tuple[str, ...]) -> None:
    assert supervision_of(method(name, objective)) == given


def test_only_what_the_data_has_is_learnt_with() -> None:
    labelled, bare = toy.Digits("digits", count=20, ordered=True), toy.Digits("digits", count=20, labelled=False)
    assert learnt(method("SimCLR", "SupCon"), labelled) == "learnt with labels"
    assert learnt(method("SimCLR", "SupCon"), bare) == "learnt without labels"
    assert learnt(method("SimCLR", "SupReMix"), labelled) == "learnt with targets"
    assert learnt(method("SimCLR"), labelled) == "learnt without labels"
    assert learnt(method("Regress"), labelled) == "fine-tuned to regress"


def test_views_of_a_fine_tuning() -> None:
    assert views_of(method("SimCLR")) is None
    assert [views_of(method("Classify", name)) for name in (None, "CoreTuning", "SupCon")] == [1, 1, 2]
    assert views_of(method("Classify", "SupCon", views=3)) == 3


@pytest.mark.parametrize(
    ("name", "objective", "options", "words"),
    [
        ("Classify", None, {}, "the plain loss: cross-entropy"),
        ("Classify", "CoreTuning", {}, "CoreTuning, cross-entropy included"),
        ("Classify", "SupCon", {}, "cross-entropy and 1 times SupCon"),
        ("Classify", "SupCon", {"weight": 0.5}, "cross-entropy and 0.5 times SupCon"),
        ("Regress", None, {"loss": "mse"}, "the plain loss: squared error"),
        ("Regress", "SupReMix", {}, "SupReMix, then the linear map of least absolute error"),
    ],
)
def test_the_loss_in_words(name: str, objective: str | None, options: dict[str, Any], words: str) -> None:
    assert objective_in_words(method(name, objective, **options)) == words
