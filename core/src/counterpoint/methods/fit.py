"""Which objectives a method takes: an objective's kind is what it is called with, and methods say what that is."""

from __future__ import annotations

import inspect

from torch import Tensor

from counterpoint import objectives
from counterpoint.errors import ConfigError, message
from counterpoint.methods.base import Method
from counterpoint.objectives import Objective
from counterpoint.parts import Dataset
from counterpoint.types import Batch

SUPERVISION = ("labels", "targets")
"""Arguments that come from the samples, as far as these have them, and not from the views."""


def takes(objective: Objective | type[Objective], argument: str) -> bool:
    """Whether the objective can be called with this argument."""
    return argument in inspect.signature(objective.forward).parameters


def kinds() -> list[type[Objective]]:
    """Every objective of the core, by name."""
    known = [getattr(objectives, name) for name in sorted(objectives.__all__)]
    return [k for k in known if isinstance(k, type) and issubclass(k, Objective) and k is not Objective]


def refusal(method: type[Method], objective: type[Objective]) -> str | None:
    """Why ``method`` does not take ``objective``, in a few words; None: it does."""
    missing = [argument for argument in method.calls_with if not takes(objective, argument)]
    if missing or not method.calls_with:
        return f"it is not called with {' and '.join(missing)}" if missing else "there is nothing to choose"
    ignored = [argument for argument in SUPERVISION if takes(objective, argument)]
    if not method.supervised and set(ignored) - set(method.calls_with):
        return f"its {' and '.join(ignored)} would be ignored"
    return None


def require(method: Method, objective: Objective) -> None:
    """Refuse an objective that ``method`` cannot call, or whose labels or targets it could not hand on.

    Raises:
        ConfigError: with what it is called with, and who fits.
    """
    why = refusal(type(method), type(objective))
    if why is None:
        return
    fit = ", ".join(kind.__name__ for kind in kinds() if refusal(type(method), kind) is None)
    allowed = f"one that is called with {' and '.join(method.calls_with)} ({fit}, …)"
    if "ignored" in why:
        allowed = f"one without labels or targets ({fit}, …), for {why}"
    raise ConfigError(message(f"{type(method).__name__}: objective", type(objective).__name__, allowed))


def learns_from(method: type[Method], objective: type[Objective] | None) -> tuple[str, ...]:
    """Those of ``"labels"`` and ``"targets"`` that ``method`` hands to ``objective``; None: it has no objective."""
    if objective is None or not method.supervised:
        return ()
    return tuple(name for name in SUPERVISION if takes(objective, name))


def unsupervised(method: Method, dataset: Dataset) -> str:
    """Says that the method's objective would learn from labels or targets, and the dataset has none; else empty."""
    objective = getattr(method, "objective", None)
    kind = type(objective) if isinstance(objective, Objective) else None
    missing = [name for name in learns_from(type(method), kind) if getattr(dataset, name) is None]
    if not missing:
        return ""
    name = type(objective).__name__
    return f"The data has no {' and no '.join(missing)}: {name} learns from views alone, as without supervision."


def supervision(objective: Objective, batch: Batch) -> dict[str, Tensor | None]:
    """The batch's labels and targets, as far as the objective takes them."""
    known = {"labels": batch.label, "targets": batch.target}
    return {name: value for name, value in known.items() if takes(objective, name)}
