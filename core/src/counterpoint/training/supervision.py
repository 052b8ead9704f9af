"""What a method learns from besides the samples themselves, by its configuration: their labels or targets; and views.

It can be asked of a run whose training is over, where there is a configuration and no method.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from counterpoint.methods.finetune import FineTune, views_wanted
from counterpoint.methods.fit import SUPERVISION, learns_from, takes
from counterpoint.parts import Dataset
from counterpoint.training.hints import load


def supervision_of(method: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of ``"labels"`` and ``"targets"`` that the method takes from samples that have them.

    Where background and targets are contrasted, labels say which of the two a sample is, and the method is told.

    Args:
        method: of a configuration: ``class_path``, ``init_args``.
    """
    cls, objective = load(method["class_path"]), _objective(method)
    if issubclass(cls, FineTune):
        return tuple(name for name in SUPERVISION if name in cls.calls_with)
    if cls.contrasted:
        return ("labels",)
    return learns_from(cls, objective)


def learnt(method: Mapping[str, Any], dataset: Dataset) -> str:
    """How the method learnt from ``dataset``, in a few words."""
    cls = load(method["class_path"])
    if issubclass(cls, FineTune):
        return f"fine-tuned to {cls.task}"
    if cls.contrasted:
        return "learnt from a background and targets"
    given = [name for name in supervision_of(method) if getattr(dataset, name) is not None]
    return f"learnt with {' and '.join(given)}" if given else "learnt without labels"


def views_of(method: Mapping[str, Any]) -> int | None:
    """Global views of each sample that a fine-tuning learns from; None of a pretraining, which sees all."""
    if not issubclass(load(method["class_path"]), FineTune):
        return None
    return (method.get("init_args") or {}).get("views") or views_wanted(_objective(method))


def objective_in_words(method: Mapping[str, Any]) -> str:
    """The loss of a fine-tuning."""
    options, objective = method.get("init_args") or {}, _objective(method)
    classifies = "labels" in supervision_of(method)
    plain = "cross-entropy" if classifies else _ERRORS[options.get("loss") or "l1"]
    if objective is None:
        return f"the plain loss: {plain}"
    if not classifies:
        return f"{objective.__name__}, then the linear map of least absolute error"
    if takes(objective, "classify"):
        return f"{objective.__name__}, cross-entropy included"
    weight = options.get("weight")
    return f"{plain} and {1.0 if weight is None else weight:g} times {objective.__name__}"


_ERRORS = {"l1": "absolute error", "mse": "squared error"}


def _objective(method: Mapping[str, Any]) -> Any:
    """The class of the objective that was chosen; None: the method's own."""
    chosen = (method.get("init_args") or {}).get("objective")
    return load(chosen["class_path"]) if chosen else None
